/**
 * The pairs of one kv machine, their hash, and views of them as of a moment while they go on changing.
 *
 * A view costs nothing when it is taken. While it is open, the first change of each pair that the view has not yet
 * yielded keeps the pair's old form aside; the view yields the live pairs that are unchanged, then the old forms.
 * Invariant: a view yields exactly the pairs there were when it was taken, each once, whatever changes meanwhile.
 * Keys and values are strings with one byte per character: several times smaller than small byte arrays.
 */
import { assert } from "../../../shared/assert.js";
import { feedPair, type PairHash, StateHash, startPair } from "./kv-hash.js";

export interface KvPair {
  readonly key: string;
  readonly value: string;
  readonly hash: PairHash;
  /** Number of the last view that yielded this pair, in this form or an earlier one. */
  seenBy: number;
}

export class KvStore {
  readonly #pairs = new Map<string, KvPair>();
  readonly #hash = new StateHash();
  #views = 0;
  #view: KvView | undefined;

  get size(): number {
    return this.#pairs.size;
  }

  hash(): string {
    return this.#hash.text(this.#pairs.size);
  }

  get(key: string): KvPair | undefined {
    return this.#pairs.get(key);
  }

  keys(): Iterable<string> {
    return this.#pairs.keys();
  }

  /** With a prefix all keys are looked at: for tests and people, not for hot paths. */
  count(prefix: string): number {
    if (prefix === "") return this.#pairs.size;
    let count = 0;
    for (const key of this.#pairs.keys()) if (key.startsWith(prefix)) count += 1;
    return count;
  }

  set(key: string, value: string, bytes: Uint8Array): void {
    this.#put({ key, value, hash: feedPair(startPair(key), bytes), seenBy: 0 });
  }

  append(key: string, suffix: string, bytes: Uint8Array): number {
    const old = this.#pairs.get(key);
    const value = old === undefined ? suffix : old.value + suffix;
    this.#put({ key, value, hash: feedPair(old?.hash ?? startPair(key), bytes), seenBy: 0 });
    return value.length;
  }

  delete(key: string): boolean {
    const old = this.#pairs.get(key);
    if (old === undefined) return false;
    this.#view?.keep(key, old);
    this.#pairs.delete(key);
    this.#hash.remove(old.hash, old.value.length);
    return true;
  }

  /** A view of the state as it is now. There is one at a time: an older one ends. */
  openView(): KvView {
    this.#views += 1;
    this.#view = new KvView(this.#views, this.#pairs, this.hash());
    return this.#view;
  }

  closeView(view: KvView): void {
    if (this.#view === view) this.#view = undefined;
  }

  isOpen(view: KvView): boolean {
    return this.#view === view;
  }

  #put(pair: KvPair): void {
    const old = this.#pairs.get(pair.key);
    if (old !== undefined) {
      pair.seenBy = old.seenBy;
      this.#hash.remove(old.hash, old.value.length);
    }
    this.#view?.keep(pair.key, old);
    this.#pairs.set(pair.key, pair);
    this.#hash.add(pair.hash, pair.value.length);
  }
}

export class KvView {
  readonly count: number;
  readonly hash: string;
  readonly #number: number;
  readonly #live: ReadonlyMap<string, KvPair>;
  /** Old forms of pairs changed since; undefined: there was none. */
  readonly #kept = new Map<string, KvPair | undefined>();
  #keptPairs = 0;

  constructor(number: number, live: ReadonlyMap<string, KvPair>, hash: string) {
    this.#number = number;
    this.#live = live;
    this.count = live.size;
    this.hash = hash;
  }

  /** What the view costs: old forms, and marks of keys that are new since. */
  get keptCount(): number {
    return this.#kept.size;
  }

  /** A pair is about to be replaced, added (`old` undefined) or deleted. */
  keep(key: string, old: KvPair | undefined): void {
    if (old?.seenBy === this.#number || this.#kept.has(key)) return;
    this.#kept.set(key, old);
    if (old !== undefined) this.#keptPairs += 1;
  }

  /**
   * Once, lazily: the caller may stop between steps for as long as it likes. A step that has no pair yields undefined,
   * so that the caller can bound its work by steps.
   */
  *pairs(): Generator<KvPair | undefined> {
    let left = this.count;
    for (const [key, pair] of this.#live) {
      // A live map yields keys added meanwhile too: stop when nothing unchanged can be left.
      if (left === this.#keptPairs) break;
      if (this.#kept.has(key)) {
        yield undefined;
        continue;
      }
      pair.seenBy = this.#number;
      left -= 1;
      yield pair;
    }
    for (const pair of this.#kept.values()) {
      if (left === 0) break;
      if (pair !== undefined) left -= 1;
      yield pair;
    }
    assert(left === 0, `${left} of ${this.count} pairs are missing in the view`);
  }
}
