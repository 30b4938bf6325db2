/** Numbers of one replica for people and monitoring: a plain object, every unit in its name. Called by NodeHost. */
import type { Index, ReplicaId, ShardId, Term, TimeMs } from "../../shared/types/ids.js";
import { roleOf } from "../../shared/types/membership.js";
import type { Replica } from "../engine/index.js";
import { hindranceText } from "../raft/index.js";

export interface ShardStats {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  /** State of the protocol, as the thesis names it, with "preCandidate" before a candidate. */
  readonly state: "follower" | "preCandidate" | "candidate" | "leader";
  /** Role in the membership; undefined if this replica is no member (yet, or any more). */
  readonly role: "voter" | "nonVoting" | "witness" | undefined;
  readonly term: Term;
  /** 0 = none known. */
  readonly leaderId: ReplicaId;
  /** Idle: no heartbeats and no timers, until it is asked something or a host of it is in doubt. */
  readonly resting: boolean;
  /** Who gets leadership at this moment, 0 = nobody: proposals are refused. */
  readonly transferTarget: ReplicaId;
  readonly commitIndex: Index;
  readonly appliedIndex: Index;
  /** First index in the log; earlier ones are in a snapshot. */
  readonly firstIndex: Index;
  readonly lastIndex: Index;
  /** Highest index durable here. */
  readonly durableIndex: Index;
  readonly configChangeIndex: Index;
  readonly lineage: number;
  readonly voters: number;
  readonly nonVotings: number;
  readonly witnesses: number;
  /** Entries in memory that are not yet both applied and durable here. */
  readonly memoryBytes: number;
  /** On a leader: its memory or that of a voter is full, proposals are refused (see `maxInMemLogBytes`). */
  readonly memoryLimited: boolean;
  /** Proposals of this host's callers that are not answered. An upper bound. */
  readonly openProposals: number;
  readonly openReads: number;
  /** Empty, or why this replica no longer works. */
  readonly fault: string;
  /** Empty, or what the replica waits for before it takes part, or why it gets neither votes nor entries. */
  readonly waiting: string;
  /** On the leader only. */
  readonly peers: readonly PeerStats[];
  /** Non-voting members that are to become voters by policy. On the leader only. */
  readonly promotions: readonly PromotionStats[];
}

export interface PromotionStats {
  readonly replicaId: ReplicaId;
  /** gaveUp: its time was over, or the shard refused the change. */
  readonly state: "catchingUp" | "appended" | "gaveUp";
  /** Rounds in a row in which it kept up, and how many are asked for. */
  readonly goodRounds: number;
  readonly rounds: number;
  readonly lagEntries: number;
  readonly maxLagEntries: number;
  /** Until it is given up. */
  readonly remainingMs: number;
}

export interface PeerStats {
  readonly replicaId: ReplicaId;
  /** Highest index known to be durable there. */
  readonly matchIndex: Index;
  readonly nextIndex: Index;
  readonly state: "probe" | "replicate" | "snapshot";
  /** Heard within an election timeout. */
  readonly active: boolean;
  /** Since it was heard last. */
  readonly silentMs: number;
}

export function shardStats(replica: Replica, nowMs: TimeMs): ShardStats {
  const status = replica.status();
  const { membership } = status;
  return {
    shardId: status.shardId,
    replicaId: status.replicaId,
    state: status.role,
    role: roleOf(membership, status.replicaId),
    term: status.term,
    leaderId: status.leaderId,
    transferTarget: status.transferTarget,
    resting: status.quiesced,
    commitIndex: status.commit,
    appliedIndex: replica.rsm.applied,
    firstIndex: status.first,
    lastIndex: status.last,
    durableIndex: status.durable,
    configChangeIndex: membership.configChangeIndex,
    lineage: membership.lineage,
    voters: membership.voters.size,
    nonVotings: membership.nonVotings.size,
    witnesses: membership.witnesses.size,
    memoryBytes: status.memoryBytes,
    memoryLimited: status.memoryLimited,
    openProposals: replica.proposals.size,
    openReads: replica.reads.size,
    fault: replica.fault,
    waiting: replica.working ? replica.hold || hindranceText(status) : "",
    peers: status.peers.map((peer) => ({
      replicaId: peer.replicaId,
      matchIndex: peer.match,
      nextIndex: peer.next,
      state: peer.state,
      active: peer.active,
      silentMs: Math.max(0, Math.round(nowMs - peer.lastContactMs)),
    })),
    promotions: status.promotions.map(({ policy, deadlineMs, ...promotion }) => ({
      ...promotion,
      rounds: policy.rounds,
      maxLagEntries: policy.maxLagEntries,
      remainingMs: Math.max(0, Math.round(deadlineMs - nowMs)),
    })),
  };
}
