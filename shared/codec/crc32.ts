/**
 * CRC-32 (IEEE 802.3, reflected, as zlib's). This table version is for pure folders and short inputs; the real
 * environment injects zlib.crc32 where inputs are long. Both take a running value, so checksums can be chained.
 */
export type Crc32 = (bytes: Uint8Array, seed?: number) => number;

const table: Uint32Array = makeTable();

function makeTable(): Uint32Array {
  const t = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let c = i;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    t[i] = c >>> 0;
  }
  return t;
}

/** Unsigned 32-bit checksum of `bytes`, continuing from `seed` (0 = a fresh one). */
export function crc32(bytes: Uint8Array, seed = 0): number {
  let c = ~seed >>> 0;
  for (let i = 0; i < bytes.length; i++) {
    c = (c >>> 8) ^ (table[(c ^ (bytes[i] as number)) & 0xff] as number);
  }
  return ~c >>> 0;
}
