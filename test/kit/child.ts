/** Runs a program of this repository to its end, for the mutant runner and the soak. */
import { spawn } from "node:child_process";

export interface Ended {
  /** Exit code, name of the signal, or "hangs". */
  readonly code: number | string;
  /** Of stdout. */
  readonly lines: readonly string[];
  /** Stderr. */
  readonly errors: string;
}

export interface ChildOptions {
  readonly cwd: string;
  /** Killed when it says nothing for so long: it hangs. */
  readonly stallMs: number;
  /** Kills it. */
  readonly signal?: AbortSignal | undefined;
}

export function runProgram(args: readonly string[], { cwd, stallMs, signal }: ChildOptions): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env };
    // A test runner around us is not the child's.
    delete env["NODE_TEST_CONTEXT"];
    const child = spawn(process.execPath, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    let hangs = false;
    const kill = (): void => {
      child.kill("SIGKILL");
    };
    const watch = setTimeout(() => {
      hangs = true;
      kill();
    }, stallMs);
    signal?.addEventListener("abort", kill);
    if (signal?.aborted === true) kill();
    child.stdout.on("data", (data: Buffer) => {
      output += data.toString("utf8");
      watch.refresh();
    });
    child.stderr.on("data", (data: Buffer) => {
      errors += data.toString("utf8");
    });
    child.on("error", reject);
    child.on("close", (code, name) => {
      clearTimeout(watch);
      signal?.removeEventListener("abort", kill);
      resolve({ code: hangs ? "hangs" : (code ?? `${name}`), lines: output.trimEnd().split("\n"), errors });
    });
  });
}
