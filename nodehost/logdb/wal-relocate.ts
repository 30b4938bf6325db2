/**
 * Moves what must live on out of the oldest segment, so that its file can be used again: live blocks are read and
 * written once more, as they are, in records of their own behind everything else. Begun by WalLog when there are too
 * many segments; by then the engine has asked whoever pins the oldest one to snapshot, so what is left is of replicas
 * that are busy, stopped or quiet.
 *
 * Written into the log itself and not into a second store: one order of truth, one kind of recovery, and a block that
 * stays quiet costs one write per round of the whole log.
 *
 * Invariants: a block is moved as it is, clipped as it is in the log when its record is written; its old place counts
 * until the new one is durable; one record in flight; a block that does not have its checksum stays where it is (a read
 * of it says so, and where).
 */
import { openBlock } from "../../shared/codec/block.js";
import { MalformedError } from "../../shared/codec/bytes.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, isOpError } from "../../shared/errors.js";
import type { ReplicaKey } from "./port.js";
import { nameOf } from "./update-check.js";
import type { Append, FramePlace } from "./wal-batch.js";
import type { FrameBuilder } from "./wal-format.js";
import { type RecordBlock, relocatedBytes, writeRelocated } from "./wal-record.js";
import type { ReplicaTable, Segment, WalRange, WalReplica } from "./wal-replica.js";

/** Bytes of blocks in one record. */
const CHUNK_BYTES_MAX = 1024 * 1024;
/** Above the threshold: from here on moves are not paced. */
const HURRY_SEGMENTS = 2;
/** After a full disk. */
const RETRY_MS = 1_000;

export interface RelocatorPorts {
  readonly env: Env;
  readonly table: ReplicaTable;
  readonly used: readonly Segment[];
  /** Where appends go: never moved from. */
  current(): Segment | undefined;
  /** Queues an append that is made when its turn comes (undefined: nothing to do any more). DL_ERR_DISK_FULL. */
  append(make: () => Append | undefined): Promise<unknown>;
  /** Any other failure than a full disk. */
  fail(error: unknown): void;
  /** Above so many segments. */
  readonly above: number;
  /** Infinity = as fast as the disk. */
  readonly bytesPerSecond: number;
}

interface Move {
  readonly replica: WalReplica;
  readonly range: WalRange;
}

interface MovedBlock extends RecordBlock {
  readonly range: WalRange;
}

export class Relocator {
  readonly #ports: RelocatorPorts;
  #running: Promise<void> | undefined;
  #stopped = false;
  #wake: () => void = () => undefined;
  /** Blocks that cannot be moved, and segments that hold nothing else: nothing is tried twice. */
  readonly #rotten = new WeakSet<WalRange>();
  readonly #pinned = new WeakSet<Segment>();
  #bytesMoved = 0;

  constructor(ports: RelocatorPorts) {
    this.#ports = ports;
  }

  get bytesMoved(): number {
    return this.#bytesMoved;
  }

  /** Called after each append: begins if there is need. */
  check(): void {
    if (this.#running !== undefined || this.#next() === undefined) return;
    this.#running = this.#run().then(
      () => {
        this.#running = undefined;
      },
      (error: unknown) => {
        this.#running = undefined;
        this.#ports.fail(error);
      },
    );
  }

  /** No further record begins. Resolves when nothing reads any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
  }

  /** The segment to be emptied. */
  #next(): Segment | undefined {
    const { used, above } = this.#ports;
    const oldest = used[0];
    if (this.#stopped || used.length <= above || oldest === undefined) return undefined;
    if (oldest === this.#ports.current() || oldest.liveRanges === 0 || this.#pinned.has(oldest)) return undefined;
    return oldest;
  }

  async #run(): Promise<void> {
    for (let segment = this.#next(); segment !== undefined; segment = this.#next()) {
      const moves = this.#movesOf(segment);
      if (moves.length === 0) this.#pinned.add(segment);
      for (let at = 0; at < moves.length && !this.#stopped; ) {
        const chunk = chunkOf(moves, at);
        at += chunk.length;
        const bytes = await this.#move(chunk);
        if (bytes < 0) return;
        await this.#pause(bytes);
      }
    }
  }

  #movesOf(segment: Segment): Move[] {
    const moves: Move[] = [];
    for (const replica of this.#ports.table.values()) {
      for (const range of replica.log.filter((r) => r.segment === segment && !this.#rotten.has(r))) {
        moves.push({ replica, range });
      }
    }
    return moves;
  }

  /** Bytes moved, −1 if there was no room for them. */
  async #move(chunk: readonly Move[]): Promise<number> {
    const blocks = new Map<WalRange, Uint8Array>();
    for (const move of chunk) {
      const bytes = await this.#read(move);
      if (bytes !== undefined) blocks.set(move.range, bytes);
    }
    let relocation: Relocation | undefined;
    try {
      await this.#ports.append(() => {
        relocation = this.#stopped ? undefined : Relocation.of(chunk, blocks);
        return relocation;
      });
    } catch (error) {
      if (!isOpError(error)) throw error;
      if (error.code === "DL_ERR_CLOSED") return -1;
      this.#ports.env.logger.warn({ error: errorText(error) }, "no room to move blocks of the oldest log segment");
      await this.#wait(RETRY_MS);
      return -1;
    }
    const bytes = relocation?.bodyBytes ?? 0;
    this.#bytesMoved += bytes;
    return bytes;
  }

  /** The block as it is on disk; undefined if it left the log meanwhile, or cannot be trusted. */
  async #read({ replica, range }: Move): Promise<Uint8Array | undefined> {
    if (!replica.log.holds(range)) return undefined;
    const bytes = new Uint8Array(range.length);
    try {
      const count = await range.segment.handle?.read(bytes, range.offset);
      if (count !== bytes.length) throw new MalformedError(`${count ?? 0} of ${bytes.length} bytes`);
      const block = openBlock(bytes, replica.shardId, this.#ports.env.crc32);
      if (block.term !== range.term || block.first > range.first || block.last < range.last) {
        throw new MalformedError(`holds [${block.first}, ${block.last}] of term ${block.term}`);
      }
      return bytes;
    } catch (error) {
      if (!replica.log.holds(range)) return undefined;
      this.#rotten.add(range);
      const { segment, offset } = range;
      const where = { replica: nameOf(replica), segment: segment.fileName, offset, error: errorText(error) };
      this.#ports.env.logger.error(where, "a block of the log is damaged");
      return undefined;
    }
  }

  /** No pause when the log is far too long: somebody waits for room. */
  #pause(bytes: number): Promise<void> {
    if (this.#ports.used.length > this.#ports.above + HURRY_SEGMENTS) return Promise.resolve();
    const ms = Math.floor((bytes * 1000) / this.#ports.bytesPerSecond);
    return ms === 0 ? Promise.resolve() : this.#wait(ms);
  }

  /** Ended early by `stop`. */
  #wait(ms: number): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const pause = this.#ports.env.timers.after(ms, resolve);
      this.#wake = () => {
        pause.cancel();
        resolve();
      };
    });
  }
}

function chunkOf(moves: readonly Move[], at: number): Move[] {
  const chunk: Move[] = [];
  let bytes = 0;
  for (let i = at; i < moves.length; i++) {
    const move = moves[i] as Move;
    bytes += move.range.length;
    if (chunk.length > 0 && bytes > CHUNK_BYTES_MAX) break;
    chunk.push(move);
  }
  return chunk;
}

/** One append of moved blocks, a record per replica. */
class Relocation implements Append {
  readonly hasBlocks = false;
  readonly bodyBytes: number;
  readonly #parts: readonly { readonly replica: WalReplica; readonly blocks: readonly MovedBlock[] }[];

  private constructor(parts: ReadonlyMap<WalReplica, readonly MovedBlock[]>) {
    this.#parts = [...parts].map(([replica, blocks]) => ({ replica, blocks }));
    this.bodyBytes = this.#parts.reduce((sum, { blocks }) => sum + relocatedBytes(blocks), 0);
  }

  /** What of the chunk is still in the log, clipped as it is now. Nothing changes between this and `apply`. */
  static of(chunk: readonly Move[], read: ReadonlyMap<WalRange, Uint8Array>): Relocation | undefined {
    const parts = new Map<WalReplica, MovedBlock[]>();
    for (const { replica, range } of chunk) {
      const bytes = read.get(range);
      if (bytes === undefined || !replica.log.holds(range) || replica.damage !== undefined) continue;
      const { first, last } = range;
      const blocks = parts.get(replica);
      if (blocks === undefined) parts.set(replica, [{ first, last, bytes, range }]);
      else blocks.push({ first, last, bytes, range });
    }
    return parts.size === 0 ? undefined : new Relocation(parts);
  }

  get recordCount(): number {
    return this.#parts.length;
  }

  write(frame: FrameBuilder, { sequence, segment, offset }: FramePlace): WalRange[] {
    const ranges: WalRange[] = [];
    for (const { replica, blocks } of this.#parts) {
      frame.record(replica, replica.lastSequence, relocatedBytes(blocks));
      writeRelocated(frame, blocks, ({ first, last, bytes, range }, at) => {
        ranges.push({ first, last, term: range.term, segment, offset: offset + at, length: bytes.length });
      });
      replica.lastSequence = sequence;
    }
    return ranges;
  }

  apply(ranges: readonly WalRange[]): readonly ReplicaKey[] {
    let next = 0;
    for (const { replica, blocks } of this.#parts) {
      for (let i = 0; i < blocks.length; i++) replica.placeRange(ranges[next++] as WalRange);
    }
    return [];
  }
}
