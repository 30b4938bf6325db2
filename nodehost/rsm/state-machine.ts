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

export type StateMachineFactory = (shardId: number, replicaId: number) => StateMachine;
export type ConcurrentStateMachineFactory = (shardId: number, replicaId: number) => ConcurrentStateMachine;

/** A named factory that a NodeHost process registers, so that the master can ask it to run shards of this app. */
export type App =
  | { readonly name: string; readonly kind: "memory"; create(shardId: number, replicaId: number): StateMachine }
  | {
      readonly name: string;
      readonly kind: "concurrent";
      create(shardId: number, replicaId: number): ConcurrentStateMachine;
    };
