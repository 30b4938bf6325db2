/**
 * A kv state as a stream, version 1: u32 magic "KVS1", u64 pairs, text hash; then each pair: u16 key length, u32 value
 * length, key, value, in no particular order. Written from a view in small slices, with the sink awaited after each;
 * read back in chunks of any size, with count and hash checked at the end.
 */
import { ByteReader, ByteWriter, MalformedError } from "../../../shared/codec/bytes.js";
import type { SnapshotSink, SnapshotSource } from "../../rsm/state-machine.js";
import { KV_VALUE_BYTES_MAX } from "./kv-codec.js";
import { KvStore } from "./kv-store.js";

const MAGIC = 0x3153564b;
const PAIR_HEADER_BYTES = 6;
/** A slice of work between two waits: well below 10 ms. */
export const KV_SLICE_STEPS = 1024;
const SLICE_BYTES = 64 * 1024;
/** A sink that only fills a buffer does not give way to the event loop: after so many slices, `giveWay` is asked. */
const SLICES_PER_TURN = 8;

export interface KvSaveOptions {
  readonly signal: AbortSignal;
  /** Resolves after the event loop had a turn. Without it, awaiting the sink has to do. */
  readonly giveWay: (() => Promise<void>) | undefined;
  /** False ends the save: the view was replaced by a newer one. */
  readonly isOpen: () => boolean;
}

/** A state as of a moment. */
export interface KvSnapshotView {
  readonly count: number;
  readonly hash: string;
  /** Each pair once; undefined is a step that has none, so that work can be bounded by steps. */
  pairs(): Iterable<{ readonly key: string; readonly value: string } | undefined>;
}

export async function writeKvSnapshot(view: KvSnapshotView, sink: SnapshotSink, options: KvSaveOptions): Promise<void> {
  const header = new ByteWriter(64).u32(MAGIC).u64(view.count).text(view.hash);
  options.signal.throwIfAborted();
  await sink.write(header.finish());
  const slice = new Slice(sink);
  let steps = 0;
  let slices = 0;
  for (const pair of view.pairs()) {
    steps += 1;
    if (pair !== undefined) {
      slice.pairHeader(pair.key.length, pair.value.length);
      for (const text of [pair.key, pair.value]) {
        const long = slice.text(text);
        if (long !== undefined) await long;
      }
    }
    if (steps < KV_SLICE_STEPS && !slice.full) continue;
    steps = 0;
    slices += 1;
    await slice.flush();
    if (slices % SLICES_PER_TURN === 0) await options.giveWay?.();
    options.signal.throwIfAborted();
    if (!options.isOpen()) throw new Error("a newer snapshot was prepared while this one was saved");
  }
  await slice.flush();
}

/** One reused buffer between the pairs and the sink. */
class Slice {
  readonly #sink: SnapshotSink;
  readonly #bytes = Buffer.alloc(SLICE_BYTES + PAIR_HEADER_BYTES);
  #length = 0;

  constructor(sink: SnapshotSink) {
    this.#sink = sink;
  }

  get full(): boolean {
    return this.#length >= SLICE_BYTES;
  }

  /** There is always room for one header. */
  pairHeader(keyLength: number, valueLength: number): void {
    this.#bytes.writeUInt16LE(keyLength, this.#length);
    this.#bytes.writeUInt32LE(valueLength, this.#length + 2);
    this.#length += PAIR_HEADER_BYTES;
  }

  /** Characters as bytes; resolves at once (no promise) if they fit. */
  text(text: string): Promise<void> | undefined {
    if (text.length > this.#bytes.length - PAIR_HEADER_BYTES - this.#length) return this.#long(text);
    this.#length += this.#bytes.write(text, this.#length, "latin1");
    return undefined;
  }

  async flush(): Promise<void> {
    if (this.#length === 0) return;
    await this.#sink.write(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
  }

  async #long(text: string): Promise<void> {
    await this.flush();
    for (let at = 0; at < text.length; at += SLICE_BYTES) {
      this.#length = this.#bytes.write(text.slice(at, at + SLICE_BYTES), 0, "latin1");
      if (at + SLICE_BYTES < text.length) await this.flush();
    }
  }
}

/** Throws MalformedError if the stream is not a whole snapshot. */
export async function readKvSnapshot(
  source: SnapshotSource,
  options: Pick<KvSaveOptions, "signal" | "giveWay">,
): Promise<KvStore> {
  const store = new KvStore();
  const decoder = new KvSnapshotDecoder((key, value) => store.set(key, value.toString("latin1"), value));
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      options.signal.throwIfAborted();
      decoder.feed(chunk.subarray(at, at + SLICE_BYTES));
      await options.giveWay?.();
    }
  }
  const { count, hash } = decoder.finish();
  checkKvSnapshot({ count: store.size, hash: store.hash() }, { count, hash });
  return store;
}

/** Throws MalformedError if what was read is not what the snapshot's head says. */
export function checkKvSnapshot(found: KvSnapshotHead, head: KvSnapshotHead): void {
  if (found.count !== head.count) throw new MalformedError(`kv snapshot of ${found.count} pairs, not ${head.count}`);
  if (found.hash !== head.hash) throw new MalformedError(`kv snapshot hash is ${found.hash}, not ${head.hash}`);
}

export interface KvSnapshotHead {
  readonly count: number;
  readonly hash: string;
}

/** Takes a snapshot in chunks of any size; hands out each pair as it is whole. The value is valid during the call. */
export class KvSnapshotDecoder {
  readonly #onPair: (key: string, value: Buffer) => void;
  /** Incomplete rest of what was fed, in pieces, and how many bytes the next item needs at least. */
  #pieces: Buffer[] = [];
  #have = 0;
  #need = 14;
  #header: KvSnapshotHead | undefined;

  constructor(onPair: (key: string, value: Buffer) => void) {
    this.#onPair = onPair;
  }

  feed(chunk: Uint8Array): void {
    this.#pieces.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
    this.#have += chunk.length;
    if (this.#have < this.#need) {
      this.#own();
      return;
    }
    const bytes = this.#pieces.length === 1 ? (this.#pieces[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#pieces);
    let at = 0;
    for (let used = this.#item(bytes, at); used > 0; used = this.#item(bytes, at)) at += used;
    this.#pieces = at < bytes.length ? [bytes.subarray(at)] : [];
    this.#have = bytes.length - at;
    this.#own();
  }

  /** All was fed. What the pairs must come to is for the caller to check. */
  finish(): KvSnapshotHead {
    if (this.#header === undefined || this.#have > 0) throw new MalformedError("kv snapshot ends within an item");
    return this.#header;
  }

  /** The source's buffer is not ours to keep. */
  #own(): void {
    const last = this.#pieces.pop();
    if (last !== undefined) this.#pieces.push(Buffer.from(last));
  }

  /** Length of the item decoded at `at`; 0 if it is not whole, with `need` set. */
  #item(bytes: Buffer, at: number): number {
    const have = bytes.length - at;
    if (this.#header === undefined) return this.#readHeader(bytes, have);
    this.#need = PAIR_HEADER_BYTES;
    if (have < PAIR_HEADER_BYTES) return 0;
    const keyLength = bytes.readUInt16LE(at);
    const valueLength = bytes.readUInt32LE(at + 2);
    if (valueLength > KV_VALUE_BYTES_MAX) throw new MalformedError(`kv value of ${valueLength} bytes`);
    this.#need = PAIR_HEADER_BYTES + keyLength + valueLength;
    if (have < this.#need) return 0;
    const valueAt = at + PAIR_HEADER_BYTES + keyLength;
    const key = bytes.toString("latin1", at + PAIR_HEADER_BYTES, valueAt);
    this.#onPair(key, bytes.subarray(valueAt, valueAt + valueLength));
    return this.#need;
  }

  #readHeader(bytes: Buffer, have: number): number {
    const r = new ByteReader(bytes);
    if (r.u32() !== MAGIC) throw new MalformedError("this is not a kv snapshot");
    const count = r.u64();
    this.#need = 14 + bytes.readUInt16LE(12);
    if (have < this.#need) return 0;
    this.#header = { count, hash: r.text() };
    return r.offset;
  }
}
