/**
 * Waiting with a limit: every wait of the demo is bounded by one total limit and ends at once when the user stops it.
 * Used by the other demo files and by end-to-end tests.
 */
import { errorText } from "../../shared/errors.js";

/** Something did not happen, in words for the user. */
export class DemoFailure extends Error {
  override readonly name = "DemoFailure";
}

export interface WaitOptions {
  /** Shorter than the total limit. */
  readonly limitMs?: number;
  /** Between probes. Default 50. */
  readonly everyMs?: number;
}

export class Limit {
  readonly signal: AbortSignal;
  readonly #startMs = performance.now();
  readonly #endMs: number;

  constructor(totalMs: number, signal: AbortSignal) {
    this.#endMs = this.#startMs + totalMs;
    this.signal = signal;
  }

  get elapsedMs(): number {
    return performance.now() - this.#startMs;
  }

  /**
   * Probes until the answer is neither undefined nor false. A probe that throws is tried again: its error is part of
   * the message when time is up.
   */
  async until<T>(
    what: string,
    probe: () => Promise<T | undefined> | T | undefined,
    options: WaitOptions = {},
  ): Promise<T> {
    const startMs = performance.now();
    const endMs = Math.min(this.#endMs, startMs + (options.limitMs ?? Number.POSITIVE_INFINITY));
    let last = "";
    for (;;) {
      if (this.signal.aborted) throw new DemoFailure(`stopped while waiting: ${what}`);
      try {
        const answer = await probe();
        if (answer !== undefined && answer !== false) return answer;
        last = "";
      } catch (error) {
        if (error instanceof DemoFailure) throw error;
        last = ` (last: ${errorText(error)})`;
      }
      if (performance.now() >= endMs) {
        const waited = ((performance.now() - startMs) / 1000).toFixed(1);
        throw new DemoFailure(`did not happen within ${waited} s: ${what}${last}`);
      }
      await pause(options.everyMs ?? 50);
    }
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
