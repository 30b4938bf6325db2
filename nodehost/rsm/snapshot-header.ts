/** Reads what a snapshot file says of itself, wherever it lies. Used by tools that take in exported snapshots. */
import { MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import type { FileHandle, Files } from "../../shared/files/port.js";
import {
  decodeSnapshotHeader,
  SNAPSHOT_PREFIX_BYTES,
  type SnapshotHeader,
  snapshotHeaderLength,
} from "./snapshot-format.js";

/** DL_ERR_LOGDB_CORRUPT naming the file; DL_ERR_VERSION. */
export async function readSnapshotHeader(files: Files, path: string, crc32: Crc32): Promise<SnapshotHeader> {
  const handle = await files.open(path, { readOnly: true });
  try {
    const length = snapshotHeaderLength(await readExactly(handle, SNAPSHOT_PREFIX_BYTES));
    return decodeSnapshotHeader(await readExactly(handle, length), crc32).header;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    throw new OpError("DL_ERR_LOGDB_CORRUPT", `${path}: ${error.message}`, { cause: error });
  } finally {
    await handle.close();
  }
}

async function readExactly(handle: FileHandle, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const count = await handle.read(bytes, 0);
  if (count < length) throw new MalformedError(`the file ends after ${count} bytes`);
  return bytes;
}
