/**
 * Bytes of the records in frames: what one update did to one replica (data frames), and all of a replica but its
 * entries (checkpoint frames). README.md has the tables. Used by the log (writing) and recovery (reading).
 */
import { BLOCK_HEADER_BYTES, type EntryBlock } from "../../shared/codec/block.js";
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { readMembership, readSnapshotMeta, writeMembership, writeSnapshotMeta } from "../../shared/codec/membership.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";
import type { BootstrapRecord, LogUpdate, MachineKind } from "./port.js";
import type { FrameBuilder } from "./wal-format.js";

const Flag = {
  Bootstrap: 1,
  Snapshot: 2,
  Reset: 4,
  HardState: 8,
  Compact: 16,
  Remove: 32,
  Damage: 64,
  Relocated: 128,
} as const;
const UPDATE_FLAGS = 1 | 2 | 4 | 8 | 16 | 32 | 128;
const KINDS: readonly MachineKind[] = ["memory", "concurrent", "onDisk", "witness"];
const RECORD_FIXED_BYTES = 32;
const RECORD_BLOCK_BYTES = 24;
const EMPTY = new Uint8Array(0);

/** An update with its rare parts encoded and its size known. */
export interface EncodedUpdate {
  readonly update: LogUpdate;
  readonly bootstrap: Uint8Array;
  readonly snapshot: Uint8Array;
  /** Term at compactTo, so that replay needs no entry that may be gone. */
  readonly compactTerm: Term;
  readonly bytes: number;
}

export function encodeUpdate(update: LogUpdate, compactTerm: Term): EncodedUpdate {
  const bootstrap = update.bootstrap === undefined ? EMPTY : encodeBootstrap(update.bootstrap);
  const snapshot = update.snapshot === undefined ? EMPTY : encodeSnapshot(update.snapshot.meta);
  let bytes = RECORD_FIXED_BYTES;
  if (update.compactTo !== undefined) bytes += 16;
  if (bootstrap.length > 0) bytes += 4 + bootstrap.length;
  if (snapshot.length > 0) bytes += 4 + snapshot.length;
  if (update.blocks !== undefined) {
    for (const block of update.blocks) bytes += RECORD_BLOCK_BYTES + block.bytes.length;
  }
  return { update, bootstrap, snapshot, compactTerm, bytes };
}

/** Writes exactly `encoded.bytes` bytes at the builder's place. `placed` is told where each block's bytes went. */
export function writeUpdate(
  frame: FrameBuilder,
  encoded: EncodedUpdate,
  placed: (block: EntryBlock, offset: number) => void,
): void {
  const { update, bootstrap, snapshot } = encoded;
  const { hardState, blocks } = update;
  let flags = 0;
  if (bootstrap.length > 0) flags |= Flag.Bootstrap;
  if (snapshot.length > 0) flags |= Flag.Snapshot;
  if (update.snapshot?.reset === true) flags |= Flag.Reset;
  if (hardState !== undefined) flags |= Flag.HardState;
  if (update.compactTo !== undefined) flags |= Flag.Compact;
  if (update.remove === true) flags |= Flag.Remove;
  frame.u32(flags);
  frame.u32(blocks === undefined ? 0 : blocks.length);
  frame.u64(hardState === undefined ? 0 : hardState.term);
  frame.u64(hardState === undefined ? 0 : hardState.vote);
  frame.u64(hardState === undefined ? 0 : hardState.commit);
  if (update.compactTo !== undefined) {
    frame.u64(update.compactTo);
    frame.u64(encoded.compactTerm);
  }
  if (bootstrap.length > 0) writeBlob(frame, bootstrap);
  if (snapshot.length > 0) writeBlob(frame, snapshot);
  if (blocks === undefined) return;
  for (const block of blocks) writeBlock(frame, block, placed);
}

type Placed<B> = (block: B, offset: number) => void;

function writeBlock<B extends RecordBlock>(frame: FrameBuilder, block: B, placed: Placed<B>): void {
  frame.u64(block.first);
  frame.u64(block.last);
  frame.u32(block.bytes.length);
  frame.u32(0);
  placed(block, frame.at);
  frame.raw(block.bytes);
}

/** Entries [first, last] of a packed block. */
export interface RecordBlock {
  readonly first: Index;
  readonly last: Index;
  readonly bytes: Uint8Array;
}

export function relocatedBytes(blocks: readonly RecordBlock[]): number {
  let bytes = RECORD_FIXED_BYTES;
  for (const block of blocks) bytes += RECORD_BLOCK_BYTES + block.bytes.length;
  return bytes;
}

/** Writes exactly `relocatedBytes` bytes: blocks that are in the log already and lie here from now on. */
export function writeRelocated<B extends RecordBlock>(
  frame: FrameBuilder,
  blocks: readonly B[],
  placed: Placed<B>,
): void {
  frame.u32(Flag.Relocated);
  frame.u32(blocks.length);
  for (let i = 0; i < 3; i++) frame.u64(0);
  for (const block of blocks) writeBlock(frame, block, placed);
}

function writeBlob(frame: FrameBuilder, bytes: Uint8Array): void {
  frame.u32(bytes.length);
  frame.raw(bytes);
}

/** A stored block as a record names it. */
export interface StoredBlock {
  readonly first: Index;
  readonly last: Index;
  readonly term: Term;
  /** From the beginning of the bytes given to `decodeUpdate`. */
  readonly offset: number;
  readonly length: number;
}

export interface DecodedUpdate {
  readonly bootstrap: Uint8Array | undefined;
  readonly snapshot: Uint8Array | undefined;
  readonly reset: boolean;
  readonly hardState: HardState | undefined;
  readonly compactTo: Index | undefined;
  readonly compactTerm: Term;
  readonly remove: boolean;
  /** The blocks change their place and nothing else. */
  readonly relocated: boolean;
  readonly blocks: readonly StoredBlock[];
}

/** Throws MalformedError. The bytes are those of a body whose checksum is right. */
export function decodeUpdate(bytes: Uint8Array, offset: number, length: number): DecodedUpdate {
  const r = new ByteReader(bytes, offset, offset + length);
  const flags = r.u32();
  if ((flags & ~UPDATE_FLAGS) !== 0) throw new MalformedError(`record flags ${flags}`);
  const count = r.u32();
  const hardState = { term: r.u64(), vote: r.u64(), commit: r.u64() };
  const compact = (flags & Flag.Compact) !== 0;
  const compactTo = compact ? r.u64() : undefined;
  const compactTerm = compact ? r.u64() : 0;
  const bootstrap = (flags & Flag.Bootstrap) !== 0 ? r.blob() : undefined;
  const snapshot = (flags & Flag.Snapshot) !== 0 ? r.blob() : undefined;
  const blocks: StoredBlock[] = [];
  for (let i = 0; i < count; i++) blocks.push(decodeBlock(r));
  r.end();
  return {
    bootstrap: bootstrap === undefined ? undefined : new Uint8Array(bootstrap),
    snapshot: snapshot === undefined ? undefined : new Uint8Array(snapshot),
    reset: (flags & Flag.Reset) !== 0,
    hardState: (flags & Flag.HardState) !== 0 ? hardState : undefined,
    compactTo,
    compactTerm,
    remove: (flags & Flag.Remove) !== 0,
    relocated: (flags & Flag.Relocated) !== 0,
    blocks,
  };
}

function decodeBlock(r: ByteReader): StoredBlock {
  const first = r.u64();
  const last = r.u64();
  const length = r.u32();
  r.u32();
  const offset = r.offset;
  if (length < BLOCK_HEADER_BYTES || last < first) throw new MalformedError(`stored block [${first}, ${last}]`);
  const block = new ByteReader(r.bytes(length), 32);
  return { first, last, term: block.u64(), offset, length };
}

/** All of a replica but its entries, as of a checkpoint frame. */
export interface CheckpointRow {
  readonly hardState: HardState;
  readonly first: Index;
  readonly last: Index;
  readonly precedingTerm: Term;
  readonly bootstrap: Uint8Array;
  /** Empty = no snapshot. */
  readonly snapshot: Uint8Array;
  readonly damage: string | undefined;
}

export function checkpointRowBytes(row: CheckpointRow): number {
  return 56 + row.bootstrap.length + row.snapshot.length + 8 + damageBytes(row).length;
}

export function writeCheckpointRow(frame: FrameBuilder, row: CheckpointRow): void {
  const damage = damageBytes(row);
  frame.u32(row.damage === undefined ? 0 : Flag.Damage);
  frame.u32(damage.length);
  frame.u64(row.hardState.term);
  frame.u64(row.hardState.vote);
  frame.u64(row.hardState.commit);
  frame.u64(row.first);
  frame.u64(row.last);
  frame.u64(row.precedingTerm);
  writeBlob(frame, row.bootstrap);
  writeBlob(frame, row.snapshot);
  frame.raw(damage);
}

/** Throws MalformedError. */
export function readCheckpointRow(bytes: Uint8Array, offset: number, length: number): CheckpointRow {
  const r = new ByteReader(bytes, offset, offset + length);
  const flags = r.u32();
  const damageLength = r.u32();
  const hardState = { term: r.u64(), vote: r.u64(), commit: r.u64() };
  const first = r.u64();
  const last = r.u64();
  const precedingTerm = r.u64();
  const bootstrap = new Uint8Array(r.blob());
  const snapshot = new Uint8Array(r.blob());
  const text = new TextDecoder().decode(r.bytes(damageLength));
  r.end();
  const damage = (flags & Flag.Damage) !== 0 ? text : undefined;
  return { hardState, first, last, precedingTerm, bootstrap, snapshot, damage };
}

function damageBytes(row: CheckpointRow): Uint8Array {
  return row.damage === undefined ? EMPTY : new TextEncoder().encode(row.damage);
}

export function encodeBootstrap(record: BootstrapRecord): Uint8Array {
  const w = new ByteWriter(256).u8(record.join ? 1 : 0).u8(KINDS.indexOf(record.kind));
  writeMembership(w, record.initial);
  return w.text(record.app).blob(new TextEncoder().encode(record.config)).finish();
}

/** Throws MalformedError. */
export function decodeBootstrap(bytes: Uint8Array): BootstrapRecord {
  const r = new ByteReader(bytes);
  const join = r.bool();
  const kind = KINDS[r.u8()];
  if (kind === undefined) throw new MalformedError("unknown machine kind");
  const initial = readMembership(r);
  const app = r.text();
  const config = new TextDecoder().decode(r.blob());
  r.end();
  return { join, kind, app, initial, config };
}

export function encodeSnapshot(meta: SnapshotMeta): Uint8Array {
  const w = new ByteWriter(256);
  writeSnapshotMeta(w, meta);
  return w.finish();
}

/** Throws MalformedError. */
export function decodeSnapshot(bytes: Uint8Array): SnapshotMeta {
  const r = new ByteReader(bytes);
  const meta = readSnapshotMeta(r);
  r.end();
  return meta;
}
