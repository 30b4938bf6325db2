/**
 * MasterDb: shard 0 as a state machine of the engine (it has the methods of a ConcurrentStateMachine; the type is
 * written out here because this folder knows nothing of the engine). Reads get an immutable MasterView.
 *
 * The two snapshot methods are the only asynchronous code of this folder: their signatures are the engine's.
 * Made by master/loop's factory, driven by the NodeHost of a master process.
 */

import { encodeResult, type MachineResult } from "./result.js";
import { encodeSnapshot, SnapshotDecoder, stateHash } from "./snapshot.js";
import { MasterState, type MasterView } from "./state.js";
import { applyBytes } from "./update.js";

interface Entry {
  readonly index: number;
  readonly cmd: Uint8Array;
}

interface Sink {
  // biome-ignore lint/style/noRestrictedGlobals: the signature is the engine's
  write(bytes: Uint8Array): Promise<void>;
}

export class MasterDb {
  #state = new MasterState();
  #view: MasterView | undefined;
  #onApplied: (() => void) | undefined;

  /** `onApplied` is called after each batch: the leader loop replans, followers publish nothing. */
  constructor(onApplied?: () => void) {
    this.#onApplied = onApplied;
  }

  /** One result per entry, in order; see result.ts for its bytes. */
  update(entries: readonly Entry[]): readonly MachineResult[] {
    this.#view = undefined;
    const results = entries.map((entry) => encodeResult(applyBytes(this.#state, entry.cmd)));
    this.#onApplied?.();
    return results;
  }

  /** Any query answers the whole state as an immutable view (cheap, see table.ts); "hash" answers its hash. */
  lookup(query: unknown): MasterView | string {
    return query === "hash" ? this.getHash() : this.view();
  }

  /** The state as of the last applied entry. The same object until the next update. */
  view(): MasterView {
    this.#view ??= this.#state.view();
    return this.#view;
  }

  prepareSnapshot(): MasterView {
    return this.view();
  }

  // biome-ignore lint/style/noRestrictedGlobals: the signature is the engine's
  async saveSnapshot(prepared: unknown, sink: Sink, signal: AbortSignal): Promise<void> {
    // What prepareSnapshot returned comes back untyped.
    for (const chunk of encodeSnapshot(prepared as MasterView)) {
      signal.throwIfAborted();
      await sink.write(chunk);
    }
  }

  // biome-ignore lint/style/noRestrictedGlobals: the signature is the engine's
  async recoverFromSnapshot(source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const decoder = new SnapshotDecoder();
    for await (const chunk of source) {
      signal.throwIfAborted();
      decoder.push(chunk);
    }
    // Only a whole snapshot replaces the state.
    this.#state = decoder.finish();
    this.#view = undefined;
    this.#onApplied?.();
  }

  close(): void {
    this.#onApplied = undefined;
  }

  getHash(): string {
    return stateHash(this.view());
  }
}
