/**
 * Updates handed to the log store and not yet durable, oldest first. What an update made durable is only known to be
 * part of the current log as far as the log was not truncated since: a truncation at i lowers every update in flight
 * to i − 1 (a late answer for overwritten entries must not count for the new ones at the same indexes, P10).
 * Used by RaftLog only.
 */
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";

export interface PendingWrite {
  readonly sequence: number;
  /** Highest index of the current log that is durable once this update is. */
  lastIndex: Index;
  readonly term: Term;
  readonly vote: ReplicaId;
  /** Index of the snapshot that this update resets the log to, 0 if none. */
  readonly snapshotIndex: Index;
}

export class PendingWrites {
  #writes: PendingWrite[] = [];

  get size(): number {
    return this.#writes.length;
  }

  push(write: PendingWrite): void {
    this.#writes.push(write);
  }

  /** Entries above `index` were removed from the log. */
  lowerTo(index: Index): void {
    for (const write of this.#writes) if (write.lastIndex > index) write.lastIndex = index;
  }

  /**
   * Takes out all updates up to `sequence`; returns them merged: the newest term, vote and last index, and the highest
   * snapshot index. Undefined if there are none (a repeated or unknown sequence).
   */
  complete(sequence: number): PendingWrite | undefined {
    const writes = this.#writes;
    let done = 0;
    let snapshotIndex = 0;
    let lastIndex = 0;
    let newest: PendingWrite | undefined;
    for (const write of writes) {
      if (write.sequence > sequence) break;
      newest = write;
      snapshotIndex = Math.max(snapshotIndex, write.snapshotIndex);
      lastIndex = Math.max(lastIndex, write.lastIndex);
      done += 1;
    }
    if (newest === undefined) return undefined;
    if (done === writes.length) this.#writes = [];
    else writes.splice(0, done);
    return { sequence: newest.sequence, lastIndex, term: newest.term, vote: newest.vote, snapshotIndex };
  }
}
