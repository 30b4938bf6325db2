/**
 * A snapshot that is read while the machine writes it: no file, and no more memory than one block. The machine writes
 * into a sink whose promise resolves when the reader has come back for more; that is the backpressure. Made by Rsm for
 * on-disk machines, read by whoever sends it.
 *
 * Invariant: what was prepared is always saved, into nowhere if need be (the machine holds a view of an old state until
 * then), and `close` resolves only afterwards. A reader gets the whole file or an error, never an end that is early.
 */
import type { Crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { SnapshotHeader } from "./snapshot-format.js";
import { SnapshotWriter } from "./snapshot-writer.js";
import type { OnDiskStateMachine } from "./state-machine.js";
import type { SnapshotStream } from "./types.js";

export interface StreamSource {
  readonly crc32: Crc32;
  readonly header: SnapshotHeader;
  readonly sessions: Uint8Array;
  readonly machine: OnDiskStateMachine;
  readonly prepared: unknown;
}

interface Offer {
  readonly bytes: Uint8Array;
  readonly taken: () => void;
  readonly refuse: (error: unknown) => void;
}

interface Reader {
  readonly resolve: (step: IteratorResult<Uint8Array>) => void;
  readonly reject: (error: unknown) => void;
}

const END: IteratorResult<Uint8Array> = { done: true, value: undefined };

export class MachineStream implements SnapshotStream {
  readonly meta: SnapshotMeta;
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly #source: StreamSource;
  readonly #cancel = new AbortController();
  /** Resolves when the machine has let go of the prepared state: `chunks` was read to its end, or closed. */
  readonly closed: Promise<void>;
  #letGo: () => void = () => {};
  #saving: Promise<void> | undefined;
  /** Written and not read yet, or being read. */
  #offer: Offer | undefined;
  #reading = false;
  #reader: Reader | undefined;
  #ended = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(source: StreamSource) {
    this.#source = source;
    const { shardId, replicaId, index, term, membership } = source.header;
    this.meta = { shardId, replicaId, index, term, membership, sizeBytes: 0, directory: "" };
    this.closed = new Promise((resolve) => {
      this.#letGo = resolve;
    });
    const next = (): Promise<IteratorResult<Uint8Array>> => this.#next();
    const stop = async (): Promise<IteratorResult<Uint8Array>> => {
      await this.close();
      return END;
    };
    this.chunks = { [Symbol.asyncIterator]: () => ({ next, return: stop }) };
  }

  close(): Promise<void> {
    const error = new OpError("DL_ERR_CANCELED", "the snapshot stream was closed");
    this.#cancel.abort(error);
    this.#offer?.refuse(error);
    this.#offer = undefined;
    this.#saving ??= this.#save();
    return this.#saving;
  }

  #next(): Promise<IteratorResult<Uint8Array>> {
    // Who comes back for more is done with what came last.
    if (this.#reading) {
      const done = this.#offer;
      this.#reading = false;
      this.#offer = undefined;
      done?.taken();
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#saving ??= this.#save();
      this.#meet();
    });
  }

  /** Never rejects: how it ended is told to the reader. */
  async #save(): Promise<void> {
    const { crc32, header, sessions, machine, prepared } = this.#source;
    const writer = new SnapshotWriter(crc32, (bytes) => this.#write(bytes));
    let saved = false;
    try {
      await writer.begin(header, sessions);
      saved = true;
      await machine.saveSnapshot(prepared, writer, this.#cancel.signal);
      await writer.finish();
      this.#ended = true;
    } catch (error) {
      this.#failure = { error: this.#cancel.signal.aborted ? this.#cancel.signal.reason : error };
      if (!saved) await machine.saveSnapshot(prepared, writer, this.#cancel.signal).catch(() => {});
    }
    this.#letGo();
    this.#meet();
  }

  #write(bytes: Uint8Array): Promise<void> {
    if (this.#cancel.signal.aborted) return Promise.reject(this.#cancel.signal.reason);
    return new Promise((taken, refuse) => {
      this.#offer = { bytes, taken, refuse };
      this.#meet();
    });
  }

  /** Brings what was written and who reads together. */
  #meet(): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    if (this.#offer !== undefined) {
      this.#reader = undefined;
      this.#reading = true;
      reader.resolve({ done: false, value: this.#offer.bytes });
    } else if (this.#failure !== undefined || this.#ended) {
      this.#reader = undefined;
      if (this.#failure !== undefined) reader.reject(this.#failure.error);
      else reader.resolve(END);
    }
  }
}
