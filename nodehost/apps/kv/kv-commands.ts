/**
 * What the commands and queries of a key-value app mean, whatever keeps the pairs: the machines of `kv` and `kv-disk`
 * share it, so that they answer alike. Keys and values are strings with one byte per character.
 *
 * Invariants: no command bytes make it throw; a value never exceeds KV_VALUE_BYTES_MAX.
 */
import type { Result } from "../../rsm/index.js";
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

/** A refused compareAndSet answers with the value there is, up to this size: results stay small. */
const RESULT_DATA_BYTES_MAX = 4096;

const OK: Result = { value: KvStatus.Ok };
const NOT_FOUND: Result = { value: KvStatus.NotFound };
const COMPARE_FAILED: Result = { value: KvStatus.CompareFailed };
const MALFORMED: Result = { value: KvStatus.Malformed };
const TOO_BIG: Result = { value: KvStatus.TooBig };
const NOTHING = new Uint8Array(0);

export interface KvReader {
  get(key: string): { readonly value: string } | undefined;
  /** Keys that begin with `prefix`; all of them for "". */
  count(prefix: string): number;
  hash(): string;
}

export interface KvPairs extends KvReader {
  /** `bytes` are those of `value`. */
  set(key: string, value: string, bytes: Uint8Array): void;
  append(key: string, suffix: string, bytes: Uint8Array): void;
  /** False if it was not there. */
  delete(key: string): boolean;
}

/** Keys longer than `keyBytesMax` are answered as too big. */
export function applyKvCommand(pairs: KvPairs, cmd: Uint8Array, keyBytesMax = Number.POSITIVE_INFINITY): Result {
  const command = decodeKvCommand(cmd);
  if (command === undefined) return MALFORMED;
  if (command.key.length > keyBytesMax) return TOO_BIG;
  const key = kvCharacters(command.key);
  switch (command.op) {
    case "put":
      return set(pairs, key, command.value);
    case "delete":
      return pairs.delete(key) ? OK : NOT_FOUND;
    case "append": {
      const length = (pairs.get(key)?.value.length ?? 0) + command.value.length;
      if (length > KV_VALUE_BYTES_MAX) return TOO_BIG;
      pairs.append(key, kvCharacters(command.value), command.value);
      return { value: KvStatus.Ok, data: encodeKvNumber(length) };
    }
    default: {
      const found = pairs.get(key)?.value;
      const { expected } = command;
      if (found !== (expected === undefined ? undefined : kvCharacters(expected))) return compareFailed(found);
      return set(pairs, key, command.value);
    }
  }
}

/** Bytes of a query (encodeKvQuery) → bytes of an answer (decodeKvAnswer). Not a query: not found. */
export function answerKvQuery(pairs: KvReader, query: unknown): Uint8Array {
  const decoded = query instanceof Uint8Array ? decodeKvQuery(query) : undefined;
  return encodeKvAnswer(decoded === undefined ? { found: false, bytes: NOTHING } : answer(pairs, decoded));
}

/** One character per byte. */
export function kvCharacters(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function set(pairs: KvPairs, key: string, value: Uint8Array): Result {
  if (value.length > KV_VALUE_BYTES_MAX) return TOO_BIG;
  pairs.set(key, kvCharacters(value), value);
  return OK;
}

function answer(pairs: KvReader, query: KvQuery): { found: boolean; bytes: Uint8Array } {
  switch (query.op) {
    case "get": {
      const pair = pairs.get(kvCharacters(query.key));
      return pair === undefined ? { found: false, bytes: NOTHING } : { found: true, bytes: byteValues(pair.value) };
    }
    case "count":
      return { found: true, bytes: encodeKvNumber(pairs.count(kvCharacters(query.prefix))) };
    default:
      return { found: true, bytes: kvBytes(pairs.hash()) };
  }
}

function compareFailed(found: string | undefined): Result {
  if (found === undefined || found.length > RESULT_DATA_BYTES_MAX) return COMPARE_FAILED;
  return { value: KvStatus.CompareFailed, data: byteValues(found) };
}

/** In a buffer of its own, not from a pool. */
function byteValues(text: string): Uint8Array {
  const bytes = Buffer.alloc(text.length);
  bytes.write(text, "latin1");
  return bytes;
}
