/**
 * The replicated state machine manager of one replica: drives the application's machine through the committed log,
 * keeps the membership and the client sessions as applied, and orders apply, save and restore. Driven by the engine
 * (see ReplicaStateMachine).
 *
 * Invariants: entries are applied once each, in index order, one outstanding update at a time; `applied` and
 * `membership` move together with the sessions, so that a snapshot carries those of its index (P33, P36); a memory
 * machine is not updated while it is saved, no machine while it is restored; the snapshot of an on-disk machine is
 * written only when the machine is synced to it; after a MachineFailure nothing runs any more.
 * The code is split: what one entry does is in apply.ts, jobs that exclude each other are in jobs.ts, what only on-disk
 * machines need in disk-machine.ts.
 */
import { assert } from "../../shared/assert.js";
import type { EntryBlock } from "../../shared/codec/block.js";
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { Applier } from "./apply.js";
import { isDiskFull } from "./disk-errors.js";
import { DiskMachine } from "./disk-machine.js";
import { GuardedSource } from "./guarded-source.js";
import { type Job, Jobs } from "./jobs.js";
import { membershipHash } from "./members.js";
import type { DiskSnapshot, SnapshotHeader } from "./snapshot-format.js";
import { MachineStream } from "./snapshot-stream.js";
import type { OnDiskStateMachine, SnapshotSink } from "./state-machine.js";
import type { FoundState, MachineFailure, ReplicaStateMachine, RsmOptions, SnapshotStream } from "./types.js";

const DISK_FULL_RETRY_MS = 1_000;

export class Rsm implements ReplicaStateMachine {
  readonly #options: RsmOptions;
  readonly #applier: Applier;
  readonly #disk: DiskMachine | undefined;
  readonly #jobs = new Jobs();
  #saving: Job | undefined;
  #streaming: Job | undefined;
  #restoring = false;
  /** Index of the newest snapshot saved or restored. */
  #snapshotIndex: Index = 0;
  #closing: Promise<void> | undefined;

  constructor(options: RsmOptions) {
    this.#options = options;
    this.#applier = new Applier(options);
    const { machine: owned, store } = options;
    const { disk } = this.#applier;
    if (owned.kind === "onDisk" && disk !== undefined) this.#disk = new DiskMachine(owned.machine, disk, store);
  }

  get onDisk(): boolean {
    return this.#disk !== undefined;
  }

  get applied(): Index {
    return this.#applier.applied;
  }

  get appliedTerm(): Term {
    return this.#applier.appliedTerm;
  }

  get membership(): Membership {
    return this.#applier.membership;
  }

  get backlog(): number {
    return this.#applier.backlog;
  }

  async start(found: FoundState, signal: AbortSignal): Promise<void> {
    try {
      await this.#disk?.open(found, signal);
    } catch (error) {
      const failure = this.#applier.fail(0, `the machine cannot be opened: ${errorText(error)}`);
      throw isOpError(error) ? error : failure;
    }
    if (found.snapshot !== undefined) await this.#restore(found.snapshot, signal, undefined);
  }

  enqueue(blocks: readonly EntryBlock[]): void {
    this.#throwFailure();
    for (const block of blocks) this.#applier.enqueue(block);
  }

  run(budgetMs: number): "idle" | "more" | Promise<void> {
    this.#throwFailure();
    if (this.#closing !== undefined) return "idle";
    return this.#applier.updating ?? this.#jobs.held() ?? this.#applier.run(budgetMs);
  }

  lookup(query: unknown): unknown {
    this.#refuseIfDown();
    if (this.#restoring) throw new OpError("DL_ERR_SHARD_NOT_READY", "a snapshot is being restored");
    const { kind, machine } = this.#options.machine;
    const updating = this.#applier.updating;
    // A memory machine is not asked while it is changed: the answer waits for the update.
    if (kind !== "memory" || updating === undefined) return machine.lookup(query);
    return updating.then(
      () => this.lookup(query),
      () => this.lookup(query),
    );
  }

  async saveSnapshot(signal: AbortSignal): Promise<SnapshotMeta> {
    this.#refuseIfDown();
    if (this.#saving !== undefined || this.#restoring) {
      throw new OpError("DL_ERR_SYSTEM_BUSY", "a snapshot of this replica is already being saved or restored");
    }
    return this.#jobs.run(signal, async (job) => {
      this.#saving = job;
      try {
        return await this.#save(job);
      } finally {
        this.#saving = undefined;
      }
    });
  }

  async sync(): Promise<void> {
    this.#refuseIfDown();
    if (!this.#restoring) await this.#syncDisk();
  }

  async streamSnapshot(signal: AbortSignal): Promise<SnapshotStream> {
    this.#refuseIfDown();
    const { machine: owned } = this.#options;
    if (owned.kind !== "onDisk") throw new OpError("DL_ERR_INVALID_OPERATION", "only on-disk machines are streamed");
    if (this.#streaming !== undefined || this.#restoring) {
      throw new OpError("DL_ERR_SYSTEM_BUSY", "a snapshot of this replica is already being sent or restored");
    }
    return new Promise((resolve, reject) => {
      this.#jobs.run(signal, (job) => this.#stream(owned.machine, job, resolve)).catch(reject);
    });
  }

  restore(meta: SnapshotMeta, signal: AbortSignal): Promise<void> {
    return this.#restore(meta, signal, this.#options.wait);
  }

  async #restore(meta: SnapshotMeta, signal: AbortSignal, wait: RsmOptions["wait"]): Promise<void> {
    this.#refuseIfDown();
    assert(meta.index >= this.applied, `restore of ${meta.index} below applied ${this.applied}`); // P32
    assert(!this.#restoring, "two restores at once");
    this.#restoring = true;
    await this.#jobs.run(signal, async (job) => {
      const release = this.#jobs.hold();
      try {
        // Nobody needs the snapshot of a state that is about to be replaced.
        await this.#saving?.abort();
        await this.#streaming?.abort();
        await this.#settled();
        await this.#disk?.settled();
        this.#refuseIfDown();
        await this.#recover(meta, job.signal, wait);
      } finally {
        this.#restoring = false;
        release();
      }
    });
  }

  hash(): string | undefined {
    const down = this.#closing !== undefined || this.#applier.failure !== undefined;
    if (down || this.#restoring || this.#applier.updating !== undefined) return undefined;
    if (this.#behindDisk) return undefined;
    return this.#options.machine.machine.getHash?.();
  }

  membershipHash(): string {
    return membershipHash(this.membership);
  }

  sessionHash(): string | undefined {
    const down = this.#closing !== undefined || this.#applier.failure !== undefined;
    if (down || this.#restoring || this.#applier.updating !== undefined) return undefined;
    return this.#applier.sessions.hash();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#applier.stop();
    await this.#jobs.abortAll();
    await this.#settled();
    await this.#disk?.settled();
    await this.#options.machine.machine.close();
  }

  /** Waits for the update in flight, whatever becomes of it. */
  async #settled(): Promise<void> {
    while (this.#applier.updating !== undefined) {
      await this.#applier.updating.catch(() => {});
    }
  }

  async #save(job: Job): Promise<SnapshotMeta> {
    const { machine: owned, store } = this.#options;
    const release = this.#jobs.hold();
    try {
      await this.#settled();
      this.#refuseIfDown();
      job.signal.throwIfAborted();
      const index = this.applied;
      if (index <= this.#snapshotIndex) throw new OpError("DL_ERR_NO_SNAPSHOT", `applied index is ${index}`);
      const header = this.#newHeader();
      const sessions = this.#applier.sessions.encode();
      let stored: SnapshotMeta;
      if (owned.kind === "memory") {
        const save = (sink: SnapshotSink): Promise<void> => owned.machine.saveSnapshot(sink, job.signal);
        stored = await store.create(header, save, job.signal, sessions);
      } else if (owned.kind === "onDisk") {
        const disk = this.#diskFacts(true);
        release();
        await this.#syncDisk();
        stored = await store.create({ ...header, disk }, async () => {}, job.signal, sessions);
      } else {
        const prepared = owned.machine.prepareSnapshot();
        release();
        stored = await this.#savePrepared(header, { sessions, prepared }, job);
      }
      this.#snapshotIndex = Math.max(this.#snapshotIndex, index);
      return stored;
    } finally {
      release();
    }
  }

  /**
   * What was prepared is always saved, into nowhere if need be: the machine holds a view of an old state until then.
   */
  async #savePrepared(
    header: SnapshotHeader,
    state: { readonly sessions: Uint8Array; readonly prepared: unknown },
    job: Job,
  ): Promise<SnapshotMeta> {
    const { sessions, prepared } = state;
    const { machine: owned, store } = this.#options;
    assert(owned.kind === "concurrent", "only concurrent machines prepare snapshots");
    let saved = false;
    const save = (sink: SnapshotSink): Promise<void> => {
      saved = true;
      return owned.machine.saveSnapshot(prepared, sink, job.signal);
    };
    try {
      return await store.create(header, save, job.signal, sessions);
    } catch (error) {
      if (!saved) {
        const nowhere: SnapshotSink = { write: () => Promise.reject(error) };
        await owned.machine.saveSnapshot(prepared, nowhere, AbortSignal.abort(error)).catch(() => {});
      }
      throw error;
    }
  }

  async #syncDisk(): Promise<void> {
    try {
      await this.#disk?.sync();
    } catch (error) {
      // A full disk may have room again; otherwise nobody knows what the machine still holds.
      if (isDiskFull(error)) throw new OpError("DL_ERR_DISK_FULL", errorText(error), { cause: error });
      throw this.#applier.fail(this.applied, `the machine cannot be synced: ${errorText(error)}`);
    }
  }

  /** Lasts until the stream is closed, so that close and restore wait for it. */
  async #stream(machine: OnDiskStateMachine, job: Job, opened: (stream: SnapshotStream) => void): Promise<void> {
    this.#streaming = job;
    try {
      const stream = await this.#openStream(machine, job.signal);
      job.signal.addEventListener("abort", () => void stream.close());
      opened(stream);
      await stream.closed;
    } finally {
      this.#streaming = undefined;
    }
  }

  async #openStream(machine: OnDiskStateMachine, signal: AbortSignal): Promise<MachineStream> {
    const release = this.#jobs.hold();
    try {
      await this.#settled();
      this.#refuseIfDown();
      signal.throwIfAborted();
      // Its state is ahead of membership and sessions as applied.
      if (this.#behindDisk) throw new OpError("DL_ERR_SHARD_NOT_READY", "the log is still being walked through");
      const header = { ...this.#newHeader(), disk: this.#diskFacts(false) };
      const sessions = this.#applier.sessions.encode();
      const { crc32 } = this.#options;
      return new MachineStream({ crc32, header, sessions, machine, prepared: machine.prepareSnapshot() });
    } finally {
      release();
    }
  }

  get #behindDisk(): boolean {
    return this.applied < (this.#applier.disk?.held ?? 0);
  }

  #newHeader(): SnapshotHeader {
    const { shardId, replicaId } = this.#options;
    return { shardId, replicaId, index: this.applied, term: this.appliedTerm, membership: this.membership };
  }

  #diskFacts(shrunk: boolean): DiskSnapshot | undefined {
    const { disk } = this.#applier;
    return disk === undefined ? undefined : { machineIndex: disk.checkpointIndex(this.applied), shrunk };
  }

  async #recover(meta: SnapshotMeta, signal: AbortSignal, wait: RsmOptions["wait"]): Promise<void> {
    for (;;) {
      try {
        await this.#recoverOnce(meta, signal);
        break;
      } catch (error) {
        if (wait === undefined || !isDiskFull(error)) {
          // The state is neither the old nor the new one: this replica must not go on.
          const failure = this.#applier.fail(meta.index, `snapshot cannot be restored: ${errorText(error)}`);
          throw isOpError(error) ? error : failure;
        }
        await wait(DISK_FULL_RETRY_MS);
      }
    }
    await this.#disk?.shrink(meta);
    this.#applier.restoredTo(meta);
    this.#snapshotIndex = meta.index;
  }

  async #recoverOnce(meta: SnapshotMeta, signal: AbortSignal): Promise<void> {
    const { machine: owned, store } = this.#options;
    let sessions: Uint8Array = new Uint8Array(0);
    const onSessions = (area: Uint8Array): void => {
      sessions = area;
    };
    const source = new GuardedSource(store.load(meta, onSessions));
    try {
      signal.throwIfAborted();
      if (owned.kind === "onDisk") await this.#disk?.recover(meta, source, signal);
      else await owned.machine.recoverFromSnapshot(source, signal);
      signal.throwIfAborted();
      await source.finish();
    } catch (error) {
      throw source.error ?? error;
    }
    this.#applier.sessions.restore(sessions);
  }

  #throwFailure(): void {
    const failure: MachineFailure | undefined = this.#applier.failure;
    if (failure !== undefined) throw failure;
  }

  #refuseIfDown(): void {
    this.#throwFailure();
    if (this.#closing !== undefined) throw new OpError("DL_ERR_SHARD_CLOSED", `shard ${this.#options.shardId}`);
  }
}
