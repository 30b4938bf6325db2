/**
 * What hosts say to each other of shards at rest. In place of a heartbeat per shard, each host sends each other one a
 * pulse with a digest of the shards that it leads at rest with a member there. Who believes something else answers with
 * what it holds (`held`), and is told what is not so any more (`stale`). Bytes: nodehost/transport/pulse-codec.ts.
 */
import type { ReplicaId, ShardId, Term } from "./ids.js";

/** Shards are compared in this many groups, so that a difference names few of them. */
export const PULSE_GROUPS = 16;

/** One shard at rest, as its leader's host and one member's host both know it. */
export interface RestRow {
  readonly shardId: ShardId;
  readonly term: Term;
  readonly leaderId: ReplicaId;
  readonly memberId: ReplicaId;
}

export type HostPulse =
  /** Sums of two hashes per group over the rows that the sender leads and the receiver should hold. */
  | { readonly kind: "digest"; readonly sequence: number; readonly count: number; readonly sums: Uint32Array }
  /** Answer to digest `sequence`: all rows of the sender in the groups that differ (bit n of `groups` = group n). */
  | {
      readonly kind: "held";
      readonly sequence: number;
      readonly groups: number;
      readonly rows: readonly RestRow[];
    }
  /** Answer to `held`: of these the sender is not the leader at rest. */
  | { readonly kind: "stale"; readonly rows: readonly RestRow[] };
