/**
 * Steps of the non-cryptographic hashes with which replicas compare what they hold (nodehost/rsm/hash.ts, the key-value
 * apps, the state of shard 0). The values are compared between versions: they never change.
 */

/** The finalizer of MurmurHash3: every bit of the 32 depends on every other. An int32. */
export function mix32(value: number): number {
  let h = value ^ (value >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Eight hexadecimal digits of the lower 32 bits. */
export function hex32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}
