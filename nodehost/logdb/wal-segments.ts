/**
 * The WAL's segment files: made (zero-written) before they are needed, listed durably before they are used, used again
 * or removed when nothing in them lives. All of it runs beside the appends, one operation at a time.
 *
 * Invariants: a file is in the durable list before its first frame is written, and leaves the list before it is used
 * for anything else; so a listed file that is missing or short is damage, and an unlisted one is rubbish. Ids grow; the
 * generation of a file grows with each use.
 */
import { ByteReader, ByteWriter } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import type { FileHandle, Files } from "../../shared/files/port.js";
import type { DataSetId } from "../../shared/types/ids.js";
import type { CheckpointChange, CheckpointStore } from "./checkpoint-store.js";
import { roundUp, segmentSeed } from "./wal-format.js";
import type { Segment } from "./wal-replica.js";
import type { Watch } from "./wal-watch.js";

export const SEGMENTS_ROW = "segments";
const ZERO_CHUNK_BYTES = 512 * 1024;
const SPARES_MAX = 2;
const FILE_PREFIX = "wal-";

/** A file as the durable list names it. */
export interface SegmentRecord {
  readonly id: number;
  readonly generation: number;
  readonly length: number;
}

export interface SegmentList {
  readonly used: readonly SegmentRecord[];
  /** Zero-written once, free to be used again under a new id. */
  readonly spares: readonly SegmentRecord[];
}

export function segmentFileName(id: number): string {
  return `${FILE_PREFIX}${String(id).padStart(10, "0")}.seg`;
}

export function isSegmentFileName(name: string): boolean {
  return name.startsWith(FILE_PREFIX);
}

export interface SegmentSizes {
  /** Length of the first segment; doubled for each next one. */
  readonly firstBytes: number;
  readonly maxBytes: number;
}

export interface SegmentOptions {
  readonly files: Files;
  readonly walDir: string;
  readonly dataSetId: DataSetId;
  readonly crc32: Crc32;
  readonly store: CheckpointStore;
  readonly watch: Watch;
  readonly sizes: SegmentSizes;
}

export class SegmentSet {
  readonly #options: SegmentOptions;
  /** In the durable list, oldest first. */
  readonly #used: Segment[] = [];
  readonly #spares: SegmentRecord[] = [];
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: SegmentOptions) {
    this.#options = options;
  }

  get used(): readonly Segment[] {
    return this.#used;
  }

  get diskBytes(): number {
    let bytes = 0;
    for (const { length } of [...this.#used, ...this.#spares]) bytes += length;
    return bytes;
  }

  path(fileName: string): string {
    return `${this.#options.walDir}/${fileName}`;
  }

  /** Opens what the list names (recovery). Files that it does not name are removed. */
  async openListed(list: SegmentList): Promise<void> {
    const { files, walDir, watch } = this.#options;
    const present = new Set((await files.list(walDir)).filter(isSegmentFileName));
    for (const record of list.used) {
      const fileName = segmentFileName(record.id);
      const handle = present.has(fileName) ? await files.open(this.path(fileName), { durable: true }) : undefined;
      this.#used.push(describeSegment(this.#options, record, handle));
    }
    for (const record of list.spares) if (present.has(segmentFileName(record.id))) this.#spares.push(record);
    const named = new Set([...list.used, ...list.spares].map((record) => segmentFileName(record.id)));
    for (const name of present) {
      if (!named.has(name)) await watch.during("removing a segment", files.remove(this.path(name)));
    }
  }

  /** A new, listed, empty segment that can hold `minBytes`. DL_ERR_DISK_FULL when there is no room for it. */
  prepare(minBytes: number): Promise<Segment> {
    return this.#inOrder(() => this.#prepare(minBytes));
  }

  /** Takes the oldest `count` segments out of use; `rows` are committed with the list. */
  retire(count: number, rows: readonly CheckpointChange[]): Promise<void> {
    return this.#inOrder(() => this.#retire(count, rows));
  }

  /** Commits rows of others, in order with the list's. */
  commit(rows: readonly CheckpointChange[]): Promise<void> {
    return this.#inOrder(() => this.#commit("a checkpoint commit", rows));
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#tail;
  }

  async closeFiles(): Promise<void> {
    for (const { handle } of this.#used) await handle?.close();
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  #nextLength(minBytes: number): number {
    const { firstBytes, maxBytes } = this.#options.sizes;
    const newest = this.#used.at(-1);
    const regular = newest === undefined ? firstBytes : Math.max(firstBytes, Math.min(maxBytes, newest.length * 2));
    return roundUp(Math.max(Math.min(regular, Math.max(maxBytes, firstBytes)), minBytes));
  }

  async #prepare(minBytes: number): Promise<Segment> {
    const length = this.#nextLength(minBytes);
    const id = Math.max(0, ...this.#used.map((s) => s.id), ...this.#spares.map((s) => s.id)) + 1;
    const fit = this.#spares.findIndex((spare) => spare.length >= minBytes && spare.length >= length / 2);
    const spare = fit < 0 ? undefined : this.#spares[fit];
    const record =
      spare === undefined
        ? await this.#create({ id, generation: 1, length })
        : await this.#reuse(spare, { id, generation: spare.generation + 1, length: spare.length });
    const { files, watch } = this.#options;
    const path = this.path(segmentFileName(record.id));
    const handle = await watch.during("opening a segment", files.open(path, { durable: true }));
    const segment = describeSegment(this.#options, record, handle);
    this.#used.push(segment);
    if (spare !== undefined) this.#spares.splice(fit, 1);
    await this.#commitList([]);
    return segment;
  }

  async #create(record: SegmentRecord): Promise<SegmentRecord> {
    const { files, walDir, watch } = this.#options;
    const path = this.path(segmentFileName(record.id));
    try {
      const handle = await watch.during("creating a segment", files.open(path, { create: true, durable: true }));
      try {
        const zeros = new Uint8Array(Math.min(ZERO_CHUNK_BYTES, record.length));
        for (let at = 0; at < record.length; at += zeros.length) {
          const part = zeros.subarray(0, Math.min(zeros.length, record.length - at));
          await watch.during("zero-writing a segment", handle.write(part, at));
        }
        await watch.during("syncing a segment", handle.sync());
      } finally {
        await handle.close();
      }
      await watch.during("syncing the directory", files.syncDirectory(walDir));
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      await watch.during("removing a segment", files.remove(path));
      throw new OpError("DL_ERR_DISK_FULL", `no room for a segment of ${record.length} bytes`, { cause: error });
    }
    return record;
  }

  /** A crash in between leaves a spare that is not there and a file that nobody lists: both are forgotten at open. */
  async #reuse(spare: SegmentRecord, record: SegmentRecord): Promise<SegmentRecord> {
    const { files, walDir, watch } = this.#options;
    const from = this.path(segmentFileName(spare.id));
    const to = this.path(segmentFileName(record.id));
    await watch.during("renaming a segment", files.rename(from, to));
    await watch.during("syncing the directory", files.syncDirectory(walDir));
    return record;
  }

  async #retire(count: number, rows: readonly CheckpointChange[]): Promise<void> {
    const gone = this.#used.splice(0, count);
    const removed: Segment[] = [];
    for (const segment of gone) {
      const useful = !segment.damaged && this.#spares.length < SPARES_MAX && segment.length >= this.#nextLength(0) / 2;
      if (useful) this.#spares.push({ id: segment.id, generation: segment.generation, length: segment.length });
      else removed.push(segment);
    }
    await this.#commitList(rows);
    const { files, watch } = this.#options;
    for (const segment of gone) await segment.handle?.close();
    for (const { fileName } of removed) {
      await watch.during("removing a segment", files.remove(this.path(fileName)));
    }
  }

  #commitList(rows: readonly CheckpointChange[]): Promise<void> {
    const value = encodeSegmentList({ used: this.#used, spares: this.#spares });
    return this.#commit("the segment list", [...rows, { key: SEGMENTS_ROW, value }]);
  }

  async #commit(what: string, rows: readonly CheckpointChange[]): Promise<void> {
    await this.#options.watch.during(what, this.#options.store.commit(rows));
  }
}

/** A segment in which nothing is known to live yet. */
export function describeSegment(
  owner: { readonly crc32: Crc32; readonly dataSetId: DataSetId },
  record: SegmentRecord,
  handle: FileHandle | undefined,
): Segment {
  const { id, generation, length } = record;
  const seed = segmentSeed(owner.crc32, owner.dataSetId, id, generation);
  const damaged = handle === undefined;
  return { id, generation, length, seed, fileName: segmentFileName(id), handle, liveRanges: 0, damaged };
}

export function encodeSegmentList(list: SegmentList): Uint8Array {
  const w = new ByteWriter(256);
  for (const records of [list.used, list.spares]) {
    w.u32(records.length);
    for (const { id, generation, length } of records) w.u64(id).u64(generation).u64(length);
  }
  return w.finish();
}

/** Throws MalformedError. */
export function decodeSegmentList(bytes: Uint8Array): SegmentList {
  const r = new ByteReader(bytes);
  const read = (): SegmentRecord[] => {
    const records: SegmentRecord[] = [];
    const count = r.u32();
    for (let i = 0; i < count; i++) records.push({ id: r.u64(), generation: r.u64(), length: r.u64() });
    return records;
  };
  const used = read();
  const spares = read();
  r.end();
  return { used, spares };
}

function isNoSpace(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
}
