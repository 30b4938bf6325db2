/**
 * The effective clock (D1): monotonic, advances only while this process really listens: its bus link is up, its
 * probes return, its event loop is not stalled. Ages of hosts are differences on this clock, so what we could not
 * have heard never counts against a host.
 *
 * `gaps` counts the interruptions: an age that spans one was not listened to from end to end.
 * Driven by FailureDetector; times given are those of Env.now().
 */
export class EffectiveClock {
  readonly #loopLagMs: number;
  #lastMs: number;
  #effectiveMs = 0;
  #excludeMs = 0;
  #running = false;
  #gaps = 0;

  constructor(loopLagMs: number, nowMs: number) {
    this.#loopLagMs = loopLagMs;
    this.#lastMs = nowMs;
  }

  get nowMs(): number {
    return this.#effectiveMs;
  }

  get gaps(): number {
    return this.#gaps;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Moves to `nowMs`. Returns the length of a stall found on the way, else 0. */
  advance(nowMs: number): number {
    const passedMs = Math.max(0, nowMs - this.#lastMs);
    this.#lastMs = Math.max(this.#lastMs, nowMs);
    if (passedMs > this.#loopLagMs) {
      // Nobody called for longer than the allowed lag: nothing could have been heard either.
      this.#excludeMs = 0;
      this.#gaps += 1;
      return passedMs;
    }
    const countedMs = Math.max(0, passedMs - this.#excludeMs);
    this.#excludeMs = 0;
    if (this.#running) this.#effectiveMs += countedMs;
    return 0;
  }

  /** A stall measured elsewhere: so much of the time up to now does not count. */
  exclude(gapMs: number): void {
    this.#excludeMs += Math.max(0, gapMs);
    if (gapMs > this.#loopLagMs) this.#gaps += 1;
  }

  /** Call after `advance`. Stopping is a gap. */
  setRunning(running: boolean): void {
    if (this.#running && !running) this.#gaps += 1;
    this.#running = running;
  }
}
