/** Keys and values of the checkpoint store's rows (README.md has the table). */
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import type { DataSetId } from "../../shared/types/ids.js";
import type { ReplicaKey } from "./port.js";

export const FORMAT_ROW = "format";
/** A sequence that was durable when the row was written: a log that ends below it has lost its end. */
export const FLOOR_ROW = "floor";
export const INCOMPLETE_ROW = "incomplete";
const REMOVED_PREFIX = "removed/";

export function removedRow(key: ReplicaKey): string {
  return `${REMOVED_PREFIX}${key.shardId}/${key.replicaId}`;
}

/** undefined if the row is another one. */
export function removedKey(row: string): ReplicaKey | undefined {
  if (!row.startsWith(REMOVED_PREFIX)) return undefined;
  const [shard, replica] = row.slice(REMOVED_PREFIX.length).split("/");
  return { shardId: Number(shard), replicaId: Number(replica) };
}

export function numberRow(value: number): Uint8Array {
  return new ByteWriter(8).u64(value).finish();
}

/** Throws MalformedError. */
export function readNumberRow(bytes: Uint8Array): number {
  const r = new ByteReader(bytes);
  const value = r.u64();
  r.end();
  return value;
}

/**
 * Version of the whole log, in the format row (headers of frames have one of their own). 2: records may move blocks
 * (0.2.0). 1 is read, and becomes 2 when it is opened.
 */
export const LOG_FORMAT_VERSION = 2;

export function formatRow(dataSetId: DataSetId): Uint8Array {
  return new ByteWriter(64).u32(LOG_FORMAT_VERSION).text(dataSetId).finish();
}

/** Throws MalformedError. */
export function readFormatRow(bytes: Uint8Array): { readonly version: number; readonly dataSetId: DataSetId } {
  const r = new ByteReader(bytes);
  const version = r.u32();
  if (version !== 1 && version !== LOG_FORMAT_VERSION) {
    throw new MalformedError(`log format ${version}, expected 1 to ${LOG_FORMAT_VERSION}`);
  }
  const dataSetId = r.text();
  r.end();
  return { version, dataSetId };
}
