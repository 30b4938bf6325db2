/**
 * A person at a few terminals: commands of the drumline binary in one directory, some of which stay open. No IPC
 * channel and no --json unless typed: just what a README says. Used by by-hand.e2e.test.ts.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { childEnvironment } from "../../master/cli/demo-process.js";
import type { Limit } from "../../master/cli/demo-wait.js";
import { DRUMLINE } from "./kit.js";

export interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that stays open. */
export class OpenCommand {
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  output = "";

  constructor(child: ChildProcess) {
    this.#child = child;
    const gather = (text: string): void => {
      this.output += text;
    };
    child.stdout?.setEncoding("utf8").on("data", gather);
    child.stderr?.setEncoding("utf8").on("data", gather);
    this.exited = new Promise((resolve) => child.once("close", resolve));
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Until it says that it is ready. */
  async ready(limit: Limit): Promise<void> {
    await limit.until("it says that it is ready", () => {
      if (/\bready\b/.test(this.output)) return true;
      throw new Error(`${this.running ? "so far" : "it ended with"}: ${this.output}`);
    });
  }
}

export class Terminals {
  readonly #dir: string;
  readonly #open: OpenCommand[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** `drumline <words>` in a terminal of its own. */
  open(words: string): OpenCommand {
    const child = spawn(process.execPath, [DRUMLINE, ...words.split(" ")], {
      cwd: this.#dir,
      env: childEnvironment(),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const command = new OpenCommand(child);
    this.#open.push(command);
    return command;
  }

  /** `drumline <words>`, and wait until it ends. */
  run(words: string): Promise<Answer> {
    const options = { cwd: this.#dir, env: childEnvironment(), timeout: 30_000 };
    return new Promise((resolve) => {
      execFile(process.execPath, [DRUMLINE, ...words.split(" ")], options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        resolve({ code, stdout, stderr });
      });
    });
  }

  /** Closes all: newest first, SIGTERM, then SIGKILL. */
  async close(): Promise<void> {
    const open = this.#open.filter((command) => command.running);
    for (const command of open) command.signal("SIGTERM");
    const timer = setTimeout(() => {
      for (const command of open) command.signal("SIGKILL");
    }, 10_000);
    await Promise.all(open.map((command) => command.exited));
    clearTimeout(timer);
  }
}
