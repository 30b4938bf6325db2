/**
 * The large-outage brake (D7, D8): many hosts silent at once are more likely our own isolation, or a failure that will
 * end by itself, than many deaths. Some silent → few repairs at a time; half of them (a third of ten or more) →
 * observe only, until 90 % are back for a while or an operator acknowledges. Owned by FailureDetector.
 */
import type { DetectTiming } from "./timing.js";

export interface OutageCounts {
  /** Hosts that count: registered, not removed, not in maintenance, not long silent, not acknowledged. */
  readonly hosts: number;
  /** Of these, silent (Disconnected or worse). */
  readonly silent: number;
}

export type OutageLevel = "none" | "brake" | "observe";

const BRAKE_SILENT_MIN = 2;
const BRAKE_PART = 0.2;
const OBSERVE_PART = 0.5;
const MANY_HOSTS = 10;
const OBSERVE_PART_OF_MANY = 1 / 3;
const BACK_PART = 0.9;

export class OutageGuard {
  readonly #timing: DetectTiming;
  /** Hosts counted when the outage began; undefined = none. */
  #hostsBefore: number | undefined;
  #backSinceMs: number | undefined;

  constructor(timing: DetectTiming) {
    this.#timing = timing;
  }

  /** "ended": observing is over, all timers must restart. */
  update(counts: OutageCounts, nowMs: number): OutageLevel | "ended" {
    if (this.#hostsBefore !== undefined) return this.#whileObserving(this.#hostsBefore, counts, nowMs);
    const { hosts, silent } = counts;
    const observe =
      silent > 0 && (silent >= hosts * OBSERVE_PART || (hosts >= MANY_HOSTS && silent > hosts * OBSERVE_PART_OF_MANY));
    if (observe) {
      this.#hostsBefore = hosts;
      this.#backSinceMs = undefined;
      return "observe";
    }
    return silent > Math.max(BRAKE_SILENT_MIN, hosts * BRAKE_PART) ? "brake" : "none";
  }

  #whileObserving(hostsBefore: number, counts: OutageCounts, nowMs: number): OutageLevel | "ended" {
    const back = counts.hosts - counts.silent;
    if (back < hostsBefore * BACK_PART) {
      this.#backSinceMs = undefined;
      return "observe";
    }
    this.#backSinceMs ??= nowMs;
    if (nowMs - this.#backSinceMs < this.#timing.outageExitMs) return "observe";
    this.#hostsBefore = undefined;
    return "ended";
  }

  get observing(): boolean {
    return this.#hostsBefore !== undefined;
  }

  end(): void {
    this.#hostsBefore = undefined;
  }
}
