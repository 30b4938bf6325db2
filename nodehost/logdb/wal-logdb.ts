/**
 * LogDb on a write-ahead log: one frame and one durable write per append, one in flight, queued in order. Opened by
 * `openWalLogDb` (wal-open.ts), which recovers what this class starts from.
 *
 * Invariants: memory says only what is durable (it changes when a frame's write has settled); a failed or overdue write
 * ends everything (`#fail`), because a retried one proves nothing. A full disk is met when a new segment is made,
 * before anything of the append is written.
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, FatalStorageError, isOpError, OpError } from "../../shared/errors.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { CheckpointStore } from "./checkpoint-store.js";
import type { LogDb, LogDbMetrics, LogUpdate, RecoveredReplica, Recovery, ReplicaKey } from "./port.js";
import { nameOf } from "./update-check.js";
import { type Append, prepareBatch, type Replicas } from "./wal-batch.js";
import { MovedError, readBlocks } from "./wal-reader.js";
import { Relocator } from "./wal-relocate.js";
import type { WalRange } from "./wal-replica.js";
import { FLOOR_ROW, numberRow, removedRow } from "./wal-rows.js";
import { WalWriter, type WriterStart } from "./wal-writer.js";

export interface WalMetrics extends LogDbMetrics {
  /** Durable writes of frames so far: one per append, and those of seals and checkpoints. */
  readonly durableWrites: number;
  /** Written once more so that old segments could be used again; part of bytesWritten. */
  readonly relocatedBytes: number;
}

export interface WalLogDb extends LogDb {
  metrics(): WalMetrics;
}

/** What wal-open.ts hands over. */
export interface WalStart extends WriterStart {
  readonly recovery: Recovery;
  readonly replicas: Replicas;
  /** Removed by frames, not yet rows of the checkpoint store. */
  readonly removedNow: readonly ReplicaKey[];
  readonly store: CheckpointStore;
  readonly sealAfterMs: number;
  readonly relocation: { readonly above: number; readonly bytesPerSecond: number };
  readonly onFatal: (error: FatalStorageError) => void;
}

interface Job {
  /** Called when all before it is settled. undefined: nothing to write. Throws OpError to refuse. */
  readonly make: () => Append | undefined;
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: Error) => void;
  readonly sinceMs: number;
}

export class WalLog implements WalLogDb {
  readonly #start: WalStart;
  readonly #env: Env;
  readonly #replicas: Replicas;
  readonly #writer: WalWriter;
  readonly #relocator: Relocator;
  readonly #queue: Job[] = [];
  readonly #whenIdle: (() => void)[] = [];
  #busy = false;
  #sealArmed = false;
  #retiring = false;
  #removedRows: ReplicaKey[];
  #fatal: FatalStorageError | undefined;
  #closing: Promise<void> | undefined;
  #serial = 0;
  #appends = 0;

  constructor(start: WalStart) {
    this.#start = start;
    this.#env = start.env;
    this.#replicas = start.replicas;
    this.#writer = new WalWriter(start, start.replicas.table);
    this.#removedRows = [...start.removedNow];
    this.#relocator = new Relocator({
      env: start.env,
      table: start.replicas.table,
      used: start.segments.used,
      current: () => this.#writer.segment,
      append: (make) => this.#enqueue(make),
      fail: (error) => this.#fail(error),
      ...start.relocation,
    });
  }

  recovery(): Recovery {
    return this.#start.recovery;
  }

  state(key: ReplicaKey): RecoveredReplica | undefined {
    return this.#replicas.table.get(key)?.recovered();
  }

  list(): { readonly present: readonly ReplicaKey[]; readonly removed: readonly ReplicaKey[] } {
    const present = [...this.#replicas.table.values()].map(({ shardId, replicaId }) => ({ shardId, replicaId }));
    return { present, removed: this.#replicas.removed.list() };
  }

  append(updates: readonly LogUpdate[]): Promise<number> {
    return this.#enqueue(() => {
      if (updates.length === 0) return undefined;
      this.#serial += 1;
      return prepareBatch(updates, this.#replicas, this.#serial);
    });
  }

  #enqueue(make: () => Append | undefined): Promise<number> {
    if (this.#fatal !== undefined) return Promise.reject(this.#fatal);
    if (this.#closing !== undefined) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#queue.push({ make, resolve, reject, sinceMs: this.#env.now() });
      if (!this.#busy) this.#pump();
    });
  }

  durableSequence(): number {
    return this.#writer.sequence;
  }

  async read(key: ReplicaKey, first: Index, last: Index, maxBytes: number): Promise<readonly EntryBlock[]> {
    if (this.#fatal !== undefined) throw this.#fatal;
    for (;;) {
      const replica = this.#replicas.table.get(key);
      if (replica === undefined) throw new OpError("DL_ERR_INVALID_ARGUMENT", `${nameOf(key)} is not here`);
      try {
        return await readBlocks(replica, { first, last }, maxBytes, this.#env.crc32);
      } catch (error) {
        // Compacted or moved while it was read: asked again it is refused, or read at its new place.
        if (!(error instanceof MovedError)) throw error;
      }
    }
  }

  term(key: ReplicaKey, index: Index): Term | undefined {
    return this.#replicas.table.get(key)?.log.term(index);
  }

  appendAgeMs(): number {
    const head = this.#queue[0];
    return head === undefined ? 0 : this.#env.now() - head.sinceMs;
  }

  metrics(): WalMetrics {
    const { segments, store } = this.#start;
    return {
      appends: this.#appends,
      bytesWritten: this.#writer.bytesWritten,
      segments: segments.used.length,
      diskBytes: segments.diskBytes + store.diskBytes(),
      durableWrites: this.#writer.writes,
      relocatedBytes: this.#relocator.bytesMoved,
    };
  }

  pinning(): readonly ReplicaKey[] {
    const oldest = this.#start.segments.used[0];
    const keys: ReplicaKey[] = [];
    if (oldest === undefined || oldest === this.#writer.segment) return keys;
    if (oldest.liveRanges === 0) return keys;
    for (const { log, shardId, replicaId } of this.#replicas.table.values()) {
      if (log.some((range) => range.segment === oldest)) keys.push({ shardId, replicaId });
    }
    return keys;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Part of opening: a log that has no place to go on begins a segment. */
  async begin(): Promise<void> {
    await this.#writer.rotate(0);
  }

  /** The last part of opening: from here on a last frame without a seal gets one. */
  opened(): void {
    this.#idle();
  }

  /** Part of the deadline: an operation did not settle. */
  overdue(what: string): void {
    this.#fail(new FatalStorageError(`${what} did not settle in time`, { stuck: true }));
  }

  /** Starts what waits, one append at a time. */
  #pump(): void {
    while (!this.#busy && this.#fatal === undefined) {
      const job = this.#queue[0];
      if (job === undefined) {
        this.#idle();
        return;
      }
      this.#begin(job);
    }
  }

  /** The job stays at the head of the queue until it settles. */
  #begin(job: Job): void {
    try {
      const append = job.make();
      if (append === undefined) {
        this.#queue.shift();
        job.resolve(this.#writer.sequence);
        return;
      }
      const bytes = this.#writer.frameBytes(append);
      this.#busy = true;
      if (this.#writer.fits(bytes, append.hasBlocks)) this.#write(job, append);
      else this.#writeInNext(job, append, bytes);
    } catch (error) {
      if (!isOpError(error)) throw error;
      this.#refuse(error);
    }
  }

  #write(job: Job, append: Append): void {
    const { durable, ranges } = this.#writer.write(append);
    durable.then(
      () => this.#settled(job, append, ranges),
      (error: unknown) => this.#fail(error),
    );
  }

  #writeInNext(job: Job, append: Append, bytes: number): void {
    this.#writer.rotate(bytes).then(
      () => {
        if (this.#fatal === undefined) this.#write(job, append);
      },
      (error: unknown) => {
        if (!isOpError(error) || this.#fatal !== undefined) {
          this.#fail(error);
          return;
        }
        this.#refuse(error);
        this.#pump();
      },
    );
  }

  /** Nothing of the first job was written. */
  #refuse(error: OpError): void {
    const job = this.#queue.shift();
    this.#busy = false;
    job?.reject(error);
  }

  #settled(job: Job, append: Append, ranges: readonly WalRange[]): void {
    const removed = append.apply(ranges);
    if (removed.length > 0) this.#removedRows.push(...removed);
    this.#appends += 1;
    this.#queue.shift();
    this.#busy = false;
    this.#writer.prepareAhead((error) => this.#fail(error));
    this.#retire();
    this.#relocator.check();
    job.resolve(this.#writer.sequence);
    this.#pump();
  }

  /** Lets go of the oldest segments that nothing lives in. */
  #retire(): void {
    const { segments } = this.#start;
    const { used } = segments;
    const current = this.#writer.segment;
    if (this.#retiring || used[0] === current || used[0]?.liveRanges !== 0) return;
    const count = used.findIndex((segment) => segment === current || segment.liveRanges > 0);
    this.#retiring = true;
    segments.retire(count, this.#takeRows()).then(
      () => {
        this.#retiring = false;
      },
      (error: unknown) => this.#fail(error),
    );
  }

  /** Rows that must be durable before the frames that say the same are gone. */
  #takeRows(): { key: string; value: Uint8Array }[] {
    const value = numberRow(this.#writer.sequence);
    const rows = this.#removedRows.map((key) => ({ key: removedRow(key), value }));
    this.#removedRows = [];
    return [...rows, { key: FLOOR_ROW, value }];
  }

  #idle(): void {
    for (const resolve of this.#whenIdle.splice(0)) resolve();
    if (!this.#writer.sealed && !this.#sealArmed && this.#closing === undefined) {
      this.#armSeal(this.#start.sealAfterMs);
    }
  }

  #armSeal(delayMs: number): void {
    this.#sealArmed = true;
    this.#env.timers.after(delayMs, () => {
      this.#sealArmed = false;
      if (this.#busy || this.#writer.sealed || this.#fatal !== undefined || this.#closing !== undefined) return;
      const restMs = this.#writer.lastWriteMs + this.#start.sealAfterMs - this.#env.now();
      if (restMs > 0) this.#armSeal(restMs);
      else this.#seal();
    });
  }

  #seal(): void {
    const durable = this.#writer.seal();
    if (durable === undefined) return;
    this.#busy = true;
    durable.then(
      () => {
        this.#busy = false;
        this.#pump();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  async #close(): Promise<void> {
    const relocated = this.#relocator.stop();
    // After a failure a read may never settle: nobody waits for it.
    if (this.#fatal === undefined) await relocated;
    await this.#becomeIdle();
    if (this.#fatal === undefined && !this.#writer.sealed) this.#seal();
    await this.#becomeIdle();
    if (this.#fatal === undefined) {
      try {
        await this.#start.segments.commit(this.#takeRows());
      } catch (error) {
        this.#fail(error);
      }
    }
    this.#start.watch.stop();
    const released = this.#release();
    // After a failure an operation may never settle: nobody waits for it.
    if (this.#fatal === undefined) await released;
  }

  async #becomeIdle(): Promise<void> {
    if (this.#busy && this.#fatal === undefined) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  async #release(): Promise<void> {
    const { segments, store } = this.#start;
    try {
      await segments.idle();
      await segments.closeFiles();
      await store.close();
    } catch (error) {
      this.#env.logger.warn({ error: errorText(error) }, "closing the log failed");
    }
  }

  #fail(cause: unknown): void {
    if (this.#fatal !== undefined) return;
    const stuck = cause instanceof FatalStorageError && cause.stuck;
    const error = new FatalStorageError(`the log cannot be written: ${errorText(cause)}`, { cause, stuck });
    this.#fatal = error;
    this.#writer.stop();
    this.#relocator.stop().catch(() => undefined);
    this.#start.watch.stop();
    for (const { reject } of this.#queue.splice(0)) reject(error);
    for (const resolve of this.#whenIdle.splice(0)) resolve();
    this.#start.onFatal(error);
  }
}

function closed(): OpError {
  return new OpError("DL_ERR_CLOSED", "the log is closed", { outcome: "rejected" });
}
