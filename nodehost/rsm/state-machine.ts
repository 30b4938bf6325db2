/**
 * What an application brings: a state machine of one of three kinds. Drumline keeps it replicated.
 *
 * Contract for all kinds: `update` is deterministic (same entries, same order, same results and state on every
 * replica): no clock, no randomness, no iteration order that depends on insertion by I/O. Its bytes (`cmd`) are a view
 * that is valid during the call only. An error thrown by `update` fences this replica; refuse bad commands with a
 * result instead. `lookup` never changes state.
 */

/** What `update` answers; small. `value` is a safe integer. */
export interface Result {
  readonly value: number;
  readonly data?: Uint8Array;
}

export interface SmEntry {
  readonly index: number;
  readonly cmd: Uint8Array;
}

/** Where a snapshot's bytes go. Awaiting `write` is the backpressure. */
export interface SnapshotSink {
  write(bytes: Uint8Array): Promise<void>;
}

/** Where a snapshot's bytes come from, in chunks of any size. */
export type SnapshotSource = AsyncIterable<Uint8Array>;

/** In memory; starts empty; rebuilt from snapshot and log. While it saves a snapshot no update runs. */
export interface StateMachine {
  update(entry: SmEntry): Result | Promise<Result>;
  lookup(query: unknown): unknown;
  /** Must give way to the event loop at least every 10 ms (await the sink, or a timer). */
  saveSnapshot(sink: SnapshotSink, signal: AbortSignal): Promise<void>;
  recoverFromSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<void>;
  close(): void | Promise<void>;
  /** Hash of the whole state as text; equal on all replicas at equal applied index. Used by checks. */
  getHash?(): string;
}

/** In memory, with snapshots taken while updates go on. */
export interface ConcurrentStateMachine {
  /** One result per entry, in order. */
  update(entries: readonly SmEntry[]): readonly Result[] | Promise<readonly Result[]>;
  lookup(query: unknown): unknown;
  /** Quick and synchronous with updates: fixes the state that `saveSnapshot` will write. */
  prepareSnapshot(): unknown;
  saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void>;
  recoverFromSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<void>;
  close(): void | Promise<void>;
  getHash?(): string;
}

/**
 * On disk: keeps its own state, and the index of the last entry in it, over restarts. Dragonboat's contract of the same
 * name, with sessions. Entries it holds already are never given to it again, so the log needs no full snapshots: a
 * full one is made only to be sent to a replica that lacks entries, or to be exported.
 *
 * The machine's part:
 * - The state and the index of the last entry in it become durable together, atomically. A crash may lose the newest
 *   updates, any number of them back to the last `sync`, never one in the middle.
 * - A crash within `recoverFromSnapshot` may leave anything, as long as the next `open` answers an index below that of
 *   the snapshot (0, or the old index): it is then recovered again.
 * - At most one `update`, one `sync` and one `saveSnapshot` run at a time. `update` goes on during the other two;
 *   nothing runs during `open`, `recoverFromSnapshot` and `close`, and `lookup` not before `open`.
 */
export interface OnDiskStateMachine {
  /** First call, once. Answers the index of the last entry that the durable state holds, 0 if there is none. */
  open(signal: AbortSignal): Promise<number>;
  /** One result per entry, in order. May leave durability to `sync`. */
  update(entries: readonly SmEntry[]): readonly Result[] | Promise<readonly Result[]>;
  lookup(query: unknown): unknown;
  /** Resolves when everything updated before the call is durable. A rejection fences the replica. */
  sync(): Promise<void>;
  /** Quick and synchronous with updates: fixes the state that `saveSnapshot` will write. */
  prepareSnapshot(): unknown;
  /** Writes the state as prepared, with its index. Always follows `prepareSnapshot`, maybe with an aborted signal. */
  saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void>;
  /** Replaces the whole state, and the index, by those of the stream. Need not be durable: `sync` follows. */
  recoverFromSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<void>;
  close(): void | Promise<void>;
  /** As above. May be asked at any index. */
  getHash?(): string;
}

/** Where an on-disk machine keeps its state. */
export interface MachinePlace {
  /** Its own directory, which exists; removed with the replica's data. */
  readonly dataDir: string;
}

export type StateMachineFactory = (shardId: number, replicaId: number) => StateMachine;
export type ConcurrentStateMachineFactory = (shardId: number, replicaId: number) => ConcurrentStateMachine;
export type OnDiskStateMachineFactory = (shardId: number, replicaId: number, place: MachinePlace) => OnDiskStateMachine;

/** A named factory that a NodeHost process registers, so that the master can ask it to run shards of this app. */
export type App =
  | { readonly name: string; readonly kind: "memory"; create(shardId: number, replicaId: number): StateMachine }
  | {
      readonly name: string;
      readonly kind: "concurrent";
      create(shardId: number, replicaId: number): ConcurrentStateMachine;
    }
  | {
      readonly name: string;
      readonly kind: "onDisk";
      create(shardId: number, replicaId: number, place: MachinePlace): OnDiskStateMachine;
    };
