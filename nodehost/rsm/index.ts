/** The door of nodehost/rsm: the replicated state machine manager, machine types, snapshots, conformance check. */
export { createMachine } from "./create-machine.js";
export { checkStateMachine, type MachineProblem } from "./machine-kit.js";
export type { KitDisk } from "./machine-kit-disk.js";
export {
  applyConfigChange,
  type ConfigChangeOutcome,
  kindRefusal,
  membershipHash,
  normalizedTarget,
} from "./members.js";
export { Rsm } from "./rsm.js";
export { type SessionLimits, SessionTable, type SessionVerdict, type SessionView } from "./sessions.js";
export { readChunks } from "./snapshot-file.js";
export { readSnapshotHeader } from "./snapshot-header.js";
export {
  createSnapshotStore,
  replicaDirectoryName,
  type SnapshotStoreOptions,
  snapshotDirectoryName,
} from "./snapshot-store.js";

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
} from "./state-machine.js";
export {
  type FoundState,
  type Machine,
  MachineFailure,
  type ReplicaStateMachine,
  type RsmOptions,
  type RsmSink,
  type SnapshotStore,
  type SnapshotStream,
} from "./types.js";
export { WitnessRsm, witnessError } from "./witness.js";
