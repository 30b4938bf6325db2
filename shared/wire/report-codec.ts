/**
 * A host's report (NodeHostInfo) and a master's registry (RegistryView) as bytes of proto/control.proto. Decoding
 * checks every value and throws MalformedError; encoding cuts free text that a receiver would refuse.
 */
import { drumline } from "#gen/drumline.js";
import { LIMITS } from "../limits.js";
import type {
  ClusterInfo,
  HostLoad,
  LogInfo,
  MemberProgress,
  NodeHostInfo,
  RegistryShard,
  RegistryView,
} from "../types/control.js";
import type { Incarnation } from "../types/ids.js";
import { cut, hex8, list, name, optionalName, positive, present, text, uint } from "./check.js";
import { membershipFromWire, membershipToWire, roleFromWire, roleToWire } from "./membership-codec.js";
import { decodeMessage } from "./safe-reader.js";

const v1 = drumline.v1;

export function encodeNodeHostInfo(info: NodeHostInfo): Uint8Array {
  return v1.NodeHostInfo.encode(nodeHostInfoToWire(info)).finish();
}

export function decodeNodeHostInfo(bytes: Uint8Array): NodeHostInfo {
  const info = nodeHostInfoFromWire(decodeMessage(v1.NodeHostInfo, bytes));
  positive(info.sequence, "sequence");
  return info;
}

/** Also the answer of the gRPC call GetNodeHostInfo, which is no report: its sequence is 0. */
export function nodeHostInfoToWire(info: NodeHostInfo): drumline.v1.NodeHostInfo.$Properties {
  return {
    deploymentId: info.deploymentId,
    hostId: info.hostId,
    dataSetId: info.dataSetId,
    incarnation: info.incarnation,
    sequence: info.sequence,
    stateVersion: info.stateVersion,
    digest: info.digest,
    raftAddress: info.raftAddress,
    apiAddress: info.apiAddress,
    region: info.region,
    labels: { ...info.labels },
    apps: [...info.apps],
    clusterInfo: info.clusterInfo.map(clusterInfoToWire),
    logInfoIncluded: info.logInfoIncluded,
    logInfo: [...info.logInfo],
    silentPeers: [...info.silentPeers],
    stopping: info.stopping,
    highestMasterTerm: info.highestMasterTerm,
    directoryFault: cut(info.directoryFault),
    recoveredSequence: info.recoveredSequence,
    durableSequence: info.durableSequence,
    load: info.load,
  };
}

export function nodeHostInfoFromWire(m: drumline.v1.NodeHostInfo): NodeHostInfo {
  return {
    deploymentId: positive(m.deploymentId, "deploymentId"),
    hostId: name(m.hostId, "hostId"),
    dataSetId: name(m.dataSetId, "dataSetId"),
    incarnation: incarnationFromWire(present(m.incarnation, "incarnation")),
    sequence: uint(m.sequence, "sequence"),
    stateVersion: uint(m.stateVersion, "stateVersion"),
    digest: text(m.digest, "digest"),
    raftAddress: name(m.raftAddress, "raftAddress"),
    apiAddress: optionalName(m.apiAddress, "apiAddress"),
    region: optionalName(m.region, "region"),
    labels: labelsFromWire(m.labels),
    apps: list(m.apps, LIMITS.wireListMax, "apps").map((app) => name(app, "app")),
    clusterInfo: list(m.clusterInfo, LIMITS.reportShardsMax, "replicas").map(clusterInfoFromWire),
    logInfoIncluded: m.logInfoIncluded,
    logInfo: list(m.logInfo, LIMITS.reportShardsMax, "replicas with data").map(logInfoFromWire),
    silentPeers: list(m.silentPeers, LIMITS.wireListMax, "silent peers").map((peer) => ({
      target: name(peer.target, "target"),
      silentMs: uint(peer.silentMs, "silentMs"),
    })),
    stopping: m.stopping,
    highestMasterTerm: uint(m.highestMasterTerm, "highestMasterTerm"),
    directoryFault: text(m.directoryFault, "directoryFault"),
    recoveredSequence: uint(m.recoveredSequence, "recoveredSequence"),
    durableSequence: uint(m.durableSequence, "durableSequence"),
    load: loadFromWire(m.load ?? {}),
  };
}

function incarnationFromWire(m: drumline.v1.Incarnation.$Properties): Incarnation {
  return { counter: uint(m.counter, "incarnation counter"), nonce: hex8(m.nonce, "incarnation nonce") };
}

function labelsFromWire(labels: { [k: string]: string } | null | undefined): Record<string, string> {
  const entries = list(Object.entries(labels ?? {}), LIMITS.wireListMax, "labels");
  return Object.fromEntries(entries.map(([key, value]) => [name(key, "label"), optionalName(value, "label value")]));
}

function loadFromWire(m: drumline.v1.HostLoad.$Properties): HostLoad {
  return {
    replicas: uint(m.replicas, "replicas"),
    leaders: uint(m.leaders, "leaders"),
    diskUsedBytes: uint(m.diskUsedBytes, "diskUsedBytes"),
    diskFreeBytes: uint(m.diskFreeBytes, "diskFreeBytes"),
    rssBytes: uint(m.rssBytes, "rssBytes"),
  };
}

function logInfoFromWire(m: drumline.v1.LogInfo.$Properties): LogInfo {
  return { shardId: uint(m.shardId, "shardId"), replicaId: positive(m.replicaId, "replicaId") };
}

function clusterInfoToWire(c: ClusterInfo): drumline.v1.ClusterInfo.$Properties {
  return {
    shardId: c.shardId,
    replicaId: c.replicaId,
    app: c.app,
    isLeader: c.isLeader,
    leaderId: c.leaderId,
    term: c.term,
    role: roleToWire(c.role),
    membership: c.membership === undefined ? null : membershipToWire(c.membership),
    configChangeIndex: c.configChangeIndex,
    lineage: c.lineage,
    pending: c.pending,
    incomplete: c.incomplete,
    applied: c.applied,
    commit: c.commit,
    progress: [...c.progress],
    fault: cut(c.fault),
    stateHash: c.stateHash,
    waiting: cut(c.waiting),
  };
}

function clusterInfoFromWire(m: drumline.v1.ClusterInfo.$Properties): ClusterInfo {
  return {
    shardId: uint(m.shardId, "shardId"),
    replicaId: positive(m.replicaId, "replicaId"),
    app: optionalName(m.app, "app"),
    isLeader: m.isLeader ?? false,
    leaderId: uint(m.leaderId, "leaderId"),
    term: uint(m.term, "term"),
    role: roleFromWire(m.role),
    membership: m.membership ? membershipFromWire(m.membership) : undefined,
    configChangeIndex: uint(m.configChangeIndex, "configChangeIndex"),
    lineage: uint(m.lineage, "lineage"),
    pending: m.pending ?? false,
    incomplete: m.incomplete ?? false,
    applied: uint(m.applied, "applied"),
    commit: uint(m.commit, "commit"),
    progress: list(m.progress, LIMITS.wireMembersMax, "progress rows").map(progressFromWire),
    fault: text(m.fault, "fault"),
    stateHash: text(m.stateHash, "stateHash"),
    waiting: text(m.waiting, "waiting"),
  };
}

function progressFromWire(m: drumline.v1.MemberProgress.$Properties): MemberProgress {
  return {
    replicaId: positive(m.replicaId, "replicaId"),
    match: uint(m.match, "match"),
    silentMs: uint(m.silentMs, "silentMs"),
  };
}

export function encodeRegistryView(view: RegistryView): Uint8Array {
  const shards = view.shards.map((shard) => ({
    ...shard,
    replicas: shard.replicas.map((r) => ({ ...r, role: roleToWire(r.role) })),
  }));
  return v1.RegistryView.encode({ revision: view.revision, hosts: [...view.hosts], shards }).finish();
}

export function decodeRegistryView(bytes: Uint8Array): RegistryView {
  const m = decodeMessage(v1.RegistryView, bytes);
  return {
    revision: uint(m.revision, "revision"),
    hosts: list(m.hosts, LIMITS.registryHostsMax, "hosts").map((host) => ({
      hostId: name(host.hostId, "hostId"),
      raftAddress: name(host.raftAddress, "raftAddress"),
      apiAddress: optionalName(host.apiAddress, "apiAddress"),
      incarnation: uint(host.incarnation, "incarnation"),
    })),
    shards: list(m.shards, LIMITS.registryShardsMax, "shards").map(registryShardFromWire),
  };
}

function registryShardFromWire(m: drumline.v1.RegistryShard.$Properties): RegistryShard {
  return {
    shardId: uint(m.shardId, "shardId"),
    name: optionalName(m.name, "name"),
    app: optionalName(m.app, "app"),
    configChangeIndex: uint(m.configChangeIndex, "configChangeIndex"),
    leaderReplicaId: uint(m.leaderReplicaId, "leaderReplicaId"),
    leaderTerm: uint(m.leaderTerm, "leaderTerm"),
    replicas: list(m.replicas, LIMITS.wireMembersMax, "replicas").map((r) => ({
      replicaId: positive(r.replicaId, "replicaId"),
      hostId: name(r.hostId, "hostId"),
      role: roleFromWire(r.role),
    })),
  };
}
