/**
 * Frames: everything that two hosts say on a connection, little-endian.
 *
 *   0 u32 length of the whole frame   4 u32 crc of bytes [8, length)   8 u8 kind   9 u8 version   10 u16 zero
 *  12 u64 highest WAL sequence durable at the sender when the frame was sealed   20 body …
 *
 * `beginFrame`/`sealFrame` write one in place; `FrameReader` cuts a byte stream into checked frames. Its memory is
 * bounded by what really arrived and by `maxBytes`, never by what a length field claims.
 */
import { type ByteWriter, getU64, MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";

export const FRAME_HEADER_BYTES = 20;
/**
 * Versions that this host speaks: the highest one that both have is in use on a connection. Version 2 added message
 * types (message-versions.ts) and pulses.
 */
export const WIRE_VERSION_MIN = 1;
export const WIRE_VERSION_MAX = 2;
/** In every header, all versions of the wire so far. Hello, Accept and Refuse never change in what they hold. */
const FRAME_VERSION = 1;
/** A tail shorter than this is copied, so that it does not keep a whole socket chunk. */
const TAIL_COPY_BYTES = 8192;

export const FrameKind = {
  Hello: 1,
  Accept: 2,
  Refuse: 3,
  Messages: 4,
  Ack: 5,
  SnapshotHeader: 6,
  SnapshotChunk: 7,
  SnapshotEnd: 8,
  SnapshotStatus: 9,
  /** Wire version 2. */
  Pulse: 10,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** Writes a header with open length, checksum and sequence. Returns where the frame starts. */
export function beginFrame(w: ByteWriter, kind: FrameKind): number {
  const start = w.length;
  w.u32(0)
    .u32(0)
    .u32(kind | (FRAME_VERSION << 8))
    .u64(0);
  return start;
}

/** Closes the frame [start, end). Bytes of later frames may already follow. */
export function sealFrame(w: ByteWriter, range: FrameRange, durableSequence: number, crc: Crc32): void {
  const { start, end } = range;
  w.patchU32(start, end - start);
  w.patchU64(start + 12, durableSequence);
  w.patchU32(start + 4, crc(w.view().subarray(start + 8, end)));
}

export interface FrameRange {
  readonly start: number;
  readonly end: number;
}

export interface FrameSink {
  /** One checked frame; its body begins at FRAME_HEADER_BYTES. Return false to stop reading. */
  onFrame(kind: number, frame: Uint8Array, durableSequence: number): boolean;
}

/** Cuts a byte stream into frames. Throws MalformedError, after which it must not be used again. */
export class FrameReader {
  readonly #crc: Crc32;
  readonly #sink: FrameSink;
  #maxBytes: number;
  #parts: Uint8Array[] = [];
  #have = 0;
  /** Length of the frame whose parts are kept, 0 = not known yet. */
  #need = 0;

  constructor(crc: Crc32, sink: FrameSink, maxBytes: number) {
    this.#crc = crc;
    this.#sink = sink;
    this.#maxBytes = maxBytes;
  }

  /** Frames longer than this are refused from now on. */
  setMaxBytes(maxBytes: number): void {
    this.#maxBytes = maxBytes;
  }

  push(chunk: Uint8Array): void {
    let rest = chunk;
    if (this.#have > 0) {
      if (this.#need === 0) {
        this.#parts.push(rest);
        rest = join(this.#parts, this.#have + rest.length);
        this.#clear();
      } else {
        const take = Math.min(rest.length, this.#need - this.#have);
        this.#parts.push(take === rest.length ? rest : rest.subarray(0, take));
        this.#have += take;
        if (this.#have < this.#need) return;
        const frame = join(this.#parts, this.#need);
        this.#clear();
        if (!this.#emit(frame)) return;
        rest = rest.subarray(take);
      }
    }
    this.#cut(rest);
  }

  #cut(chunk: Uint8Array): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (chunk.length - at >= 4) {
      const length = view.getUint32(at, true);
      if (length < FRAME_HEADER_BYTES || length > this.#maxBytes) {
        throw new MalformedError(`frame of ${length} bytes, expected ${FRAME_HEADER_BYTES} to ${this.#maxBytes}`);
      }
      if (chunk.length - at < length) {
        this.#keep(chunk.subarray(at), length);
        return;
      }
      if (!this.#emit(chunk.subarray(at, at + length))) return;
      at += length;
    }
    if (at < chunk.length) this.#keep(chunk.subarray(at), 0);
  }

  #keep(tail: Uint8Array, need: number): void {
    this.#parts = [tail.length < TAIL_COPY_BYTES ? copyBytes(tail) : tail];
    this.#have = tail.length;
    this.#need = need;
  }

  #clear(): void {
    this.#parts = [];
    this.#have = 0;
    this.#need = 0;
  }

  #emit(frame: Uint8Array): boolean {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const expected = view.getUint32(4, true);
    if (this.#crc(frame.subarray(8)) !== expected) throw new MalformedError("frame checksum does not match");
    if (view.getUint16(10, true) !== 0) throw new MalformedError("reserved bytes of a frame are not zero");
    const kind = view.getUint8(8);
    // The three handshake frames are readable for every version; all others are spoken only after it.
    if (kind > FrameKind.Refuse && view.getUint8(9) !== FRAME_VERSION) {
      throw new MalformedError(`frame version ${view.getUint8(9)}, expected ${FRAME_VERSION}`);
    }
    return this.#sink.onFrame(kind, frame, getU64(view, 12));
  }
}

/** A copy in a buffer of its own. (`slice` of a Node Buffer would be a view.) */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
