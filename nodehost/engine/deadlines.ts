/**
 * When each replica next has something to do. The host's tick asks only for those that are due: a replica without a
 * deadline costs nothing, one whose deadline keeps moving away (a follower that hears its leader) is looked at once
 * per deadline and not once per move. Used by Engine.
 *
 * A hashed wheel: slot n holds what may be due in [n, n + 1) ticks. Entries are lazy: a deadline that moved later
 * leaves the entry where it is, one that moved earlier leaves a stale entry behind, which `armedSlot` tells apart.
 * Invariant: between turns no armed item has a deadline before its slot, so `take` misses none.
 */
import type { TimeMs } from "../../shared/types/ids.js";

/** Deadlines further away are looked at again and again, at this distance. */
const SLOTS = 256;
/** Value of `armedSlot` of an item that is in no slot. */
export const UNARMED = -1;

export interface Timed {
  /** Infinity = nothing to do until it is armed again. */
  readonly deadlineMs: TimeMs;
  /** Kept by the wheel; UNARMED at first. */
  armedSlot: number;
}

export class DeadlineWheel<T extends Timed> {
  readonly #tickMs: number;
  readonly #slots: T[][] = Array.from({ length: SLOTS }, () => []);
  /** The slot that is looked at next; it may be looked at several times while it lasts. */
  #cursor: number;

  constructor(tickMs: number, nowMs: TimeMs) {
    this.#tickMs = tickMs;
    this.#cursor = Math.floor(nowMs / tickMs);
  }

  /** To be called whenever the item's deadline may have become earlier. */
  arm(item: T): void {
    const { deadlineMs } = item;
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    const wanted = Math.max(this.#cursor, Math.floor(deadlineMs / this.#tickMs));
    const slot = Math.min(wanted, this.#cursor + SLOTS - 1);
    if (item.armedSlot !== UNARMED && item.armedSlot <= slot) return;
    item.armedSlot = slot;
    this.#slots[slot % SLOTS]?.push(item);
  }

  /** Everything that is due. It is no longer armed: the caller does so when its next deadline is known. */
  take(nowMs: TimeMs): T[] {
    const due: T[] = [];
    const later: T[] = [];
    const end = Math.max(this.#cursor, Math.floor(nowMs / this.#tickMs));
    // After a long stall every slot is looked at once, not every tick that was missed.
    const last = Math.min(end, this.#cursor + SLOTS - 1);
    for (let slot = this.#cursor; slot <= last; slot++) {
      const items = this.#slots[slot % SLOTS];
      if (items === undefined || items.length === 0) continue;
      this.#slots[slot % SLOTS] = [];
      for (const item of items) {
        if (item.armedSlot !== slot) continue;
        item.armedSlot = UNARMED;
        if (item.deadlineMs <= nowMs) due.push(item);
        else later.push(item);
      }
    }
    this.#cursor = end;
    for (const item of later) this.arm(item);
    return due;
  }
}
