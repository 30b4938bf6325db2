/**
 * Finds the frames of the WAL in order, tells a torn tail from corruption, and feeds what it finds to Merge.
 *
 * The rule: one write is in flight at a time, so of the frames after the last good one at most the next (sequence N)
 * can be half there. Anything of a later sequence proves that frame N was durable: then it is lost, not torn. A listed
 * segment that is missing or short is always a loss. A frame is good when its head, one table of contents and its body
 * have their checksums; a rotten trailer alone does not matter.
 */
import type { Crc32 } from "../../shared/codec/crc32.js";
import {
  type FrameHeader,
  FrameKind,
  FrameParser,
  FramePart,
  frameLayout,
  type TocEntry,
  WAL_BLOCK_BYTES,
} from "./wal-format.js";
import type { Merge } from "./wal-merge.js";
import type { Segment } from "./wal-replica.js";

/** Where writing goes on, and what must be made true first. */
export interface ScanResult {
  /** Highest sequence seen; 0 when there is no frame at all. */
  readonly lastSequence: number;
  /** Segment with the last good frame. */
  readonly current: Segment | undefined;
  /** End of the last good frame in it. */
  readonly offset: number;
  /** The last good frame, to be written again in place. */
  readonly lastFrame: LastFrame | undefined;
  /** Headers of the torn frame, to be overwritten with zeros so that they never meet a later frame. */
  readonly remains: readonly { readonly segment: Segment; readonly at: number }[];
  /** Something that was durable is lost. */
  readonly corrupt: boolean;
}

export interface LastFrame {
  readonly at: number;
  readonly kind: FrameKind;
  /** Its bytes, as they were written. */
  readonly restored: () => Uint8Array;
}

/** A stretch without good frames, until it is known what it was. */
interface Gap {
  readonly where: string;
  /** Frames of the stretch of which something could be read. */
  readonly named: Map<number, { readonly kind: FrameKind; readonly toc: readonly TocEntry[] | undefined }>;
  /** A loss, whatever comes later. */
  certain: boolean;
  remains: { readonly segment: Segment; readonly at: number }[];
}

export class Scan {
  readonly #merge: Merge;
  readonly #crc32: Crc32;
  #last = 0;
  #started = false;
  #gap: Gap | undefined;
  #current: Segment | undefined;
  #offset = 0;
  #lastFrame: LastFrame | undefined;
  #corrupt = false;

  constructor(merge: Merge, crc32: Crc32) {
    this.#merge = merge;
    this.#crc32 = crc32;
  }

  /** The file is not there. */
  missing(segment: Segment): void {
    segment.damaged = true;
    this.#openGap(`missing segment ${segment.id}`).certain = true;
  }

  /** Call for each segment, in order. `bytes` may be shorter than the segment (then it is a loss). */
  segment(segment: Segment, bytes: Uint8Array): void {
    const parser = new FrameParser(bytes, segment, this.#crc32);
    for (let block = 0; block < parser.blockCount; ) {
      const header = parser.header(block);
      if (header === undefined || header.sequence <= this.#last) {
        this.#openGap(`segment ${segment.id} at ${block * WAL_BLOCK_BYTES}`);
        block += 1;
      } else if (header.part === FramePart.Head) {
        this.#head(segment, parser, header, bytes);
        block += header.frameBlocks;
      } else {
        this.#unreadable(segment, header, parser);
        block += 1;
      }
    }
    if (bytes.length >= segment.length) return;
    segment.damaged = true;
    this.#openGap(`segment ${segment.id}, ${bytes.length} of ${segment.length} bytes long`).certain = true;
  }

  /** `floor` is a sequence known to have been durable. */
  finish(floor: number): ScanResult {
    if (this.#last < floor) this.#openGap(`frames up to ${floor}`).certain = true;
    const gap = this.#gap;
    let remains: Gap["remains"] = [];
    if (gap !== undefined) {
      const later = [...gap.named.keys()].some((sequence) => sequence !== this.#last + 1);
      if (gap.certain || later) this.#lose(gap, Math.max(this.#last, floor, ...gap.named.keys()), gap.certain);
      else remains = gap.remains;
    }
    return {
      lastSequence: this.#last,
      current: this.#current,
      offset: this.#offset,
      lastFrame: this.#lastFrame,
      remains,
      corrupt: this.#corrupt,
    };
  }

  #openGap(where: string): Gap {
    this.#gap ??= { where, named: new Map(), certain: false, remains: [] };
    return this.#gap;
  }

  #head(segment: Segment, parser: FrameParser, header: FrameHeader, bytes: Uint8Array): void {
    const toc = parser.toc(header);
    const bodyAt = parser.body(header);
    if (toc === undefined || bodyAt === undefined) {
      this.#unreadable(segment, header, parser);
      return;
    }
    const { kind, sequence } = header;
    const begins =
      !this.#started && header.startBlock === 0 && kind === FrameKind.Checkpoint && this.#gap === undefined;
    if (!begins) this.#closeGap(sequence, `segment ${segment.id} at ${header.startBlock * WAL_BLOCK_BYTES}`);
    this.#started = true;
    this.#merge.frame({ kind, sequence, segment, bytes, bodyAt, toc });
    this.#last = sequence;
    this.#current = segment;
    this.#offset = (header.startBlock + header.frameBlocks) * WAL_BLOCK_BYTES;
    this.#lastFrame = { at: header.startBlock * WAL_BLOCK_BYTES, kind, restored: () => parser.restored(header) };
  }

  /** A header (of a head or a trailer) whose frame is not good: it still tells who is concerned. */
  #unreadable(segment: Segment, header: FrameHeader, parser: FrameParser): void {
    const gap = this.#openGap(`segment ${segment.id} at ${header.startBlock * WAL_BLOCK_BYTES}`);
    const trailerAt = frameLayout(header.recordCount, header.bodyBytes).trailerOffset;
    for (const at of [0, trailerAt]) gap.remains.push({ segment, at: header.startBlock * WAL_BLOCK_BYTES + at });
    const known = gap.named.get(header.sequence);
    if (known?.toc !== undefined) return;
    gap.named.set(header.sequence, { kind: header.kind, toc: parser.toc(header) });
    segment.damaged = segment.damaged || header.sequence > this.#last + 1;
  }

  /** Good frame `sequence` was found: whatever lies between it and the last good one was durable once. */
  #closeGap(sequence: number, where: string): void {
    const gap = this.#gap ?? (sequence === this.#last + 1 ? undefined : this.#openGap(`frames before ${where}`));
    if (gap === undefined) return;
    if (gap.certain || sequence !== this.#last + 1)
      this.#lose(gap, sequence - 1, gap.certain && !this.#exact(gap, sequence));
    this.#gap = undefined;
  }

  /** True if the frames between are all named, or there are none: then a missing segment was an unused one. */
  #exact(gap: Gap, sequence: number): boolean {
    return this.#started && gap.named.size === sequence - 1 - this.#last;
  }

  #lose(gap: Gap, upTo: number, more: boolean): void {
    const named = [...gap.named.values()].filter((frame) => frame.toc !== undefined);
    const count = upTo - this.#last;
    const unknown = more || !this.#started || named.length < count;
    if (!unknown && count === 0) return;
    const what = count > 0 ? `frames ${this.#last + 1}–${upTo} (${gap.where})` : gap.where;
    this.#corrupt = true;
    if (this.#current !== undefined) this.#current.damaged = true;
    for (const { segment } of gap.remains) segment.damaged = true;
    this.#merge.lost({ what, named: named.map(({ kind, toc }) => ({ kind, toc: toc ?? [] })), unknown });
    this.#last = upTo;
    this.#started = true;
  }
}
