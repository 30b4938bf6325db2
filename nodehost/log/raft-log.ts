/**
 * The log of one replica as the Raft core sees it: all unapplied entries and some applied ones in memory (older ones
 * are on disk, behind the core's LogReader), how far it is committed, applied, handed to the log store and durable.
 * Called by nodehost/raft only. Invariants, asserted here because breaking one is a bug of ours:
 *   first − 1 ≤ commit ≤ last · durable ≤ handed ≤ last · no entry ≤ commit is ever removed by truncation (P28) ·
 *   terms never fall along the log · every entry above `applied` is in memory, but between a reset and its restore.
 */
import { assert } from "../../shared/assert.js";
import { type EntryBlock, EntryType, entriesOf } from "../../shared/codec/block.js";
import type { Index, Term } from "../../shared/types/ids.js";
import { BlockList } from "./block-list.js";
import { type PendingWrite, PendingWrites } from "./pending-writes.js";

export interface RaftLogStart {
  /** First index of the log on disk and the term at first − 1. */
  readonly first: Index;
  readonly precedingTerm: Term;
  readonly last: Index;
  readonly applied: Index;
  readonly commit: Index;
  /** Entries from max(first, applied + 1) to last, and the term of the entry before them. */
  readonly blocks: readonly EntryBlock[];
  readonly blocksPrecedingTerm: Term;
  readonly cacheBytesMax: number;
}

/** What `appendFrom` found: appended, or a conflict at an index that is committed (the sender contradicts itself). */
export type AppendResult = "ok" | "contradiction";

export class RaftLog {
  readonly #memory = new BlockList();
  readonly #pending = new PendingWrites();
  readonly #cacheBytesMax: number;
  #first: Index;
  #precedingTerm: Term;
  /** Term of the entry before the first one in memory. */
  #memoryPrecedingTerm: Term;
  #last: Index;
  #lastTerm: Term;
  #commit: Index;
  #applied: Index;
  #durable: Index;
  /** Highest index handed to the log store. */
  #handed: Index;
  /** Highest index handed out for applying. */
  #delivered: Index;
  /** Leading blocks in memory that are wholly applied and durable, and their bytes. */
  #cachedBlocks = 0;
  #cachedBytes = 0;
  #memoryBytes = 0;
  /** Indexes of config changes that did not go through the state machine. */
  #configs: Index[] = [];

  constructor(start: RaftLogStart) {
    assert(start.last >= start.first - 1 && start.applied >= start.first - 1, "log starts before its first entry");
    assert(start.applied <= start.last, "applied is beyond the log");
    this.#cacheBytesMax = start.cacheBytesMax;
    this.#first = start.first;
    this.#precedingTerm = start.precedingTerm;
    this.#memoryPrecedingTerm = start.blocksPrecedingTerm;
    this.#last = start.applied;
    this.#lastTerm = start.blocksPrecedingTerm;
    this.#applied = start.applied;
    this.#delivered = start.applied;
    this.#commit = start.applied;
    for (const block of start.blocks) this.append(block);
    assert(this.#last === start.last, "blocks at start do not reach the last index");
    this.#durable = start.last;
    this.#handed = start.last;
    this.commitTo(Math.min(Math.max(start.commit, start.applied), start.last));
  }

  get first(): Index {
    return this.#first;
  }
  get precedingTerm(): Term {
    return this.#precedingTerm;
  }
  get last(): Index {
    return this.#last;
  }
  get lastTerm(): Term {
    return this.#lastTerm;
  }
  get commit(): Index {
    return this.#commit;
  }
  get applied(): Index {
    return this.#applied;
  }
  get durable(): Index {
    return this.#durable;
  }
  get handed(): Index {
    return this.#handed;
  }
  get delivered(): Index {
    return this.#delivered;
  }
  /** First index in memory, last + 1 if nothing is. */
  get memoryFirst(): Index {
    return this.#memory.first ?? this.#last + 1;
  }
  /** Bytes of entries in memory that are not yet both applied and durable. */
  get busyBytes(): number {
    return this.#memoryBytes - this.#cachedBytes;
  }
  get memoryBytes(): number {
    return this.#memoryBytes;
  }
  /** Config changes that did not go through the state machine yet, ascending. */
  get pendingConfigs(): readonly Index[] {
    return this.#configs;
  }
  get writesInFlight(): number {
    return this.#pending.size;
  }

  /** Term at `index` if memory knows it. */
  term(index: Index): Term | undefined {
    if (index === this.#last) return this.#lastTerm;
    if (index > this.#last || index < 0) return undefined;
    const memoryFirst = this.memoryFirst;
    if (index >= memoryFirst) return this.#memory.at(this.#memory.find(index))?.term;
    if (index === memoryFirst - 1) return this.#memoryPrecedingTerm;
    if (index === this.#first - 1) return this.#precedingTerm;
    return undefined;
  }

  /** Largest index ≤ `index` in memory (or just before it) with a term ≤ `term`; undefined if there is none. */
  findTermAtMost(index: Index, term: Term): Index | undefined {
    const from = Math.min(index, this.#last);
    const memoryFirst = this.memoryFirst;
    if (from < memoryFirst - 1) return undefined;
    const above = this.#memory.at(this.#memory.findTermAbove(term));
    const candidate = above === undefined ? from : Math.min(from, above.first - 1);
    if (candidate >= memoryFirst) return candidate;
    return this.#memoryPrecedingTerm <= term ? memoryFirst - 1 : undefined;
  }

  /** True if a log ending in (index, term) is at least as complete as this one (thesis §3.6.1). */
  isUpToDate(index: Index, term: Term): boolean {
    return term > this.#lastTerm || (term === this.#lastTerm && index >= this.#last);
  }

  /** Adds a block directly after the last entry. */
  append(block: EntryBlock): void {
    assert(block.first === this.#last + 1, "append leaves a gap");
    assert(block.term >= this.#lastTerm, "terms fall along the log");
    this.#memory.push(block);
    this.#memoryBytes += block.bytes.length;
    this.#last = block.last;
    this.#lastTerm = block.term;
    if (block.hasConfigChange) this.#noteConfigs(block);
  }

  /**
   * Appends blocks of a leader that follow on an entry both logs share. Entries already here stay; from the first one
   * with another term on, ours are removed. Nothing changes on "contradiction": a difference at or below `verified`
   * (what this leader is known to share), or blocks that do not fit what is committed.
   */
  appendFrom(blocks: readonly EntryBlock[], verified: Index): AppendResult {
    for (let i = 0; i < blocks.length; i++) {
      const block = blocks[i];
      if (block === undefined) continue;
      if (block.first <= this.#commit) {
        const shared = this.term(Math.min(block.last, this.#commit));
        if (shared !== undefined && shared !== block.term) return "contradiction";
        if (block.last <= this.#commit) continue;
      }
      const from = Math.max(block.first, this.#commit + 1);
      const conflict = this.#firstDifference(from, block.last, block.term);
      if (conflict === undefined) continue;
      if (conflict <= verified) return "contradiction";
      const theirs = conflict > block.first ? block.term : blocks[i - 1]?.term;
      const ours = this.term(conflict - 1);
      if (ours === undefined || block.term < ours) return "contradiction";
      if (theirs !== undefined && theirs !== ours) return "contradiction";
      this.truncate(conflict);
      this.append(block.clip(conflict, block.last));
      for (const next of blocks.slice(i + 1)) this.append(next);
      return "ok";
    }
    return "ok";
  }

  /** First index in [from, to] at which this log has not `term` (or nothing). */
  #firstDifference(from: Index, to: Index, term: Term): Index | undefined {
    if (from > this.#last) return from;
    const end = Math.min(to, this.#last);
    for (let at = this.#memory.find(from); ; at++) {
      const block = this.#memory.at(at);
      if (block === undefined || block.first > end) break;
      if (block.term !== term) return Math.max(from, block.first);
    }
    return to > this.#last ? this.#last + 1 : undefined;
  }

  /** Removes all entries ≥ `index`. Everything in flight or durable counts only up to index − 1 from now on. */
  truncate(index: Index): void {
    assert(index > this.#commit, "truncation of committed entries");
    if (index > this.#last) return;
    const term = this.term(index - 1);
    assert(term !== undefined, "term before a truncation is not known");
    this.#memory.truncate(index, (old, kept) => {
      if (kept === undefined) this.#memoryBytes -= old.bytes.length;
    });
    this.#last = index - 1;
    this.#lastTerm = term;
    this.#durable = Math.min(this.#durable, index - 1);
    this.#handed = Math.min(this.#handed, index - 1);
    this.#pending.lowerTo(index - 1);
    while ((this.#configs.at(-1) ?? 0) >= index) this.#configs.pop();
  }

  /** Raises the commit index; never lowers it. True if it moved. */
  commitTo(index: Index): boolean {
    if (index <= this.#commit) return false;
    assert(index <= this.#last, "commit beyond the last entry");
    this.#commit = index;
    return true;
  }

  /**
   * Only one config change is in flight at a time: of several in a log, all but the last one are committed. Raises
   * the commit index accordingly; true if it moved.
   */
  commitEarlierConfigs(): boolean {
    const earlier = this.#configs.at(-2);
    return earlier !== undefined && this.commitTo(earlier);
  }

  appliedTo(index: Index): void {
    assert(index <= this.#commit, "applied beyond commit");
    if (index <= this.#applied) return;
    this.#applied = index;
    if (this.#delivered < index) this.#delivered = index;
    this.#trim();
  }

  /** Config changes ≤ `index` went through the state machine. */
  configsAppliedTo(index: Index): void {
    let done = 0;
    while ((this.#configs[done] ?? Number.POSITIVE_INFINITY) <= index) done += 1;
    if (done > 0) this.#configs.splice(0, done);
  }

  /** Entries that no update carried yet. */
  get hasUnsaved(): boolean {
    return this.#handed < this.#last;
  }

  /** Takes what has to be written next; from now on it is in flight under `write.sequence`. */
  takeUnsaved(write: Omit<PendingWrite, "lastIndex">): readonly EntryBlock[] {
    const blocks: EntryBlock[] = [];
    if (this.#handed < this.#last) this.sliceInto(blocks, this.#handed + 1, this.#last, Number.POSITIVE_INFINITY);
    this.#handed = this.#last;
    this.#pending.push({ ...write, lastIndex: this.#last });
    return blocks;
  }

  /** Updates up to `sequence` are durable. Returns what that says of term, vote and snapshot. */
  persisted(sequence: number): PendingWrite | undefined {
    const write = this.#pending.complete(sequence);
    if (write === undefined) return undefined;
    if (write.lastIndex > this.#durable) {
      this.#durable = write.lastIndex;
      this.#trim();
    }
    return write;
  }

  get hasCommitted(): boolean {
    return this.#delivered < this.#commit && this.#delivered < this.#durable;
  }

  /** Entries committed and durable and not handed out before; about `maxBytes` of them. */
  takeCommitted(maxBytes: number): readonly EntryBlock[] {
    const end = Math.min(this.#commit, this.#durable);
    const blocks: EntryBlock[] = [];
    if (end <= this.#delivered) return blocks;
    this.#delivered = this.sliceInto(blocks, this.#delivered + 1, end, maxBytes);
    return blocks;
  }

  /**
   * Pushes blocks of memory covering [from, …] up to `to`, about `maxBytes` but at least one; returns the last index
   * reached. `from` must be in memory.
   */
  sliceInto(out: EntryBlock[], from: Index, to: Index, maxBytes: number): Index {
    let reached = from - 1;
    let bytes = 0;
    for (let at = this.#memory.find(from); reached < to; at++) {
      const block = this.#memory.at(at);
      if (block === undefined) break;
      bytes += block.bytes.length;
      if (bytes > maxBytes && out.length > 0) break;
      const part = block.first >= from && block.last <= to ? block : block.clip(from, to);
      out.push(part);
      reached = part.last;
    }
    return reached;
  }

  /**
   * Begins anew after a snapshot of a leader. Until the update that says so is durable, only what was both durable
   * and committed before may still be claimed.
   */
  reset(index: Index, term: Term): void {
    assert(index > this.#commit, "reset below commit");
    const kept = Math.min(this.#durable, this.#commit);
    this.#pending.lowerTo(kept);
    this.#durable = kept;
    this.#memory.clear();
    this.#memoryBytes = 0;
    this.#cachedBytes = 0;
    this.#cachedBlocks = 0;
    this.#configs = [];
    this.#first = index + 1;
    this.#precedingTerm = term;
    this.#memoryPrecedingTerm = term;
    this.#last = index;
    this.#lastTerm = term;
    this.#commit = index;
    this.#handed = index;
    this.#delivered = index;
  }

  /** Entries ≤ `index` may be forgotten; `term` is the term at `index`. */
  compact(index: Index, term: Term): void {
    assert(index <= this.#applied && index <= this.#commit, "compaction of unapplied entries");
    if (index < this.#first) return;
    this.#first = index + 1;
    this.#precedingTerm = term;
    while (this.#cachedBlocks > 0 && (this.#memory.at(0)?.last ?? Number.POSITIVE_INFINITY) <= index)
      this.#dropOldest();
  }

  #trim(): void {
    const limit = Math.min(this.#applied, this.#durable);
    for (;;) {
      const block = this.#memory.at(this.#cachedBlocks);
      if (block === undefined || block.last > limit) break;
      this.#cachedBlocks += 1;
      this.#cachedBytes += block.bytes.length;
    }
    while (this.#cachedBytes > this.#cacheBytesMax && this.#cachedBlocks > 0) this.#dropOldest();
  }

  #dropOldest(): void {
    const block = this.#memory.shift();
    assert(block !== undefined, "nothing cached to drop");
    this.#cachedBlocks -= 1;
    this.#cachedBytes -= block.bytes.length;
    this.#memoryBytes -= block.bytes.length;
    this.#memoryPrecedingTerm = block.term;
  }

  #noteConfigs(block: EntryBlock): void {
    for (const entry of entriesOf(block)) {
      if (entry.type === EntryType.ConfigChange) this.#configs.push(entry.index);
    }
  }
}
