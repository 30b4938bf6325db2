/**
 * A 64-bit non-cryptographic hash as text, for things that replicas compare with each other: memberships and error
 * texts. Not for integrity (that is CRC-32) and not for anything an adversary may choose.
 */

/** 16 hexadecimal digits. */
export function hash64(bytes: Uint8Array): string {
  let a = 0x811c9dc5 | 0;
  let b = 0x9747b28c | 0;
  for (const byte of bytes) {
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b ^ byte, 0x5bd1e995);
    b ^= b >>> 15;
  }
  return hex32(mix(a ^ bytes.length)) + hex32(mix(b ^ Math.imul(a, 0x27d4eb2d)));
}

export function hashText(text: string): string {
  return hash64(new TextEncoder().encode(text));
}

function mix(value: number): number {
  let h = value ^ (value >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function hex32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}
