/**
 * The app `kv`: a key-value map in memory. Bytes in, bytes out (kv-codec.ts, kv-commands.ts). Snapshots are taken while
 * updates go on and cost only the pairs that change meanwhile (kv-store.ts).
 *
 * Invariants: `update` never throws on any command bytes and is deterministic; the state hash is kept up with each
 * update.
 */
import type { App, ConcurrentStateMachine, Result, SmEntry, SnapshotSink, SnapshotSource } from "../../rsm/index.js";
import { answerKvQuery, applyKvCommand } from "./kv-commands.js";
import { readKvSnapshot, writeKvSnapshot } from "./kv-snapshot.js";
import { KvStore, KvView } from "./kv-store.js";

export interface KvOptions {
  /** Resolves after the event loop had a turn (a timer); used while a snapshot is saved or restored. */
  readonly giveWay?: () => Promise<void>;
}

export function kvApp(options: KvOptions = {}): App {
  return { name: "kv", kind: "concurrent", create: () => new KvMachine(options) };
}

export class KvMachine implements ConcurrentStateMachine {
  readonly #options: KvOptions;
  #store = new KvStore();

  constructor(options: KvOptions = {}) {
    this.#options = options;
  }

  update(entries: readonly SmEntry[]): readonly Result[] {
    return entries.map((entry) => applyKvCommand(this.#store, entry.cmd));
  }

  lookup(query: unknown): Uint8Array {
    return answerKvQuery(this.#store, query);
  }

  prepareSnapshot(): KvView {
    return this.#store.openView();
  }

  async saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void> {
    if (!(prepared instanceof KvView)) throw new TypeError("kv: this was not prepared by prepareSnapshot");
    const store = this.#store;
    try {
      const { giveWay } = this.#options;
      await writeKvSnapshot(prepared, sink, { signal, giveWay, isOpen: () => store.isOpen(prepared) });
    } finally {
      store.closeView(prepared);
    }
  }

  async recoverFromSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<void> {
    this.#store = await readKvSnapshot(source, { signal, giveWay: this.#options.giveWay });
  }

  close(): void {
    this.#store = new KvStore();
  }

  getHash(): string {
    return this.#store.hash();
  }
}
