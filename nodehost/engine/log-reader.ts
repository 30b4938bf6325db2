/**
 * The core's view of entries that are no longer in memory. Reads are asynchronous: the first ask answers "pending" and
 * starts a read; when it is there the core is told and asks again. A few results are kept for exactly that.
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import { isOpError } from "../../shared/errors.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { LogDb, ReplicaKey } from "../logdb/port.js";
import type { LogReader } from "../raft/types.js";

const KEPT_READS = 4;

export class AsyncLogReader implements LogReader {
  readonly #logDb: LogDb;
  readonly #key: ReplicaKey;
  readonly #onFetched: () => void;
  readonly #onError: (error: unknown) => void;
  readonly #kept = new Map<Index, readonly EntryBlock[]>();
  readonly #reading = new Set<Index>();

  constructor(logDb: LogDb, key: ReplicaKey, onFetched: () => void, onError: (error: unknown) => void) {
    this.#logDb = logDb;
    this.#key = key;
    this.#onFetched = onFetched;
    this.#onError = onError;
  }

  slice(first: Index, last: Index, maxBytes: number): readonly EntryBlock[] | "pending" | "compacted" {
    if (this.#logDb.term(this.#key, first) === undefined || this.#logDb.term(this.#key, first - 1) === undefined) {
      return "compacted";
    }
    const kept = this.#kept.get(first);
    if (kept !== undefined) {
      this.#kept.delete(first);
      const within = kept.filter((b) => b.first <= last).map((b) => (b.last <= last ? b : b.clip(b.first, last)));
      // The log may have been rewritten since: (index, term) names an entry for ever, so that is what is compared.
      const same = within.every((b) => this.#logDb.term(this.#key, b.last) === b.term);
      if (same && within.length > 0) return within;
    }
    if (!this.#reading.has(first)) this.#read(first, last, maxBytes);
    return "pending";
  }

  term(index: Index): Term | undefined {
    return this.#logDb.term(this.#key, index);
  }

  #read(first: Index, last: Index, maxBytes: number): void {
    this.#reading.add(first);
    this.#logDb.read(this.#key, first, last, maxBytes).then(
      (blocks) => {
        this.#reading.delete(first);
        if (this.#kept.size >= KEPT_READS) this.#kept.clear();
        this.#kept.set(first, blocks);
        this.#onFetched();
      },
      (error: unknown) => {
        this.#reading.delete(first);
        // Compacted while it was read: the core asks again and learns so.
        if (isOpError(error) && error.code === "DL_ERR_INVALID_ARGUMENT") this.#onFetched();
        else this.#onError(error);
      },
    );
  }
}
