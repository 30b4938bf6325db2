/**
 * The app `kv-disk`: a key-value map in LMDB, with the commands, queries and answers of `kv` (keys of at most
 * KV_DISK_KEY_BYTES_MAX bytes: longer ones are answered as too big). The model of an on-disk machine.
 *
 * A snapshot is u32 magic "KVD1", u64 index, then what `kv` writes (kv-snapshot.ts), from a read transaction in small
 * slices. Invariants: `update` never throws on any command bytes and is deterministic; state and index are durable
 * together (pair-table.ts); the state hash is that of `kv` with the same pairs.
 */
import { ByteReader, ByteWriter, MalformedError } from "../../../shared/codec/bytes.js";
import type { App, OnDiskStateMachine, Result, SmEntry, SnapshotSink, SnapshotSource } from "../../rsm/index.js";
import type { KvOptions } from "../kv/kv.js";
import { answerKvQuery, applyKvCommand } from "../kv/kv-commands.js";
import { checkKvSnapshot, KvSnapshotDecoder, writeKvSnapshot } from "../kv/kv-snapshot.js";
import { PairTable, TableView } from "./pair-table.js";

/** LMDB's keys are short; see maxKeySize there. */
export const KV_DISK_KEY_BYTES_MAX = 1024;

const MAGIC = 0x3144564b;
const HEAD_BYTES = 12;
const FEED_BYTES = 64 * 1024;
/** Pairs of a snapshot that are written in one transaction. */
const REPLACE_BYTES = 512 * 1024;

export function kvDiskApp(options: KvOptions = {}): App {
  return { name: "kv-disk", kind: "onDisk", create: (_shard, _replica, place) => new KvDisk(place.dataDir, options) };
}

export class KvDisk implements OnDiskStateMachine {
  readonly #directory: string;
  readonly #options: KvOptions;
  #table: PairTable | undefined;

  constructor(directory: string, options: KvOptions = {}) {
    this.#directory = directory;
    this.#options = options;
  }

  async open(): Promise<number> {
    const table = await PairTable.open(this.#directory);
    this.#table = table;
    return table.index;
  }

  update(entries: readonly SmEntry[]): readonly Result[] | Promise<readonly Result[]> {
    const table = this.#opened;
    const results = entries.map(({ cmd }) => applyKvCommand(table, cmd, KV_DISK_KEY_BYTES_MAX));
    const pending = table.applied(entries.at(-1)?.index ?? table.index);
    return pending === undefined ? results : pending.then(() => results);
  }

  lookup(query: unknown): Uint8Array {
    return answerKvQuery(this.#opened, query);
  }

  sync(): Promise<void> {
    return this.#opened.flush();
  }

  prepareSnapshot(): TableView {
    return this.#opened.view();
  }

  async saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void> {
    if (!(prepared instanceof TableView)) throw new TypeError("kv-disk: this was not prepared by prepareSnapshot");
    try {
      signal.throwIfAborted();
      await sink.write(new ByteWriter(HEAD_BYTES).u32(MAGIC).u64(prepared.index).finish());
      await writeKvSnapshot(prepared, sink, { signal, giveWay: this.#options.giveWay, isOpen: () => true });
    } finally {
      prepared.close();
    }
  }

  async recoverFromSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<void> {
    const table = this.#opened;
    const waiting = new WaitingPairs();
    const decoder = new KvSnapshotDecoder((key, value) => waiting.add(key, value));
    const head = new SnapshotHead();
    await table.beginReplace();
    for await (const chunk of source) {
      const body = head.take(chunk);
      for (let at = 0; at < body.length; at += FEED_BYTES) {
        signal.throwIfAborted();
        decoder.feed(body.subarray(at, at + FEED_BYTES));
        if (waiting.bytes >= REPLACE_BYTES) await table.replace(waiting.takeAll());
        await this.#options.giveWay?.();
      }
    }
    await table.replace(waiting.takeAll());
    checkKvSnapshot({ count: table.count(""), hash: table.hash() }, decoder.finish());
    await table.endReplace(head.index);
  }

  async close(): Promise<void> {
    const table = this.#table;
    this.#table = undefined;
    await table?.close();
  }

  getHash(): string {
    return this.#opened.hash();
  }

  get #opened(): PairTable {
    if (this.#table === undefined) throw new Error("kv-disk is not open");
    return this.#table;
  }
}

/** Pairs that are decoded and not written yet; owns its bytes. */
class WaitingPairs {
  #pairs: { readonly key: string; readonly value: Buffer }[] = [];
  bytes = 0;

  add(key: string, value: Buffer): void {
    this.#pairs.push({ key, value: Buffer.from(value) });
    this.bytes += key.length + value.length;
  }

  takeAll(): readonly { readonly key: string; readonly value: Buffer }[] {
    const pairs = this.#pairs;
    this.#pairs = [];
    this.bytes = 0;
    return pairs;
  }
}

/** The first bytes of a snapshot, whatever chunks they come in. */
class SnapshotHead {
  #bytes = new Uint8Array(0);
  #index: number | undefined;

  get index(): number {
    if (this.#index === undefined) throw new MalformedError("kv-disk snapshot ends within its head");
    return this.#index;
  }

  /** What follows the head in this chunk. */
  take(chunk: Uint8Array): Uint8Array {
    if (this.#index !== undefined) return chunk;
    const missing = HEAD_BYTES - this.#bytes.length;
    this.#bytes = Buffer.concat([this.#bytes, chunk.subarray(0, missing)]);
    if (this.#bytes.length < HEAD_BYTES) return chunk.subarray(chunk.length);
    const r = new ByteReader(this.#bytes);
    if (r.u32() !== MAGIC) throw new MalformedError("this is not a kv-disk snapshot");
    this.#index = r.u64();
    return chunk.subarray(missing);
  }
}
