/** Public door of the library: `import { NodeHost } from "drumline"`. */

export type { Env, Logger } from "../shared/env/env.js";
export { ERROR_CODES, type ErrorCode, FatalStorageError, isOpError, OpError, type Outcome } from "../shared/errors.js";
export { LIMITS } from "../shared/limits.js";
export type { ClusterInfo, LogInfo, NodeHostInfo } from "../shared/types/control.js";
export type { HostId, Index, ReplicaId, ShardId, Target, Term } from "../shared/types/ids.js";
export type { ConfigChangeKind, Membership, Role } from "../shared/types/membership.js";
export type { SessionState } from "../shared/types/session.js";
// For programs that run hosts and masters: the gRPC server's start and end, who lives in a directory, and discovery.
export { bindServer, closeServer } from "./api/grpc-service.js";
export { type HostIdentity, readIdentity } from "./api/host-dir.js";
export type { NodeHostState } from "./api/info.js";
export { discoverDeployment } from "./api/nats-master-client.js";
export { NodeHost } from "./api/nodehost.js";
export { type CallOptions, checkAddress, type NodeHostOptions } from "./api/options.js";
export { noOpSession, Session } from "./api/session.js";
export type { PeerStats, PromotionStats, ShardStats } from "./api/stats.js";
export type {
  AutoPromote,
  DrainResult,
  EngineListeners,
  EngineStats,
  LeaderUpdate,
  ReplicaConfig,
  RequestCode,
  RequestResult,
  SnapshotOptions,
} from "./engine/index.js";
export { RequestState } from "./engine/index.js";
export type {
  App,
  ConcurrentStateMachine,
  ConcurrentStateMachineFactory,
  MachinePlace,
  OnDiskStateMachine,
  OnDiskStateMachineFactory,
  Result,
  SmEntry,
  SnapshotSink,
  SnapshotSource,
  StateMachine,
  StateMachineFactory,
} from "./rsm/state-machine.js";
// For the data directories of stopped hosts: after a loss of quorum, and to look into what is there.
export {
  type CheckDiskOptions,
  type CheckDiskReport,
  checkDisk,
  type DataOptions,
  type DiskMeasurement,
  type DiskVerdict,
  type ImportOptions,
  type ImportReport,
  type InspectedReplica,
  type Inspection,
  importSnapshot,
  inspectData,
  type ShrinkOptions,
  type ShrinkReport,
  shrinkToSurvivors,
} from "./tools/index.js";
