/**
 * A map whose frozen views cost almost nothing: entries live in buckets, a view shares the buckets, and the first
 * write to a shared bucket copies that bucket only. So the planner and a snapshot read a fixed state while commands go
 * on, without a copy of 300,000 shards.
 *
 * Invariants: a view never changes; iteration order depends on the keys only (bucket, then key), never on the order
 * of insertion, so replicas that were restored and replicas that replayed the log iterate alike.
 * Used by MasterState.
 */

/** Read side of a Table; what a view hands out. */
export interface ReadonlyTable<K extends string | number, V> {
  readonly size: number;
  get(key: K): V | undefined;
  has(key: K): boolean;
  /** In an order that depends on the keys only. */
  entries(): IterableIterator<readonly [K, V]>;
  values(): IterableIterator<V>;
}

const BUCKETS = 1024;

/** FNV-1a; spreads keys over buckets and is part of the iteration order, so it must never change. */
function bucketOf(key: string | number): number {
  if (typeof key === "number") return key % BUCKETS;
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % BUCKETS;
}

function compareKeys(a: string | number, b: string | number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

class FrozenTable<K extends string | number, V> implements ReadonlyTable<K, V> {
  readonly size: number;
  readonly #buckets: readonly (Map<K, V> | undefined)[];

  constructor(buckets: readonly (Map<K, V> | undefined)[], size: number) {
    this.#buckets = buckets;
    this.size = size;
  }

  get(key: K): V | undefined {
    return this.#buckets[bucketOf(key)]?.get(key);
  }

  has(key: K): boolean {
    return this.#buckets[bucketOf(key)]?.has(key) ?? false;
  }

  *entries(): IterableIterator<readonly [K, V]> {
    for (const bucket of this.#buckets) {
      if (bucket === undefined) continue;
      if (bucket.size === 1) yield* bucket;
      else yield* [...bucket].sort((a, b) => compareKeys(a[0], b[0]));
    }
  }

  *values(): IterableIterator<V> {
    for (const [, value] of this.entries()) yield value;
  }
}

export class Table<K extends string | number, V> implements ReadonlyTable<K, V> {
  #buckets: (Map<K, V> | undefined)[] = [];
  /** Buckets created or copied since the last view; only these may be written in place. */
  #owned = new Set<number>();
  #size = 0;
  #frozen: FrozenTable<K, V> | undefined;

  get size(): number {
    return this.#size;
  }

  get(key: K): V | undefined {
    return this.#buckets[bucketOf(key)]?.get(key);
  }

  has(key: K): boolean {
    return this.#buckets[bucketOf(key)]?.has(key) ?? false;
  }

  set(key: K, value: V): void {
    const bucket = this.#writable(bucketOf(key));
    if (!bucket.has(key)) this.#size += 1;
    bucket.set(key, value);
  }

  delete(key: K): boolean {
    if (!this.has(key)) return false;
    this.#size -= 1;
    return this.#writable(bucketOf(key)).delete(key);
  }

  entries(): IterableIterator<readonly [K, V]> {
    return this.freeze().entries();
  }

  values(): IterableIterator<V> {
    return this.freeze().values();
  }

  /** A view that never changes. The same object until the next write. */
  freeze(): ReadonlyTable<K, V> {
    if (this.#frozen === undefined) {
      this.#frozen = new FrozenTable(this.#buckets.slice(), this.#size);
      this.#owned = new Set();
    }
    return this.#frozen;
  }

  #writable(index: number): Map<K, V> {
    this.#frozen = undefined;
    const current = this.#buckets[index];
    if (current !== undefined && this.#owned.has(index)) return current;
    const copy = new Map(current ?? []);
    // Filling the gap keeps the array dense, which makes slice() a plain copy.
    while (this.#buckets.length < index) this.#buckets.push(undefined);
    this.#buckets[index] = copy;
    this.#owned.add(index);
    return copy;
  }
}
