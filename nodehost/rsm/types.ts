/**
 * The doors of the replicated state machine manager of one replica (class Rsm in rsm.ts) and of the snapshot store.
 *
 * Rsm owns the machine, the membership as applied, and the order of apply, save and restore. It is driven by the
 * engine: `enqueue` committed blocks, `run` within a time budget, read `applied`. It knows nothing of Raft, logs or
 * networks; storage comes through SnapshotStore.
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import type { Index, ReplicaId, RequestKey, ShardId, Term, TimeMs } from "../../shared/types/ids.js";
import type { ConfigChange, Membership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { SessionRefusal } from "../../shared/types/session.js";
import type { SessionLimits } from "./sessions.js";
import type { DiskSnapshot, SnapshotHeader } from "./snapshot-format.js";
import type {
  ConcurrentStateMachine,
  OnDiskStateMachine,
  Result,
  SnapshotSink,
  SnapshotSource,
  StateMachine,
} from "./state-machine.js";

export type Machine =
  | { readonly kind: "memory"; readonly machine: StateMachine }
  | { readonly kind: "concurrent"; readonly machine: ConcurrentStateMachine }
  | { readonly kind: "onDisk"; readonly machine: OnDiskStateMachine };

/** Called during `run`, in log order. */
export interface RsmSink {
  /** An application entry whose key is (own replicaId, own incarnation) was applied. */
  onResult(sequence: number, index: Index, result: Result): void;
  /** Such an entry was refused by its session and not applied: alike on every replica. */
  onRejected(sequence: number, index: Index, code: SessionRefusal): void;
  /** A config change entry was applied or refused (`refusal` says why); `membership` is in force now. */
  onConfigChange(
    index: Index,
    change: ConfigChange,
    membership: Membership,
    key: RequestKey,
    refusal: string | undefined,
  ): void;
}

export interface RsmOptions {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  /** Incarnation counter of this start; only keys carrying it are answered. */
  readonly incarnation: number;
  readonly machine: Machine;
  /** Membership before the first entry (bootstrap: lineage 0, CCI 0, the initial voters; or empty). */
  readonly membership: Membership;
  readonly sink: RsmSink;
  readonly store: SnapshotStore;
  readonly crc32: Crc32;
  readonly now: () => TimeMs;
  /** Resolves after so long; used to try again what found the disk full. Without it, it is tried once. */
  readonly wait?: (forMs: TimeMs) => Promise<void>;
  /** Default: those of shared/limits.ts. Must be equal on all replicas. */
  readonly sessionLimits?: Partial<SessionLimits>;
}

/** The machine threw, or an entry could not be read: this replica is fenced with this. */
export class MachineFailure extends Error {
  override readonly name = "MachineFailure";
  readonly index: Index;
  /** Equal on two replicas: a poisoned entry, not a broken host. */
  readonly errorHash: string;

  constructor(index: Index, message: string, errorHash: string) {
    super(message);
    this.index = index;
    this.errorHash = errorHash;
  }
}

/** What the log has of a replica that starts. */
export interface FoundState {
  readonly snapshot: SnapshotMeta | undefined;
  /** Last entry in the log. */
  readonly last: Index;
}

/** A snapshot of an on-disk machine on its way to somebody, made as it is read; there is no file of it here. */
export interface SnapshotStream {
  /** `sizeBytes` 0 and no directory: neither is known. */
  readonly meta: SnapshotMeta;
  /** A snapshot file's bytes, for one reader. A chunk is valid until the next one is asked for. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Must be called, whether `chunks` was read or not. Resolves when the machine has let go of the prepared state. */
  close(): Promise<void>;
}

export interface ReplicaStateMachine {
  /** Index and term of the last entry that went through. */
  readonly applied: Index;
  readonly appliedTerm: Term;
  readonly membership: Membership;
  /** Entries enqueued and not applied. */
  readonly backlog: number;
  enqueue(blocks: readonly EntryBlock[]): void;
  /**
   * Applies what is enqueued. "idle": all done; "more": the budget is used up, call again soon; a promise: the machine
   * (or a snapshot being saved or restored) is busy, call again when it resolves. Throws MachineFailure (also as a
   * rejection of the promise).
   */
  run(budgetMs: number): "idle" | "more" | Promise<void>;
  /** Local read; synchronous or not as the machine is. */
  lookup(query: unknown): unknown;
  /** The machine keeps its own state: full snapshots of it are streamed, files have none. */
  readonly onDisk: boolean;
  /**
   * First call: opens the machine and takes over the recorded snapshot; afterwards applied = its index. Rejects with
   * DL_ERR_MACHINE_AHEAD, DL_ERR_MACHINE_BEHIND, DL_ERR_LOGDB_CORRUPT or MachineFailure.
   */
  start(found: FoundState, signal: AbortSignal): Promise<void>;
  /**
   * Writes, syncs and renames a snapshot of the state at `applied`; of an on-disk machine, syncs it and writes what it
   * does not hold (membership, sessions). DL_ERR_NO_SNAPSHOT if nothing new is applied.
   */
  saveSnapshot(signal: AbortSignal): Promise<SnapshotMeta>;
  /** On-disk machines: what was applied before the call is durable in the machine. Others: nothing. */
  sync(): Promise<void>;
  /** On-disk machines: the state at `applied`, to be sent. DL_ERR_SYSTEM_BUSY while another stream is open. */
  streamSnapshot(signal: AbortSignal): Promise<SnapshotStream>;
  /**
   * Replaces the whole state by a stored snapshot; afterwards applied = meta.index. Drops enqueued entries ≤ it. An
   * on-disk machine that finds the disk full is recovered again until there is room.
   */
  restore(meta: SnapshotMeta, signal: AbortSignal): Promise<void>;
  /** State hash at `applied` if the machine has one. */
  hash(): string | undefined;
  membershipHash(): string;
  /** Hash of the client sessions at `applied`; undefined while an entry is being applied or restored. */
  sessionHash(): string | undefined;
  close(): Promise<void>;
}

/** Files of the snapshots of all replicas of a host. */
export interface SnapshotStore {
  /**
   * Writes a snapshot of the encoded sessions (default: none) and of what `save` writes; temp directory → sync →
   * rename; returns its final meta (directory, size).
   */
  create(
    header: SnapshotHeader,
    save: (sink: SnapshotSink) => Promise<void>,
    signal: AbortSignal,
    sessions?: Uint8Array,
  ): Promise<SnapshotMeta>;
  /**
   * Payload bytes of a stored snapshot, every block checked. `onSessions` is called before them, with the session
   * area, if there is one. DL_ERR_LOGDB_CORRUPT naming file and offset.
   */
  load(meta: SnapshotMeta, onSessions?: (sessions: Uint8Array) => void): SnapshotSource;
  /** What a stored snapshot is of an on-disk machine, undefined if of another. DL_ERR_LOGDB_CORRUPT. */
  describe(meta: SnapshotMeta): Promise<DiskSnapshot | undefined>;
  /** The machine has durably taken over what the snapshot holds: only the rest of it is kept. Atomic. */
  shrink(meta: SnapshotMeta): Promise<void>;
  /** The file's bytes as they are, in chunks, for sending. */
  readFile(meta: SnapshotMeta): AsyncIterable<Uint8Array>;
  /**
   * Lands a received file: temp directory, every block checked against the header, sync, rename. Returns the meta as
   * stored here (own directory name, size). `sizeBytes` 0: not announced, as of a stream. DL_ERR_MALFORMED if it is
   * not of the kind of machine that `replica` has.
   */
  receive(
    replica: { readonly replicaId: ReplicaId; readonly onDisk: boolean },
    meta: SnapshotMeta,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<SnapshotMeta>;
  /** Removes all of the replica's snapshots but the newest `keep` ≤ `newest.index`, and never `newest` itself. */
  prune(shardId: ShardId, replicaId: ReplicaId, newest: SnapshotMeta, keep: number): Promise<void>;
  /** Removes temporary directories and snapshots that no record names. At start, before replicas run. */
  removeOrphans(recorded: ReadonlyMap<string, SnapshotMeta>): Promise<void>;
  /** Removes everything of the replica. */
  removeAll(shardId: ShardId, replicaId: ReplicaId): Promise<void>;
}
