/**
 * Committed blocks waiting for the state machine, and the cursor within the first of them. Knows order only: blocks
 * are contiguous, what was handed over before is skipped, a gap is a bug of the caller. Each block's checksum is
 * checked when its first entry is needed: that is the end of the end-to-end check that began at the leader.
 *
 * Used by Rsm alone. Invariant: entries come out in index order, each once, none of a block whose checksum is wrong.
 */
import { assert } from "../../shared/assert.js";
import { type Entry, type EntryBlock, entriesOf } from "../../shared/codec/block.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { errorText } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";

/** Consumed blocks are dropped from the array only in bulk. */
const CONSUMED_BLOCKS_MAX = 64;

export interface QueueDamage {
  readonly index: Index;
  readonly message: string;
}

export class ApplyQueue {
  readonly #crc32: Crc32;
  #blocks: EntryBlock[] = [];
  /** Position of the block that the cursor is in, or of the next one. */
  #head = 0;
  #cursor: Generator<Entry> | undefined;
  #peeked: Entry | undefined;
  #last: Index = 0;
  #damage: QueueDamage | undefined;

  constructor(crc32: Crc32) {
    this.#crc32 = crc32;
  }

  /** Highest index handed over (or covered by a restore). */
  get last(): Index {
    return this.#last;
  }

  /** Set when the next entry cannot be read; `peek` then answers undefined for ever. */
  get damage(): QueueDamage | undefined {
    return this.#damage;
  }

  push(block: EntryBlock): void {
    if (block.last <= this.#last) return;
    assert(block.first <= this.#last + 1, `entries up to ${this.#last} are queued, the next block is ${block.first}`);
    this.#blocks.push(block.clip(this.#last + 1, block.last));
    this.#last = block.last;
  }

  /** The next entry, without consuming it. */
  peek(): Entry | undefined {
    if (this.#peeked !== undefined) return this.#peeked;
    while (this.#damage === undefined) {
      this.#cursor ??= this.#open();
      if (this.#cursor === undefined) return undefined;
      const entry = this.#advance(this.#cursor);
      if (entry !== undefined) {
        this.#peeked = entry;
        return entry;
      }
      if (this.#damage !== undefined) return undefined;
      this.#cursor = undefined;
      this.#head += 1;
      if (this.#head > CONSUMED_BLOCKS_MAX || this.#head === this.#blocks.length) {
        this.#blocks = this.#blocks.slice(this.#head);
        this.#head = 0;
      }
    }
    return undefined;
  }

  /** Consumes what `peek` answered. */
  take(): Entry {
    const entry = this.peek();
    assert(entry !== undefined, "take from an empty apply queue");
    this.#peeked = undefined;
    return entry;
  }

  /** Drops everything ≤ index: a snapshot covers it. */
  dropTo(index: Index): void {
    const rest: EntryBlock[] = [];
    for (const block of this.#blocks.slice(this.#head)) {
      if (block.last > index) rest.push(block.clip(index + 1, block.last));
    }
    this.#blocks = rest;
    this.#head = 0;
    this.#cursor = undefined;
    this.#peeked = undefined;
    this.#damage = undefined;
    this.#last = Math.max(this.#last, index);
  }

  clear(): void {
    this.#blocks = [];
    this.#head = 0;
    this.#cursor = undefined;
    this.#peeked = undefined;
  }

  #open(): Generator<Entry> | undefined {
    const block = this.#blocks[this.#head];
    if (block === undefined) return undefined;
    const { bytes } = block;
    const claimed = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
    const found = this.#crc32(bytes.subarray(4));
    if (claimed !== found) {
      this.#damage = { index: block.first, message: `block checksum is ${found}, expected ${claimed}` };
      return undefined;
    }
    return entriesOf(block);
  }

  #advance(cursor: Generator<Entry>): Entry | undefined {
    try {
      const step = cursor.next();
      return step.done === true ? undefined : step.value;
    } catch (error) {
      const block = this.#blocks[this.#head];
      this.#damage = { index: block?.first ?? this.#last, message: `entry cannot be read: ${errorText(error)}` };
      return undefined;
    }
  }
}
