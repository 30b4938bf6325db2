/** Configuration of one replica, with defaults and the rules that a value must keep. */
import { OpError } from "../../shared/errors.js";
import { isSafeUint } from "../../shared/types/ids.js";

export interface ReplicaConfig {
  readonly shardId: number;
  readonly replicaId: number;
  /** T in ticks of the host's rttMs: a follower campaigns after T … 2T without a leader. Default 10. */
  readonly electionTicks?: number;
  /** Ticks between heartbeats. Default 1. */
  readonly heartbeatTicks?: number;
  /** Default true. */
  readonly preVote?: boolean;
  /** Default true. */
  readonly checkQuorum?: boolean;
  /** Automatic snapshot each so many applied entries; 0 = off. Default 10,000. */
  readonly snapshotEntries?: number;
  /** Entries kept behind a snapshot for slow followers. Default 1,000. */
  readonly compactionOverhead?: number;
  /** Start as a non-voting member (informative: membership decides). Default false. */
  readonly isNonVoting?: boolean;
}

export type FullReplicaConfig = Required<ReplicaConfig>;

/** Fills defaults and checks every field. DL_ERR_INVALID_CONFIG names the field, its value and what would be valid. */
export function completeConfig(config: ReplicaConfig): FullReplicaConfig {
  const full: FullReplicaConfig = {
    shardId: config.shardId,
    replicaId: config.replicaId,
    electionTicks: config.electionTicks ?? 10,
    heartbeatTicks: config.heartbeatTicks ?? 1,
    preVote: config.preVote ?? true,
    checkQuorum: config.checkQuorum ?? true,
    snapshotEntries: config.snapshotEntries ?? 10_000,
    compactionOverhead: config.compactionOverhead ?? 1_000,
    isNonVoting: config.isNonVoting ?? false,
  };
  checkField("shardId", full.shardId, 0, "a shard id, an integer from 0 to 2^53 - 1");
  checkField("replicaId", full.replicaId, 1, "a replica id, an integer from 1 to 2^53 - 1");
  checkField("heartbeatTicks", full.heartbeatTicks, 1, "at least 1 tick");
  checkField("electionTicks", full.electionTicks, 1, "at least 1 tick");
  checkField("snapshotEntries", full.snapshotEntries, 0, "0 (off) or a number of entries");
  checkField("compactionOverhead", full.compactionOverhead, 0, "a number of entries");
  if (full.electionTicks <= 2 * full.heartbeatTicks) {
    const why = "more than 2 x heartbeatTicks, or one late heartbeat starts an election";
    throw new OpError("DL_ERR_INVALID_CONFIG", `electionTicks is ${full.electionTicks}, expected ${why}`);
  }
  return full;
}

function checkField(name: string, value: unknown, min: number, expected: string): void {
  if (isSafeUint(value) && value >= min) return;
  throw new OpError("DL_ERR_INVALID_CONFIG", `${name} is ${String(value)}, expected ${expected}`);
}
