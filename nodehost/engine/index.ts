/** Public door of the engine. */
export {
  type AutoPromote,
  checkLag,
  completeConfig,
  completePolicy,
  type FullReplicaConfig,
  managedError,
  type ReplicaConfig,
} from "./config.js";
export type { DrainResult } from "./drain.js";
export { type BrokenReplica, Engine } from "./engine.js";
export type { DirectoryRefusal, PeerMemory, ReplicaOrigin } from "./peer-memory.js";
export type { EngineListeners, EngineOptions, EngineStats, LeaderUpdate } from "./ports.js";
export { Replica } from "./replica.js";
export { errorOf, type RequestCode, type RequestKind, type RequestResult, RequestState } from "./requests.js";
export type { SnapshotOptions } from "./snapshotter.js";
export type { StartSpec } from "./start.js";
export { notLeaderError } from "./transfer-book.js";
