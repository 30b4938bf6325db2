/**
 * A host's log for the fault tests of this folder: WAL on SimDisk, a checkpoint store that can fail, hand-moved time,
 * and the means to find frames on the disk and destroy parts of them.
 */
import assert from "node:assert/strict";
import type { FatalStorageError } from "../../shared/errors.js";
import { readWhole } from "../../shared/files/port.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import type { LogUpdate, ReplicaKey } from "./port.js";
import { SimCheckpointDisk } from "./sim-checkpoint.js";
import { BOOTSTRAP, generator, hard, ManualEnv, makeBlock } from "./test-support.js";
import { type FrameHeader, FrameParser, FramePart, frameLayout, segmentSeed, WAL_BLOCK_BYTES } from "./wal-format.js";
import type { WalLogDb } from "./wal-logdb.js";
import { openWalLogDb, type WalLogDbOptions } from "./wal-open.js";
import { decodeSegmentList, segmentFileName } from "./wal-segments.js";

/** Room for a dozen small frames. */
export const SEGMENT_BYTES = 128 * 1024;

export const A = { shardId: 1, replicaId: 1 };
export const B = { shardId: 2, replicaId: 1 };
export const C = { shardId: 3, replicaId: 1 };

export class Host {
  readonly disk: SimDisk;
  readonly checkpoints = new SimCheckpointDisk();
  readonly fatal: FatalStorageError[] = [];
  clock = new ManualEnv();

  constructor(disk = new SimDisk()) {
    this.disk = disk;
  }

  open(extra: Partial<WalLogDbOptions> = {}): Promise<WalLogDb> {
    return openWalLogDb({
      files: this.disk,
      walDir: "/wal",
      dataDir: "/data",
      dataSetId: "set-1",
      env: this.clock.env,
      checkpointStore: this.checkpoints.factory,
      onFatal: (error) => this.fatal.push(error),
      segmentSizes: { firstBytes: SEGMENT_BYTES, maxBytes: SEGMENT_BYTES },
      ...extra,
    });
  }

  /** Without closing: nothing is sealed. */
  kill(seed = 1): void {
    const random = generator(seed);
    this.disk.crash(random);
    this.checkpoints.crash(random);
    this.clock = new ManualEnv();
  }

  used(): { readonly id: number; readonly generation: number; readonly length: number }[] {
    const row = this.checkpoints.rows.get("segments");
    return row === undefined ? [] : [...decodeSegmentList(row).used];
  }

  /** Heads of all frames, segment by segment. */
  async frames(): Promise<{ readonly path: string; readonly header: FrameHeader }[]> {
    const found: { path: string; header: FrameHeader }[] = [];
    const crc32 = this.clock.env.crc32;
    for (const { id, generation } of this.used()) {
      const path = `/wal/${segmentFileName(id)}`;
      const seed = segmentSeed(crc32, "set-1", id, generation);
      const parser = new FrameParser(await readWhole(this.disk, path), { id, generation, seed }, crc32);
      for (let block = 0; block < parser.blockCount; block++) {
        const header = parser.header(block);
        if (header?.part === FramePart.Head) found.push({ path, header });
      }
    }
    return found;
  }

  /** Destroys parts of the frame with that sequence. */
  async damage(sequence: number, parts: readonly ("head" | "body" | "trailer")[]): Promise<void> {
    const frame = (await this.frames()).find(({ header }) => header.sequence === sequence);
    assert.ok(frame, `no frame ${sequence}`);
    const { header, path } = frame;
    const layout = frameLayout(header.recordCount, header.bodyBytes);
    const start = header.startBlock * WAL_BLOCK_BYTES;
    if (parts.includes("head")) this.disk.flip(path, start + 17);
    if (parts.includes("body")) this.disk.flip(path, start + layout.bodyOffset + 40);
    if (parts.includes("trailer")) this.disk.flip(path, start + layout.trailerOffset + 17);
  }
}

export function create(key: ReplicaKey): LogUpdate {
  return { ...key, bootstrap: BOOTSTRAP, hardState: hard(1, 0) };
}

export function entry(key: ReplicaKey, index: number, bytes = 0): LogUpdate {
  return { ...key, blocks: [makeBlock(key.shardId, index, 1, { bytes })], hardState: hard(1, index - 1) };
}

/** A, B, C with two entries each, one frame per update; the newest frames are A's second, B's second, C's second. */
export async function sixFrames(host: Host): Promise<{ readonly db: WalLogDb; readonly last: number }> {
  const db = await host.open();
  await db.append([create(A), create(B), create(C)]);
  let last = 0;
  for (const index of [1, 2]) for (const key of [A, B, C]) last = await db.append([entry(key, index)]);
  return { db, last };
}

export function damages(db: WalLogDb): string[] {
  return db
    .recovery()
    .replicas.filter((r) => r.damage !== undefined)
    .map((r) => `${r.shardId}`)
    .sort();
}
