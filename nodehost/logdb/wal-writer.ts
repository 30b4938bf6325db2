/**
 * Where the log is being written: the current segment, the end of the last durable frame, the last sequence; and the
 * step into the next segment. Used by WalLog, which sees to it that one thing at a time is asked for.
 *
 * Invariants: sequence and offset move only when a frame's write has settled; a segment's first frame is a checkpoint;
 * after `stop` a late write changes nothing any more.
 */
import type { Env, Histogram } from "../../shared/env/env.js";
import { isOpError, OpError } from "../../shared/errors.js";
import { type Append, measureCheckpoint, writeCheckpoint } from "./wal-batch.js";
import { FrameBuilder, FrameKind, frameLayout, WAL_BLOCK_BYTES } from "./wal-format.js";
import type { ReplicaTable, Segment, WalRange } from "./wal-replica.js";
import type { SegmentSet } from "./wal-segments.js";
import type { Watch } from "./wal-watch.js";

/** What is left free in each segment by appends that add entries, so that those that make room still fit. */
const RESERVE_BYTES_MAX = 256 * 1024;
/** And by all appends, so that the last frame of a segment can be sealed. */
const SEAL_BYTES = frameLayout(0, 0).totalBytes;
const FRAME_BYTES_MAX = 1024 * 1024 * 1024;
const PREPARE_RETRY_MS = 1000;

export interface WriterStart {
  readonly env: Env;
  readonly segments: SegmentSet;
  readonly watch: Watch;
  readonly lastSequence: number;
  /** Where to go on; undefined when the first frame needs a new segment. */
  readonly place: { readonly segment: Segment; readonly offset: number; readonly sealed: boolean } | undefined;
  /** A listed segment that nothing was written to yet. */
  readonly spare: Segment | undefined;
}

export class WalWriter {
  readonly #env: Env;
  readonly #segments: SegmentSet;
  readonly #watch: Watch;
  readonly #table: ReplicaTable;
  readonly #frame: FrameBuilder;
  readonly #writeMs: Histogram;
  #segment: Segment | undefined;
  #offset: number;
  #sequence: number;
  #sealed: boolean;
  #lastWriteMs = 0;
  #spare: Promise<Segment | undefined> | undefined;
  #prepareAfterMs = 0;
  #stopped = false;
  #writes = 0;
  #bytesWritten = 0;

  constructor(start: WriterStart, table: ReplicaTable) {
    this.#env = start.env;
    this.#segments = start.segments;
    this.#watch = start.watch;
    this.#table = table;
    this.#frame = new FrameBuilder(start.env.crc32);
    this.#writeMs = start.env.metrics.histogram("drumline_wal_write_ms", "Time of a durable write of the log");
    this.#segment = start.place?.segment;
    this.#offset = start.place?.offset ?? 0;
    this.#sealed = start.place?.sealed ?? true;
    this.#sequence = start.lastSequence;
    if (start.spare !== undefined) this.#spare = Promise.resolve(start.spare);
  }

  /** Of the last durable frame. */
  get sequence(): number {
    return this.#sequence;
  }

  get segment(): Segment | undefined {
    return this.#segment;
  }

  /** The last frame is followed by a seal, or there is none. */
  get sealed(): boolean {
    return this.#sealed;
  }

  get lastWriteMs(): number {
    return this.#lastWriteMs;
  }

  get writes(): number {
    return this.#writes;
  }

  get bytesWritten(): number {
    return this.#bytesWritten;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Size of the append's frame. DL_ERR_PAYLOAD_TOO_BIG if it could not be written at all. */
  frameBytes(append: Append): number {
    const { totalBytes } = frameLayout(append.recordCount, append.bodyBytes);
    if (totalBytes > FRAME_BYTES_MAX) throw new OpError("DL_ERR_PAYLOAD_TOO_BIG", `an append of ${totalBytes} bytes`);
    return totalBytes;
  }

  /** True if a frame of that size goes into the current segment. */
  fits(bytes: number, hasBlocks: boolean): boolean {
    const segment = this.#segment;
    return segment !== undefined && !segment.damaged && this.#offset + bytes <= usable(segment.length, hasBlocks);
  }

  /** Writes the append, which fits. The frame is built before this returns; it is durable when `durable` resolves. */
  write(append: Append): { readonly durable: Promise<void>; readonly ranges: readonly WalRange[] } {
    const place = { sequence: this.#sequence + 1, segment: this.#segment as Segment, offset: this.#offset };
    this.#frame.begin(append.recordCount, append.bodyBytes);
    const ranges = append.write(this.#frame, place);
    return { durable: this.#put(FrameKind.Data), ranges };
  }

  /** Writes a frame without records, so that rot of the one before cannot be taken for a torn write. */
  seal(): Promise<void> | undefined {
    const segment = this.#segment;
    if (segment === undefined || segment.damaged || this.#offset + SEAL_BYTES > segment.length) return undefined;
    this.#frame.begin(0, 0);
    return this.#put(FrameKind.Seal);
  }

  /** Goes on in a new segment, which begins with a checkpoint frame. DL_ERR_DISK_FULL if there is no room for one. */
  async rotate(frameBytes: number): Promise<void> {
    const checkpoint = measureCheckpoint(this.#table);
    const need = checkpoint.totalBytes + frameBytes;
    const spare = await this.#spare;
    this.#spare = undefined;
    const fits = spare !== undefined && usable(spare.length, true) >= Math.max(need, checkpoint.totalBytes * 2);
    const segment = fits ? spare : await this.#prepareNow(Math.max(need, checkpoint.totalBytes * 4));
    if (this.#stopped) throw new Error("the log has failed");
    writeCheckpoint(this.#frame, checkpoint);
    this.#segment = segment;
    this.#offset = 0;
    await this.#put(FrameKind.Checkpoint);
  }

  /** Makes the next segment when this one is half full. A full disk is met later; other failures go to `failed`. */
  prepareAhead(failed: (error: unknown) => void): void {
    if (this.#spare !== undefined || this.#offset <= (this.#segment?.length ?? 0) / 2) return;
    if (this.#env.now() < this.#prepareAfterMs) return;
    this.#spare = this.#segments.prepare(0).catch((error: unknown) => {
      this.#spare = undefined;
      this.#prepareAfterMs = this.#env.now() + PREPARE_RETRY_MS;
      if (!isOpError(error)) failed(error);
      return undefined;
    });
  }

  /** A segment with room for `bytes`, now. A full disk is not tried again at once. */
  async #prepareNow(bytes: number): Promise<Segment> {
    if (this.#env.now() < this.#prepareAfterMs) throw new OpError("DL_ERR_DISK_FULL", "no room for a new segment");
    try {
      const used = bytes + SEAL_BYTES;
      return await this.#segments.prepare(used + Math.min(RESERVE_BYTES_MAX, Math.ceil(used / 15)));
    } catch (error) {
      if (isOpError(error)) this.#prepareAfterMs = this.#env.now() + PREPARE_RETRY_MS;
      throw error;
    }
  }

  /** Writes the frame that was built behind the last one; when it is durable it is the last one. */
  async #put(kind: FrameKind): Promise<void> {
    const segment = this.#segment as Segment;
    const sequence = this.#sequence + 1;
    const startBlock = this.#offset / WAL_BLOCK_BYTES;
    const bytes = this.#frame.finish({ kind, sequence, startBlock, segment });
    const sinceMs = this.#env.now();
    const ticket = this.#watch.begin("a write of the log");
    await segment.handle?.write(bytes, this.#offset);
    this.#watch.end(ticket);
    // Overdue meanwhile: the callers were told so, and that stays.
    if (this.#stopped) throw new Error("the log has failed");
    this.#lastWriteMs = this.#env.now();
    this.#writeMs.observe(this.#lastWriteMs - sinceMs);
    this.#sequence = sequence;
    this.#offset += bytes.length;
    this.#sealed = kind === FrameKind.Seal;
    this.#writes += 1;
    this.#bytesWritten += bytes.length;
  }
}

/** Bytes of a segment that may be filled; those that only make room may fill it wholly, but for a seal. */
function usable(length: number, hasBlocks: boolean): number {
  return length - SEAL_BYTES - (hasBlocks ? Math.min(RESERVE_BYTES_MAX, length / 16) : 0);
}
