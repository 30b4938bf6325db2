/** Time and randomness for tests of the simulated bus: only `run` lets time pass, the same way each time. */
import * as zlib from "node:zlib";
import type { Env, Random, Timers } from "../../env/env.js";
import { seededRandom } from "../../env/testing/seeded-random.js";

interface Due {
  readonly atMs: number;
  readonly order: number;
  readonly call: () => void;
}

export class VirtualTime {
  #nowMs = 0;
  #order = 0;
  readonly #random: Random;
  readonly #due = new Set<Due>();

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  get env(): Pick<Env, "now" | "timers" | "random" | "crc32"> {
    return {
      now: () => this.#nowMs,
      timers: this.#timers(),
      random: this.#random,
      crc32: (bytes, seed = 0) => zlib.crc32(bytes, seed),
    };
  }

  /** Lets so much time pass, calling what becomes due in order; promises settle between calls. */
  async run(forMs: number): Promise<void> {
    const endMs = this.#nowMs + forMs;
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#due.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.call();
      await Promise.resolve();
    }
    this.#nowMs = endMs;
  }

  #next(endMs: number): Due | undefined {
    let first: Due | undefined;
    for (const due of this.#due) {
      if (due.atMs > endMs) continue;
      if (first === undefined || due.atMs < first.atMs || (due.atMs === first.atMs && due.order < first.order))
        first = due;
    }
    return first;
  }

  #timers(): Timers {
    const after = (delayMs: number, call: () => void) => {
      this.#order += 1;
      const due = { atMs: this.#nowMs + delayMs, order: this.#order, call };
      this.#due.add(due);
      return { cancel: () => void this.#due.delete(due) };
    };
    const every = (intervalMs: number, call: () => void) => {
      let current = after(intervalMs, tick);
      function tick(): void {
        current = after(intervalMs, tick);
        call();
      }
      return { cancel: () => current.cancel() };
    };
    return { after, every, soon: (call) => after(0, call) };
  }
}
