/**
 * What one replica's log holds, as ranges: the numbers (first, last, term before first) and, per stored block, where it
 * is. Used by the memory log, the WAL's index, and recovery, so that all three agree on truncation, compaction and
 * reset. One range is one stored block, possibly clipped; there is no per-entry work.
 *
 * Invariants: ranges are sorted, disjoint, within [first, last]. While a host runs they cover [first, last] wholly;
 * during recovery there may be holes (entries of segments that are gone), which `covered` finds at the end.
 */
import type { Index, Term } from "../../shared/types/ids.js";

/** Entries [first, last] of one stored block, all of `term`. Clipped in place by its ReplicaLog. */
export interface LogRange {
  first: Index;
  last: Index;
  readonly term: Term;
}

export class ReplicaLog<R extends LogRange> {
  #first: Index = 1;
  #last: Index = 0;
  #precedingTerm: Term = 0;
  #ranges: R[] = [];
  readonly #dropped: (range: R) => void;

  /** `dropped` is told of every range that no longer holds any live entry. */
  constructor(dropped: (range: R) => void) {
    this.#dropped = dropped;
  }

  get first(): Index {
    return this.#first;
  }

  get last(): Index {
    return this.#last;
  }

  get precedingTerm(): Term {
    return this.#precedingTerm;
  }

  /** Number of stored blocks. */
  get rangeCount(): number {
    return this.#ranges.length;
  }

  /** Term of the entry at `index`, or of first − 1; undefined when unknown. */
  term(index: Index): Term | undefined {
    if (index === this.#first - 1) return this.#precedingTerm;
    const range = this.#ranges[this.#lowerBound(index)];
    return range !== undefined && range.first <= index ? range.term : undefined;
  }

  /** Ranges that overlap [first, last], in order. */
  slice(first: Index, last: Index): readonly R[] {
    const from = this.#lowerBound(first);
    let to = from;
    while (to < this.#ranges.length && (this.#ranges[to] as R).first <= last) to += 1;
    return this.#ranges.slice(from, to);
  }

  /** True while `range` still belongs to this log (a read that raced with a compaction asks). */
  holds(range: R): boolean {
    return this.#ranges[this.#lowerBound(range.last)] === range;
  }

  /** Adds the next block. Everything at or after its first entry is removed before. */
  append(range: R): void {
    if (range.first <= this.#last) this.truncate(range.first);
    this.#ranges.push(range);
    this.#last = range.last;
  }

  /**
   * The entries of `range` lie there from now on: it takes the place of a range with the same entries, or fills a hole.
   * False, with nothing changed, if it fits neither.
   */
  place(range: R): boolean {
    if (range.first < this.#first || range.last > this.#last) return false;
    const at = this.#lowerBound(range.first);
    const found = this.#ranges[at];
    const same = found !== undefined && found.first === range.first && found.last === range.last;
    if (!same && found !== undefined && found.first <= range.last) return false;
    this.#ranges.splice(at, same ? 1 : 0, range);
    if (same) this.#dropped(found);
    return true;
  }

  some(wanted: (range: R) => boolean): boolean {
    return this.#ranges.some(wanted);
  }

  /** Ranges for which `wanted` is true, in order. */
  filter(wanted: (range: R) => boolean): R[] {
    return this.#ranges.filter(wanted);
  }

  /** Removes every entry ≥ `index`. */
  truncate(index: Index): void {
    if (index > this.#last) return;
    let top = this.#ranges[this.#ranges.length - 1];
    while (top !== undefined && top.first >= index) {
      this.#ranges.pop();
      this.#dropped(top);
      top = this.#ranges[this.#ranges.length - 1];
    }
    if (top !== undefined && top.last >= index) top.last = index - 1;
    this.#last = index - 1;
    if (this.#first > index) this.#first = index;
  }

  /** Forgets every entry ≤ `index`; `term` is the term at `index`. */
  compact(index: Index, term: Term): void {
    if (index < this.#first) return;
    let count = 0;
    for (const range of this.#ranges) {
      if (range.last > index) break;
      this.#dropped(range);
      count += 1;
    }
    if (count > 0) this.#ranges.splice(0, count);
    const head = this.#ranges[0];
    if (head !== undefined && head.first <= index) head.first = index + 1;
    this.#first = index + 1;
    this.#precedingTerm = term;
    if (this.#last < index) this.#last = index;
  }

  /** Forgets every entry; the log goes on after (index, term). */
  reset(index: Index, term: Term): void {
    for (const range of this.#ranges) this.#dropped(range);
    this.#ranges = [];
    this.#first = index + 1;
    this.#last = index;
    this.#precedingTerm = term;
  }

  /** Takes over numbers whose entries are not located (recovery, from a checkpoint). */
  adopt(first: Index, last: Index, precedingTerm: Term): void {
    this.reset(first - 1, precedingTerm);
    this.#last = last;
  }

  /** First entry within [first, last] that no range holds; undefined when the log is whole. */
  hole(): Index | undefined {
    let next = this.#first;
    for (const range of this.#ranges) {
      if (range.first !== next) return next;
      next = range.last + 1;
    }
    return next === this.#last + 1 ? undefined : next;
  }

  /** Position of the first range whose last entry is ≥ `index`. */
  #lowerBound(index: Index): number {
    const ranges = this.#ranges;
    let low = 0;
    let high = ranges.length;
    const top = ranges[high - 1];
    if (top !== undefined && top.first <= index) low = index <= top.last ? high - 1 : high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((ranges[middle] as R).last < index) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
