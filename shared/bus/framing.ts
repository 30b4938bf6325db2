/**
 * What the bus puts around a payload, and how a payload above the broker's limit is split and put together again.
 * Used by BusCore only, so that every bus speaks the same bytes.
 *
 * A frame is the payload of one broker message (integers little-endian):
 *   whole: [u8 1][payload]
 *   part:  [u8 2][8 bytes message id][u16 part][u16 parts][u32 payload bytes][u32 crc32 of the payload][bytes]
 * The message id is four random bytes of the sending bus and a counter. All parts of a message but the last have the
 * same size. A frame that begins with another byte is of a newer format and is refused.
 *
 * Invariants: a payload comes out whole and with the right checksum, or not at all; memory held for unfinished
 * payloads stays below `partialBytesMax`, their number below `partialMessagesMax`, each no longer than `expiryMs`
 * without progress. What is given up is counted.
 */
import { ByteReader, ByteWriter, MalformedError } from "../codec/bytes.js";
import type { Crc32 } from "../codec/crc32.js";
import { OpError } from "../errors.js";

const WHOLE = 1;
const PART = 2;
const PART_HEADER_BYTES = 21;
const PARTS_MAX = 0xffff;

export const FRAMING_LIMITS = {
  /** One payload, however many parts it takes. */
  messageBytesMax: 32 * 1024 * 1024,
  /** All payloads being put together at one bus. */
  partialBytesMax: 64 * 1024 * 1024,
  partialMessagesMax: 256,
  /** Without a further part for so long, a payload is given up. */
  expiryMs: 10_000,
  /** Finished messages remembered, so that a repeated part of one starts nothing. */
  finishedMax: 256,
} as const;

export type FramingLimits = { readonly [K in keyof typeof FRAMING_LIMITS]: number };

/** Names messages of one bus: `nonce` is random, the counter runs up. */
export class MessageIds {
  readonly #nonce: number;
  #count = 0;

  constructor(nonce: number) {
    this.#nonce = nonce >>> 0;
  }

  next(): { readonly nonce: number; readonly count: number } {
    this.#count = (this.#count + 1) >>> 0;
    return { nonce: this.#nonce, count: this.#count };
  }
}

export interface SplitOptions {
  /** Most bytes of one frame, its header included. */
  readonly frameBytesMax: number;
  readonly ids: MessageIds;
  readonly crc32: Crc32;
}

/** The frames of a payload, in the order in which they must be sent. Throws DL_ERR_PAYLOAD_TOO_BIG. */
export function splitPayload(payload: Uint8Array, options: SplitOptions): Uint8Array[] {
  if (payload.length + 1 <= options.frameBytesMax) {
    const frame = new Uint8Array(payload.length + 1);
    frame[0] = WHOLE;
    frame.set(payload, 1);
    return [frame];
  }
  const partBytes = options.frameBytesMax - PART_HEADER_BYTES;
  const parts = partBytes < 1 ? Number.POSITIVE_INFINITY : Math.ceil(payload.length / partBytes);
  if (payload.length > FRAMING_LIMITS.messageBytesMax || parts > PARTS_MAX) {
    const most = Math.min(FRAMING_LIMITS.messageBytesMax, PARTS_MAX * Math.max(0, partBytes));
    throw new OpError("DL_ERR_PAYLOAD_TOO_BIG", `${payload.length} bytes for the bus, at most ${most}`);
  }
  const id = options.ids.next();
  const crc = options.crc32(payload);
  const frames: Uint8Array[] = [];
  for (let part = 0; part < parts; part++) {
    const bytes = payload.subarray(part * partBytes, (part + 1) * partBytes);
    const writer = new ByteWriter(PART_HEADER_BYTES + bytes.length);
    writer.u8(PART).u32(id.nonce).u32(id.count).u16(part).u16(parts).u32(payload.length).u32(crc).bytes(bytes);
    frames.push(writer.view());
  }
  return frames;
}

interface Unfinished {
  readonly parts: number;
  readonly totalBytes: number;
  readonly crc: number;
  readonly received: Map<number, Uint8Array>;
  heldBytes: number;
  lastAtMs: number;
}

export interface ReassemblerOptions {
  readonly crc32: Crc32;
  /** Told how many payloads were given up. */
  readonly onLost: (count: number) => void;
  readonly limits?: Partial<FramingLimits>;
}

/** Puts payloads together. `stream` tells apart places where the same parts may arrive more than once. */
export class Reassembler {
  readonly #crc32: Crc32;
  readonly #onLost: (count: number) => void;
  readonly #limits: FramingLimits;
  /** Least recently continued first. */
  readonly #partials = new Map<string, Unfinished>();
  readonly #finished = new Set<string>();
  #heldBytes = 0;

  constructor(options: ReassemblerOptions) {
    this.#crc32 = options.crc32;
    this.#onLost = options.onLost;
    this.#limits = { ...FRAMING_LIMITS, ...options.limits };
  }

  /** Payloads begun and not finished. */
  get pending(): number {
    return this.#partials.size;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Takes one frame; returns the payload when it is complete (a view into the frame, if it came whole). Throws
   * MalformedError when the frame is none of ours or spoils its message, which is then lost (not told to `onLost`).
   */
  accept(stream: string, frame: Uint8Array, nowMs: number): Uint8Array | undefined {
    const reader = new ByteReader(frame);
    const kind = reader.u8();
    // Not `subarray`: of a Buffer it would be a Buffer, whose `slice` means something else.
    if (kind === WHOLE) return new Uint8Array(frame.buffer, frame.byteOffset + 1, frame.length - 1);
    if (kind !== PART) throw new MalformedError(`bus frame of kind ${kind}, expected 1 or 2`);
    const id = `${reader.u32().toString(36)}.${reader.u32().toString(36)}`;
    const part = reader.u16();
    const parts = reader.u16();
    const totalBytes = reader.u32();
    const crc = reader.u32();
    const bytes = reader.bytes(reader.remaining);
    if (parts < 2 || part >= parts) throw new MalformedError(`part ${part} of ${parts}`);
    if (totalBytes > this.#limits.messageBytesMax) {
      throw new MalformedError(`payload of ${totalBytes} bytes, at most ${this.#limits.messageBytesMax}`);
    }
    if (bytes.length === 0 || totalBytes < parts) throw new MalformedError("a part is empty");
    const key = `${stream}/${id}`;
    if (this.#finished.has(key)) return undefined;
    const partial = this.#partials.get(key) ?? {
      parts,
      totalBytes,
      crc,
      received: new Map(),
      heldBytes: 0,
      lastAtMs: 0,
    };
    if (partial.parts !== parts || partial.totalBytes !== totalBytes || partial.crc !== crc) {
      this.#remove(key, partial);
      throw new MalformedError("parts of one message disagree");
    }
    if (!partial.received.has(part)) {
      if (partial.heldBytes + bytes.length > totalBytes) {
        this.#remove(key, partial);
        throw new MalformedError(`parts hold more than the ${totalBytes} bytes announced`);
      }
      partial.received.set(part, bytes);
      partial.heldBytes += bytes.length;
      this.#heldBytes += bytes.length;
    }
    partial.lastAtMs = nowMs;
    this.#partials.delete(key);
    this.#partials.set(key, partial);
    if (partial.received.size === parts) return this.#finish(key, partial);
    this.#makeRoom();
    return undefined;
  }

  /** Gives up what saw no part for too long. */
  expire(nowMs: number): void {
    for (const [key, partial] of this.#partials) {
      if (nowMs - partial.lastAtMs < this.#limits.expiryMs) break;
      this.#giveUp(key);
    }
  }

  /** Forgets everything (the link broke: missing parts will not come). */
  clear(): void {
    const count = this.#partials.size;
    this.#partials.clear();
    this.#finished.clear();
    this.#heldBytes = 0;
    if (count > 0) this.#onLost(count);
  }

  #finish(key: string, partial: Unfinished): Uint8Array | undefined {
    this.#remove(key, partial);
    const payload = new Uint8Array(partial.heldBytes);
    let at = 0;
    for (let part = 0; part < partial.parts; part++) {
      const bytes = partial.received.get(part);
      if (bytes === undefined) break;
      payload.set(bytes, at);
      at += bytes.length;
    }
    if (at !== partial.totalBytes || this.#crc32(payload) !== partial.crc) {
      throw new MalformedError("a message put together from parts does not have its checksum");
    }
    return payload;
  }

  #makeRoom(): void {
    for (const key of this.#partials.keys()) {
      const fits =
        this.#partials.size <= this.#limits.partialMessagesMax && this.#heldBytes <= this.#limits.partialBytesMax;
      if (fits) return;
      this.#giveUp(key);
    }
  }

  #giveUp(key: string): void {
    const partial = this.#partials.get(key);
    if (partial === undefined) return;
    this.#remove(key, partial);
    this.#onLost(1);
  }

  /** Further parts of the message, repeated or late, must not begin it anew. */
  #remove(key: string, partial: Unfinished): void {
    this.#partials.delete(key);
    this.#heldBytes -= partial.heldBytes;
    this.#finished.add(key);
    if (this.#finished.size <= this.#limits.finishedMax) return;
    for (const oldest of this.#finished) {
      this.#finished.delete(oldest);
      break;
    }
  }
}
