/**
 * Promises that wait for something by key, each with a deadline and perhaps an AbortSignal. Used by BusCore for
 * requests in flight and for `ready`.
 *
 * Invariants: each wait settles exactly once; whatever settles it takes its timer and its abort listener away, so
 * that nothing stays behind.
 */
import type { TimerHandle, Timers } from "../env/env.js";
import { OpError } from "../errors.js";
import type { RequestOptions } from "./port.js";

interface Wait<V> {
  readonly resolve: (value: V) => void;
  readonly reject: (error: Error) => void;
  readonly release: () => void;
}

export class WaitTable<V> {
  readonly #timers: Timers;
  readonly #waits = new Map<string, Wait<V>>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  get size(): number {
    return this.#waits.size;
  }

  has(key: string): boolean {
    return this.#waits.has(key);
  }

  /** Rejects with DL_ERR_TIMEOUT or DL_ERR_CANCELED, `what` in the message. `key` must not be in use. */
  start(key: string, what: string, options: RequestOptions): Promise<V> {
    return new Promise((resolve, reject) => {
      const { signal, timeoutMs } = options;
      const timer: TimerHandle = this.#timers.after(timeoutMs, () => {
        this.fail(key, new OpError("DL_ERR_TIMEOUT", `${what} within ${timeoutMs} ms`));
      });
      const onAbort = (): void => {
        this.fail(key, new OpError("DL_ERR_CANCELED", what));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      const release = (): void => {
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      this.#waits.set(key, { resolve, reject, release });
    });
  }

  /** False when nothing waits under this key (any more). */
  settle(key: string, value: V): boolean {
    const wait = this.#take(key);
    wait?.resolve(value);
    return wait !== undefined;
  }

  fail(key: string, error: Error): boolean {
    const wait = this.#take(key);
    wait?.reject(error);
    return wait !== undefined;
  }

  settleAll(value: V): void {
    for (const key of [...this.#waits.keys()]) this.settle(key, value);
  }

  /** Returns how many were waiting. */
  failAll(makeError: () => Error): number {
    const keys = [...this.#waits.keys()];
    for (const key of keys) this.fail(key, makeError());
    return keys.length;
  }

  #take(key: string): Wait<V> | undefined {
    const wait = this.#waits.get(key);
    if (wait === undefined) return undefined;
    this.#waits.delete(key);
    wait.release();
    return wait;
  }
}
