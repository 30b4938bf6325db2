/**
 * Books of ReadIndex: on a leader, requests that wait for the next round and rounds that wait for confirmation; on
 * everybody else, requests forwarded and not answered. Data only; the rules are in readindex.ts.
 */
import type { Index, ReplicaId, RequestKey } from "../../shared/types/ids.js";

export interface ReadRequest {
  /** Who asked; the own id for local requests. */
  readonly from: ReplicaId;
  readonly key: RequestKey;
}

export interface ReadRound {
  /** Unique in this process, so unique in the term. */
  readonly round: number;
  readonly index: Index;
  readonly requests: readonly ReadRequest[];
}

export class ReadQueue {
  waiting: ReadRequest[] = [];
  rounds: ReadRound[] = [];
  lastRound = 0;
  /** Requests in `rounds`. */
  inRounds = 0;
  /** By sequence; oldest first. */
  readonly forwarded = new Map<number, RequestKey>();

  get size(): number {
    return this.waiting.length + this.inRounds;
  }

  /** Newest round that is not confirmed, 0 if none: repeated by heartbeats. */
  get openRound(): number {
    return this.rounds.length === 0 ? 0 : this.lastRound;
  }

  /** Empties the leader's part and returns what was in it. */
  takeAll(): ReadRequest[] {
    const all = this.rounds.flatMap((r) => r.requests).concat(this.waiting);
    this.waiting = [];
    this.rounds = [];
    this.inRounds = 0;
    return all;
  }
}
