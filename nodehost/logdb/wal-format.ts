/**
 * Bytes of WAL frames: header, table of contents, trailer (README.md has the tables; frame.test.ts the golden bytes).
 * Used by the log (building), by recovery (parsing) and by nobody else.
 *
 * A frame begins on a 4 KiB boundary: head (64-byte header, table of contents, body), zero padding, trailer (header and
 * table of contents again, in blocks of its own). A header is bound by its checksum's seed and its own fields to data
 * set, segment, generation and block: bytes of another life of the same file, or at a wrong place, never parse.
 */
import { getU64, setU64 } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import type { DataSetId } from "../../shared/types/ids.js";
import type { ReplicaKey } from "./port.js";

export const WAL_BLOCK_BYTES = 4096;
export const WAL_FORMAT_VERSION = 1;
export const FRAME_HEADER_BYTES = 64;
export const TOC_ENTRY_BYTES = 32;
const MAGIC = 0x4657_4c44; // "DLWF" in the order of the bytes

export const FrameKind = { Data: 1, Checkpoint: 2, Seal: 3 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];
export const FramePart = { Head: 0, Trailer: 1 } as const;
export type FramePart = (typeof FramePart)[keyof typeof FramePart];

/** Which life of which file: two of them never accept each other's bytes. */
export interface SegmentIdentity {
  readonly id: number;
  readonly generation: number;
  /** See segmentSeed. */
  readonly seed: number;
}

export interface FrameHeader {
  readonly kind: FrameKind;
  readonly part: FramePart;
  readonly sequence: number;
  /** First block of the frame, and of how many 4 KiB blocks it is. */
  readonly startBlock: number;
  readonly frameBlocks: number;
  readonly recordCount: number;
  readonly bodyBytes: number;
  readonly tocCrc: number;
  readonly bodyCrc: number;
}

/** One line of a table of contents: whose record, where in the body, and which frame had its previous one. */
export interface TocEntry extends ReplicaKey {
  /** 0 = none. In a checkpoint frame: the frame with the replica's last record. */
  readonly previousSequence: number;
  readonly offset: number;
  readonly length: number;
}

export function segmentSeed(crc32: Crc32, dataSetId: DataSetId, id: number, generation: number): number {
  return crc32(new TextEncoder().encode(`drumline-wal/${dataSetId}/${id}/${generation}`));
}

/** Where the parts of a frame lie, in bytes from its beginning. */
export interface FrameLayout {
  readonly bodyOffset: number;
  readonly trailerOffset: number;
  readonly totalBytes: number;
}

export function frameLayout(recordCount: number, bodyBytes: number): FrameLayout {
  const bodyOffset = FRAME_HEADER_BYTES + recordCount * TOC_ENTRY_BYTES;
  const trailerOffset = roundUp(bodyOffset + bodyBytes);
  return { bodyOffset, trailerOffset, totalBytes: trailerOffset + roundUp(bodyOffset) };
}

export function roundUp(bytes: number): number {
  return Math.ceil(bytes / WAL_BLOCK_BYTES) * WAL_BLOCK_BYTES;
}

/** What a finished frame is to say of itself. */
export interface FrameStamp {
  readonly kind: FrameKind;
  readonly sequence: number;
  readonly startBlock: number;
  readonly segment: SegmentIdentity;
}

/**
 * Builds one frame at a time in a buffer that is used again for the next one: `finish` returns a view which is valid
 * until `begin`. `bytes`, `view` and `at` are open to those who write records, so that blocks are copied once.
 */
export class FrameBuilder {
  readonly #crc32: Crc32;
  readonly #keepBytesMax: number;
  bytes: Buffer;
  view: DataView;
  /** Where the next byte of the body goes. */
  at = 0;
  #layout: FrameLayout = frameLayout(0, 0);
  #recordCount = 0;
  #tocAt = 0;

  constructor(crc32: Crc32, keepBytesMax = 4 * 1024 * 1024) {
    this.#crc32 = crc32;
    this.#keepBytesMax = keepBytesMax;
    this.bytes = Buffer.alloc(64 * 1024);
    this.view = viewOf(this.bytes);
  }

  begin(recordCount: number, bodyBytes: number): void {
    this.#layout = frameLayout(recordCount, bodyBytes);
    const { totalBytes } = this.#layout;
    if (totalBytes > this.bytes.length || this.bytes.length > Math.max(this.#keepBytesMax, totalBytes)) {
      this.bytes = Buffer.allocUnsafeSlow(Math.max(totalBytes, Math.min(this.bytes.length * 2, this.#keepBytesMax)));
      this.view = viewOf(this.bytes);
    }
    this.#recordCount = recordCount;
    this.#tocAt = FRAME_HEADER_BYTES;
    this.at = this.#layout.bodyOffset;
  }

  /** The next `length` bytes of the body are a record of `key`. */
  record(key: ReplicaKey, previousSequence: number, length: number): void {
    const { view } = this;
    const at = this.#tocAt;
    setU64(view, at, key.shardId);
    setU64(view, at + 8, key.replicaId);
    setU64(view, at + 16, previousSequence);
    view.setUint32(at + 24, this.at - this.#layout.bodyOffset, true);
    view.setUint32(at + 28, length, true);
    this.#tocAt = at + TOC_ENTRY_BYTES;
  }

  u64(value: number): void {
    setU64(this.view, this.at, value);
    this.at += 8;
  }

  u32(value: number): void {
    this.view.setUint32(this.at, value, true);
    this.at += 4;
  }

  raw(value: Uint8Array): void {
    this.bytes.set(value, this.at);
    this.at += value.length;
  }

  finish(stamp: FrameStamp): Buffer {
    const { bytes } = this;
    const { bodyOffset, trailerOffset, totalBytes } = this.#layout;
    const bodyEnd = this.at;
    bytes.fill(0, bodyEnd, trailerOffset);
    bytes.fill(0, trailerOffset + bodyOffset, totalBytes);
    const header: FrameHeader = {
      kind: stamp.kind,
      part: FramePart.Head,
      sequence: stamp.sequence,
      startBlock: stamp.startBlock,
      frameBlocks: totalBytes / WAL_BLOCK_BYTES,
      recordCount: this.#recordCount,
      bodyBytes: bodyEnd - bodyOffset,
      tocCrc: this.#crc32(bytes.subarray(FRAME_HEADER_BYTES, bodyOffset)),
      bodyCrc: this.#crc32(bytes.subarray(bodyOffset, bodyEnd)),
    };
    this.#header(0, header, stamp.segment);
    bytes.copyWithin(trailerOffset + FRAME_HEADER_BYTES, FRAME_HEADER_BYTES, bodyOffset);
    this.#header(trailerOffset, { ...header, part: FramePart.Trailer }, stamp.segment);
    return bytes.subarray(0, totalBytes);
  }

  #header(at: number, header: FrameHeader, segment: SegmentIdentity): void {
    writeHeader(this.view, at, header, segment);
    const crc = this.#crc32(this.bytes.subarray(at + 4, at + FRAME_HEADER_BYTES), segment.seed);
    this.view.setUint32(at, crc, true);
  }
}

/** All but the checksum, which is the caller's. */
function writeHeader(view: DataView, at: number, header: FrameHeader, segment: SegmentIdentity): void {
  view.setUint32(at + 4, MAGIC, true);
  view.setUint32(at + 8, WAL_FORMAT_VERSION | (header.kind << 8) | (header.part << 16), true);
  view.setUint32(at + 12, header.startBlock + at / WAL_BLOCK_BYTES, true);
  setU64(view, at + 16, header.sequence);
  setU64(view, at + 24, segment.id);
  setU64(view, at + 32, segment.generation);
  view.setUint32(at + 40, header.frameBlocks, true);
  view.setUint32(at + 44, header.recordCount, true);
  view.setUint32(at + 48, header.bodyBytes, true);
  view.setUint32(at + 52, header.tocCrc, true);
  view.setUint32(at + 56, header.bodyCrc, true);
  view.setUint32(at + 60, header.startBlock, true);
}

/** Reads the frames of one segment's bytes. Never throws: what does not parse is undefined. */
export class FrameParser {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #segment: SegmentIdentity;
  readonly #crc32: Crc32;

  constructor(bytes: Uint8Array, segment: SegmentIdentity, crc32: Crc32) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#segment = segment;
    this.#crc32 = crc32;
  }

  get blockCount(): number {
    return Math.floor(this.#bytes.length / WAL_BLOCK_BYTES);
  }

  /** The header that block `block` begins with, if it is one of this segment's life, at its place, whole in it. */
  header(block: number): FrameHeader | undefined {
    const view = this.#view;
    const at = block * WAL_BLOCK_BYTES;
    if (view.getUint32(at + 4, true) !== MAGIC) return undefined;
    const crc = this.#crc32(this.#bytes.subarray(at + 4, at + FRAME_HEADER_BYTES), this.#segment.seed);
    if (view.getUint32(at, true) !== crc) return undefined;
    const kind = view.getUint8(at + 9);
    const part = view.getUint8(at + 10);
    const header: FrameHeader = {
      kind: kind as FrameKind,
      part: part as FramePart,
      sequence: getU64(view, at + 16),
      startBlock: view.getUint32(at + 60, true),
      frameBlocks: view.getUint32(at + 40, true),
      recordCount: view.getUint32(at + 44, true),
      bodyBytes: view.getUint32(at + 48, true),
      tocCrc: view.getUint32(at + 52, true),
      bodyCrc: view.getUint32(at + 56, true),
    };
    const known = view.getUint8(at + 8) === WAL_FORMAT_VERSION && kind >= 1 && kind <= 3 && part <= 1;
    const own = getU64(view, at + 24) === this.#segment.id && getU64(view, at + 32) === this.#segment.generation;
    const layout = frameLayout(header.recordCount, header.bodyBytes);
    const expectedBlock = header.startBlock + (part === FramePart.Head ? 0 : layout.trailerOffset / WAL_BLOCK_BYTES);
    const placed = view.getUint32(at + 12, true) === block && expectedBlock === block;
    const whole =
      layout.totalBytes === header.frameBlocks * WAL_BLOCK_BYTES &&
      header.startBlock + header.frameBlocks <= this.blockCount;
    return known && own && placed && whole ? header : undefined;
  }

  /** The table of contents beside this header, or the frame's other copy; undefined when neither is whole. */
  toc(header: FrameHeader): readonly TocEntry[] | undefined {
    const start = header.startBlock * WAL_BLOCK_BYTES;
    const { trailerOffset } = frameLayout(header.recordCount, header.bodyBytes);
    return this.#tocAt(start, header) ?? this.#tocAt(start + trailerOffset, header);
  }

  #tocAt(headerAt: number, header: FrameHeader): readonly TocEntry[] | undefined {
    const begin = headerAt + FRAME_HEADER_BYTES;
    const end = begin + header.recordCount * TOC_ENTRY_BYTES;
    if (this.#crc32(this.#bytes.subarray(begin, end)) !== header.tocCrc) return undefined;
    const entries: TocEntry[] = [];
    for (let at = begin; at < end; at += TOC_ENTRY_BYTES) {
      const offset = this.#view.getUint32(at + 24, true);
      const length = this.#view.getUint32(at + 28, true);
      if (offset + length > header.bodyBytes) return undefined;
      entries.push({
        shardId: getU64(this.#view, at),
        replicaId: getU64(this.#view, at + 8),
        previousSequence: getU64(this.#view, at + 16),
        offset,
        length,
      });
    }
    return entries;
  }

  /** Offset of the body in the segment if its checksum is right. */
  body(header: FrameHeader): number | undefined {
    const { bodyOffset } = frameLayout(header.recordCount, header.bodyBytes);
    const at = header.startBlock * WAL_BLOCK_BYTES + bodyOffset;
    return this.#crc32(this.#bytes.subarray(at, at + header.bodyBytes)) === header.bodyCrc ? at : undefined;
  }

  /** The frame as it was written (a copy), its head whole: the trailer is made anew, the padding is zero. */
  restored(header: FrameHeader): Uint8Array {
    const layout = frameLayout(header.recordCount, header.bodyBytes);
    const start = header.startBlock * WAL_BLOCK_BYTES;
    const frame = new Uint8Array(layout.totalBytes);
    const view = viewOf(frame);
    frame.set(this.#bytes.subarray(start, start + layout.bodyOffset + header.bodyBytes));
    const toc = this.#tocAt(start, header) === undefined ? layout.trailerOffset : 0;
    const tocBytes = this.#bytes.slice(start + toc + FRAME_HEADER_BYTES, start + toc + layout.bodyOffset);
    for (const [at, part] of [[0, FramePart.Head] as const, [layout.trailerOffset, FramePart.Trailer] as const]) {
      writeHeader(view, at, { ...header, part }, this.#segment);
      view.setUint32(at, this.#crc32(frame.subarray(at + 4, at + FRAME_HEADER_BYTES), this.#segment.seed), true);
      frame.set(tocBytes, at + FRAME_HEADER_BYTES);
    }
    return frame;
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
