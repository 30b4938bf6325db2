/**
 * Membership of a shard as applied, and the changes that lead from one to the next.
 * A membership is ordered by (lineage, configChangeIndex); `configChangeIndex` (CCI) is the log index of the last
 * applied change and the compare-and-set token of every step.
 */
import type { Index, ReplicaId, Target } from "./ids.js";

export type Role = "voter" | "nonVoting" | "witness";

export interface Membership {
  /** +1 each time the membership was forced (shrink, import). */
  readonly lineage: number;
  readonly configChangeIndex: Index;
  readonly voters: ReadonlyMap<ReplicaId, Target>;
  readonly nonVotings: ReadonlyMap<ReplicaId, Target>;
  readonly witnesses: ReadonlyMap<ReplicaId, Target>;
  /** Ids that were members once. Never allowed back. */
  readonly removed: ReadonlySet<ReplicaId>;
}

/**
 * `addVoter` on a non-voting member promotes it (its target stays). `shrink` leaves `replicaId` as the only member and
 * raises the lineage; no call proposes it: it is written by hand after a loss of quorum (nodehost/tools/shrink.ts).
 */
export type ConfigChangeKind = "addVoter" | "addNonVoting" | "addWitness" | "remove" | "shrink";

export interface ConfigChange {
  readonly kind: ConfigChangeKind;
  readonly replicaId: ReplicaId;
  /** Empty for `remove`; for `shrink` empty = as it was. */
  readonly target: Target;
  /** Must equal the current CCI or the change is rejected at apply; 0 = do not check. */
  readonly expectedConfigChangeIndex: Index;
  /** True only for the entries that write the initial members into a new log. */
  readonly bootstrap: boolean;
}

export function emptyMembership(): Membership {
  return {
    lineage: 0,
    configChangeIndex: 0,
    voters: new Map(),
    nonVotings: new Map(),
    witnesses: new Map(),
    removed: new Set(),
  };
}

export function roleOf(m: Membership, id: ReplicaId): Role | undefined {
  if (m.voters.has(id)) return "voter";
  if (m.nonVotings.has(id)) return "nonVoting";
  if (m.witnesses.has(id)) return "witness";
  return undefined;
}

export function targetOf(m: Membership, id: ReplicaId): Target | undefined {
  return m.voters.get(id) ?? m.nonVotings.get(id) ?? m.witnesses.get(id);
}

/** Members that vote and count for commit: voters and witnesses. */
export function quorumSize(m: Membership): number {
  return Math.floor((m.voters.size + m.witnesses.size) / 2) + 1;
}
