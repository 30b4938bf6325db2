/**
 * Identifiers and counters. All numeric ones are JavaScript safe integers (0 … 2^53−1) inside the process and
 * `uint64` on the wire and on disk; they are checked where bytes or callers come in, never on hot paths.
 */

/** One Raft group. ≥ 1 for applications; 0 is the master's own shard. */
export type ShardId = number;
/** One member of a shard, unique in its shard, ≥ 1, never reused. */
export type ReplicaId = number;
/** Raft term. 0 = before any election. */
export type Term = number;
/** Position in a replicated log; the first entry has index 1. */
export type Index = number;
/** Milliseconds on the monotonic clock of `Env.now()`. */
export type TimeMs = number;
/** UUID text of a NodeHost, fixed for the life of the host. */
export type HostId = string;
/** UUID text naming one data directory's life. A wiped directory gets another one. */
export type DataSetId = string;
/** How members of a shard are addressed: a HostId (managed) or `host:port` (without a master). */
export type Target = string;

/** Counter and nonce of one start of a host; durable before its first message. */
export interface Incarnation {
  readonly counter: number;
  /** 8 random bytes as 16 hexadecimal digits: tells two clones of one directory apart. */
  readonly nonce: string;
}

/** Names one request of one start of one replica. Travels inside entries and ReadIndex contexts. */
export interface RequestKey {
  readonly replicaId: ReplicaId;
  readonly incarnation: number;
  readonly sequence: number;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** True for the form of HostId and DataSetId: a UUID in lower case, of any version. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** True for 0 … 2^53−1. */
export function isSafeUint(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
