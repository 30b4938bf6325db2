/** The door of master/db: the replicated state of the master (shard 0), its commands and its state machine. */
export { isReplicaId } from "./check.js";
export { type Command, type ConfirmEntry, decodeCommand, encodeCommand, NEW_REPLICA } from "./commands.js";
export { MasterDb } from "./machine.js";
export { type CommandResult, decodeResult, encodeResult } from "./result.js";
export { encodeSnapshot, SnapshotDecoder, stateHash } from "./snapshot.js";
export { MasterState, type MasterView, placesOf } from "./state.js";
export type { ReadonlyTable } from "./table.js";
export * from "./types.js";
export { applyBytes, applyCommand } from "./update.js";
export { compareMembership } from "./update-shards.js";
