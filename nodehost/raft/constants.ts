/** Bounds of the Raft core that are not configuration. Times are in milliseconds, sizes in bytes. */
import { LIMITS } from "../../shared/limits.js";

/** Terms, lineages and indexes of peers above this are refused, so that adding to them stays exact. */
export const COUNTER_MAX = 2 ** 52;
/** `Output.committed` holds about this much at most; the rest comes with the next output. */
export const COMMITTED_BYTES_MAX = 4 * 1024 * 1024;
/** Entries in memory that are not yet applied and durable: above it proposals are refused and Replicates dropped. */
export const BUSY_BYTES_MAX = 2 * LIMITS.proposalQueueBytesMax;
/** Messages that wait for the durability of the current term. */
export const WAITING_MESSAGES_MAX = 1024;
/** ReadIndex rounds under way at once; later requests wait for the next round. */
export const READ_ROUNDS_MAX = 64;
export const READ_REQUESTS_MAX = LIMITS.readIndexQueueMax;
/** Ids remembered for limiting the rate of notices. */
export const NOTICES_MAX = 1024;
/** Election timeouts between heartbeats of a leader that lost its quorum: more than a follower waits at most. */
export const CUT_OFF_TIMEOUTS = 3;
/** A snapshot stream of which nothing was heard for so many election timeouts is given up. */
export const SNAPSHOT_PATIENCE_TIMEOUTS = 600;
