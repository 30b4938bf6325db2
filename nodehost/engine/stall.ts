/**
 * Knows when this process stood still: the event loop was blocked, or the machine was. What fell due meanwhile by the
 * silence of others says nothing of them, since nobody here listened: such an election waits once more (P52), so that
 * a host does not disturb all its shards because of its own stall. Used by Engine and Replica.
 */
import type { TimeMs } from "../../shared/types/ids.js";

/** A gap between two signs of life above this is a stall. */
const STALL_TICKS = 2;

export class StallWatch {
  readonly #tickMs: number;
  #aliveMs: TimeMs;
  #startMs: TimeMs = Number.NEGATIVE_INFINITY;
  #endMs: TimeMs = Number.NEGATIVE_INFINITY;

  constructor(tickMs: number, nowMs: TimeMs) {
    this.#tickMs = tickMs;
    this.#aliveMs = nowMs;
  }

  /** A sign of life, at least one per tick. True if a stall has just ended. */
  note(nowMs: TimeMs): boolean {
    const stalled = nowMs - this.#aliveMs > STALL_TICKS * this.#tickMs;
    if (stalled) {
      this.#startMs = this.#aliveMs;
      this.#endMs = nowMs;
    }
    this.#aliveMs = nowMs;
    return stalled;
  }

  /** True if the deadline passed during the last stall, and that was no short one for such an election timeout. */
  excuses(deadlineMs: TimeMs, electionTimeoutMs: number): boolean {
    if (deadlineMs <= this.#startMs || deadlineMs > this.#endMs) return false;
    return this.#endMs - this.#startMs >= electionTimeoutMs / 2;
  }
}
