/**
 * One snapshot file on disk, written front to back and read in chunks. Synced each 256 KiB while it is written, so
 * that the log's fsync never waits behind a snapshot that sits in the page cache. Used by SnapshotStore.
 */
import type { FileHandle, Files } from "../../shared/files/port.js";

const SYNC_EVERY_BYTES = 256 * 1024;

export class SnapshotFile {
  readonly #handle: FileHandle;
  #sizeBytes = 0;
  #syncedBytes = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async create(files: Files, path: string): Promise<SnapshotFile> {
    return new SnapshotFile(await files.open(path, { create: true, exclusive: true }));
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** `bytes` are free again when the promise resolves. */
  async append(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    await this.#handle.write(bytes, this.#sizeBytes);
    this.#sizeBytes += bytes.length;
    if (this.#sizeBytes - this.#syncedBytes >= SYNC_EVERY_BYTES) await this.sync();
  }

  async sync(): Promise<void> {
    await this.#handle.sync();
    this.#syncedBytes = this.#sizeBytes;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** The bytes of a file as they are. Each chunk is a buffer of its own. */
export async function* readChunks(files: Files, path: string, chunkBytes: number): AsyncGenerator<Uint8Array> {
  const handle = await files.open(path, { readOnly: true });
  try {
    for (let position = 0; ; ) {
      const chunk = new Uint8Array(chunkBytes);
      const count = await handle.read(chunk, position);
      if (count > 0) yield chunk.subarray(0, count);
      if (count < chunkBytes) return;
      position += count;
    }
  } finally {
    await handle.close();
  }
}
