/**
 * Damage done to the files of one node: bits that rot, blocks, files and directories that are gone. Only what can be
 * noticed: a frame of the log is damaged only if a later one has settled, because rot of the very last frame looks like
 * a torn write (RELIABILITY.md, known limits).
 */
import { FrameParser, FramePart, segmentSeed, WAL_BLOCK_BYTES } from "../../nodehost/logdb/wal-format.js";
import { decodeSegmentList, SEGMENTS_ROW, segmentFileName } from "../../nodehost/logdb/wal-segments.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import type { Prng } from "./prng.js";
import type { StorageDevice } from "./storage-device.js";

export const DAMAGES = [
  "flipMiddle",
  "flipTail",
  "flipSnapshot",
  "loseBlock",
  "loseSegment",
  "cutSegment",
  "loseWal",
  "loseCheckpoint",
  "loseSnapshot",
] as const;
export type Damage = (typeof DAMAGES)[number];

/** A file that is open cannot be lost. */
export function needsStop(kind: Damage): boolean {
  return !kind.startsWith("flip") && kind !== "loseBlock";
}

export interface Target {
  readonly device: StorageDevice;
  readonly dataSetId: string;
  readonly crc32: Crc32;
  /** Frames below this sequence may be damaged. */
  readonly settled: number;
  /** The file of the recorded snapshot. */
  readonly snapshotPath: string | undefined;
}

/** Says what was done; undefined: there was nothing to do it to. */
export function inflict(kind: Damage, target: Target, r: Prng): string | undefined {
  const { device, snapshotPath } = target;
  const { files } = device;
  switch (kind) {
    case "flipMiddle":
    case "flipTail":
    case "loseBlock":
      return damageFrame(kind, target, r);
    case "flipSnapshot": {
      const bytes = snapshotPath === undefined ? undefined : files.peek(snapshotPath);
      if (snapshotPath === undefined || bytes === undefined) return undefined;
      files.flip(snapshotPath, r.int(bytes.length), 1 + r.int(255));
      return snapshotPath;
    }
    case "loseSnapshot":
      if (snapshotPath === undefined) return undefined;
      files.lose(r.chance(0.5) ? snapshotPath : snapshotPath.slice(0, snapshotPath.lastIndexOf("/")));
      return snapshotPath;
    case "loseSegment":
    case "cutSegment":
      return damageSegment(kind, target, r);
    case "loseWal":
      files.lose("/wal");
      return "/wal";
    default:
      device.checkpoints.wipe();
      return "checkpoint";
  }
}

function damageSegment(kind: "loseSegment" | "cutSegment", { device, settled }: Target, r: Prng): string | undefined {
  const used = segmentsOf(device);
  if (used.length === 0 || settled === 0) return undefined;
  const { path, length } = r.pick(used);
  if (kind === "loseSegment") device.files.lose(path);
  else device.files.cut(path, r.int(length));
  return path;
}

interface Frame {
  readonly path: string;
  readonly start: number;
  readonly length: number;
  readonly sequence: number;
}

function damageFrame(kind: Damage, target: Target, r: Prng): string | undefined {
  const frames = framesOf(target).filter(({ sequence }) => sequence < target.settled);
  const frame = kind === "flipTail" ? frames.at(-1) : frames.length === 0 ? undefined : r.pick(frames);
  if (frame === undefined) return undefined;
  const { path, start, length, sequence } = frame;
  const { files } = target.device;
  if (kind === "loseBlock") {
    const at = start + r.int(length / WAL_BLOCK_BYTES) * WAL_BLOCK_BYTES;
    files.rot(path, at, new Uint8Array(WAL_BLOCK_BYTES));
  } else {
    for (let flips = r.chance(0.7) ? 1 : 3; flips > 0; flips--) files.flip(path, start + r.int(length), 1 << r.int(8));
  }
  return `frame ${sequence} in ${path}`;
}

function segmentsOf(device: StorageDevice): { readonly path: string; readonly length: number }[] {
  const row = device.checkpoints.rows.get(SEGMENTS_ROW);
  if (row === undefined) return [];
  return decodeSegmentList(row).used.map(({ id, length }) => ({ path: `/wal/${segmentFileName(id)}`, length }));
}

function framesOf({ device, dataSetId, crc32 }: Target): Frame[] {
  const row = device.checkpoints.rows.get(SEGMENTS_ROW);
  const frames: Frame[] = [];
  for (const { id, generation } of row === undefined ? [] : decodeSegmentList(row).used) {
    const path = `/wal/${segmentFileName(id)}`;
    const bytes = device.files.peek(path);
    if (bytes === undefined) continue;
    const seed = segmentSeed(crc32, dataSetId, id, generation);
    const parser = new FrameParser(bytes, { id, generation, seed }, crc32);
    for (let block = 0; block < parser.blockCount; ) {
      const header = parser.header(block);
      const head = header?.part === FramePart.Head ? header : undefined;
      if (head !== undefined) {
        const length = head.frameBlocks * WAL_BLOCK_BYTES;
        frames.push({ path, start: block * WAL_BLOCK_BYTES, length, sequence: head.sequence });
      }
      block += head?.frameBlocks ?? 1;
    }
  }
  return frames.sort((a, b) => a.sequence - b.sequence);
}
