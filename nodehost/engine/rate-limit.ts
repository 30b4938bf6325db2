/**
 * How many bytes per second a host sends, or takes, of snapshots: all streams of one direction share one limit, so that
 * a replica that catches up does not take the disk and the network from the shards that serve. Used by the engine.
 *
 * Invariant: over any time that begins idle, no more bytes pass than the rate allows, but for one chunk.
 */
import type { Env } from "../../shared/env/env.js";

export class RateLimit {
  readonly #env: Pick<Env, "now" | "timers">;
  readonly #bytesPerSecond: number;
  /** When what was let through so far has had its time. */
  #freeAtMs = 0;

  /** `bytesPerSecond` 0: no limit. */
  constructor(env: Pick<Env, "now" | "timers">, bytesPerSecond: number) {
    this.#env = env;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when `bytes` more may pass; those who wait are let through in order. */
  take(bytes: number): Promise<void> | undefined {
    if (this.#bytesPerSecond === 0) return undefined;
    const nowMs = this.#env.now();
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + (bytes * 1000) / this.#bytesPerSecond;
    if (startMs <= nowMs) return undefined;
    return new Promise((resolve) => {
      this.#env.timers.after(startMs - nowMs, resolve);
    });
  }

  /** The same chunks, as fast as the limit allows. */
  async *paced(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      await this.take(chunk.length);
      yield chunk;
    }
  }
}
