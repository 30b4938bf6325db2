/**
 * Watches operations that must settle in time (LIMITS.walWriteDeadlineMs). One timer for all of them, armed only while
 * something is under way and at most once per deadline: an append costs no timer of its own.
 */
import type { Env } from "../../shared/env/env.js";

export class Watch {
  readonly #env: Env;
  readonly #deadlineMs: number;
  readonly #overdue: (what: string) => void;
  readonly #running = new Map<number, { readonly what: string; readonly sinceMs: number }>();
  #next = 0;
  #armed = false;
  #stopped = false;

  constructor(env: Env, deadlineMs: number, overdue: (what: string) => void) {
    this.#env = env;
    this.#deadlineMs = deadlineMs;
    this.#overdue = overdue;
  }

  begin(what: string): number {
    this.#next += 1;
    this.#running.set(this.#next, { what, sinceMs: this.#env.now() });
    if (!this.#armed) this.#arm(this.#deadlineMs);
    return this.#next;
  }

  end(ticket: number): void {
    this.#running.delete(ticket);
  }

  async during<T>(what: string, operation: Promise<T>): Promise<T> {
    const ticket = this.begin(what);
    try {
      return await operation;
    } finally {
      this.end(ticket);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#running.clear();
  }

  #arm(delayMs: number): void {
    this.#armed = true;
    this.#env.timers.after(delayMs, () => this.#look());
  }

  #look(): void {
    this.#armed = false;
    if (this.#stopped) return;
    const now = this.#env.now();
    let oldest: number | undefined;
    for (const { what, sinceMs } of this.#running.values()) {
      if (now - sinceMs >= this.#deadlineMs) {
        this.#overdue(what);
        return;
      }
      oldest = Math.min(oldest ?? sinceMs, sinceMs);
    }
    if (oldest !== undefined) this.#arm(oldest + this.#deadlineMs - now);
  }
}
