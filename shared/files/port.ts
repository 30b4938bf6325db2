/**
 * The disk, as little of it as is needed. The real one (`real-files.ts`) and SimDisk (`sim-files.ts`) pass one suite.
 * It lies beneath the WAL and the snapshot code, so that the simulator runs their real code.
 *
 * Durability: bytes are durable after `write` on a handle opened with `durable: true`, or after `sync()`; a created,
 * renamed or removed name is durable after `syncDirectory` of its parent. What is not durable may vanish, in any
 * subset, at a crash. Errors are Node's (`code` ENOENT, EEXIST, ENOSPC, EIO …); callers translate.
 */

export interface OpenOptions {
  /** Create if missing (default false). */
  readonly create?: boolean;
  /** Fail with EEXIST if it exists (with create). */
  readonly exclusive?: boolean;
  /** Every settled write is durable (O_DSYNC, or write + fdatasync where that is not honoured). */
  readonly durable?: boolean;
  /** Open for reading only (default false). */
  readonly readOnly?: boolean;
}

export interface FileHandle {
  /** Fills `target` from `position`; resolves to the number of bytes read, less than asked only at the end. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes all of `bytes` at `position` (short writes are looped). */
  write(bytes: Uint8Array, position: number): Promise<void>;
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface Files {
  open(path: string, options: OpenOptions): Promise<FileHandle>;
  /** Creates it and missing parents. */
  makeDirectory(path: string): Promise<void>;
  /** Names in it, sorted; [] if it does not exist. */
  list(path: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a directory with all in it. No error if missing. */
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals in this directory durable. */
  syncDirectory(path: string): Promise<void>;
}

/** Reads a small file whole. */
export async function readWhole(files: Files, path: string): Promise<Uint8Array> {
  const handle = await files.open(path, { readOnly: true });
  try {
    const bytes = new Uint8Array(await handle.size());
    const count = await handle.read(bytes, 0);
    return bytes.subarray(0, count);
  } finally {
    await handle.close();
  }
}
