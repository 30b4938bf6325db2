/**
 * strace as a fault injector: kills a process at its n-th system call of a kind, or makes that call fail. The program
 * must run with UV_THREADPOOL_SIZE=1, because strace counts for each thread on its own. Used by the root tests.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";

/** Everything by which a log reaches the disk. A name that this machine's kernel does not have is passed over. */
export const DISK_CALLS = [
  ...["pwrite64", "pwritev", "pwritev2", "writev", "fdatasync", "fsync", "msync", "ftruncate"],
  ...["rename", "renameat", "renameat2", "unlink", "unlinkat"],
] as const;

export interface TracedRun {
  /** strace ends by the signal that ended the program. */
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TraceOptions {
  /** Where strace writes what it saw. */
  readonly log: string;
  /** "call:what", for instance `pwrite64:signal=SIGKILL:when=3`. */
  readonly inject?: string;
  /** Only calls on this file. */
  readonly path?: string;
}

export function straceArguments(options: TraceOptions): string[] {
  const calls = DISK_CALLS.map((call) => `?${call}`).join();
  const inject = options.inject === undefined ? [] : ["-e", `inject=${options.inject}`];
  const path = options.path === undefined ? [] : ["-P", options.path];
  return ["-f", "-q", "-y", "-o", options.log, "-e", `trace=${calls}`, ...inject, ...path];
}

/** Runs a Node program to its end, which comes by itself. */
export async function runTraced(program: readonly string[], options: TraceOptions): Promise<TracedRun> {
  const args = [...straceArguments(options), process.execPath, ...program];
  const env = { ...process.env, UV_THREADPOOL_SIZE: "1", UV_USE_IO_URING: "0" };
  const child = spawn("strace", args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code, signal]: [number | null, NodeJS.Signals | null] = await ended(child);
  return { code, signal, stdout, stderr };
}

async function ended(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  const [code, signal] = await once(child, "close");
  return [code ?? null, signal ?? null];
}

/** From a log: how often each call was made by the thread that made most of them. */
export function countCalls(log: string): Map<string, number> {
  const threads = new Map<string, Map<string, number>>();
  for (const [, thread = "", call = ""] of readFileSync(log, "utf8").matchAll(/^(\d+) +(\w+)\(/gm)) {
    const counts = threads.get(thread) ?? new Map<string, number>();
    threads.set(thread, counts.set(call, (counts.get(call) ?? 0) + 1));
  }
  const sum = (counts: Map<string, number>): number => [...counts.values()].reduce((a, b) => a + b, 0);
  return [...threads.values()].sort((a, b) => sum(b) - sum(a))[0] ?? new Map();
}
