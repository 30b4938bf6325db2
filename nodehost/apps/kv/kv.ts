/**
 * The app `kv`: a key-value map in memory. Bytes in, bytes out (kv-codec.ts). Snapshots are taken while updates go on
 * and cost only the pairs that change meanwhile (kv-store.ts).
 *
 * Invariants: `update` never throws on any command bytes and is deterministic; a value never exceeds
 * KV_VALUE_BYTES_MAX; the state hash is kept up with each update.
 */
import type { App, ConcurrentStateMachine, Result, SmEntry, SnapshotSink, SnapshotSource } from "../../rsm/index.js";
import {
  decodeKvCommand,
  decodeKvQuery,
  encodeKvAnswer,
  encodeKvNumber,
  KV_VALUE_BYTES_MAX,
  type KvQuery,
  KvStatus,
  kvBytes,
} from "./kv-codec.js";
import { readKvSnapshot, writeKvSnapshot } from "./kv-snapshot.js";
import { type KvPair, KvStore, KvView } from "./kv-store.js";

/** A refused compareAndSet answers with the value there is, up to this size: results stay small. */
const RESULT_DATA_BYTES_MAX = 4096;

const OK: Result = { value: KvStatus.Ok };
const NOT_FOUND: Result = { value: KvStatus.NotFound };
const COMPARE_FAILED: Result = { value: KvStatus.CompareFailed };
const MALFORMED: Result = { value: KvStatus.Malformed };
const TOO_BIG: Result = { value: KvStatus.TooBig };
const NOTHING = new Uint8Array(0);

export interface KvOptions {
  /** Resolves after the event loop had a turn (a timer); used while a snapshot is saved or restored. */
  readonly giveWay?: () => Promise<void>;
}

export function kvApp(options: KvOptions = {}): App {
  return { name: "kv", kind: "concurrent", create: () => new KvMachine(options) };
}

export class KvMachine implements ConcurrentStateMachine {
  readonly #options: KvOptions;
  #store = new KvStore();

  constructor(options: KvOptions = {}) {
    this.#options = options;
  }

  update(entries: readonly SmEntry[]): readonly Result[] {
    return entries.map((entry) => this.#apply(entry.cmd));
  }

  /** Bytes of a query (encodeKvQuery) → bytes of an answer (decodeKvAnswer). Not a query: not found. */
  lookup(query: unknown): Uint8Array {
    const decoded = query instanceof Uint8Array ? decodeKvQuery(query) : undefined;
    return encodeKvAnswer(decoded === undefined ? { found: false, bytes: NOTHING } : this.#answer(decoded));
  }

  prepareSnapshot(): KvView {
    return this.#store.openView();
  }

  async saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void> {
    if (!(prepared instanceof KvView)) throw new TypeError("kv: this was not prepared by prepareSnapshot");
    const store = this.#store;
    try {
      const { giveWay } = this.#options;
      await writeKvSnapshot(prepared, sink, { signal, giveWay, isOpen: () => store.isOpen(prepared) });
    } finally {
      store.closeView(prepared);
    }
  }

  async recoverFromSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<void> {
    this.#store = await readKvSnapshot(source, { signal, giveWay: this.#options.giveWay });
  }

  close(): void {
    this.#store = new KvStore();
  }

  getHash(): string {
    return this.#store.hash();
  }

  #apply(cmd: Uint8Array): Result {
    const command = decodeKvCommand(cmd);
    if (command === undefined) return MALFORMED;
    const key = characters(command.key);
    switch (command.op) {
      case "put":
        return this.#set(key, command.value);
      case "delete":
        return this.#store.delete(key) ? OK : NOT_FOUND;
      case "append": {
        const length = (this.#store.get(key)?.value.length ?? 0) + command.value.length;
        if (length > KV_VALUE_BYTES_MAX) return TOO_BIG;
        this.#store.append(key, characters(command.value), command.value);
        return { value: KvStatus.Ok, data: encodeKvNumber(length) };
      }
      default: {
        const pair = this.#store.get(key);
        const { expected } = command;
        if (pair?.value !== (expected === undefined ? undefined : characters(expected))) return compareFailed(pair);
        return this.#set(key, command.value);
      }
    }
  }

  #set(key: string, value: Uint8Array): Result {
    if (value.length > KV_VALUE_BYTES_MAX) return TOO_BIG;
    this.#store.set(key, characters(value), value);
    return OK;
  }

  #answer(query: KvQuery): { found: boolean; bytes: Uint8Array } {
    switch (query.op) {
      case "get": {
        const pair = this.#store.get(characters(query.key));
        return pair === undefined ? { found: false, bytes: NOTHING } : { found: true, bytes: byteValues(pair.value) };
      }
      case "count":
        return { found: true, bytes: encodeKvNumber(this.#count(characters(query.prefix))) };
      default:
        return { found: true, bytes: kvBytes(this.#store.hash()) };
    }
  }

  /** With a prefix all keys are looked at: for tests and people, not for hot paths. */
  #count(prefix: string): number {
    if (prefix === "") return this.#store.size;
    let count = 0;
    for (const key of this.#store.keys()) if (key.startsWith(prefix)) count += 1;
    return count;
  }
}

function compareFailed(pair: KvPair | undefined): Result {
  if (pair === undefined || pair.value.length > RESULT_DATA_BYTES_MAX) return COMPARE_FAILED;
  return { value: KvStatus.CompareFailed, data: byteValues(pair.value) };
}

function characters(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

/** In a buffer of its own, not from a pool. */
function byteValues(text: string): Uint8Array {
  const bytes = Buffer.alloc(text.length);
  bytes.write(text, "latin1");
  return bytes;
}
