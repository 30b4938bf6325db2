/** The door of nodehost/logdb for those who open a real log: the composition root and the tools. */
export { lmdbCheckpointFactory } from "./lmdb-checkpoint.js";
export { type InspectedLog, type InspectedSegment, inspectWal } from "./wal-inspect.js";
export type { WalLogDb, WalMetrics } from "./wal-logdb.js";
export { openWalLogDb, type WalLogDbOptions } from "./wal-open.js";
