/** Configuration of one replica, with defaults and the rules that a value must keep. */
import { OpError } from "../../shared/errors.js";
import { isSafeUint } from "../../shared/types/ids.js";
import type { PromotionPolicy } from "../raft/types.js";

export interface ReplicaConfig {
  readonly shardId: number;
  readonly replicaId: number;
  /** T in ticks of the host's rttMs: a follower campaigns after T … 2T without a leader. Default 10. */
  readonly electionTicks?: number;
  /** Ticks between heartbeats. Default 1. */
  readonly heartbeatTicks?: number;
  /** Ask before a campaign whether it could be won. Members may differ in it. Default true. */
  readonly preVote?: boolean;
  /**
   * A leader that has not heard a quorum for an election timeout steps down. Otherwise it leads on and is silent.
   * Members may differ in it. Default true.
   */
  readonly checkQuorum?: boolean;
  /**
   * An idle shard comes to rest: no heartbeats and no timers, until it is asked something or a host of it is in doubt.
   * Only while all hosts of its members say so, so have it alike on all of them. Default true.
   */
  readonly quiesce?: boolean;
  /** Ticks without a request after which a shard rests. Default 10 × electionTicks. */
  readonly quiesceTicks?: number;
  /** Automatic snapshot each so many applied entries; 0 = off. Default 10,000. */
  readonly snapshotEntries?: number;
  /** Entries kept behind a snapshot for slow followers. Default 1,000. */
  readonly compactionOverhead?: number;
  /** Start as a non-voting member (informative: membership decides). Default false. */
  readonly isNonVoting?: boolean;
  /**
   * A witness, for life: votes and acknowledges, holds no data, has no state machine, never leads. It joins after
   * `requestAddWitness`. Default false.
   */
  readonly isWitness?: boolean;
  /**
   * Bytes of entries in memory that are not yet both applied and durable, at the leader or at a voter, above which
   * proposals are refused (DL_ERR_SYSTEM_BUSY) until 70 % of it is reached. 0 = only the general bound of 128 MiB per
   * replica. Default 0.
   */
  readonly maxInMemLogBytes?: number;
  /** A leader refuses to make a voter of a non-voting member that is silent or lags by more entries. Default 1,000. */
  readonly promotionMaxLagEntries?: number;
  /** Promotes every non-voting member when this replica leads. Default: none are. Not for managed shards. */
  readonly autoPromote?: AutoPromote;
  /** A master decides on the members of the shard (set by the host for what masters start). Default false. */
  readonly managed?: boolean;
  /**
   * First start as an initial member: take part without asking the other members whether this replica was there before.
   * Only for one that certainly never ran: if it did, on a disk that is lost, it may vote twice. Default false.
   */
  readonly assumeNew?: boolean;
}

/** When a non-voting member that has caught up becomes a voter by itself. */
export interface AutoPromote {
  /** Entries it may be behind the leader at the end of a round. Default 100. */
  readonly maxLagEntries?: number;
  /** Rounds in a row that it must keep up, each within an election timeout. Default 3. */
  readonly rounds?: number;
  /** Then it is given up until another leader is elected. Default 600,000. */
  readonly timeoutMs?: number;
}

export type FullReplicaConfig = Required<Omit<ReplicaConfig, "autoPromote">> & {
  readonly autoPromote: PromotionPolicy | undefined;
};

/** Fills defaults and checks every field. DL_ERR_INVALID_CONFIG names the field, its value and what would be valid. */
export function completeConfig(config: ReplicaConfig): FullReplicaConfig {
  const full: FullReplicaConfig = {
    shardId: config.shardId,
    replicaId: config.replicaId,
    electionTicks: config.electionTicks ?? 10,
    heartbeatTicks: config.heartbeatTicks ?? 1,
    preVote: config.preVote ?? true,
    checkQuorum: config.checkQuorum ?? true,
    quiesce: config.quiesce ?? true,
    quiesceTicks: config.quiesceTicks ?? 10 * (config.electionTicks ?? 10),
    snapshotEntries: config.snapshotEntries ?? 10_000,
    compactionOverhead: config.compactionOverhead ?? 1_000,
    isNonVoting: config.isNonVoting ?? false,
    isWitness: config.isWitness ?? false,
    maxInMemLogBytes: config.maxInMemLogBytes ?? 0,
    promotionMaxLagEntries: config.promotionMaxLagEntries ?? 1_000,
    autoPromote: config.autoPromote === undefined ? undefined : completePolicy("autoPromote", config.autoPromote),
    managed: config.managed ?? false,
    assumeNew: config.assumeNew ?? false,
  };
  checkField("shardId", full.shardId, 0, "a shard id, an integer from 0 to 2^53 - 1");
  checkField("replicaId", full.replicaId, 1, "a replica id, an integer from 1 to 2^53 - 1");
  checkField("heartbeatTicks", full.heartbeatTicks, 1, "at least 1 tick");
  checkField("electionTicks", full.electionTicks, 1, "at least 1 tick");
  checkField("quiesceTicks", full.quiesceTicks, 1, "at least 1 tick (quiesce: false is off)");
  checkField("snapshotEntries", full.snapshotEntries, 0, "0 (off) or a number of entries");
  checkField("compactionOverhead", full.compactionOverhead, 0, "a number of entries");
  checkField("maxInMemLogBytes", full.maxInMemLogBytes, 0, "0 (off) or a number of bytes");
  checkField("promotionMaxLagEntries", full.promotionMaxLagEntries, 0, "a number of entries");
  if (full.autoPromote !== undefined) {
    const refusal = full.managed ? managedError(full.shardId) : checkLag(full.autoPromote, full);
    if (refusal !== undefined) throw refusal;
  }
  if (full.isWitness && full.isNonVoting) {
    throw new OpError("DL_ERR_INVALID_CONFIG", "isWitness and isNonVoting are true, expected at most one of them");
  }
  if (full.electionTicks <= 2 * full.heartbeatTicks) {
    const why = "more than 2 x heartbeatTicks, or one late heartbeat starts an election";
    throw new OpError("DL_ERR_INVALID_CONFIG", `electionTicks is ${full.electionTicks}, expected ${why}`);
  }
  return full;
}

/** Fills defaults and checks. DL_ERR_INVALID_CONFIG names the field. */
export function completePolicy(name: string, policy: AutoPromote): PromotionPolicy {
  const { maxLagEntries = 100, rounds = 3, timeoutMs = 600_000 } = policy;
  checkField(`${name}.maxLagEntries`, maxLagEntries, 0, "a number of entries");
  checkField(`${name}.rounds`, rounds, 1, "at least 1 round");
  checkField(`${name}.timeoutMs`, timeoutMs, 1, "at least 1 millisecond");
  return { maxLagEntries, rounds, timeoutMs };
}

/** A policy must not promote whom the leader would refuse to promote by hand. */
export function checkLag(policy: PromotionPolicy, config: FullReplicaConfig): OpError | undefined {
  const { promotionMaxLagEntries: max } = config;
  if (policy.maxLagEntries <= max) return undefined;
  const what = `maxLagEntries is ${policy.maxLagEntries}, expected at most promotionMaxLagEntries, ${max}`;
  return new OpError("DL_ERR_INVALID_CONFIG", what);
}

export function managedError(shardId: number): OpError {
  return new OpError("DL_ERR_INVALID_OPERATION", `shard ${shardId} is managed by a master, which promotes its members`);
}

function checkField(name: string, value: unknown, min: number, expected: string): void {
  if (isSafeUint(value) && value >= min) return;
  throw new OpError("DL_ERR_INVALID_CONFIG", `${name} is ${String(value)}, expected ${expected}`);
}
