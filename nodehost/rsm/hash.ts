/**
 * A 64-bit non-cryptographic hash as text, for things that replicas compare with each other: memberships and error
 * texts. Not for integrity (that is CRC-32) and not for anything an adversary may choose.
 */
import { hex32, mix32 } from "../../shared/codec/mix.js";

/** 16 hexadecimal digits. */
export function hash64(bytes: Uint8Array): string {
  let a = 0x811c9dc5 | 0;
  let b = 0x9747b28c | 0;
  for (const byte of bytes) {
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b ^ byte, 0x5bd1e995);
    b ^= b >>> 15;
  }
  return hex32(mix32(a ^ bytes.length)) + hex32(mix32(b ^ Math.imul(a, 0x27d4eb2d)));
}

export function hashText(text: string): string {
  return hash64(new TextEncoder().encode(text));
}
