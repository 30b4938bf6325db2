/** Runs a real nats-server for tests: found on PATH, on 127.0.0.1 and a port of its choice, ended by its process id. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

export interface NatsServer {
  readonly pid: number;
  readonly port: number;
  /** Kills it; resolves when it is gone. Idempotent. */
  stop(): Promise<void>;
}

/** Path of nats-server, if it is installed. */
export function findNatsServer(): string | undefined {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, "nats-server");
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}

/** Why a test that needs nats-server is skipped, or false. */
export function skipWithoutNatsServer(): string | false {
  return findNatsServer() === undefined ? "nats-server is not on PATH (apt-get install nats-server)" : false;
}

/** Resolves when it accepts clients; rejects with its output if it ends before. */
export async function startNatsServer(args: readonly string[] = []): Promise<NatsServer> {
  const path = findNatsServer() ?? "nats-server";
  const child = spawn(path, ["-a", "127.0.0.1", "-p", "-1", ...args], { stdio: ["ignore", "ignore", "pipe"] });
  const gone = new Promise<void>((resolve) => {
    child.on("exit", () => resolve());
    child.on("error", () => resolve());
  });
  const port = await listening(child);
  return {
    pid: child.pid ?? 0,
    port,
    stop: async () => {
      child.kill("SIGKILL");
      await gone;
    },
  };
}

function listening(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let output = "";
    child.stderr?.setEncoding("utf8");
    child.stderr?.on("data", (chunk: string) => {
      output = (output + chunk).slice(-10_000);
      const port = /client connections on [^\n]*:(\d+)\n/.exec(output)?.[1];
      if (port !== undefined && output.includes("Server is ready")) resolve(Number(port));
    });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`nats-server ended with ${code}: ${output}`)));
  });
}
