/**
 * What an on-disk machine needs beside being updated: it is opened, judged against the log, synced before anything
 * relies on it, recovered from a snapshot that came as a stream, and read as one. Used by Rsm, which decides when.
 *
 * Invariants: one sync and one stream at a time. A received snapshot is shrunk only when the machine holds its state
 * durably: until then the file is what the machine is recovered from after a crash (P30).
 */
import { OpError } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { checkOpened, type DiskProgress } from "./disk-progress.js";
import type { GuardedSource } from "./guarded-source.js";
import type { DiskSnapshot } from "./snapshot-format.js";
import type { OnDiskStateMachine } from "./state-machine.js";
import type { FoundState, SnapshotStore } from "./types.js";

export class DiskMachine {
  readonly #machine: OnDiskStateMachine;
  readonly #progress: DiskProgress;
  readonly #store: SnapshotStore;
  #syncing: Promise<void> | undefined;

  constructor(machine: OnDiskStateMachine, progress: DiskProgress, store: SnapshotStore) {
    this.#machine = machine;
    this.#progress = progress;
    this.#store = store;
  }

  /** Opens the machine. DL_ERR_MACHINE_AHEAD, DL_ERR_MACHINE_BEHIND, or the machine's own error. */
  async open(found: FoundState, signal: AbortSignal): Promise<void> {
    const { snapshot, last } = found;
    const facts = snapshot === undefined ? undefined : await this.#describe(snapshot);
    const index = await this.#machine.open(signal);
    const beside = snapshot === undefined || facts === undefined ? undefined : { ...facts, index: snapshot.index };
    checkOpened(index, { last, snapshot: beside });
    this.#progress.opened(index);
  }

  /** Resolves when all entries given to the machine before the call are durable in it. */
  async sync(): Promise<void> {
    const wanted = this.#progress.machineIndex;
    while (!this.#progress.isDurable(wanted)) {
      this.#syncing ??= this.#syncOnce();
      await this.#syncing;
    }
  }

  /** Waits for the sync under way, whatever becomes of it. */
  async settled(): Promise<void> {
    while (this.#syncing !== undefined) await this.#syncing.catch(() => {});
  }

  /**
   * The machine holds, durably, what the recorded snapshot says, afterwards; `source` is its payload, which is read to
   * its end in any case. `shrink` may then be called.
   */
  async recover(meta: SnapshotMeta, source: GuardedSource, signal: AbortSignal): Promise<void> {
    const { machineIndex, shrunk } = await this.#describe(meta);
    if (machineIndex > this.#progress.machineIndex) {
      if (shrunk) throw new OpError("DL_ERR_MACHINE_BEHIND", `snapshot ${meta.index} holds no state`);
      await this.#machine.recoverFromSnapshot(source, signal);
      await source.finish();
      await this.#machine.sync();
      this.#progress.opened(machineIndex);
      return;
    }
    await source.finish();
    // It holds all of it, but maybe not durably: the log that had these entries is gone.
    await this.sync();
  }

  /** Failure is no loss: the file stays as big as it is, and the next start tries again. */
  async shrink(meta: SnapshotMeta): Promise<void> {
    await this.#store.shrink(meta).catch(() => {});
  }

  async #describe(meta: SnapshotMeta): Promise<DiskSnapshot> {
    const facts = await this.#store.describe(meta);
    if (facts !== undefined) return facts;
    throw new OpError("DL_ERR_LOGDB_CORRUPT", `snapshot ${meta.index} is not of an on-disk machine`);
  }

  async #syncOnce(): Promise<void> {
    const at: Index = this.#progress.machineIndex;
    try {
      await this.#machine.sync();
      this.#progress.synced(at);
    } finally {
      this.#syncing = undefined;
    }
  }
}
