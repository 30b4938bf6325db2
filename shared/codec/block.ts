/**
 * The packed block: the entries of one append, encoded once and carried as they are from the leader's memory over the
 * wire into every log and state machine. Little-endian; written down in proto/FORMATS.md, with golden bytes.
 *
 *   0 u32 crc of bytes [4, length)   4 u32 length      8 u8 version  9 u8 flags  10 u16 zero   12 u32 count
 *  16 u64 shardId   24 u64 first index   32 u64 term   40 u64 origin replicaId
 *  48 u32 origin incarnation   52 u32 zero   56 u64 base sequence   64 entries …
 *
 *  entry: u32 cmd length, u8 type, u8 flags, [u64 replicaId, u32 incarnation, u64 sequence] if flag 1,
 *         [8 bytes client id, u64 series id, u64 responded to] if flag 2, cmd
 *
 * An entry without flag 1 has the key (origin replicaId, origin incarnation, base sequence + its ordinal). All entries
 * of a block have one term. Flags of a block: 1 = holds a config change; 2 = every other entry is Metadata (the form in
 * which witnesses hold it, see `metadataBody`; without flag 2 none is). A block may be *clipped* to [first, last]: the
 * bytes (and their CRC) stay whole, the range says which entries count. A BlockBody is a block before a leader gave it
 * index and term.
 */
import { assert } from "../assert.js";
import type { Index, RequestKey, ShardId, Term } from "../types/ids.js";
import { getU64, MalformedError, setU64 } from "./bytes.js";
import { type Crc32, crc32 } from "./crc32.js";

export const BLOCK_HEADER_BYTES = 64;
export const BLOCK_VERSION = 1;
/** A block is refused above this, by builders and by decoders. */
export const BLOCK_BYTES_MAX = 8 * 1024 * 1024;
const ENTRY_HEADER_BYTES = 6;
const FLAG_BLOCK_CONFIG = 1;
const FLAG_BLOCK_METADATA = 2;
const FLAGS_OFFSET = 9;
const FLAG_ENTRY_KEY = 1;
const FLAG_ENTRY_SESSION = 2;
const NO_COMMAND = new Uint8Array(0);

export const EntryType = { Noop: 0, Application: 1, ConfigChange: 2, Metadata: 3 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

export interface EntrySession {
  /** 8 random bytes as 16 hexadecimal digits. */
  readonly clientId: string;
  readonly seriesId: number;
  readonly respondedTo: number;
}

/** One decoded entry. `cmd` is a view into the block. */
export interface Entry {
  readonly index: Index;
  readonly term: Term;
  readonly type: EntryType;
  readonly key: RequestKey;
  readonly session: EntrySession | undefined;
  readonly cmd: Uint8Array;
}

/** Entries packed, index and term still open. */
export interface BlockBody {
  /** Header (index, term, shard, crc all zero) and entries. Owned by whoever seals it. */
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly hasConfigChange: boolean;
  /** Key of the first entry. */
  readonly firstKey: RequestKey;
}

/** A sealed block, possibly clipped. Immutable. */
export class EntryBlock {
  readonly bytes: Uint8Array;
  readonly term: Term;
  readonly hasConfigChange: boolean;
  /** Range of the whole bytes. */
  readonly baseIndex: Index;
  readonly baseCount: number;
  /** Range that counts. */
  readonly first: Index;
  readonly last: Index;

  // biome-ignore lint/complexity/useMaxParams: made for every block received; an options object would be garbage
  constructor(
    bytes: Uint8Array,
    term: Term,
    hasConfigChange: boolean,
    base: { readonly index: Index; readonly count: number },
    clip: { readonly first: Index; readonly last: Index },
  ) {
    this.bytes = bytes;
    this.term = term;
    this.hasConfigChange = hasConfigChange;
    this.baseIndex = base.index;
    this.baseCount = base.count;
    this.first = clip.first;
    this.last = clip.last;
  }

  get count(): number {
    return this.last - this.first + 1;
  }

  /** As witnesses hold it: config changes, and of every other entry only that it is there. See `metadataBody`. */
  get isMetadata(): boolean {
    return ((this.bytes[FLAGS_OFFSET] ?? 0) & FLAG_BLOCK_METADATA) !== 0;
  }

  /** The part within [first, last], which must not be empty. */
  clip(first: Index, last: Index): EntryBlock {
    const lo = Math.max(first, this.first);
    const hi = Math.min(last, this.last);
    assert(lo <= hi, "clip leaves no entry");
    if (lo === this.first && hi === this.last) return this;
    const base = { index: this.baseIndex, count: this.baseCount };
    return new EntryBlock(this.bytes, this.term, this.hasConfigChange, base, { first: lo, last: hi });
  }
}

/** Packs entries into one body. Reusable after `finish`. */
export class BlockBuilder {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #length = BLOCK_HEADER_BYTES;
  #count = 0;
  #hasConfigChange = false;
  #firstKey: RequestKey = { replicaId: 0, incarnation: 0, sequence: 0 };

  get count(): number {
    return this.#count;
  }

  get byteLength(): number {
    return this.#length;
  }

  add(type: EntryType, key: RequestKey, cmd: Uint8Array, session?: EntrySession): void {
    if (this.#count === 0) this.#firstKey = key;
    const base = this.#firstKey;
    const implicit =
      key.replicaId === base.replicaId &&
      key.incarnation === base.incarnation &&
      key.sequence === base.sequence + this.#count;
    this.#grow(ENTRY_HEADER_BYTES + 44 + cmd.length);
    const view = this.#view;
    let at = this.#length;
    view.setUint32(at, cmd.length, true);
    view.setUint8(at + 4, type);
    view.setUint8(at + 5, (implicit ? 0 : FLAG_ENTRY_KEY) | (session === undefined ? 0 : FLAG_ENTRY_SESSION));
    at += ENTRY_HEADER_BYTES;
    if (!implicit) {
      setU64(view, at, key.replicaId);
      view.setUint32(at + 8, key.incarnation, true);
      setU64(view, at + 12, key.sequence);
      at += 20;
    }
    if (session !== undefined) {
      setHex8(view, at, session.clientId);
      setU64(view, at + 8, session.seriesId);
      setU64(view, at + 16, session.respondedTo);
      at += 24;
    }
    this.#bytes.set(cmd, at);
    this.#length = at + cmd.length;
    this.#count += 1;
    if (type === EntryType.ConfigChange) this.#hasConfigChange = true;
  }

  /** The body, in a buffer of its own; the builder is empty again. */
  finish(): BlockBody {
    assert(this.#count > 0, "a block has at least one entry");
    const bytes = this.#bytes.slice(0, this.#length);
    const view = new DataView(bytes.buffer);
    view.setUint32(4, this.#length, true);
    view.setUint8(8, BLOCK_VERSION);
    view.setUint8(FLAGS_OFFSET, this.#hasConfigChange ? FLAG_BLOCK_CONFIG : 0);
    view.setUint32(12, this.#count, true);
    setU64(view, 40, this.#firstKey.replicaId);
    view.setUint32(48, this.#firstKey.incarnation, true);
    setU64(view, 56, this.#firstKey.sequence);
    const body: BlockBody = {
      bytes,
      count: this.#count,
      hasConfigChange: this.#hasConfigChange,
      firstKey: this.#firstKey,
    };
    this.#length = BLOCK_HEADER_BYTES;
    this.#count = 0;
    this.#hasConfigChange = false;
    return body;
  }

  #grow(extra: number): void {
    const need = this.#length + extra;
    if (need <= this.#bytes.length) return;
    const next = new Uint8Array(Math.max(need, this.#bytes.length * 2));
    next.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = next;
    this.#view = new DataView(next.buffer);
  }
}

/** A body of one entry. */
export function singleBody(type: EntryType, key: RequestKey, cmd: Uint8Array, session?: EntrySession): BlockBody {
  const builder = new BlockBuilder();
  builder.add(type, key, cmd, session);
  return builder.finish();
}

/**
 * What a witness holds of all entries of `block`, clipped or not: config changes whole, with their keys; every other
 * entry as Metadata, without command, key and session. To be sealed at `block.baseIndex`, in its term.
 */
export function metadataBody(block: EntryBlock): BlockBody {
  const builder = new BlockBuilder();
  const { bytes, term, hasConfigChange, baseIndex: index, baseCount: count } = block;
  const whole = new EntryBlock(
    bytes,
    term,
    hasConfigChange,
    { index, count },
    { first: index, last: index + count - 1 },
  );
  for (const { type, key, cmd } of entriesOf(whole)) {
    if (type === EntryType.ConfigChange) builder.add(type, key, cmd);
    else builder.add(EntryType.Metadata, { replicaId: 0, incarnation: 0, sequence: builder.count }, NO_COMMAND);
  }
  const body = builder.finish();
  const view = new DataView(body.bytes.buffer, body.bytes.byteOffset, body.bytes.byteLength);
  view.setUint8(FLAGS_OFFSET, view.getUint8(FLAGS_OFFSET) | FLAG_BLOCK_METADATA);
  return body;
}

/** Gives a body its place in the log and its checksum. Writes into the body's bytes and takes them over. */
export function sealBlock(
  body: BlockBody,
  at: { readonly shardId: ShardId; readonly firstIndex: Index; readonly term: Term },
  crc: Crc32 = crc32,
): EntryBlock {
  const { bytes } = body;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  setU64(view, 16, at.shardId);
  setU64(view, 24, at.firstIndex);
  setU64(view, 32, at.term);
  view.setUint32(0, crc(bytes.subarray(4)), true);
  const base = { index: at.firstIndex, count: body.count };
  const clip = { first: at.firstIndex, last: at.firstIndex + body.count - 1 };
  return new EntryBlock(bytes, at.term, body.hasConfigChange, base, clip);
}

/**
 * Checks a block from outside: form, checksum, and that it belongs to `shardId`. Entries are walked once, so that
 * later readers need no bounds checks of their own. Throws MalformedError.
 */
export function openBlock(bytes: Uint8Array, shardId: ShardId, crc: Crc32 = crc32): EntryBlock {
  const header = checkHeader(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== crc(bytes.subarray(4))) throw new MalformedError("block checksum does not match");
  if (getU64(view, 16) !== shardId) throw new MalformedError(`block of shard ${getU64(view, 16)}, expected ${shardId}`);
  const firstIndex = getU64(view, 24);
  const term = getU64(view, 32);
  if (firstIndex < 1 || term < 1) throw new MalformedError("block without index or term");
  checkOrigin(view);
  const base = { index: firstIndex, count: header.count };
  const clip = { first: firstIndex, last: firstIndex + header.count - 1 };
  return new EntryBlock(bytes, term, header.hasConfigChange, base, clip);
}

/** Checks a forwarded body from outside. Throws MalformedError. */
export function openBody(bytes: Uint8Array): BlockBody {
  const header = checkHeader(bytes);
  if (header.isMetadata) throw new MalformedError("metadata cannot be proposed");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const firstKey = { replicaId: getU64(view, 40), incarnation: view.getUint32(48, true), sequence: getU64(view, 56) };
  return { bytes, count: header.count, hasConfigChange: header.hasConfigChange, firstKey };
}

/** The key of the first entry and, by counting, of the others. */
function checkOrigin(view: DataView): void {
  getU64(view, 40);
  getU64(view, 56);
}

function checkHeader(bytes: Uint8Array): { count: number; hasConfigChange: boolean; isMetadata: boolean } {
  if (bytes.length < BLOCK_HEADER_BYTES) throw new MalformedError(`block of ${bytes.length} bytes`);
  if (bytes.length > BLOCK_BYTES_MAX)
    throw new MalformedError(`block of ${bytes.length} bytes, at most ${BLOCK_BYTES_MAX}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(4, true) !== bytes.length) throw new MalformedError("block length does not match");
  if (view.getUint8(8) !== BLOCK_VERSION)
    throw new MalformedError(`block version ${view.getUint8(8)}, expected ${BLOCK_VERSION}`);
  const count = view.getUint32(12, true);
  if (count === 0) throw new MalformedError("block without entries");
  const blockFlags = view.getUint8(FLAGS_OFFSET);
  const isMetadata = (blockFlags & FLAG_BLOCK_METADATA) !== 0;
  let at = BLOCK_HEADER_BYTES;
  let configChanges = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_HEADER_BYTES > bytes.length) throw new MalformedError(`entry ${i} does not fit`);
    const type = view.getUint8(at + 4);
    if (type > EntryType.Metadata) throw new MalformedError(`entry ${i} has type ${type}`);
    const next = entryEnd(view, at);
    if (next > bytes.length) throw new MalformedError(`entry ${i} does not fit`);
    if (type === EntryType.ConfigChange) configChanges += 1;
    else if (isMetadata !== (type === EntryType.Metadata)) throw new MalformedError(`entry ${i} has type ${type}`);
    else if (isMetadata) checkEmpty(view, at, i);
    if (view.getUint8(at + 5) !== 0) checkExplicit(view, at, i);
    at = next;
  }
  if (at !== bytes.length) throw new MalformedError("bytes after the last entry");
  const hasConfigChange = (blockFlags & FLAG_BLOCK_CONFIG) !== 0;
  if (hasConfigChange !== configChanges > 0) throw new MalformedError("config change flag does not match");
  return { count, hasConfigChange, isMetadata };
}

/** Metadata says that an entry is there, and nothing else. */
function checkEmpty(view: DataView, at: number, ordinal: number): void {
  const isEmpty = view.getUint32(at, true) === 0 && (view.getUint8(at + 5) & FLAG_ENTRY_SESSION) === 0;
  if (!isEmpty) throw new MalformedError(`metadata entry ${ordinal} is not empty`);
}

/** Explicit keys and sessions must decode later, when nothing may throw any more. */
function checkExplicit(view: DataView, at: number, ordinal: number): void {
  const flags = view.getUint8(at + 5);
  if (flags > (FLAG_ENTRY_KEY | FLAG_ENTRY_SESSION)) throw new MalformedError(`entry ${ordinal} has flags ${flags}`);
  let from = at + ENTRY_HEADER_BYTES;
  if (flags & FLAG_ENTRY_KEY) {
    getU64(view, from);
    getU64(view, from + 12);
    from += 20;
  }
  if (flags & FLAG_ENTRY_SESSION) {
    getU64(view, from + 8);
    getU64(view, from + 16);
  }
}

function entryEnd(view: DataView, at: number): number {
  const flags = view.getUint8(at + 5);
  const head = ENTRY_HEADER_BYTES + (flags & FLAG_ENTRY_KEY ? 20 : 0) + (flags & FLAG_ENTRY_SESSION ? 24 : 0);
  return at + head + view.getUint32(at, true);
}

/** Decodes the entries of the clipped range, in order. The bytes must have passed `openBlock` or `sealBlock`. */
export function* entriesOf(block: EntryBlock): Generator<Entry> {
  const { bytes, baseIndex, term } = block;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const origin = { replicaId: getU64(view, 40), incarnation: view.getUint32(48, true), sequence: getU64(view, 56) };
  let at = BLOCK_HEADER_BYTES;
  for (let i = 0; i < block.baseCount; i++) {
    const index = baseIndex + i;
    if (index > block.last) return;
    const next = entryEnd(view, at);
    if (index >= block.first) yield decodeEntry(bytes, view, at, next, { index, term, origin, ordinal: i });
    at = next;
  }
}

interface EntryPlace {
  readonly index: Index;
  readonly term: Term;
  readonly origin: RequestKey;
  readonly ordinal: number;
}

// biome-ignore lint/complexity/useMaxParams: runs once per entry applied; an options object would be garbage
function decodeEntry(bytes: Uint8Array, view: DataView, start: number, end: number, place: EntryPlace): Entry {
  const type = view.getUint8(start + 4) as EntryType;
  const flags = view.getUint8(start + 5);
  let at = start + ENTRY_HEADER_BYTES;
  const { origin } = place;
  let key: RequestKey;
  if (flags & FLAG_ENTRY_KEY) {
    key = { replicaId: getU64(view, at), incarnation: view.getUint32(at + 8, true), sequence: getU64(view, at + 12) };
    at += 20;
  } else {
    key = { replicaId: origin.replicaId, incarnation: origin.incarnation, sequence: origin.sequence + place.ordinal };
  }
  let session: EntrySession | undefined;
  if (flags & FLAG_ENTRY_SESSION) {
    session = { clientId: getHex8(view, at), seriesId: getU64(view, at + 8), respondedTo: getU64(view, at + 16) };
    at += 24;
  }
  return { index: place.index, term: place.term, type, key, session, cmd: bytes.subarray(at, end) };
}

function setHex8(view: DataView, at: number, hex: string): void {
  view.setUint32(at, Number.parseInt(hex.slice(0, 8), 16), false);
  view.setUint32(at + 4, Number.parseInt(hex.slice(8, 16), 16), false);
}

function getHex8(view: DataView, at: number): string {
  const high = view.getUint32(at, false).toString(16).padStart(8, "0");
  return (
    high +
    view
      .getUint32(at + 4, false)
      .toString(16)
      .padStart(8, "0")
  );
}
