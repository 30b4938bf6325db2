/**
 * The life of a process that runs until it is told to stop: SIGTERM and SIGINT stop it in order, a second signal at
 * once, the end of the parent's IPC channel like SIGTERM; a fatal error ends it with exit code 70 (by SIGKILL if a
 * thread hangs in a write that never returns). What was opened is closed in reverse order, within the shutdown
 * time-out. Used by the verbs broker, master and nodehost.
 */
import { writeSync } from "node:fs";
import { FatalStorageError, OpError } from "../../shared/errors.js";
import { EXIT, failureLines, fatalLines } from "./failure.js";

const STDERR = 2;
const SIGNAL_NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;
/** Timers of the environment do not keep a process alive; this one does, until it is stopped. */
const KEEP_ALIVE_MS = 2 ** 30;

export class ProcessLife {
  readonly #stop = new AbortController();
  readonly #steps: (() => Promise<void> | void)[] = [];
  #ready = false;

  /** Aborted when the process is to stop. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Serves, and is not about to stop. */
  get ready(): boolean {
    return this.#ready && !this.#stop.signal.aborted;
  }

  becomeReady(): void {
    this.#ready = true;
  }

  /** To be done at the end, before what was registered earlier. */
  defer(step: () => Promise<void> | void): void {
    this.#steps.push(step);
  }

  /** Nothing may go on: says why and ends the process. */
  readonly fatal = (error: unknown): void => {
    writeSync(STDERR, fatalLines(error));
    // See FatalStorageError.stuck: exit would wait for a thread that never returns.
    if (error instanceof FatalStorageError && error.stuck) process.kill(process.pid, "SIGKILL");
    process.exit(EXIT.fatal);
  };

  /** Runs `open`, waits for the order to stop, closes. Ends the process unless `open` rejects: that is the caller's. */
  async run(shutdownTimeoutMs: number, open: () => Promise<void>): Promise<never> {
    const keepAlive = setInterval(() => {}, KEEP_ALIVE_MS);
    const stopped = this.#listen();
    try {
      await Promise.race([open(), stopped]);
    } catch (error) {
      clearInterval(keepAlive);
      await this.#close(shutdownTimeoutMs);
      throw error;
    }
    await stopped;
    process.exit(await this.#close(shutdownTimeoutMs));
  }

  #listen(): Promise<void> {
    const onSignal = (signal: keyof typeof SIGNAL_NUMBERS): void => {
      if (this.#stop.signal.aborted) process.exit(128 + SIGNAL_NUMBERS[signal]);
      this.#stop.abort();
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
    // A child whose parent is gone must not stay behind; it may be gone already. (Without a channel: undefined.)
    if (process.connected === false) this.#stop.abort();
    else if (process.connected) process.once("disconnect", () => this.#stop.abort());
    return new Promise((resolve) => {
      this.#stop.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  async #close(timeoutMs: number): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, false);
    });
    const inTime = await Promise.race([this.#closeAll(), late]);
    clearTimeout(timer);
    if (inTime) return EXIT.ok;
    process.stderr.write(failureLines(new OpError("DL_ERR_TIMEOUT", `stopping took longer than ${timeoutMs} ms`)));
    return EXIT.failed;
  }

  async #closeAll(): Promise<boolean> {
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        process.stderr.write(fatalLines(error));
      }
    }
    return true;
  }
}
