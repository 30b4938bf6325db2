/**
 * One append on its way: checked against the replicas and encoded (`prepareBatch`), written into a frame (`write`),
 * and, when the frame is durable, made what the replicas are (`apply`). Checkpoint frames, too.
 */
import type { LogUpdate, ReplicaKey } from "./port.js";
import { checkUpdate, type Plan } from "./update-check.js";
import { type FrameBuilder, frameLayout } from "./wal-format.js";
import {
  type CheckpointRow,
  checkpointRowBytes,
  type EncodedUpdate,
  encodeUpdate,
  writeCheckpointRow,
  writeUpdate,
} from "./wal-record.js";
import { keyText, type RemovedSet, type ReplicaTable, type Segment, type WalRange, WalReplica } from "./wal-replica.js";

interface Part {
  readonly replica: WalReplica;
  readonly encoded: EncodedUpdate;
}

/** What the log writes as one frame. */
export interface Append {
  readonly recordCount: number;
  readonly bodyBytes: number;
  /** It adds entries (and not only makes room, or changes small state). */
  readonly hasBlocks: boolean;
  /** Writes all records; returns where the blocks went, in order. Nothing of the replicas' logs changes yet. */
  write(frame: FrameBuilder, place: FramePlace): WalRange[];
  /** The frame is durable. Returns the replicas that were removed. */
  apply(ranges: readonly WalRange[]): readonly ReplicaKey[];
}

export interface Replicas {
  readonly table: ReplicaTable;
  readonly removed: RemovedSet;
}

/** Throws OpError, with nothing changed. `serial` differs from call to call. */
export function prepareBatch(updates: readonly LogUpdate[], replicas: Replicas, serial: number): Append {
  const parts: Part[] = [];
  let bodyBytes = 0;
  let hasBlocks = false;
  let created: Map<string, WalReplica> | undefined;
  for (const update of updates) {
    let replica = replicas.table.get(update);
    if (replica === undefined) {
      created ??= new Map();
      const key = keyText(update);
      replica = created.get(key) ?? new WalReplica(update);
      created.set(key, replica);
    }
    const { compactTerm } = checkUpdate(planOf(replica, replicas, serial), update, termOf(replica));
    const encoded = encodeUpdate(update, compactTerm);
    parts.push({ replica, encoded });
    bodyBytes += encoded.bytes;
    hasBlocks ||= update.blocks !== undefined && update.blocks.length > 0;
  }
  return new Batch(parts, replicas, { bodyBytes, hasBlocks });
}

function planOf(replica: WalReplica, replicas: Replicas, serial: number): Plan {
  if (replica.plan !== undefined && replica.planSerial === serial) return replica.plan;
  // In the table = has a bootstrap record; the set of removed ones need be asked only for those that are not.
  const exists = replica.lastSequence > 0;
  const removed = !exists && replicas.removed.has(replica);
  const plan = { exists, removed, damage: replica.damage, first: replica.log.first, last: replica.log.last };
  replica.plan = plan;
  replica.planSerial = serial;
  return plan;
}

function termOf(replica: WalReplica): (index: number) => number | undefined {
  return (index) => replica.log.term(index);
}

export interface FramePlace {
  readonly sequence: number;
  readonly segment: Segment;
  /** Where the frame begins in the segment. */
  readonly offset: number;
}

/** The updates of one `append`. */
class Batch implements Append {
  readonly bodyBytes: number;
  readonly hasBlocks: boolean;
  readonly #parts: readonly Part[];
  readonly #replicas: Replicas;

  constructor(parts: readonly Part[], replicas: Replicas, size: Pick<Append, "bodyBytes" | "hasBlocks">) {
    this.#parts = parts;
    this.#replicas = replicas;
    this.bodyBytes = size.bodyBytes;
    this.hasBlocks = size.hasBlocks;
  }

  get recordCount(): number {
    return this.#parts.length;
  }

  write(frame: FrameBuilder, place: FramePlace): WalRange[] {
    return writeParts(frame, this.#parts, place);
  }

  apply(ranges: readonly WalRange[]): readonly ReplicaKey[] {
    return applyParts(this.#parts, ranges, this.#replicas);
  }
}

function writeParts(frame: FrameBuilder, parts: readonly Part[], place: FramePlace): WalRange[] {
  const { sequence, segment, offset } = place;
  const ranges: WalRange[] = [];
  for (const { replica, encoded } of parts) {
    frame.record(replica, replica.lastSequence, encoded.bytes);
    writeUpdate(frame, encoded, (block, at) => {
      const { first, last, term, bytes } = block;
      ranges.push({ first, last, term, segment, offset: offset + at, length: bytes.length });
    });
    // The next record of it names this frame, also one in this same frame.
    replica.lastSequence = sequence;
  }
  return ranges;
}

function applyParts(parts: readonly Part[], ranges: readonly WalRange[], replicas: Replicas): readonly ReplicaKey[] {
  let removed: ReplicaKey[] | undefined;
  let next = 0;
  for (const { replica, encoded } of parts) {
    const { update } = encoded;
    if (update.remove === true) {
      replicas.table.remove(replica);
      replicas.removed.add(replica);
      removed ??= [];
      removed.push({ shardId: replica.shardId, replicaId: replica.replicaId });
      continue;
    }
    if (update.bootstrap !== undefined) {
      if (replicas.table.get(replica) === undefined) replicas.table.add(replica);
      replica.bootstrap = update.bootstrap;
      replica.bootstrapBytes = encoded.bootstrap;
    }
    if (update.snapshot !== undefined) {
      const { meta, reset } = update.snapshot;
      replica.snapshot = meta;
      replica.snapshotBytes = encoded.snapshot;
      if (reset) replica.log.reset(meta.index, meta.term);
    }
    const count = update.blocks === undefined ? 0 : update.blocks.length;
    for (const end = next + count; next < end; next++) replica.addRange(ranges[next] as WalRange);
    if (update.hardState !== undefined) replica.hardState = update.hardState;
    if (update.compactTo !== undefined) replica.log.compact(update.compactTo, encoded.compactTerm);
  }
  return removed ?? [];
}

/** All replicas as they are now, and what a checkpoint frame of them takes. */
export interface Checkpoint {
  readonly rows: readonly { readonly replica: WalReplica; readonly row: CheckpointRow; readonly bytes: number }[];
  readonly bodyBytes: number;
  readonly totalBytes: number;
}

export function measureCheckpoint(table: ReplicaTable): Checkpoint {
  const rows: { replica: WalReplica; row: CheckpointRow; bytes: number }[] = [];
  let bodyBytes = 0;
  for (const replica of table.values()) {
    const row = replica.row();
    const bytes = checkpointRowBytes(row);
    rows.push({ replica, row, bytes });
    bodyBytes += bytes;
  }
  return { rows, bodyBytes, totalBytes: frameLayout(rows.length, bodyBytes).totalBytes };
}

export function writeCheckpoint(frame: FrameBuilder, checkpoint: Checkpoint): void {
  frame.begin(checkpoint.rows.length, checkpoint.bodyBytes);
  for (const { replica, row, bytes } of checkpoint.rows) {
    frame.record(replica, replica.lastSequence, bytes);
    writeCheckpointRow(frame, row);
  }
}
