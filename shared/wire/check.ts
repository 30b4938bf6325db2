/**
 * Checks of single values of decoded messages: range, length, presence. `what` names the value in the error, which is
 * always a MalformedError. Called by the codecs of shared/wire only.
 */
import { MalformedError } from "../codec/bytes.js";
import { LIMITS } from "../limits.js";
import { isSafeUint } from "../types/ids.js";

type Maybe<T> = T | null | undefined;

/** 0 … 2^53−1; absent = 0. */
export function uint(value: Maybe<number>, what: string): number {
  const checked = value ?? 0;
  if (!isSafeUint(checked)) throw new MalformedError(`${what} is ${checked}, expected 0 to 2^53 - 1`);
  return checked;
}

/** 1 … 2^53−1. */
export function positive(value: Maybe<number>, what: string): number {
  const checked = uint(value, what);
  if (checked === 0) throw new MalformedError(`${what} is missing or 0`);
  return checked;
}

/** An id, name or address that must be there. */
export function name(value: Maybe<string>, what: string): string {
  const checked = optionalName(value, what);
  if (checked === "") throw new MalformedError(`${what} is missing`);
  return checked;
}

/** An id, name or address, or "". */
export function optionalName(value: Maybe<string>, what: string): string {
  return bounded(value ?? "", LIMITS.wireNameCharsMax, what);
}

/** Free text for people, or "". */
export function text(value: Maybe<string>, what: string): string {
  return bounded(value ?? "", LIMITS.wireTextCharsMax, what);
}

/** What a sender does with text that may be longer than a receiver accepts. */
export function cut(value: string): string {
  return value.length <= LIMITS.wireTextCharsMax ? value : `${value.slice(0, LIMITS.wireTextCharsMax - 1)}…`;
}

export function list<T>(values: Maybe<readonly T[]>, max: number, what: string): readonly T[] {
  const checked = values ?? [];
  if (checked.length > max) throw new MalformedError(`${checked.length} ${what}, at most ${max}`);
  return checked;
}

export function present<T>(value: Maybe<T>, what: string): T {
  if (value === null || value === undefined) throw new MalformedError(`${what} is missing`);
  return value;
}

const NONCE = /^[0-9a-f]{16}$/;

/** 8 bytes as hexadecimal digits. */
export function hex8(value: Maybe<string>, what: string): string {
  if (!NONCE.test(value ?? "")) throw new MalformedError(`${what} is not 16 hexadecimal digits`);
  return value ?? "";
}

function bounded(value: string, max: number, what: string): string {
  if (value.length > max) throw new MalformedError(`${what} of ${value.length} characters, at most ${max}`);
  return value;
}
