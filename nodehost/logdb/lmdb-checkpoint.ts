/**
 * CheckpointStore on LMDB; the only file of this folder that names `lmdb`. One environment, a handful of rows, one
 * commit at a time, rarely (segment changes, removals): never on the path of an append.
 *
 * `overlappingSync: false`: a commit resolves when it is flushed, and nothing is visible before. Each value carries a
 * CRC over key and value. Embedders should set LMDB_RESTORE=safe before anything loads; `safeRestore` says the same.
 */
import { open, type RootDatabase } from "lmdb";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import type { CheckpointChange, CheckpointStore, CheckpointStoreFactory } from "./checkpoint-store.js";

const CRC_BYTES = 4;

/** `readOnly`: opens only what exists and refuses commits. */
export function lmdbCheckpointFactory(crc32: Crc32, how: { readonly readOnly?: boolean } = {}): CheckpointStoreFactory {
  return async (directory) => {
    const options = {
      path: directory,
      noSubdir: false,
      encoding: "binary" as const,
      overlappingSync: false,
      safeRestore: true,
      maxDbs: 0,
      readOnly: how.readOnly === true,
    };
    try {
      return new LmdbCheckpoint(open<Uint8Array, string>(options), crc32);
    } catch (error) {
      throw new OpError("DL_ERR_LOGDB_CORRUPT", `LMDB cannot open ${directory}`, { cause: error });
    }
  };
}

class LmdbCheckpoint implements CheckpointStore {
  readonly #db: RootDatabase<Uint8Array, string>;
  readonly #crc32: Crc32;
  #bytes = 0;

  constructor(db: RootDatabase<Uint8Array, string>, crc32: Crc32) {
    this.#db = db;
    this.#crc32 = crc32;
  }

  async load(): Promise<ReadonlyMap<string, Uint8Array>> {
    const rows = new Map<string, Uint8Array>();
    this.#bytes = 0;
    for (const { key, value } of this.#db.getRange()) {
      const row = new Uint8Array(value);
      const view = new DataView(row.buffer);
      if (row.length < CRC_BYTES || view.getUint32(0, true) !== this.#checksum(key, row.subarray(CRC_BYTES))) {
        throw new OpError("DL_ERR_LOGDB_CORRUPT", `row ${key} of the checkpoint store does not have its checksum`);
      }
      rows.set(key, row.subarray(CRC_BYTES));
      this.#bytes += row.length;
    }
    return rows;
  }

  async commit(changes: readonly CheckpointChange[]): Promise<void> {
    await this.#db.transaction(() => {
      for (const { key, value } of changes) {
        if (value === undefined) this.#db.removeSync(key);
        else this.#db.putSync(key, this.#row(key, value));
      }
    });
    for (const { value } of changes) this.#bytes += value === undefined ? 0 : value.length;
  }

  diskBytes(): number {
    return this.#bytes;
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  #row(key: string, value: Uint8Array): Uint8Array {
    const row = new Uint8Array(CRC_BYTES + value.length);
    row.set(value, CRC_BYTES);
    new DataView(row.buffer).setUint32(0, this.#checksum(key, value), true);
    return row;
  }

  #checksum(key: string, value: Uint8Array): number {
    return this.#crc32(value, this.#crc32(new TextEncoder().encode(key)));
  }
}
