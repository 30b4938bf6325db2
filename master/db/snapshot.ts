/**
 * Snapshot of shard 0: a stream of records `u8 section, u32 length, body`, begun by a header and ended by a record with
 * counts, cut into chunks of at most 64 KiB. Encoding reads a frozen view, so commands go on meanwhile; decoding takes
 * chunks of any size. Equal states give equal bytes: the state hash is a hash of them.
 *
 * Called by MasterDb. Integrity of the bytes on disk and wire is the engine's (block CRCs).
 */
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { hex32 } from "../../shared/codec/mix.js";
import {
  readEvent,
  readHost,
  readLimits,
  readOperation,
  readShard,
  writeEvent,
  writeHost,
  writeLimits,
  writeOperation,
  writeShard,
} from "./records.js";
import { MasterState, type MasterView } from "./state.js";
import type { Operation } from "./types.js";

export const SNAPSHOT_VERSION = 1;
export const CHUNK_BYTES_MAX = 64 * 1024;
const MAGIC = 0x30534c44; // "DLS0", little-endian
const RECORD_BYTES_MAX = 64 * 1024 * 1024;
const HEADER_BYTES = 5;

const SECTION = { head: 1, host: 2, operation: 3, shard: 4, ended: 5, event: 6, end: 7 } as const;

/** The snapshot of a view, in chunks; each chunk may be kept. */
export function* encodeSnapshot(view: MasterView): Generator<Uint8Array, void, undefined> {
  const out = new ByteWriter(CHUNK_BYTES_MAX + 4096);
  const record = new ByteWriter(4096);
  let records = 0;
  const put = (section: number): void => {
    out.u8(section).blob(record.view());
    record.reset();
    records += 1;
  };
  out.u32(MAGIC).u8(SNAPSHOT_VERSION);
  writeHead(record, view);
  put(SECTION.head);
  for (const [section, write] of sectionsOf(view)) {
    for (const writeOne of write) {
      writeOne(record);
      put(section);
      if (out.length >= CHUNK_BYTES_MAX) yield* cut(out, false);
    }
  }
  record.u64(records);
  put(SECTION.end);
  yield* cut(out, true);
}

type WriteOne = (w: ByteWriter) => void;

function* sectionsOf(view: MasterView): Generator<readonly [number, Iterable<WriteOne>]> {
  function* each<T>(items: Iterable<T>, write: (w: ByteWriter, item: T) => void): Generator<WriteOne> {
    for (const item of items) yield (w) => write(w, item);
  }
  yield [SECTION.host, each(view.hosts.values(), writeHost)];
  yield [SECTION.operation, each(view.operations.values(), writeOperation)];
  yield [SECTION.shard, each(view.shards.values(), writeShard)];
  yield [SECTION.ended, each(view.history, writeOperation)];
  yield [SECTION.event, each(view.events, writeEvent)];
}

/** Takes whole chunks out of the buffer; the rest stays unless `all`. */
function* cut(out: ByteWriter, all: boolean): Generator<Uint8Array> {
  const bytes = out.finish();
  let at = 0;
  while (bytes.length - at >= CHUNK_BYTES_MAX) {
    yield bytes.subarray(at, at + CHUNK_BYTES_MAX);
    at += CHUNK_BYTES_MAX;
  }
  out.reset();
  if (!all) out.bytes(bytes.subarray(at));
  else if (at < bytes.length) yield bytes.subarray(at);
}

function writeHead(w: ByteWriter, v: MasterView): void {
  w.u64(v.revision).u64(v.deploymentId).u64(v.featureLevel);
  w.u64(v.nextShardId).u64(v.nextReplicaId).u64(v.nextOperationId).u64(v.nextEventSequence);
  writeLimits(w, v.limits);
}

/** Rebuilds a state from chunks of any size. Throws MalformedError on anything that is not a whole snapshot. */
export class SnapshotDecoder {
  readonly #state = new MasterState();
  readonly #operations = new Map<number, Operation>();
  #rest = new Uint8Array(0);
  #started = false;
  #headed = false;
  #ended = false;
  #records = 0;

  push(chunk: Uint8Array): void {
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    const r = new ByteReader(bytes);
    if (!this.#started && r.remaining >= HEADER_BYTES) this.#start(r);
    while (this.#started && r.remaining >= HEADER_BYTES) {
      const peek = new ByteReader(bytes, r.offset);
      const section = peek.u8();
      const length = peek.u32();
      if (length > RECORD_BYTES_MAX) throw new MalformedError(`snapshot record of ${length} bytes`);
      if (peek.remaining < length) break;
      r.bytes(HEADER_BYTES);
      this.#record(section, new ByteReader(r.bytes(length).slice()));
    }
    this.#rest = bytes.slice(r.offset);
  }

  finish(): MasterState {
    if (!this.#ended || this.#rest.length > 0) throw new MalformedError("snapshot is cut off or has bytes left over");
    if (this.#operations.size > 0) throw new MalformedError("snapshot has an operation without its shard");
    return this.#state;
  }

  #start(r: ByteReader): void {
    if (r.u32() !== MAGIC) throw new MalformedError("not a snapshot of shard 0");
    const version = r.u8();
    if (version !== SNAPSHOT_VERSION)
      throw new MalformedError(`snapshot version ${version}, known is ${SNAPSHOT_VERSION}`);
    this.#started = true;
  }

  #record(section: number, r: ByteReader): void {
    if (this.#ended) throw new MalformedError("snapshot goes on after its end");
    if (this.#headed === (section === SECTION.head)) throw new MalformedError("snapshot head is not first, or twice");
    const state = this.#state;
    switch (section) {
      case SECTION.head:
        this.#head(r);
        break;
      case SECTION.host: {
        const host = readHost(r);
        state.hosts.set(host.hostId, host);
        break;
      }
      case SECTION.operation: {
        const operation = readOperation(r);
        this.#operations.set(operation.operationId, operation);
        break;
      }
      case SECTION.shard: {
        const shard = readShard(r);
        const operation = this.#operations.get(shard.operationId);
        if (shard.operationId !== 0 && operation === undefined) throw new MalformedError("shard without its operation");
        this.#operations.delete(shard.operationId);
        state.putShard(shard, operation);
        break;
      }
      case SECTION.ended:
        state.history = [...state.history, readOperation(r)];
        break;
      case SECTION.event:
        state.events = [...state.events, readEvent(r)];
        break;
      case SECTION.end:
        if (r.u64() !== this.#records) throw new MalformedError("snapshot misses records");
        this.#ended = true;
        break;
      default:
        throw new MalformedError(`snapshot section ${section}`);
    }
    r.end();
    this.#records += 1;
  }

  #head(r: ByteReader): void {
    const state = this.#state;
    this.#headed = true;
    state.revision = r.u64();
    state.deploymentId = r.u64();
    state.featureLevel = r.u64();
    state.nextShardId = r.u64();
    state.nextReplicaId = r.u64();
    state.nextOperationId = r.u64();
    state.nextEventSequence = r.u64();
    state.limits = readLimits(r);
  }
}

/** 16 hexadecimal digits over the snapshot's bytes: equal on all masters at one applied index. */
export function stateHash(view: MasterView): string {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (const chunk of encodeSnapshot(view)) {
    for (const byte of chunk) {
      a = Math.imul(a ^ byte, 0x01000193);
      b = Math.imul(b ^ byte, 0x85ebca6b) ^ (b >>> 15);
    }
  }
  return hex32(a) + hex32(b);
}
