/** Door of nodehost/log: the in-memory log of one replica. Used by nodehost/raft. */
export type { PendingWrite } from "./pending-writes.js";
export { type AppendResult, RaftLog, type RaftLogStart } from "./raft-log.js";
