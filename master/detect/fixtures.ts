/** Reports for this folder's tests. Nothing of the product imports it. */
import type { ClusterInfo, NodeHostInfo } from "../../shared/types/control.js";

export function info(hostId: string, sequence: number, change: Partial<NodeHostInfo> = {}): NodeHostInfo {
  const load = { replicas: 0, leaders: 0, diskUsedBytes: 0, diskFreeBytes: 0, rssBytes: 0 };
  return {
    deploymentId: 1,
    hostId,
    dataSetId: `d-${hostId}`,
    incarnation: { counter: 1, nonce: "n" },
    sequence,
    stateVersion: 0,
    digest: "",
    raftAddress: `${hostId}:1`,
    apiAddress: "",
    region: "",
    labels: {},
    apps: [],
    clusterInfo: [],
    logInfoIncluded: false,
    logInfo: [],
    silentPeers: [],
    stopping: false,
    highestMasterTerm: 0,
    directoryFault: "",
    recoveredSequence: 0,
    durableSequence: 0,
    load,
    ...change,
  };
}

export function replica(shardId: number, replicaId: number, change: Partial<ClusterInfo> = {}): ClusterInfo {
  return {
    shardId,
    replicaId,
    app: "kv",
    isLeader: false,
    leaderId: 0,
    term: 1,
    role: "voter",
    membership: undefined,
    configChangeIndex: 3,
    lineage: 0,
    pending: false,
    incomplete: true,
    applied: 5,
    commit: 5,
    progress: [],
    fault: "",
    stateHash: "",
    waiting: "",
    ...change,
  };
}
