/**
 * Contiguous clipped blocks, oldest first, with cheap removal at both ends. No object per entry anywhere; lookups are a
 * binary search over blocks. The array's dead head is cut off when it is longer than the living rest (amortised O(1)).
 * Used by RaftLog only.
 */
import { assert } from "../../shared/assert.js";
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Index } from "../../shared/types/ids.js";

const HEAD_SLACK = 64;

export class BlockList {
  #blocks: EntryBlock[] = [];
  /** Position of the oldest living block. */
  #head = 0;

  get size(): number {
    return this.#blocks.length - this.#head;
  }

  /** First index held; undefined when empty. */
  get first(): Index | undefined {
    return this.#blocks[this.#head]?.first;
  }

  get newest(): EntryBlock | undefined {
    return this.size === 0 ? undefined : this.#blocks[this.#blocks.length - 1];
  }

  /** The `position`-th living block, oldest = 0. */
  at(position: number): EntryBlock | undefined {
    return this.#blocks[this.#head + position];
  }

  push(block: EntryBlock): void {
    const newest = this.newest;
    assert(newest === undefined || newest.last + 1 === block.first, "blocks of the log are contiguous");
    this.#blocks.push(block);
  }

  shift(): EntryBlock | undefined {
    if (this.size === 0) return undefined;
    const block = this.#blocks[this.#head];
    this.#head += 1;
    if (this.#head > HEAD_SLACK && this.#head * 2 > this.#blocks.length) {
      this.#blocks.splice(0, this.#head);
      this.#head = 0;
    }
    return block;
  }

  clear(): void {
    this.#blocks = [];
    this.#head = 0;
  }

  /** Removes everything ≥ `index`; calls `removed` for each block that went or was clipped (with the old block). */
  truncate(index: Index, removed: (old: EntryBlock, kept: EntryBlock | undefined) => void): void {
    for (;;) {
      const newest = this.newest;
      if (newest === undefined || newest.last < index) return;
      this.#blocks.pop();
      const kept = newest.first < index ? newest.clip(newest.first, index - 1) : undefined;
      if (kept !== undefined) this.#blocks.push(kept);
      removed(newest, kept);
    }
  }

  /** Position of the block that holds `index`, which must be held. */
  find(index: Index): number {
    const blocks = this.#blocks;
    let low = this.#head;
    let high = blocks.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const block = blocks[middle];
      if (block !== undefined && block.last < index) low = middle + 1;
      else high = middle;
    }
    return low - this.#head;
  }

  /** Position of the first block whose term is above `term`; `size` if none (terms never fall along a log). */
  findTermAbove(term: number): number {
    const blocks = this.#blocks;
    let low = this.#head;
    let high = blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const block = blocks[middle];
      if (block !== undefined && block.term > term) high = middle;
      else low = middle + 1;
    }
    return low - this.#head;
  }
}
