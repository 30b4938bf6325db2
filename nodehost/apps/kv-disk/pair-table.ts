/**
 * The pairs of one kv-disk machine in LMDB, and what is newer than LMDB in memory: layers of changes, the newest last.
 * The last layer takes changes; `flush` freezes it, writes all frozen ones in one transaction together with the index,
 * count and hash that belong to them, and drops them when that is durable. So state and index are one on disk (the
 * contract of on-disk machines), no update waits for a disk, and a view of a moment is a read transaction and the
 * layers of that moment.
 *
 * Layout: key 0x00 = the row of the table (u8 version 1, u8 1 while a snapshot is being read in, u64 index, u64 count,
 * u32 and u32 hash); key 0x01 and the pair's key = u32 and u32 hash of the pair, value. Numbers are little-endian.
 *
 * Invariant: what LMDB holds at any time is the state as of the index in its row, unless its row says that a snapshot
 * is being read in: then it holds nothing that counts.
 */
import { open, type RootDatabase, type Transaction } from "lmdb";
import { MalformedError } from "../../../shared/codec/bytes.js";
import { OpError } from "../../../shared/errors.js";
import type { KvPairs } from "../kv/kv-commands.js";
import { feedPair, type PairHash, StateHash, startPair } from "../kv/kv-hash.js";

const ROW_KEY = Buffer.from([0]);
const PAIRS_FROM = Buffer.from([1]);
const PAIRS_TO = Buffer.from([2]);
const ROW_VERSION = 1;
const ROW_BYTES = 26;
const HASH_BYTES = 8;
/** A layer is flushed when it holds so much; a transaction's work in this thread stays small. */
const LAYER_PAIRS_MAX = 1024;
const LAYER_BYTES_MAX = 512 * 1024;

interface Pair {
  readonly value: string;
  readonly hash: PairHash;
}

/** Of all pairs as of an index. */
interface Sums {
  readonly index: number;
  readonly count: number;
  readonly hash: PairHash;
}

interface Layer {
  /** null: deleted. */
  readonly pairs: Map<string, Pair | null>;
  bytes: number;
  /** Set when it is frozen. */
  sums: Sums | undefined;
}

export class PairTable implements KvPairs {
  readonly #db: RootDatabase<Buffer, Buffer>;
  #layers: Layer[] = [newLayer()];
  #index: number;
  #count: number;
  #hash: StateHash;
  /** Index that is durable. */
  #flushedIndex: number;
  #flushing: Promise<void> | undefined;

  private constructor(db: RootDatabase<Buffer, Buffer>, sums: Sums) {
    this.#db = db;
    this.#index = sums.index;
    this.#count = sums.count;
    this.#hash = new StateHash(sums.hash);
    this.#flushedIndex = sums.index;
  }

  /** What a snapshot left that was not read in whole goes. */
  static async open(directory: string): Promise<PairTable> {
    const options = {
      path: directory,
      noSubdir: false,
      encoding: "binary" as const,
      keyEncoding: "binary" as const,
      overlappingSync: false,
      safeRestore: true,
      maxDbs: 0,
    };
    const db = open<Buffer, Buffer>(options);
    let row: ReturnType<typeof readRow>;
    try {
      row = readRow(db.get(ROW_KEY), directory);
      if (row?.incomplete === true) await db.clearAsync();
    } catch (error) {
      await db.close();
      throw error;
    }
    const nothing = { index: 0, count: 0, hash: { a: 0, b: 0 } };
    return new PairTable(db, row === undefined || row.incomplete ? nothing : row);
  }

  get index(): number {
    return this.#index;
  }

  get(key: string): Pair | undefined {
    return find(this.#layers, key, () => this.#stored(key, undefined));
  }

  set(key: string, value: string, bytes: Uint8Array): void {
    this.#put(key, this.get(key), { value, hash: feedPair(startPair(key), bytes) });
  }

  append(key: string, suffix: string, bytes: Uint8Array): void {
    const old = this.get(key);
    this.#put(key, old, { value: (old?.value ?? "") + suffix, hash: feedPair(old?.hash ?? startPair(key), bytes) });
  }

  delete(key: string): boolean {
    const old = this.get(key);
    if (old === undefined) return false;
    this.#change(key, null);
    this.#hash.remove(old.hash, old.value.length);
    this.#count -= 1;
    return true;
  }

  /** With a prefix all keys are looked at: for tests and people, not for hot paths. */
  count(prefix: string): number {
    if (prefix === "") return this.#count;
    const newer = merged(this.#layers);
    let count = 0;
    for (const [key, pair] of newer) if (pair !== null && key.startsWith(prefix)) count += 1;
    for (const key of this.#db.getKeys({ start: PAIRS_FROM, end: PAIRS_TO })) {
      const name = nameOf(key);
      if (name.startsWith(prefix) && !newer.has(name)) count += 1;
    }
    return count;
  }

  hash(): string {
    return this.#hash.text(this.#count);
  }

  /** Everything up to `index` was applied. A promise when more should not be applied before it resolves. */
  applied(index: number): Promise<void> | undefined {
    this.#index = index;
    const active = this.#active;
    if (active.pairs.size < LAYER_PAIRS_MAX && active.bytes < LAYER_BYTES_MAX) return undefined;
    const busy = this.#flushing;
    if (busy === undefined) {
      // Who needs it durable asks again, and is told.
      this.flush().catch(() => {});
      return undefined;
    }
    // A full disk ends no machine: the host takes no more proposals anyway.
    return busy.catch((error: unknown) => (isFull(error) ? undefined : Promise.reject(error)));
  }

  /** Resolves when everything applied before the call is durable. DL_ERR_DISK_FULL. */
  async flush(): Promise<void> {
    const wanted = this.#index;
    while (this.#flushedIndex < wanted) {
      this.#flushing ??= this.#write().finally(() => {
        this.#flushing = undefined;
      });
      await this.#flushing;
    }
  }

  /** The state of now; to be closed. */
  view(): TableView {
    this.#freeze();
    const transaction = this.#db.useReadTransaction();
    const sums = { index: this.#index, count: this.#count, hash: this.hash() };
    return new TableView(this.#db, transaction, { ...sums, newer: merged(this.#layers) });
  }

  /** Begins to replace all pairs. From here on a crash leaves nothing that counts, until `endReplace`. */
  async beginReplace(): Promise<void> {
    await this.#flushing?.catch(() => {});
    const row = encodeRow({ index: 0, count: 0, hash: { a: 0, b: 0 } }, true);
    await this.#commit(() => [this.#db.clearAsync(), this.#db.put(ROW_KEY, row)]);
    this.#layers = [newLayer()];
    this.#index = 0;
    this.#count = 0;
    this.#hash = new StateHash();
  }

  /** Pairs of the new state, each once, durable when it resolves. */
  async replace(pairs: readonly { readonly key: string; readonly value: Buffer }[]): Promise<void> {
    await this.#commit(() =>
      pairs.map(({ key, value }) => {
        const hash = feedPair(startPair(key), value);
        this.#hash.add(hash, value.length);
        this.#count += 1;
        return this.#db.put(keyOf(key), encodePair(hash, value));
      }),
    );
  }

  async endReplace(index: number): Promise<void> {
    const sums = { index, count: this.#count, hash: this.#hash.sum };
    await this.#commit(() => [this.#db.put(ROW_KEY, encodeRow(sums, false))]);
    this.#index = index;
    this.#flushedIndex = index;
  }

  async close(): Promise<void> {
    await this.#flushing?.catch(() => {});
    await this.#db.close();
  }

  get #active(): Layer {
    const active = this.#layers.at(-1);
    if (active === undefined || active.sums !== undefined) throw new Error("the last layer takes changes");
    return active;
  }

  #put(key: string, old: Pair | undefined, pair: Pair): void {
    if (old === undefined) this.#count += 1;
    else this.#hash.remove(old.hash, old.value.length);
    this.#hash.add(pair.hash, pair.value.length);
    this.#change(key, pair);
  }

  #change(key: string, pair: Pair | null): void {
    const active = this.#active;
    active.pairs.set(key, pair);
    active.bytes += key.length + (pair?.value.length ?? 0);
  }

  #stored(key: string, transaction: Transaction | undefined): Pair | undefined {
    const bytes = this.#db.get(keyOf(key), transaction === undefined ? {} : { transaction });
    return bytes === undefined ? undefined : decodePair(bytes, key);
  }

  /** Frozen layers are only read. */
  #freeze(): void {
    const active = this.#active;
    if (active.pairs.size === 0 && this.#index === this.#frozenIndex) return;
    active.sums = { index: this.#index, count: this.#count, hash: this.#hash.sum };
    this.#layers.push(newLayer());
  }

  get #frozenIndex(): number {
    return this.#layers.at(-2)?.sums?.index ?? this.#flushedIndex;
  }

  async #write(): Promise<void> {
    this.#freeze();
    const frozen = this.#layers.slice(0, -1);
    const sums = frozen.at(-1)?.sums;
    if (sums === undefined) return;
    await this.#commit(() => {
      const writes: Promise<unknown>[] = [this.#db.put(ROW_KEY, encodeRow(sums, false))];
      for (const [key, pair] of merged(frozen)) {
        if (pair === null) writes.push(this.#db.remove(keyOf(key)));
        else writes.push(this.#db.put(keyOf(key), encodePair(pair.hash, Buffer.from(pair.value, "latin1"))));
      }
      return writes;
    });
    // Reads see what was written from here on: lmdb ends its read transaction before it resolves a write.
    this.#layers = this.#layers.slice(frozen.length);
    this.#flushedIndex = sums.index;
  }

  /** All or nothing, durable when it resolves. `changes` answers the promises of its writes: most are one object. */
  async #commit(changes: () => readonly Promise<unknown>[]): Promise<void> {
    const writes = new Set<Promise<unknown>>();
    try {
      const batch = this.#db.batch(() => {
        for (const write of changes()) writes.add(write);
      });
      await Promise.all([batch, ...writes]);
    } catch (error) {
      throw isFull(error) ? new OpError("DL_ERR_DISK_FULL", "kv-disk", { cause: error }) : error;
    }
  }
}

/** All pairs as of a moment, for one walk. */
export class TableView {
  readonly index: number;
  readonly count: number;
  readonly hash: string;
  readonly #db: RootDatabase<Buffer, Buffer>;
  readonly #transaction: Transaction;
  readonly #newer: ReadonlyMap<string, Pair | null>;
  #open = true;

  constructor(
    db: RootDatabase<Buffer, Buffer>,
    transaction: Transaction,
    state: { index: number; count: number; hash: string; newer: ReadonlyMap<string, Pair | null> },
  ) {
    this.#db = db;
    this.#transaction = transaction;
    this.index = state.index;
    this.count = state.count;
    this.hash = state.hash;
    this.#newer = state.newer;
  }

  *pairs(): Generator<{ readonly key: string; readonly value: string } | undefined> {
    const range = { start: PAIRS_FROM, end: PAIRS_TO, transaction: this.#transaction };
    for (const { key, value } of this.#db.getRange(range)) {
      const name = nameOf(key);
      yield this.#newer.has(name) ? undefined : { key: name, value: decodePair(value, name).value };
    }
    for (const [key, pair] of this.#newer) yield pair === null ? undefined : { key, value: pair.value };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#transaction.done();
  }
}

function newLayer(): Layer {
  return { pairs: new Map(), bytes: 0, sums: undefined };
}

function find(layers: readonly Layer[], key: string, stored: () => Pair | undefined): Pair | undefined {
  for (let i = layers.length - 1; i >= 0; i--) {
    const pair = layers[i]?.pairs.get(key);
    if (pair !== undefined) return pair ?? undefined;
  }
  return stored();
}

/** The newest change of each key. */
function merged(layers: readonly Layer[]): Map<string, Pair | null> {
  const all = new Map<string, Pair | null>();
  for (const { pairs } of layers) for (const [key, pair] of pairs) all.set(key, pair);
  return all;
}

function keyOf(name: string): Buffer {
  return Buffer.from(`\u0001${name}`, "latin1");
}

function nameOf(key: Buffer): string {
  return key.toString("latin1", 1);
}

function encodePair({ a, b }: PairHash, value: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(HASH_BYTES + value.length);
  bytes.writeInt32LE(a, 0);
  bytes.writeInt32LE(b, 4);
  value.copy(bytes, HASH_BYTES);
  return bytes;
}

function decodePair(bytes: Buffer, name: string): Pair {
  if (bytes.length < HASH_BYTES)
    throw new MalformedError(`kv-disk: the pair of key ${JSON.stringify(name)} is damaged`);
  const hash = { a: bytes.readInt32LE(0), b: bytes.readInt32LE(4) };
  return { value: bytes.toString("latin1", HASH_BYTES), hash };
}

function encodeRow({ index, count, hash }: Sums, incomplete: boolean): Buffer {
  const bytes = Buffer.alloc(ROW_BYTES);
  bytes.writeUInt8(ROW_VERSION, 0);
  bytes.writeUInt8(incomplete ? 1 : 0, 1);
  bytes.writeDoubleLE(index, 2);
  bytes.writeDoubleLE(count, 10);
  bytes.writeInt32LE(hash.a, 18);
  bytes.writeInt32LE(hash.b, 22);
  return bytes;
}

function readRow(bytes: Buffer | undefined, directory: string): (Sums & { readonly incomplete: boolean }) | undefined {
  if (bytes === undefined) return undefined;
  if (bytes[0] !== ROW_VERSION) throw new OpError("DL_ERR_VERSION", `${directory}: version ${bytes[0]} of kv-disk`);
  if (bytes.length !== ROW_BYTES) throw new MalformedError(`${directory}: the row of kv-disk is damaged`);
  return {
    incomplete: bytes[1] === 1,
    index: bytes.readDoubleLE(2),
    count: bytes.readDoubleLE(10),
    hash: { a: bytes.readInt32LE(18), b: bytes.readInt32LE(22) },
  };
}

/** LMDB passes the system's error number on. */
function isFull(error: unknown): boolean {
  if (error instanceof OpError) return error.code === "DL_ERR_DISK_FULL";
  return error instanceof Error && /No space left|Disk quota/i.test(error.message);
}
