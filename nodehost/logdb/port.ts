/**
 * Durable log, hard state, snapshot record and bootstrap record of every replica of a host: one order of truth.
 *
 * What is durable when: everything in one `append` call is durable, all or nothing, when its promise resolves. The
 * engine has one append in flight and merges what arrives meanwhile. A rejected promise, or one that does not settle
 * within LIMITS.walWriteDeadlineMs, means that durability can no longer be promised: `onFatal` is called once, every
 * later call rejects with the same FatalStorageError, and the host must stop (a retried fsync loses data silently).
 * The one exception is a full disk, seen before anything was written: DL_ERR_DISK_FULL, nothing appended, go on.
 *
 * Implementations: WAL + LMDB checkpoint (`wal-logdb.ts`), memory (`memory-logdb.ts`); both pass `suite.ts`.
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Index, ReplicaId, ShardId, Term } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";

/** "witness": there is no machine. */
export type MachineKind = "memory" | "concurrent" | "onDisk" | "witness";

/** Written before a replica first runs; marks "this replica was started here". */
export interface BootstrapRecord {
  readonly join: boolean;
  readonly kind: MachineKind;
  /** App that made the state machine, "" when started by code. */
  readonly app: string;
  /** Empty voters when join. */
  readonly initial: Membership;
  /** Replica configuration as JSON text, so that a host can restart what it was running. */
  readonly config: string;
}

export interface ReplicaKey {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
}

/** What one replica adds to an append. Parts are applied in the order of the fields. */
export interface LogUpdate extends ReplicaKey {
  readonly bootstrap?: BootstrapRecord;
  /**
   * The newest snapshot. With `reset` all entries are gone and the log begins after it. Otherwise the log must hold
   * (index, term) of the snapshot, and every entry stays: `compactTo` says what may go.
   */
  readonly snapshot?: { readonly meta: SnapshotMeta; readonly reset: boolean };
  /** Contiguous blocks; an append at i removes every entry ≥ i there was. Absent when nothing is appended. */
  readonly blocks?: readonly EntryBlock[];
  /** Required whenever `blocks` is given. */
  readonly hardState?: HardState;
  /** Entries ≤ this index may be forgotten (never above the snapshot's index). */
  readonly compactTo?: Index;
  /** Forget the replica wholly and for ever; its id is remembered as removed. Alone in its update. */
  readonly remove?: boolean;
}

/** One replica as found at open. */
export interface RecoveredReplica extends ReplicaKey {
  readonly bootstrap: BootstrapRecord;
  readonly hardState: HardState;
  readonly snapshot: SnapshotMeta | undefined;
  /** First and last index in the log; first = last + 1 when empty. `first` ≤ snapshot.index + 1. */
  readonly first: Index;
  readonly last: Index;
  /** Term at first − 1 (the snapshot's term, or of the last compacted entry; 0 if nothing precedes). */
  readonly precedingTerm: Term;
  /** Set when the replica's log cannot be proven whole: it must not run. Says what and where. */
  readonly damage: string | undefined;
}

export interface Recovery {
  readonly replicas: readonly RecoveredReplica[];
  /** Replicas whose data was removed for ever (`remove`). */
  readonly removed: readonly ReplicaKey[];
  /** Highest WAL sequence found. */
  readonly walSequence: number;
  /**
   * Set when records are lost of which it is not known whose they were: replicas may have been here that are not
   * listed. A replica that is not listed must not be taken for one that never ran here. Says what is lost.
   */
  readonly incomplete?: string;
}

export interface LogDbMetrics {
  readonly appends: number;
  readonly bytesWritten: number;
  readonly segments: number;
  /** Bytes of disk used by the log. */
  readonly diskBytes: number;
}

export interface LogDb {
  /** Everything found at open. */
  recovery(): Recovery;
  /** One replica as it is now (same form as at open, of everything durable); undefined if nothing of it is here. */
  state(key: ReplicaKey): RecoveredReplica | undefined;
  /** Replicas with data here now, and those removed for ever. */
  list(): { readonly present: readonly ReplicaKey[]; readonly removed: readonly ReplicaKey[] };
  /** See the header of this file. Resolves to the WAL sequence at which the updates are durable. */
  append(updates: readonly LogUpdate[]): Promise<number>;
  /** Sequence of the last settled append. */
  durableSequence(): number;
  /**
   * Blocks covering [first, last], clipped to it, up to about `maxBytes` (at least one block). Checks their CRC.
   * DL_ERR_LOGDB_CORRUPT if damaged, DL_ERR_INVALID_ARGUMENT if the range is not in the log.
   */
  read(key: ReplicaKey, first: Index, last: Index, maxBytes: number): Promise<readonly EntryBlock[]>;
  /** Term of the entry at `index` if it is in the log or precedes it directly; undefined otherwise. Synchronous. */
  term(key: ReplicaKey, index: Index): Term | undefined;
  /** Time the append in flight has been waiting, 0 if none. */
  appendAgeMs(): number;
  metrics(): LogDbMetrics;
  /** Replicas whose oldest entries keep disk from being used again: compact these when room is needed. */
  pinning(): readonly ReplicaKey[];
  /** Waits for the append in flight, seals, releases files. Idempotent. */
  close(): Promise<void>;
}
