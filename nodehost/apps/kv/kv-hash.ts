/**
 * Hash of a key-value state that does not depend on order and costs only what an update touches: each pair has two
 * 32-bit lanes, fed byte by byte (so that an append feeds only what is appended); the state is the sum of the mixed
 * lanes of all pairs. Not cryptographic: it tells replicas that drifted apart, not forgers.
 */
import { hex32, mix32 } from "../../../shared/codec/mix.js";

/** Lanes as int32: they stay small integers in the engine's objects. */
export interface PairHash {
  readonly a: number;
  readonly b: number;
}

const START: PairHash = { a: 0x811c9dc5 | 0, b: 0x9747b28c | 0 };

/** Lanes of a pair with this key and an empty value. `key` has one byte per character. */
export function startPair(key: string): PairHash {
  let { a, b } = START;
  for (let i = 0; i < key.length; i++) {
    const byte = key.charCodeAt(i);
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b ^ byte, 0x5bd1e995);
    b ^= b >>> 15;
  }
  // Tells where the key ends.
  return { a: mix32(a ^ key.length), b: mix32(b + key.length) };
}

export function feedPair(hash: PairHash, value: Uint8Array): PairHash {
  let { a, b } = hash;
  for (let i = 0; i < value.length; i++) {
    const byte = value[i] ?? 0;
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b ^ byte, 0x5bd1e995);
    b ^= b >>> 15;
  }
  return { a, b };
}

/** The sum over all pairs. */
export class StateHash {
  #a: number;
  #b: number;

  /** `sum` is that of the pairs there are already. */
  constructor(sum: PairHash = { a: 0, b: 0 }) {
    this.#a = sum.a;
    this.#b = sum.b;
  }

  get sum(): PairHash {
    return { a: this.#a, b: this.#b };
  }

  add(pair: PairHash, valueLength: number): void {
    this.#a = (this.#a + mix32(pair.a ^ valueLength)) | 0;
    this.#b = (this.#b + mix32(pair.b + Math.imul(pair.a, 0x27d4eb2d))) | 0;
  }

  remove(pair: PairHash, valueLength: number): void {
    this.#a = (this.#a - mix32(pair.a ^ valueLength)) | 0;
    this.#b = (this.#b - mix32(pair.b + Math.imul(pair.a, 0x27d4eb2d))) | 0;
  }

  text(count: number): string {
    return `${count}:${hex32(this.#a)}${hex32(this.#b)}`;
  }
}
