/**
 * A log as the simulator keeps it, once per node as on disk and once as handed to the disk: blocks by reference, one
 * slot per index, so that appends, truncations and comparisons touch only what changed.
 */
import type { EntryBlock } from "../../shared/codec/block.js";

export class SimLog {
  first = 1;
  precedingTerm = 0;
  /** Slot i holds the block of index `first + i − head`; its `last` never reaches past what is still valid. */
  #slots: EntryBlock[] = [];
  #head = 0;

  get last(): number {
    return this.first + this.#slots.length - this.#head - 1;
  }

  blockAt(index: number): EntryBlock | undefined {
    return index < this.first ? undefined : this.#slots[index - this.first + this.#head];
  }

  term(index: number): number | undefined {
    if (index === this.first - 1) return this.precedingTerm;
    return this.blockAt(index)?.term;
  }

  /** Appends blocks; the first of them removes what is there from its index on. */
  append(blocks: readonly EntryBlock[]): void {
    for (const block of blocks) {
      if (block.first <= this.last) this.truncateFrom(block.first);
      if (block.first !== this.last + 1) throw new RangeError(`gap: append ${block.first} after ${this.last}`);
      for (let i = block.first; i <= block.last; i++) this.#slots.push(block);
    }
  }

  truncateFrom(index: number): void {
    if (index < this.first) {
      this.#slots.length = this.#head;
      this.first = index;
      return;
    }
    this.#slots.length = index - this.first + this.#head;
    for (let i = index - 1; i >= this.first; i--) {
      const block = this.blockAt(i);
      if (block === undefined || block.last < index) break;
      this.#slots[i - this.first + this.#head] = block.clip(block.first, index - 1);
    }
  }

  /** Forgets entries ≤ index. */
  compactTo(index: number): void {
    const to = Math.min(index, this.last);
    if (to < this.first) return;
    this.precedingTerm = this.term(to) ?? 0;
    this.#head += to - this.first + 1;
    this.first = to + 1;
    if (this.#head > 1024 && this.#head * 2 > this.#slots.length) {
      this.#slots = this.#slots.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Forgets everything: the log begins after a snapshot. */
  reset(index: number, term: number): void {
    this.#slots = [];
    this.#head = 0;
    this.first = index + 1;
    this.precedingTerm = term;
  }

  /** Blocks of [first, last], about `maxBytes`, at least one. */
  slice(first: number, last: number, maxBytes: number): EntryBlock[] {
    const blocks: EntryBlock[] = [];
    let bytes = 0;
    for (let at = first; at <= last; ) {
      const block = this.blockAt(at);
      if (block === undefined) break;
      const end = Math.min(block.last, last);
      blocks.push(block.clip(at, end));
      bytes += block.bytes.length;
      if (bytes >= maxBytes) break;
      at = end + 1;
    }
    return blocks;
  }

  copy(): SimLog {
    const other = new SimLog();
    other.first = this.first;
    other.precedingTerm = this.precedingTerm;
    other.#slots = this.#slots.slice(this.#head);
    return other;
  }
}
