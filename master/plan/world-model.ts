/**
 * The data plane of the small test world: hosts, shards, and what they do with requests. Shards obey the rules of
 * membership (one change at a time, by a leader with a quorum, compare-and-set on the CCI), hosts obey fences and do
 * each request once. Whatever must never happen is collected in `violations`.
 * Used by tests only (world.ts); nothing of the product imports it.
 */
import type { ClusterInfo, HostAction, HostRequest, HostResult, NodeHostInfo } from "../../shared/types/control.js";
import type { HostId, ReplicaId, ShardId } from "../../shared/types/ids.js";
import { type Membership, quorumSize, roleOf, targetOf } from "../../shared/types/membership.js";
import { MasterState, type ShardSpec } from "../db/index.js";
import { deriveTiming } from "../detect/index.js";
import { derivePlanConfig } from "./index.js";

export const TIMING = deriveTiming(5_000);
export const CONFIG = derivePlanConfig(TIMING);
export const DEPLOYMENT = 77;
const CATCH_UP_PER_STEP = 40;

function everybody(m: Membership): ReadonlyMap<ReplicaId, HostId> {
  return new Map([...m.voters, ...m.nonVotings, ...m.witnesses]);
}

export class WorldReplica {
  match = 0;
  running = true;
  fault = "";
  /** CCI it has applied. */
  cci = 0;
}

export class WorldHost {
  readonly hostId: HostId;
  up = true;
  /** Its link to the bus. */
  linked = true;
  stopping = false;
  directoryFault = "";
  incarnation = 1;
  dataSet = 1;
  sequence = 0;
  apps: readonly string[] = ["kv"];
  labels: Readonly<Record<string, string>> = {};
  /** Stored replicas by shard and id. */
  readonly replicas = new Map<ShardId, Map<ReplicaId, WorldReplica>>();
  readonly done = new Map<string, HostResult>();
  highestTerm = 0;
  diedMs = -1e9;
  /** So many requests are refused as busy before one is executed. */
  refuseNext = 0;

  constructor(hostId: HostId) {
    this.hostId = hostId;
  }

  get dataSetId(): string {
    return `${this.hostId}-data-${this.dataSet}`;
  }

  replica(shardId: ShardId, replicaId: ReplicaId): WorldReplica | undefined {
    return this.replicas.get(shardId)?.get(replicaId);
  }
}

export interface WorldShard {
  membership: Membership;
  commit: number;
  term: number;
  leader: ReplicaId;
  readonly heardMs: Map<ReplicaId, number>;
}

export class WorldModel {
  nowMs = 0;
  readonly state = new MasterState();
  readonly hosts = new Map<HostId, WorldHost>();
  readonly shards = new Map<ShardId, WorldShard>();
  readonly violations: string[] = [];
  readonly #born = new Set<string>();

  execute(host: WorldHost, request: HostRequest): HostResult {
    const { fence } = request;
    const answer = (code: string): HostResult => {
      return { requestId: request.requestId, hostId: host.hostId, ok: code === "", code, detail: "" };
    };
    if (fence.incarnation !== host.incarnation || fence.dataSetId !== host.dataSetId) return answer("DL_ERR_FENCED");
    if (fence.deploymentId !== DEPLOYMENT || fence.masterTerm < host.highestTerm) return answer("DL_ERR_FENCED");
    host.highestTerm = fence.masterTerm;
    if (host.refuseNext > 0) {
      host.refuseNext -= 1;
      return answer("DL_ERR_SYSTEM_BUSY");
    }
    return answer(this.#act(host, request.shardId, request.action));
  }

  #act(host: WorldHost, shardId: ShardId, action: HostAction): string {
    const shard = this.shards.get(shardId);
    const replica = host.replica(shardId, action.replicaId);
    switch (action.kind) {
      case "create":
        if (shard === undefined) this.#found(shardId, action.initial);
        return this.#begin(host, shardId, action.replicaId);
      case "join":
        return this.#begin(host, shardId, action.replicaId);
      case "restart":
        if (replica === undefined) return "DL_ERR_SHARD_NOT_FOUND";
        replica.running = true;
        return "";
      case "stop":
      case "removeData":
        this.#mustBeNoMember(host, shardId, action.replicaId);
        if (replica !== undefined) replica.running = false;
        if (action.kind === "removeData") host.replicas.get(shardId)?.delete(action.replicaId);
        if (host.replicas.get(shardId)?.size === 0) host.replicas.delete(shardId);
        return "";
      default:
        return this.#change(host, shardId, action);
    }
  }

  #found(shardId: ShardId, initial: ReadonlyMap<ReplicaId, HostId>): void {
    const voters = new Map(initial);
    const cci = voters.size;
    const empty = { nonVotings: new Map(), witnesses: new Map(), removed: new Set<number>() };
    const membership: Membership = { lineage: 0, configChangeIndex: cci, voters, ...empty };
    this.shards.set(shardId, { membership, commit: cci, term: 0, leader: 0, heardMs: new Map() });
  }

  #begin(host: WorldHost, shardId: ShardId, replicaId: ReplicaId): string {
    const here = host.replicas.get(shardId) ?? new Map<ReplicaId, WorldReplica>();
    if (here.has(replicaId)) return "";
    const name = `${shardId}.${replicaId}`;
    if (this.#born.has(name)) this.violations.push(`M3: replica ${name} started a second time without its data`);
    this.#born.add(name);
    if (here.size > 0) this.violations.push(`M3: two replicas of shard ${shardId} on ${host.hostId}`);
    here.set(replicaId, new WorldReplica());
    host.replicas.set(shardId, here);
    return "";
  }

  #mustBeNoMember(host: WorldHost, shardId: ShardId, replicaId: ReplicaId): void {
    const record = this.state.shards.get(shardId);
    if (record?.tombstone === true) return;
    const m = this.shards.get(shardId)?.membership;
    if (m !== undefined && targetOf(m, replicaId) === host.hostId) {
      this.violations.push(`D14: member ${replicaId} of shard ${shardId} stopped as a zombie`);
    }
  }

  #change(
    host: WorldHost,
    shardId: ShardId,
    action: Extract<HostAction, { readonly kind: "addNonVoting" | "promote" | "remove" }>,
  ): string {
    const shard = this.shards.get(shardId);
    const leads = shard !== undefined && shard.leader !== 0 && host.replica(shardId, shard.leader)?.running === true;
    if (shard === undefined || !leads) return "DL_ERR_SHARD_NOT_READY";
    const m = shard.membership;
    if (action.configChangeIndex !== m.configChangeIndex) return "DL_ERR_REJECTED";
    const voters = new Map(m.voters);
    const nonVotings = new Map(m.nonVotings);
    const removed = new Set(m.removed);
    const { replicaId } = action;
    if (removed.has(replicaId)) return "DL_ERR_REPLICA_REMOVED";
    if (action.kind === "addNonVoting") {
      const used = [...everybody(m).values()].includes(action.target);
      if (used) return "DL_ERR_INVALID_TARGET";
      nonVotings.set(replicaId, action.target);
    } else if (action.kind === "promote") {
      if (!nonVotings.delete(replicaId)) return "DL_ERR_REJECTED";
      voters.set(replicaId, action.target);
    } else {
      voters.delete(replicaId);
      nonVotings.delete(replicaId);
      if (m.witnesses.has(replicaId)) this.violations.push(`witness ${replicaId} of shard ${shardId} is removed`);
      removed.add(replicaId);
    }
    const next = { ...m, voters, nonVotings, removed, configChangeIndex: shard.commit + 1 };
    this.#checkSafe(shardId, shard, next, action.kind);
    shard.membership = next;
    shard.commit += 1;
    return "";
  }

  /** By hand: adds a witness on a host and starts it. */
  addWitness(shardId: ShardId, replicaId: ReplicaId, host: WorldHost): void {
    const shard = this.shards.get(shardId);
    if (shard === undefined) throw new Error(`no shard ${shardId}`);
    const witnesses = new Map([...shard.membership.witnesses, [replicaId, host.hostId]]);
    shard.commit += 1;
    shard.membership = { ...shard.membership, witnesses, configChangeIndex: shard.commit };
    this.#begin(host, shardId, replicaId);
  }

  /** M1, against what is true, not what the master believes. Deaths it cannot have noticed yet are forgiven. */
  #checkSafe(shardId: ShardId, shard: WorldShard, next: Membership, kind: string): void {
    let live = 0;
    const counting = new Map([...next.voters, ...next.witnesses]);
    for (const [id, hostId] of counting) {
      const host = this.hosts.get(hostId);
      const replica = host?.replica(shardId, id);
      const unnoticed = host !== undefined && !host.up && this.nowMs - host.diedMs < TIMING.suspectMs + 1_000;
      const works = host?.up === true && replica?.running === true && replica.fault === "";
      if (unnoticed || (works && replica.match + CONFIG.catchUpEntries >= shard.commit)) live += 1;
    }
    if (live < quorumSize(next))
      this.violations.push(`M1: ${kind} leaves ${live} live of ${counting.size} voters of shard ${shardId}`);
  }

  /** Elections, replication, and who hears whom. */
  raft(shardId: ShardId, shard: WorldShard): void {
    const m = shard.membership;
    const runs = (id: ReplicaId): WorldReplica | undefined => {
      const host = this.hosts.get(targetOf(m, id) ?? "");
      const replica = host?.up === true ? host.replica(shardId, id) : undefined;
      return replica?.running === true && replica.fault === "" ? replica : undefined;
    };
    const voting = [...m.voters.keys()].filter((id) => runs(id) !== undefined);
    const witnesses = [...m.witnesses.keys()].filter((id) => runs(id) !== undefined);
    if (voting.length + witnesses.length < quorumSize(m) || voting.length === 0) {
      shard.leader = 0;
      return;
    }
    if (!voting.includes(shard.leader)) {
      const best = voting.sort((a, b) => (runs(b)?.match ?? 0) - (runs(a)?.match ?? 0) || a - b)[0];
      shard.leader = best ?? 0;
      shard.term += 1;
      for (const id of everybody(m).keys()) shard.heardMs.set(id, this.nowMs);
    }
    for (const id of everybody(m).keys()) {
      const replica = runs(id);
      if (replica === undefined) continue;
      shard.heardMs.set(id, this.nowMs);
      replica.match = id === shard.leader ? shard.commit : Math.min(shard.commit, replica.match + CATCH_UP_PER_STEP);
      if (replica.match === shard.commit) replica.cci = m.configChangeIndex;
    }
  }

  *replicasOn(host: WorldHost): Generator<WorldReplica> {
    for (const replicas of host.replicas.values()) yield* replicas.values();
  }

  reportOf(host: WorldHost): NodeHostInfo {
    host.sequence += 1;
    const clusterInfo: ClusterInfo[] = [];
    const logInfo: { shardId: ShardId; replicaId: ReplicaId }[] = [];
    const silent = new Map<HostId, number>();
    for (const [shardId, replicas] of host.replicas) {
      for (const [replicaId, replica] of replicas) {
        logInfo.push({ shardId, replicaId });
        if (replica.running || replica.fault !== "")
          clusterInfo.push(this.#clusterInfo(shardId, replicaId, replica, silent));
      }
    }
    return {
      deploymentId: DEPLOYMENT,
      hostId: host.hostId,
      dataSetId: host.dataSetId,
      incarnation: { counter: host.incarnation, nonce: `${host.dataSet}.${host.incarnation}` },
      sequence: host.sequence,
      stateVersion: 0,
      digest: "",
      raftAddress: `${host.hostId}:1`,
      apiAddress: "",
      region: "",
      labels: host.labels,
      apps: host.apps,
      clusterInfo,
      logInfoIncluded: host.sequence % 4 === 1,
      logInfo: host.sequence % 4 === 1 ? logInfo : [],
      silentPeers: [...silent].map(([target, silentMs]) => ({ target, silentMs })),
      stopping: host.stopping,
      highestMasterTerm: host.highestTerm,
      directoryFault: host.directoryFault,
      recoveredSequence: 0,
      durableSequence: 0,
      load: { replicas: clusterInfo.length, leaders: 0, diskUsedBytes: 0, diskFreeBytes: 0, rssBytes: 0 },
    };
  }

  #clusterInfo(
    shardId: ShardId,
    replicaId: ReplicaId,
    replica: WorldReplica,
    silent: Map<HostId, number>,
  ): ClusterInfo {
    const shard = this.shards.get(shardId);
    const m = shard?.membership;
    const isLeader = shard !== undefined && shard.leader === replicaId && replica.running;
    const progress: ClusterInfo["progress"][number][] = [];
    if (isLeader && m !== undefined) {
      for (const [id, hostId] of everybody(m)) {
        const silentMs = this.nowMs - (shard.heardMs.get(id) ?? this.nowMs);
        progress.push({ replicaId: id, match: this.hosts.get(hostId)?.replica(shardId, id)?.match ?? 0, silentMs });
        if (silentMs > 1_000) silent.set(hostId, silentMs);
      }
    }
    return {
      shardId,
      replicaId,
      app: "kv",
      isLeader,
      leaderId: shard?.leader ?? 0,
      term: shard?.term ?? 0,
      role: (m && roleOf(m, replicaId)) ?? "voter",
      membership: isLeader ? m : undefined,
      configChangeIndex: isLeader ? (m?.configChangeIndex ?? 0) : replica.cci,
      lineage: m?.lineage ?? 0,
      pending: replica.match === 0,
      incomplete: !isLeader,
      applied: replica.match,
      commit: isLeader ? shard.commit : replica.match,
      progress,
      fault: replica.fault,
      stateHash: "",
      waiting: "",
    };
  }

  /** All shards at strength: as many voters as wanted, each running, caught up, on its own living host. */
  get whole(): boolean {
    for (const record of this.state.shards.values()) {
      if (!record.tombstone && !this.isWhole(record.shardId)) return false;
    }
    return true;
  }

  isWhole(shardId: ShardId): boolean {
    const shard = this.shards.get(shardId);
    const record = this.state.shards.get(shardId);
    if (shard === undefined || record === undefined || record.operationId !== 0) return false;
    const m = shard.membership;
    if (m.voters.size !== record.spec.voters || m.nonVotings.size !== record.spec.nonVotings) return false;
    if (new Set([...m.voters.values(), ...m.nonVotings.values()]).size !== m.voters.size + m.nonVotings.size)
      return false;
    return [...m.voters, ...m.nonVotings].every(([id, hostId]) => {
      const host = this.hosts.get(hostId);
      const replica = host?.replica(shardId, id);
      return host?.up === true && replica?.running === true && replica.fault === "" && replica.match === shard.commit;
    });
  }
}

export function specOf(spec: Partial<ShardSpec> = {}): ShardSpec {
  const settings = { electionTicks: 10, heartbeatTicks: 1, snapshotEntries: 0, compactionOverhead: 0 };
  return { name: "", app: "kv", voters: 3, nonVotings: 0, region: "", settings, ...spec };
}
