/** What a host says of itself and its replicas: for callers, for the master, for people. */
import { statfs } from "node:fs/promises";
import type { ClusterInfo, LogInfo, MemberProgress, NodeHostInfo } from "../../shared/types/control.js";
import type { TimeMs } from "../../shared/types/ids.js";
import { roleOf, targetOf } from "../../shared/types/membership.js";
import type { BrokenReplica, Engine, Replica } from "../engine/index.js";
import type { LogDb } from "../logdb/port.js";
import { hindranceText } from "../raft/index.js";
import type { Transport } from "../transport/index.js";
import type { Parts } from "./compose.js";
import type { HostIdentity } from "./host-dir.js";
import type { NodeHost } from "./nodehost.js";

/** What `getNodeHostInfo` answers. */
export interface NodeHostState {
  readonly identity: HostIdentity;
  readonly raftAddress: string;
  readonly clusterInfo: readonly ClusterInfo[];
  readonly logInfo: readonly LogInfo[];
  readonly log: ReturnType<LogDb["metrics"]>;
  /** Log sequence found at this start, and what is durable now. */
  readonly recoveredSequence: number;
  readonly durableSequence: number;
  /** Empty, or code and reason why nothing in this directory may take part: it is an old copy, or used twice. */
  readonly directoryFault: string;
  readonly transport: ReturnType<Transport["stats"]>;
}

export function nodeHostState(parts: Parts, options: { readonly skipLogInfo?: boolean }): NodeHostState {
  const { identity, raftAddress, engine, logDb, transport, env } = parts;
  const { refusal } = engine;
  return {
    identity,
    raftAddress,
    clusterInfo: clusterInfoList(engine, env.now()),
    logInfo: options.skipLogInfo === true ? [] : logInfoList(logDb),
    log: logDb.metrics(),
    recoveredSequence: logDb.recovery().walSequence,
    durableSequence: logDb.durableSequence(),
    directoryFault: refusal === undefined ? "" : `${refusal.code}: ${refusal.detail}`,
    transport: transport.stats(),
  };
}

/** One running (or fenced) replica. */
export function replicaInfo(replica: Replica, nowMs: TimeMs): ClusterInfo {
  const status = replica.status();
  const { membership } = status;
  const pending = membership.configChangeIndex === 0;
  const isLeader = replica.working && status.role === "leader";
  const hash = replica.rsm.hash();
  return {
    shardId: replica.shardId,
    replicaId: replica.replicaId,
    app: replica.app,
    isLeader,
    leaderId: replica.working ? status.leaderId : 0,
    term: status.term,
    role: roleOf(membership, replica.replicaId) ?? (replica.config.isWitness ? "witness" : "nonVoting"),
    membership: pending ? undefined : membership,
    configChangeIndex: membership.configChangeIndex,
    lineage: membership.lineage,
    pending,
    incomplete: false,
    applied: replica.rsm.applied,
    commit: status.commit,
    progress: isLeader ? status.peers.map((p) => progressOf(p.replicaId, p.match, nowMs - p.lastContactMs)) : [],
    fault: replica.fault,
    waiting: replica.working ? replica.hold || hindranceText(status) : "",
    stateHash: hash === undefined ? "" : `${replica.rsm.applied}:${hash}`,
  };
}

function progressOf(replicaId: number, match: number, silentMs: number): MemberProgress {
  return { replicaId, match, silentMs: Math.max(0, Math.round(silentMs)) };
}

/** All replicas of the host, those with damaged data included. */
function clusterInfoList(engine: Engine, nowMs: TimeMs): ClusterInfo[] {
  const list = [...engine.replicas()].map((replica) => replicaInfo(replica, nowMs));
  for (const broken of engine.broken()) list.push(brokenInfo(broken));
  return list.sort((a, b) => a.shardId - b.shardId);
}

function brokenInfo(broken: BrokenReplica): ClusterInfo {
  return {
    ...broken,
    isLeader: false,
    leaderId: 0,
    term: 0,
    role: "nonVoting",
    membership: undefined,
    configChangeIndex: 0,
    lineage: 0,
    pending: true,
    incomplete: false,
    applied: 0,
    commit: 0,
    progress: [],
    stateHash: "",
    waiting: "",
  };
}

/** Every replica with data here, running or not. */
function logInfoList(logDb: LogDb): LogInfo[] {
  return logDb.list().present.map(({ shardId, replicaId }) => ({ shardId, replicaId }));
}

/** Hosts that leaders here have not heard for longer than `overMs`: the longest silence of each. */
export function silentPeers(engine: Engine, nowMs: TimeMs, overMs: number): { target: string; silentMs: number }[] {
  const silent = new Map<string, number>();
  for (const replica of engine.replicas()) {
    if (!replica.working || replica.raft.role !== "leader") continue;
    const { peers, membership } = replica.status();
    for (const peer of peers) {
      const silentMs = Math.round(nowMs - peer.lastContactMs);
      const target = targetOf(membership, peer.replicaId);
      if (target === undefined || silentMs < overMs) continue;
      silent.set(target, Math.max(silentMs, silent.get(target) ?? 0));
    }
  }
  return [...silent].sort().map(([target, silentMs]) => ({ target, silentMs }));
}

export interface ReportContext {
  readonly apiAddress: string;
  readonly apps: ReadonlyMap<string, unknown>;
  readonly sequence?: number;
  readonly stopping?: boolean;
  readonly peerSilenceMs?: number;
  readonly highestMasterTerm?: number;
}

/** The whole report of a host, as masters and the gRPC API get it. */
export async function hostReport(host: NodeHost, context: ReportContext): Promise<NodeHostInfo> {
  const disk = await statfs(host.options.dataDir);
  const { identity, clusterInfo, logInfo, raftAddress, log, ...rest } = host.getNodeHostInfo();
  const { directoryFault, recoveredSequence, durableSequence } = rest;
  return {
    deploymentId: identity.deploymentId,
    hostId: identity.hostId,
    dataSetId: identity.dataSetId,
    incarnation: identity.incarnation,
    sequence: context.sequence ?? 0,
    stateVersion: 0,
    digest: "",
    raftAddress,
    apiAddress: context.apiAddress,
    region: host.options.region ?? "",
    labels: host.options.labels ?? {},
    apps: [...context.apps.keys()],
    clusterInfo,
    logInfoIncluded: true,
    logInfo,
    silentPeers: host.silentPeers(context.peerSilenceMs ?? Number.POSITIVE_INFINITY),
    stopping: context.stopping ?? false,
    highestMasterTerm: context.highestMasterTerm ?? 0,
    directoryFault,
    recoveredSequence,
    durableSequence,
    load: {
      replicas: clusterInfo.length,
      leaders: clusterInfo.filter((info) => info.isLeader).length,
      diskUsedBytes: log.diskBytes,
      diskFreeBytes: disk.bavail * disk.bsize,
      rssBytes: process.memoryUsage.rss(),
    },
  };
}
