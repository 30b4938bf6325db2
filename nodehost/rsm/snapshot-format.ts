/**
 * The snapshot file, versions 1 to 3, little-endian:
 *
 *   header   8 "DLSNAPSH"   u32 version   u32 header length (whole)   u32 flags   u32 zero
 *            u32 meta length, meta (as in log records; size 0 and directory "" because the file does not know them)
 *            u32 session area length (version 1: 0)   from version 2: u32 crc of the session area
 *            version 3: u64 machine index   u32 crc of all before it
 *   sessions from version 2: the session area, as sessions.ts writes it
 *   block    u32 crc of all after it   u32 payload length (1 … 262144)   u32 ordinal (0, 1, …)   payload
 *   trailer  u32 crc of all after it   u32 0   u32 block count   u64 payload bytes   u32 crc of the block crcs, chained
 *            8 "DLSNPEND", and nothing after it
 *
 * A shard without sessions writes version 1, so that older readers refuse only files they would misread. Version 3 is
 * of on-disk machines, flag 1 says that it has no payload: the machine's own state stands for it. The header vouches
 * for the session area by length and crc. The ordinal and the chained checksum tell blocks that were moved,
 * dropped or repeated. This file holds layout and header;
 * snapshot-writer.ts and snapshot-parser.ts stream, both with one block of memory. Used by SnapshotStore.
 */
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { readSnapshotMeta, writeSnapshotMeta } from "../../shared/codec/membership.js";
import { OpError } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";

export const SNAPSHOT_VERSION = 3;
const VERSION_WITHOUT_SESSIONS = 1;
const VERSION_WITH_SESSIONS = 2;
const VERSION_ON_DISK = 3;
const FLAG_SHRUNK = 1;
export const SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX = 256 * 1024;
export const SNAPSHOT_BLOCK_HEADER_BYTES = 12;
export const SNAPSHOT_TRAILER_BYTES = 32;
/** Magic, version and header length: what must be read to know how much more to read. */
export const SNAPSHOT_PREFIX_BYTES = 16;
export const SNAPSHOT_HEADER_BYTES_MAX = 16 * 1024 * 1024;
/** More than any table of sessions within shared/limits.ts takes. */
export const SNAPSHOT_SESSIONS_BYTES_MAX = 16 * 1024 * 1024;

const MAGIC = new TextEncoder().encode("DLSNAPSH");
const END_MAGIC = new TextEncoder().encode("DLSNPEND");

/** What a snapshot of an on-disk machine says besides. */
export interface DiskSnapshot {
  /** Last entry that was given to the machine; it may be below the snapshot's index, if no-ops follow. */
  readonly machineIndex: Index;
  /** Without payload: the machine holds at least `machineIndex` durably. */
  readonly shrunk: boolean;
}

/** What the file knows of itself. */
export interface SnapshotHeader extends Omit<SnapshotMeta, "sizeBytes" | "directory"> {
  /** Undefined: of another kind of machine. */
  readonly disk?: DiskSnapshot | undefined;
}

/** A decoded header and what follows it. */
export interface SnapshotHead {
  readonly header: SnapshotHeader;
  /** Of the session area behind the header; 0 bytes if there is none. */
  readonly sessionBytes: number;
  readonly sessionsCrc: number;
}

/** `sessions` is the area that will follow; of any length, 0 included. */
export function encodeSnapshotHeader(header: SnapshotHeader, sessions: Uint8Array, crc32: Crc32): Uint8Array {
  const { disk } = header;
  const withoutDisk = sessions.length === 0 ? VERSION_WITHOUT_SESSIONS : VERSION_WITH_SESSIONS;
  const version = disk === undefined ? withoutDisk : VERSION_ON_DISK;
  const meta = new ByteWriter(256);
  writeSnapshotMeta(meta, { ...header, sizeBytes: 0, directory: "" });
  const w = new ByteWriter(meta.length + 64).bytes(MAGIC).u32(version).u32(0);
  w.u32(disk?.shrunk === true ? FLAG_SHRUNK : 0).u32(0);
  w.blob(meta.view()).u32(sessions.length);
  if (version > VERSION_WITHOUT_SESSIONS) w.u32(crc32(sessions));
  if (disk !== undefined) w.u64(disk.machineIndex);
  w.patchU32(12, w.length + 4);
  return w.u32(crc32(w.view())).finish();
}

/** Length of the header whose first bytes are given. MalformedError; DL_ERR_VERSION if a later version made it. */
export function snapshotHeaderLength(prefix: Uint8Array): number {
  const r = new ByteReader(prefix);
  if (!equal(r.bytes(MAGIC.length), MAGIC)) throw new MalformedError("this is not a snapshot file");
  const version = r.u32();
  if (version > SNAPSHOT_VERSION) {
    throw new OpError("DL_ERR_VERSION", `snapshot version ${version}, expected at most ${SNAPSHOT_VERSION}`);
  }
  if (version < 1) throw new MalformedError(`snapshot version is ${version}`);
  const length = r.u32();
  if (length < SNAPSHOT_PREFIX_BYTES || length > SNAPSHOT_HEADER_BYTES_MAX) {
    throw new MalformedError(`snapshot header of ${length} bytes`);
  }
  return length;
}

/** `bytes` is the whole header. Throws MalformedError. */
export function decodeSnapshotHeader(bytes: Uint8Array, crc32: Crc32): SnapshotHead {
  const body = bytes.length - 4;
  if (body < SNAPSHOT_PREFIX_BYTES) throw new MalformedError(`snapshot header of ${bytes.length} bytes`);
  if (new ByteReader(bytes, body).u32() !== crc32(bytes.subarray(0, body))) {
    throw new MalformedError("snapshot header checksum does not match");
  }
  const version = new ByteReader(bytes, MAGIC.length).u32();
  const r = new ByteReader(bytes, SNAPSHOT_PREFIX_BYTES, body);
  const flags = r.u32();
  const flagsMax = version === VERSION_ON_DISK ? FLAG_SHRUNK : 0;
  if (flags > flagsMax || r.u32() !== 0) throw new MalformedError(`snapshot header flags are ${flags}`);
  const metaReader = new ByteReader(r.blob());
  const { shardId, replicaId, index, term, membership } = readSnapshotMeta(metaReader);
  metaReader.end();
  const sessionBytes = r.u32();
  const sessionsMax = version === VERSION_WITHOUT_SESSIONS ? 0 : SNAPSHOT_SESSIONS_BYTES_MAX;
  if (sessionBytes > sessionsMax) {
    throw new MalformedError(`session area of ${sessionBytes} bytes, expected at most ${sessionsMax}`);
  }
  const sessionsCrc = version === VERSION_WITHOUT_SESSIONS ? 0 : r.u32();
  const disk = version === VERSION_ON_DISK ? { machineIndex: r.u64(), shrunk: flags === FLAG_SHRUNK } : undefined;
  r.end();
  if (disk !== undefined && disk.machineIndex > index) {
    throw new MalformedError(`snapshot of index ${index} of a machine at ${disk.machineIndex}`);
  }
  const header = { shardId, replicaId, index, term, membership };
  return { header: disk === undefined ? header : { ...header, disk }, sessionBytes, sessionsCrc };
}

/** Fills the block header in front of a payload that starts at SNAPSHOT_BLOCK_HEADER_BYTES; returns its crc. */
export function sealSnapshotBlock(block: Uint8Array, ordinal: number, crc32: Crc32): number {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  view.setUint32(4, block.length - SNAPSHOT_BLOCK_HEADER_BYTES, true);
  view.setUint32(8, ordinal, true);
  const crc = crc32(block.subarray(4));
  view.setUint32(0, crc, true);
  return crc;
}

export interface SnapshotTrailer {
  readonly blockCount: number;
  readonly payloadBytes: number;
  /** crc of the blocks' crcs, each as u32, chained. */
  readonly blocksCrc: number;
}

export function encodeSnapshotTrailer(trailer: SnapshotTrailer, crc32: Crc32): Uint8Array {
  const w = new ByteWriter(SNAPSHOT_TRAILER_BYTES).u32(0).u32(0);
  w.u32(trailer.blockCount).u64(trailer.payloadBytes).u32(trailer.blocksCrc).bytes(END_MAGIC);
  return w.patchU32(0, crc32(w.view().subarray(4))).finish();
}

/** Throws MalformedError. */
export function decodeSnapshotTrailer(bytes: Uint8Array, crc32: Crc32): SnapshotTrailer {
  const r = new ByteReader(bytes, 0, SNAPSHOT_TRAILER_BYTES);
  const crc = r.u32();
  if (crc !== crc32(bytes.subarray(4, SNAPSHOT_TRAILER_BYTES))) {
    throw new MalformedError("snapshot trailer checksum does not match");
  }
  if (r.u32() !== 0) throw new MalformedError("snapshot trailer has a length");
  const trailer = { blockCount: r.u32(), payloadBytes: r.u64(), blocksCrc: r.u32() };
  if (!equal(r.bytes(END_MAGIC.length), END_MAGIC)) throw new MalformedError("snapshot trailer has a wrong magic");
  return trailer;
}

/** Next value of the chained checksum of block checksums. */
export function chainBlockCrc(chained: number, blockCrc: number, crc32: Crc32): number {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, blockCrc, true);
  return crc32(bytes, chained);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
