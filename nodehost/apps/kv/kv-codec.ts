/**
 * Commands, queries and answers of the app `kv` as bytes: used by its machine and by clients of it (pure, no node:*).
 *
 *   command  u8 op, u16 key length, key, then: put, append: value · delete: nothing ·
 *            compareAndSet: u8 1 if an expected value follows, u32 its length, it; then the new value
 *   query    u8 op, then: get: key · count: prefix ("" = all keys, cheap) · hash: nothing
 *   answer   u8 1 if found, then the value (get), u64 (count) or text (hash)
 *
 * Decoders never throw: what is not well formed is `undefined`, and the machine answers it with a result.
 */
import { ByteReader, ByteWriter } from "../../../shared/codec/bytes.js";

/** Keys may have any bytes; text keys are UTF-8. */
export const KV_KEY_BYTES_MAX = 0xffff;
/** A value is refused above this (append can grow it beyond one command). */
export const KV_VALUE_BYTES_MAX = 16 * 1024 * 1024;

/** `Result.value` of every command. */
export const KvStatus = { Ok: 0, NotFound: 1, CompareFailed: 2, Malformed: 3, TooBig: 4 } as const;
export type KvStatus = (typeof KvStatus)[keyof typeof KvStatus];

export type KvCommand =
  | { readonly op: "put" | "append"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly op: "delete"; readonly key: Uint8Array }
  | {
      readonly op: "compareAndSet";
      readonly key: Uint8Array;
      /** undefined: the key must not exist. */
      readonly expected: Uint8Array | undefined;
      readonly value: Uint8Array;
    };

export type KvQuery =
  | { readonly op: "get"; readonly key: Uint8Array }
  | { readonly op: "count"; readonly prefix: Uint8Array }
  | { readonly op: "hash" };

/** What `lookup` answers, decoded. */
export interface KvAnswer {
  readonly found: boolean;
  readonly bytes: Uint8Array;
}

const COMMAND_OPS = ["put", "delete", "compareAndSet", "append"] as const;
const QUERY_OPS = ["get", "count", "hash"] as const;
const NOTHING = new Uint8Array(0);

/** Bytes of a text key or value. */
export function kvBytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** RangeError if the key is too long: that is the caller's mistake, found before anything is proposed. */
export function encodeKvCommand(command: KvCommand): Uint8Array {
  const { key } = command;
  if (key.length > KV_KEY_BYTES_MAX) throw new RangeError(`key of ${key.length} bytes, at most ${KV_KEY_BYTES_MAX}`);
  const w = new ByteWriter(64)
    .u8(COMMAND_OPS.indexOf(command.op) + 1)
    .u16(key.length)
    .bytes(key);
  if (command.op === "compareAndSet") w.u8(command.expected === undefined ? 0 : 1).blob(command.expected ?? NOTHING);
  if (command.op !== "delete") w.bytes(command.value);
  return w.finish();
}

/** Views into `bytes`; undefined if they are not a command. */
export function decodeKvCommand(bytes: Uint8Array): KvCommand | undefined {
  const length = bytes.length;
  if (length < 3) return undefined;
  const op = COMMAND_OPS[(bytes[0] ?? 0) - 1];
  const keyEnd = 3 + ((bytes[1] ?? 0) | ((bytes[2] ?? 0) << 8));
  if (op === undefined || keyEnd > length) return undefined;
  const key = bytes.subarray(3, keyEnd);
  if (op === "delete") return keyEnd === length ? { op, key } : undefined;
  if (op !== "compareAndSet") return { op, key, value: bytes.subarray(keyEnd) };
  if (keyEnd + 5 > length) return undefined;
  const r = new ByteReader(bytes, keyEnd);
  const given = r.u8();
  const expectedLength = r.u32();
  if (given > 1 || expectedLength > r.remaining || (given === 0 && expectedLength > 0)) return undefined;
  const expected = r.bytes(expectedLength);
  return { op, key, expected: given === 1 ? expected : undefined, value: r.bytes(r.remaining) };
}

export function encodeKvQuery(query: KvQuery): Uint8Array {
  const w = new ByteWriter(64).u8(QUERY_OPS.indexOf(query.op) + 1);
  if (query.op === "get") w.bytes(query.key);
  if (query.op === "count") w.bytes(query.prefix);
  return w.finish();
}

export function decodeKvQuery(bytes: Uint8Array): KvQuery | undefined {
  const op = QUERY_OPS[(bytes[0] ?? 0) - 1];
  const rest = bytes.subarray(1);
  if (op === "get") return { op, key: rest };
  if (op === "count") return { op, prefix: rest };
  return op === "hash" && rest.length === 0 ? { op } : undefined;
}

export function encodeKvAnswer(answer: KvAnswer): Uint8Array {
  const bytes = new Uint8Array(1 + answer.bytes.length);
  bytes[0] = answer.found ? 1 : 0;
  bytes.set(answer.bytes, 1);
  return bytes;
}

/** MalformedError if the bytes are not an answer. */
export function decodeKvAnswer(bytes: Uint8Array): KvAnswer {
  const r = new ByteReader(bytes);
  return { found: r.bool(), bytes: r.bytes(r.remaining) };
}

/** Number in the answer to a count, and in the data of an append (the new length). */
export function decodeKvNumber(bytes: Uint8Array): number {
  const r = new ByteReader(bytes);
  const value = r.u64();
  r.end();
  return value;
}

export function encodeKvNumber(value: number): Uint8Array {
  return new ByteWriter(8).u64(value).finish();
}
