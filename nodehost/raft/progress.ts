/**
 * What a leader knows of one peer: how far its log matches, what is under way to it, and how it is being fed.
 * probe: one message at a time until a match is found · replicate: pipelined within a window of messages and bytes ·
 * snapshot: waits for a snapshot stream. Invariants (R14): match < next, match never falls, window never exceeded by
 * more than the one message that crossed it.
 */
import type { Index, ReplicaId, TimeMs } from "../../shared/types/ids.js";

/** Replicates sent and not yet acknowledged, oldest first. */
export class Inflight {
  #lastIndexes: Index[] = [];
  #sizes: number[] = [];
  #head = 0;
  #bytes = 0;

  get count(): number {
    return this.#lastIndexes.length - this.#head;
  }
  get bytes(): number {
    return this.#bytes;
  }

  add(lastIndex: Index, bytes: number): void {
    this.#lastIndexes.push(lastIndex);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** Everything up to `index` was acknowledged. */
  freeTo(index: Index): void {
    const indexes = this.#lastIndexes;
    while (this.#head < indexes.length && (indexes[this.#head] ?? 0) <= index) {
      this.#bytes -= this.#sizes[this.#head] ?? 0;
      this.#head += 1;
    }
    if (this.#head === indexes.length) this.reset();
    else if (this.#head > 64 && this.#head * 2 > indexes.length) {
      indexes.splice(0, this.#head);
      this.#sizes.splice(0, this.#head);
      this.#head = 0;
    }
  }

  reset(): void {
    this.#lastIndexes.length = 0;
    this.#sizes.length = 0;
    this.#head = 0;
    this.#bytes = 0;
  }
}

export class Progress {
  readonly id: ReplicaId;
  /** It gets no data. A member is a witness for life, or never. */
  readonly witness: boolean;
  readonly inflight = new Inflight();
  match: Index = 0;
  next: Index;
  state: "probe" | "replicate" | "snapshot" = "probe";
  lastContactMs: TimeMs;
  /** probe: a message is under way; cleared by an answer or the next heartbeat answer. */
  paused = false;
  /** The entries it needs are being fetched from disk. */
  fetching = false;
  /** Send a Replicate even if it has no entries. */
  emptyDue = false;
  /** One more Replicate may be sent to let it verify its log; renewed by each heartbeat answer. */
  verifyCredit = false;
  /** Highest commit index it was told by Replicate. */
  commitSent: Index = 0;
  /** Highest ReadIndex round it confirmed. */
  confirmedRound = 0;
  /** What it last said of its memory. */
  memoryBytes = 0;
  memoryReportedMs: TimeMs = Number.NEGATIVE_INFINITY;
  snapshotIndex: Index = 0;
  snapshotSinceMs: TimeMs = 0;
  /** No new snapshot before this time, after one failed. */
  snapshotNotBeforeMs: TimeMs = Number.NEGATIVE_INFINITY;

  constructor(id: ReplicaId, witness: boolean, next: Index, nowMs: TimeMs) {
    this.id = id;
    this.witness = witness;
    this.next = next;
    this.lastContactMs = nowMs;
  }

  becomeProbe(next: Index): void {
    this.state = "probe";
    this.next = Math.max(next, this.match + 1);
    this.paused = false;
    this.fetching = false;
    this.emptyDue = false;
    this.inflight.reset();
  }

  becomeReplicate(): void {
    this.state = "replicate";
    this.next = this.match + 1;
    this.paused = false;
    this.inflight.reset();
  }

  becomeSnapshot(index: Index, nowMs: TimeMs): void {
    this.state = "snapshot";
    this.snapshotIndex = index;
    this.snapshotSinceMs = nowMs;
    this.emptyDue = false;
    this.fetching = false;
    this.inflight.reset();
  }

  /** True if the acknowledgement was news. Stale ones change nothing (P43). */
  acknowledge(index: Index): boolean {
    if (index <= this.match) return false;
    this.match = index;
    if (this.next <= index) this.next = index + 1;
    this.inflight.freeTo(index);
    return true;
  }
}
