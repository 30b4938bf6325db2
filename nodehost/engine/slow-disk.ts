/**
 * A host whose append is older than half an election timeout gives its leaderships away: to a caught-up voter, whose
 * election needs nothing of this disk, or, if that does not succeed within an election timeout, by stepping down.
 * Called on the host's tick for every replica.
 */
import type { Logger } from "../../shared/env/env.js";
import type { ShardId, TimeMs } from "../../shared/types/ids.js";
import type { RaftCore } from "../raft/types.js";
import { bestTarget } from "./transfer-book.js";

export interface SlowDiskPorts {
  readonly rttMs: number;
  readonly logger: Logger;
  readonly appendAgeMs: () => number;
}

/** What is looked at of a replica. */
export interface LedReplica {
  readonly shardId: ShardId;
  readonly working: boolean;
  readonly config: { readonly electionTicks: number };
  readonly raft: Pick<RaftCore, "role" | "status" | "transferLeadership" | "stepDown">;
}

export class SlowDisk {
  readonly #ports: SlowDiskPorts;
  /** Since when each leadership is being given away. */
  readonly #since = new Map<ShardId, TimeMs>();

  constructor(ports: SlowDiskPorts) {
    this.#ports = ports;
  }

  /** True if the replica's core has something to do now. */
  check(replica: LedReplica, nowMs: TimeMs): boolean {
    const { shardId, raft } = replica;
    const electionTimeoutMs = replica.config.electionTicks * this.#ports.rttMs;
    const leads = replica.working && raft.role === "leader";
    if (!leads || this.#ports.appendAgeMs() <= electionTimeoutMs / 2) {
      this.#since.delete(shardId);
      return false;
    }
    const sinceMs = this.#since.get(shardId);
    if (sinceMs !== undefined && nowMs - sinceMs < electionTimeoutMs) return false;
    const target = sinceMs === undefined ? bestTarget(raft.status()) : undefined;
    const refusal = target === undefined ? "notLeader" : raft.transferLeadership(target, nowMs);
    if (refusal === undefined || refusal === "busy") {
      this.#since.set(shardId, nowMs);
      this.#ports.logger.warn({ shardId, target }, "the log is slow: leadership is handed over");
    } else {
      this.#since.delete(shardId);
      this.#ports.logger.warn({ shardId }, "the log is slow: leadership given up");
      raft.stepDown(nowMs);
    }
    return true;
  }
}
