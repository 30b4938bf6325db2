/**
 * Frames of the snapshot lane, after the handshake:
 *
 *   SnapshotHeader  u64 shardId, u64 from, u64 to, u64 term, u64 lineage, snapshot record      (sender, first)
 *   SnapshotChunk   u64 offset, bytes; contiguous from 0                                       (sender)
 *   SnapshotEnd     u64 total bytes, u32 crc of all of them                                    (sender, last)
 *   Ack             nothing: still storing                                                     (receiver)
 *   SnapshotStatus  u8 stored; when 0: text code, text detail                                  (receiver, last)
 */
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { readSnapshotMeta, writeSnapshotMeta } from "../../shared/codec/membership.js";
import type { OpError } from "../../shared/errors.js";
import { beginFrame, FRAME_HEADER_BYTES, FrameKind, sealFrame } from "./frame.js";
import { readError, writeError } from "./hello.js";
import type { SnapshotHeader } from "./port.js";

export function encodeSnapshotHeader(header: SnapshotHeader, crc: Crc32): Uint8Array {
  const w = new ByteWriter(1024);
  const start = beginFrame(w, FrameKind.SnapshotHeader);
  w.u64(header.shardId).u64(header.from).u64(header.to).u64(header.term).u64(header.lineage);
  writeSnapshotMeta(w, header.snapshot);
  sealFrame(w, { start, end: w.length }, 0, crc);
  return w.finish();
}

export function decodeSnapshotHeader(frame: Uint8Array): SnapshotHeader {
  const r = new ByteReader(frame, FRAME_HEADER_BYTES);
  const shardId = r.u64();
  const from = r.u64();
  const to = r.u64();
  const term = r.u64();
  const lineage = r.u64();
  const snapshot = readSnapshotMeta(r);
  r.end();
  if (from === 0 || to === 0) throw new MalformedError("snapshot without sender or receiver");
  if (snapshot.shardId !== shardId)
    throw new MalformedError(`snapshot of shard ${snapshot.shardId}, expected ${shardId}`);
  return { shardId, from, to, term, lineage, snapshot };
}

export function encodeSnapshotChunk(offset: number, bytes: Uint8Array, crc: Crc32): Uint8Array {
  const w = new ByteWriter(FRAME_HEADER_BYTES + 8 + bytes.length);
  const start = beginFrame(w, FrameKind.SnapshotChunk);
  w.u64(offset).bytes(bytes);
  sealFrame(w, { start, end: w.length }, 0, crc);
  // The writer was made for this chunk alone.
  return w.view();
}

/** The bytes are a view into the frame. */
export function decodeSnapshotChunk(frame: Uint8Array): { readonly offset: number; readonly bytes: Uint8Array } {
  const r = new ByteReader(frame, FRAME_HEADER_BYTES);
  const offset = r.u64();
  return { offset, bytes: r.bytes(r.remaining) };
}

export function encodeSnapshotEnd(totalBytes: number, crcOfAll: number, crc: Crc32): Uint8Array {
  const w = new ByteWriter(32);
  const start = beginFrame(w, FrameKind.SnapshotEnd);
  w.u64(totalBytes).u32(crcOfAll);
  sealFrame(w, { start, end: w.length }, 0, crc);
  return w.finish();
}

export function decodeSnapshotEnd(frame: Uint8Array): { readonly totalBytes: number; readonly crcOfAll: number } {
  const r = new ByteReader(frame, FRAME_HEADER_BYTES);
  const end = { totalBytes: r.u64(), crcOfAll: r.u32() };
  r.end();
  return end;
}

export function encodeSnapshotStatus(error: OpError | undefined, crc: Crc32): Uint8Array {
  const w = new ByteWriter();
  const start = beginFrame(w, FrameKind.SnapshotStatus);
  w.u8(error === undefined ? 1 : 0);
  if (error !== undefined) writeError(w, error);
  sealFrame(w, { start, end: w.length }, 0, crc);
  return w.finish();
}

/** Undefined = stored. */
export function decodeSnapshotStatus(frame: Uint8Array): OpError | undefined {
  const r = new ByteReader(frame, FRAME_HEADER_BYTES);
  const error = r.bool() ? undefined : readError(r);
  r.end();
  return error;
}
