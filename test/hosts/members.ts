/**
 * Replaces members of the shard as a careful operator would: add as non-voting, start, promote when it has caught up,
 * remove an old one, delete its data. One replacement at a time; any step may fail and is then left as it is, for the
 * next one to find. Used by nemesis.ts.
 */
import type { Membership } from "../../nodehost/index.js";
import { SHARD, type SimCluster } from "./sim-cluster.js";

const STEP = { timeoutMs: 1_500 };
const ANSWER_MS = 5_000;

export class Members {
  readonly #cluster: SimCluster;
  #nextReplicaId = 100;
  #busy = false;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  /** Says what was done. Rejects when a step failed. */
  async replaceOne(): Promise<string> {
    if (this.#busy) return "a replacement is under way";
    this.#busy = true;
    try {
      return await this.inTime(this.#step());
    } finally {
      this.#busy = false;
    }
  }

  /** A host that dies never answers. */
  async inTime<T>(answer: Promise<T>): Promise<T> {
    const { timers } = this.#cluster.env;
    const late = new Promise<never>((_, reject) => {
      timers.after(ANSWER_MS, () => reject(new Error("no answer")));
    });
    return await Promise.race([answer, late]);
  }

  /** Does what the membership asks for next. */
  async #step(): Promise<string> {
    const at = this.#cluster.leaderNow();
    if (at === -1) return "no leader to ask";
    const leader = this.#cluster.host(at);
    const membership = await leader.syncGetShardMembership(SHARD, STEP);
    const [waiting] = membership.nonVotings;
    if (waiting !== undefined) {
      const [replicaId, target] = waiting;
      if (!(await this.startThere(replicaId, target))) return `${replicaId} does not run yet`;
      await leader.syncRequestAddReplica(SHARD, replicaId, target, membership.configChangeIndex, STEP);
      return `promoted ${replicaId}`;
    }
    if (membership.voters.size > 3) {
      const ids = [...membership.voters.keys()];
      const victim = ids[this.#cluster.world.random.int(ids.length)] ?? 0;
      await leader.syncRequestDeleteReplica(SHARD, victim, membership.configChangeIndex, STEP);
      return `removed ${victim}`;
    }
    const target = await this.#freeHost(membership);
    if (target === undefined) return "no host is free";
    this.#nextReplicaId += 1;
    await leader.syncRequestAddNonVoting(SHARD, this.#nextReplicaId, target, membership.configChangeIndex, STEP);
    return `added ${this.#nextReplicaId}`;
  }

  /** First start of a member added before. False if its host is away. */
  async startThere(replicaId: number, target: string): Promise<boolean> {
    const machine = this.#cluster.machines.find((m) => m.address === target);
    const host = machine?.host;
    if (host === undefined) return false;
    if (host.hasNodeInfo(SHARD, replicaId)) return true;
    const app = this.#cluster.appOf(machine?.number ?? 0);
    await host.startApp(new Map(), true, app, {
      shardId: SHARD,
      replicaId,
      snapshotEntries: 40,
      compactionOverhead: 5,
    });
    return true;
  }

  /** A host that is up and holds no member; what is left there of an earlier one goes first. */
  async #freeHost(membership: Membership): Promise<string | undefined> {
    const taken = new Set([...membership.voters.values(), ...membership.nonVotings.values()]);
    for (const { address, host } of this.#cluster.machines) {
      if (host === undefined || taken.has(address)) continue;
      const { clusterInfo, logInfo } = host.getNodeHostInfo();
      for (const { replicaId } of clusterInfo) await host.stopReplica(SHARD, replicaId);
      for (const { replicaId } of logInfo) await host.removeData(SHARD, replicaId);
      return address;
    }
    return undefined;
  }
}
