/**
 * Writes a snapshot file as a stream: header and sessions first, then collects payload into one block, seals it, hands
 * it on. The sink that state machines see. Memory: one block. Used by SnapshotStore; `output` may keep the bytes only
 * until its promise settles.
 */
import type { Crc32 } from "../../shared/codec/crc32.js";
import {
  chainBlockCrc,
  encodeSnapshotHeader,
  encodeSnapshotTrailer,
  SNAPSHOT_BLOCK_HEADER_BYTES,
  SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX,
  type SnapshotHeader,
  sealSnapshotBlock,
} from "./snapshot-format.js";
import type { SnapshotSink } from "./state-machine.js";

export class SnapshotWriter implements SnapshotSink {
  readonly #crc32: Crc32;
  readonly #output: (bytes: Uint8Array) => Promise<void>;
  readonly #block = new Uint8Array(SNAPSHOT_BLOCK_HEADER_BYTES + SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX);
  #filled = SNAPSHOT_BLOCK_HEADER_BYTES;
  #busy = false;
  #failed = false;
  #blockCount = 0;
  #payloadBytes = 0;
  #blocksCrc = 0;

  constructor(crc32: Crc32, output: (bytes: Uint8Array) => Promise<void>) {
    this.#crc32 = crc32;
    this.#output = output;
  }

  /** First call. `sessions` is the session area, empty if there are none. */
  async begin(header: SnapshotHeader, sessions: Uint8Array = new Uint8Array(0)): Promise<void> {
    await this.#output(encodeSnapshotHeader(header, sessions, this.#crc32));
    for (let at = 0; at < sessions.length; at += SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX) {
      await this.#output(sessions.subarray(at, at + SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX));
    }
  }

  /** Payload. `bytes` are free again when the promise resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    // The block is refilled while an output is awaited, or holds half of a failed one: both would write nonsense.
    if (this.#busy) throw new Error("snapshot sink: await each write before the next one");
    if (this.#failed) throw new Error("snapshot sink: an earlier write failed");
    this.#busy = true;
    try {
      for (let at = 0; at < bytes.length; ) {
        const part = bytes.subarray(at, at + this.#block.length - this.#filled);
        this.#block.set(part, this.#filled);
        this.#filled += part.length;
        at += part.length;
        if (this.#filled === this.#block.length) await this.#flush();
      }
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      this.#busy = false;
    }
  }

  /** Last call. */
  async finish(): Promise<void> {
    if (this.#busy || this.#failed) throw new Error("snapshot sink: a write was not awaited or failed");
    if (this.#filled > SNAPSHOT_BLOCK_HEADER_BYTES) await this.#flush();
    const trailer = {
      blockCount: this.#blockCount,
      payloadBytes: this.#payloadBytes,
      blocksCrc: this.#blocksCrc,
    };
    await this.#output(encodeSnapshotTrailer(trailer, this.#crc32));
  }

  async #flush(): Promise<void> {
    const block = this.#block.subarray(0, this.#filled);
    const crc = sealSnapshotBlock(block, this.#blockCount, this.#crc32);
    this.#blocksCrc = chainBlockCrc(this.#blocksCrc, crc, this.#crc32);
    this.#blockCount += 1;
    this.#payloadBytes += this.#filled - SNAPSHOT_BLOCK_HEADER_BYTES;
    await this.#output(block);
    this.#filled = SNAPSHOT_BLOCK_HEADER_BYTES;
  }
}
