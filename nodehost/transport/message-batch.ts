/**
 * Messages and pulses on their way to one peer: encoded as they are sent, handed out as one Buffer per flush. Big
 * batches become several frames in that Buffer, so that a receiver can begin before the last byte is there.
 */
import type { ByteWriter as Writer } from "../../shared/codec/bytes.js";
import { ByteWriter } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import { beginFrame, FrameKind, sealFrame } from "./frame.js";
import type { MessageEncoder } from "./message-codec.js";
import { writePulse } from "./pulse-codec.js";

/** A frame that reached this size takes no further message. */
const FRAME_SOFT_BYTES = 1024 * 1024;
/** A writer that grew above this is not kept. */
const KEEP_BYTES_MAX = 1024 * 1024;

export class MessageBatch {
  readonly #encoder: MessageEncoder;
  readonly #crc: Crc32;
  #writer: Writer = new ByteWriter(1024);
  #starts: number[] = [];
  #lastStart = Number.NEGATIVE_INFINITY;
  #count = 0;

  constructor(encoder: MessageEncoder, crc: Crc32) {
    this.#encoder = encoder;
    this.#crc = crc;
  }

  /** Messages and pulses waiting. */
  get count(): number {
    return this.#count;
  }

  get byteLength(): number {
    return this.#writer.length;
  }

  add(message: WireMessage): void {
    const w = this.#writer;
    if (w.length - this.#lastStart >= FRAME_SOFT_BYTES) {
      this.#lastStart = beginFrame(w, FrameKind.Messages);
      this.#starts.push(this.#lastStart);
    }
    this.#count += 1;
    this.#encoder.write(w, message);
  }

  /** After the messages that wait, in a frame of its own. */
  addPulse(pulse: HostPulse): void {
    const w = this.#writer;
    this.#starts.push(beginFrame(w, FrameKind.Pulse));
    writePulse(w, pulse);
    // The next message begins a frame.
    this.#lastStart = Number.NEGATIVE_INFINITY;
    this.#count += 1;
  }

  /** The frames, in a Buffer of their own; the batch is empty again. */
  take(durableSequence: number): Uint8Array {
    const w = this.#writer;
    const starts = this.#starts;
    for (let i = 0; i < starts.length; i++) {
      const range = { start: starts[i] as number, end: starts[i + 1] ?? w.length };
      sealFrame(w, range, durableSequence, this.#crc);
    }
    // Buffer.from takes small copies from Node's pool and does not zero big ones first.
    const bytes = Buffer.from(w.view());
    this.clear();
    return bytes;
  }

  clear(): void {
    if (this.#writer.length > KEEP_BYTES_MAX) this.#writer = new ByteWriter(1024);
    else this.#writer.reset();
    this.#starts = [];
    this.#lastStart = Number.NEGATIVE_INFINITY;
    this.#count = 0;
  }
}
