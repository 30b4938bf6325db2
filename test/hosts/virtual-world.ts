/**
 * One process, many hosts, no real time: a clock that is driven by hand and an Env per host on top of it. After every
 * timer all promises that can settle do so before the next one fires, so that one seed gives one history.
 *
 * An Env can be killed: the timers of a crashed host never fire again. Used by sim-cluster.ts.
 */
import * as zlib from "node:zlib";
import { type Env, type Logger, noMetrics, type Random, type TimerHandle } from "../../shared/env/env.js";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly call: () => void;
  canceled: boolean;
}

/** Lets everything that is ready to run do so. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export class VirtualWorld {
  readonly random: Random;
  /** Everything worth telling runs apart goes through here. */
  #trace = 0;
  #events = 0;
  #nowMs = 0;
  #order = 0;
  readonly #heap: Timer[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Checksum and length of the history so far. */
  get trace(): string {
    return `${this.#events}:${this.#trace.toString(16)}`;
  }

  /** Adds to the history. */
  note(text: string, bytes?: Uint8Array): void {
    this.#events += 1;
    this.#trace = zlib.crc32(`${this.#nowMs}|${text}`, this.#trace);
    if (bytes !== undefined) this.#trace = zlib.crc32(bytes, this.#trace);
  }

  /** An Env whose timers end with `kill`, and are late after `stall`: its process stood still for so long. */
  hostEnv(logger: Logger): { readonly env: Env; kill(): void; stall(forMs: number): void } {
    let dead = false;
    let stalledUntilMs = 0;
    const after = (delayMs: number, call: () => void): TimerHandle => {
      const fire = (): void => {
        if (dead) return;
        if (this.#nowMs >= stalledUntilMs) call();
        else timer = this.#add(stalledUntilMs - this.#nowMs, fire);
      };
      let timer = this.#add(delayMs, fire);
      return {
        cancel: () => {
          timer.canceled = true;
        },
      };
    };
    const every = (intervalMs: number, call: () => void): TimerHandle => {
      let handle = after(intervalMs, again);
      function again(): void {
        handle = after(intervalMs, again);
        call();
      }
      return { cancel: () => handle.cancel() };
    };
    const env: Env = {
      now: () => this.#nowMs,
      wallClockMs: () => this.#nowMs,
      timers: { after, every, soon: (call) => after(0, call) },
      random: this.random,
      logger,
      metrics: noMetrics,
      crc32: (bytes, start = 0) => zlib.crc32(bytes, start),
    };
    const kill = (): void => {
      dead = true;
    };
    const stall = (forMs: number): void => {
      stalledUntilMs = this.#nowMs + forMs;
    };
    return { env, kill, stall };
  }

  /** Lets so much time pass. */
  async run(forMs: number): Promise<void> {
    const endMs = this.#nowMs + forMs;
    await settled();
    for (let timer = this.#take(endMs); timer !== undefined; timer = this.#take(endMs)) await this.#fire(timer);
    this.#nowMs = endMs;
  }

  /** Lets time pass until the promise settles. Throws when that takes longer than `limitMs`. */
  async until<T>(promise: Promise<T>, limitMs = 60_000): Promise<T> {
    const endMs = this.#nowMs + limitMs;
    const state = { done: false };
    const done = (): void => {
      state.done = true;
    };
    promise.then(done, done);
    await settled();
    while (!state.done) {
      const timer = this.#take(endMs);
      if (timer === undefined) throw new Error(`not settled within ${limitMs} virtual milliseconds`);
      await this.#fire(timer);
    }
    return promise;
  }

  /** Lets time pass until the condition holds. Throws when that takes longer than `limitMs`. */
  async when(what: string, holds: () => boolean, limitMs = 60_000): Promise<void> {
    const endMs = this.#nowMs + limitMs;
    await settled();
    while (!holds()) {
      const timer = this.#take(endMs);
      if (timer === undefined) throw new Error(`did not happen within ${limitMs} virtual milliseconds: ${what}`);
      await this.#fire(timer);
    }
  }

  /** Timers that are still to fire; a test of leaks looks at it. */
  get pendingTimers(): number {
    return this.#heap.filter((timer) => !timer.canceled).length;
  }

  async #fire(timer: Timer): Promise<void> {
    this.#nowMs = Math.max(this.#nowMs, timer.atMs);
    timer.call();
    await settled();
  }

  #add(delayMs: number, call: () => void): Timer {
    this.#order += 1;
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order, call, canceled: false };
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(timer, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = timer;
    return timer;
  }

  /** The next timer that is due by `endMs`. */
  #take(endMs: number): Timer | undefined {
    for (;;) {
      const top = this.#heap[0];
      if (top === undefined || (top.atMs > endMs && !top.canceled)) return undefined;
      this.#pop();
      if (!top.canceled) return top;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const a = heap[left];
      const b = heap[left + 1];
      if (a === undefined) break;
      const [child, from] = b !== undefined && before(b, a) ? [b, left + 1] : [a, left];
      if (!before(child, last)) break;
      heap[at] = child;
      at = from;
    }
    heap[at] = last;
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
