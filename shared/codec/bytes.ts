/**
 * Little-endian reader and writer for hand-written formats. The reader is bounded: any length or integer that does
 * not fit throws a MalformedError, which callers at the edges turn into a typed answer. Nothing here asserts on input.
 */

/** Bytes from a peer or a disk do not have the form they must have. */
export class MalformedError extends Error {
  override readonly name = "MalformedError";
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder("utf-8", { fatal: true });
const TWO_32 = 4294967296;

/** Writes a safe unsigned integer as 8 bytes. */
export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

/** A u64 that must be a safe integer: MalformedError otherwise. */
export function getU64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  if (high > 0x1fffff) throw new MalformedError(`integer at ${at} is above 2^53 - 1`);
  return high * TWO_32 + view.getUint32(at, true);
}

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  #grow(extra: number): void {
    const need = this.#length + extra;
    if (need <= this.#bytes.length) return;
    const next = new Uint8Array(Math.max(need, this.#bytes.length * 2));
    next.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = next;
    this.#view = new DataView(next.buffer);
  }

  u8(value: number): this {
    this.#grow(1);
    this.#view.setUint8(this.#length, value);
    this.#length += 1;
    return this;
  }

  u16(value: number): this {
    this.#grow(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
    return this;
  }

  u32(value: number): this {
    this.#grow(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  /** A safe unsigned integer as 8 bytes. */
  u64(value: number): this {
    this.#grow(8);
    setU64(this.#view, this.#length, value);
    this.#length += 8;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#grow(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  /** u32 length, then the bytes. */
  blob(value: Uint8Array): this {
    return this.u32(value.length).bytes(value);
  }

  /** u16 length in bytes, then UTF-8. */
  text(value: string): this {
    const encoded = utf8Encoder.encode(value);
    if (encoded.length > 0xffff) throw new MalformedError(`text of ${encoded.length} bytes, at most 65535`);
    return this.u16(encoded.length).bytes(encoded);
  }

  /** Overwrites four bytes written before. */
  patchU32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true);
    return this;
  }

  /** Overwrites eight bytes written before. */
  patchU64(offset: number, value: number): this {
    setU64(this.#view, offset, value);
    return this;
  }

  /** A view of what was written; valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  reset(): void {
    this.#length = 0;
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, offset = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#offset = offset;
    this.#end = end;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#end - this.#offset;
  }

  #take(count: number): number {
    const at = this.#offset;
    if (count > this.#end - at) throw new MalformedError(`need ${count} bytes at ${at}, have ${this.#end - at}`);
    this.#offset = at + count;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A u64 that must be a safe integer. */
  u64(): number {
    return getU64(this.#view, this.#take(8));
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) throw new MalformedError(`boolean is ${value}, expected 0 or 1`);
    return value === 1;
  }

  /** A view into the input, not a copy. */
  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.subarray(at, at + count);
  }

  blob(maxBytes = 0xffffffff): Uint8Array {
    const length = this.u32();
    if (length > maxBytes) throw new MalformedError(`blob of ${length} bytes, at most ${maxBytes}`);
    return this.bytes(length);
  }

  text(): string {
    const raw = this.bytes(this.u16());
    try {
      return utf8Decoder.decode(raw);
    } catch {
      throw new MalformedError("text is not UTF-8");
    }
  }

  /** Refuses bytes left over. */
  end(): void {
    if (this.remaining !== 0) throw new MalformedError(`${this.remaining} bytes left over`);
  }
}
