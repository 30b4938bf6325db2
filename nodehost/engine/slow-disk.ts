/**
 * A host whose append is older than half an election timeout gives its leaderships away: to a caught-up voter, whose
 * election needs nothing of this disk, or, if that does not succeed within an election timeout, by stepping down.
 * Called on the host's tick; while the log is quick that costs nothing, however many replicas there are.
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
  /** An append younger than this is no reason to look at any replica. */
  #patienceMs = Number.POSITIVE_INFINITY;

  constructor(ports: SlowDiskPorts) {
    this.#ports = ports;
  }

  /** To be called for every replica that starts. */
  expect(replica: LedReplica): void {
    this.#patienceMs = Math.min(this.#patienceMs, this.#electionTimeoutMs(replica) / 2);
  }

  /** Those of `replicas` whose core has something to do now. */
  check<R extends LedReplica>(replicas: Iterable<R>, nowMs: TimeMs): R[] {
    const ageMs = this.#ports.appendAgeMs();
    if (ageMs <= this.#patienceMs) {
      this.#since.clear();
      return [];
    }
    const concerned: R[] = [];
    for (const replica of replicas) if (this.#isConcerned(replica, ageMs, nowMs)) concerned.push(replica);
    return concerned;
  }

  #electionTimeoutMs(replica: LedReplica): number {
    return replica.config.electionTicks * this.#ports.rttMs;
  }

  #isConcerned(replica: LedReplica, ageMs: number, nowMs: TimeMs): boolean {
    const { shardId, raft } = replica;
    const electionTimeoutMs = this.#electionTimeoutMs(replica);
    const leads = replica.working && raft.role === "leader";
    if (!leads || ageMs <= electionTimeoutMs / 2) {
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
