/**
 * Reads a snapshot file as a stream of chunks of any size, checking everything: header, each block, order, trailer.
 * Memory: one chunk, and one block or the session area. Used by SnapshotStore to load a file and to
 * verify one while it lands.
 *
 * Invariant: payload is handed out only after the checksum of its block was right; `end` accepts only a whole file.
 * Errors are OpErrors of the given code and name the file and the offset of the part that is wrong.
 */
import { MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import {
  chainBlockCrc,
  decodeSnapshotHeader,
  decodeSnapshotTrailer,
  SNAPSHOT_BLOCK_HEADER_BYTES,
  SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX,
  SNAPSHOT_PREFIX_BYTES,
  SNAPSHOT_TRAILER_BYTES,
  type SnapshotHeader,
  snapshotHeaderLength,
} from "./snapshot-format.js";

export interface SnapshotParserOptions {
  readonly crc32: Crc32;
  /** For messages. */
  readonly file: string;
  /** A damaged file here, or a malformed one from a peer. */
  readonly code: "DL_ERR_LOGDB_CORRUPT" | "DL_ERR_MALFORMED";
  /** Called once, before any payload; throws to refuse. */
  readonly onHeader?: (header: SnapshotHeader) => void;
  /** Called at most once, before any payload: the session area, checked. Not called when there is none. */
  readonly onSessions?: (sessions: Uint8Array) => void;
}

type State = "prefix" | "header" | "sessions" | "blockHeader" | "block" | "trailer" | "done";

export class SnapshotParser {
  readonly #options: SnapshotParserOptions;
  #state: State = "prefix";
  /** Bytes of the current part that came so far, and how many it needs. */
  #part = new Uint8Array(SNAPSHOT_PREFIX_BYTES);
  #have = 0;
  /** Offset in the file at which the current part begins. */
  #partOffset = 0;
  #blockCount = 0;
  #payloadBytes = 0;
  #blocksCrc = 0;
  /** What the header says of the session area. */
  #sessionsCrc = 0;

  constructor(options: SnapshotParserOptions) {
    this.#options = options;
  }

  /** Header and session area are behind. */
  get headRead(): boolean {
    return !["prefix", "header", "sessions"].includes(this.#state);
  }

  /** Takes the next bytes of the file; returns the payloads of the blocks that they completed. */
  feed(chunk: Uint8Array): Uint8Array[] {
    const payloads: Uint8Array[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "done") throw this.#error("bytes after the trailer");
      const taken = chunk.subarray(at, at + this.#part.length - this.#have);
      this.#part.set(taken, this.#have);
      this.#have += taken.length;
      at += taken.length;
      if (this.#have < this.#part.length) break;
      const payload = this.#complete();
      if (payload !== undefined) payloads.push(payload);
    }
    return payloads;
  }

  /** The file ended. */
  end(): void {
    if (this.#state === "done") return;
    throw this.#error(`the file ends within its ${this.#state}, ${this.#have} of ${this.#part.length} bytes are there`);
  }

  #complete(): Uint8Array | undefined {
    try {
      switch (this.#state) {
        case "prefix":
          this.#grow("header", snapshotHeaderLength(this.#part));
          return undefined;
        case "header": {
          const head = decodeSnapshotHeader(this.#part, this.#options.crc32);
          this.#options.onHeader?.(head.header);
          this.#sessionsCrc = head.sessionsCrc;
          if (head.sessionBytes > 0) this.#next("sessions", head.sessionBytes);
          else this.#next("blockHeader", SNAPSHOT_BLOCK_HEADER_BYTES);
          return undefined;
        }
        case "sessions":
          if (this.#options.crc32(this.#part) !== this.#sessionsCrc) {
            throw new MalformedError("checksum of the session area does not match");
          }
          this.#options.onSessions?.(this.#part);
          this.#next("blockHeader", SNAPSHOT_BLOCK_HEADER_BYTES);
          return undefined;
        case "blockHeader":
          this.#blockHeader();
          return undefined;
        case "block":
          return this.#block();
        default:
          this.#trailer();
          return undefined;
      }
    } catch (error) {
      throw isOpError(error) || !(error instanceof MalformedError) ? error : this.#error(errorText(error));
    }
  }

  #blockHeader(): void {
    const length = this.#u32(4);
    if (length === 0) {
      this.#grow("trailer", SNAPSHOT_TRAILER_BYTES);
      return;
    }
    if (length > SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX) throw new MalformedError(`block of ${length} bytes`);
    if (this.#u32(8) !== this.#blockCount) {
      throw new MalformedError(`block ${this.#u32(8)}, expected block ${this.#blockCount}`);
    }
    this.#grow("block", SNAPSHOT_BLOCK_HEADER_BYTES + length);
  }

  #block(): Uint8Array {
    const { crc32 } = this.#options;
    const crc = crc32(this.#part.subarray(4));
    if (crc !== this.#u32(0)) throw new MalformedError(`checksum of block ${this.#blockCount} does not match`);
    const payload = this.#part.subarray(SNAPSHOT_BLOCK_HEADER_BYTES);
    this.#blocksCrc = chainBlockCrc(this.#blocksCrc, crc, crc32);
    this.#blockCount += 1;
    this.#payloadBytes += payload.length;
    this.#next("blockHeader", SNAPSHOT_BLOCK_HEADER_BYTES);
    return payload;
  }

  #trailer(): void {
    const trailer = decodeSnapshotTrailer(this.#part, this.#options.crc32);
    if (
      trailer.blockCount !== this.#blockCount ||
      trailer.payloadBytes !== this.#payloadBytes ||
      trailer.blocksCrc !== this.#blocksCrc
    ) {
      throw new MalformedError("blocks do not match the trailer");
    }
    this.#next("done", 0);
  }

  /** The current part turned out to be the beginning of a longer one. */
  #grow(state: State, length: number): void {
    const part = new Uint8Array(Math.max(length, this.#have));
    part.set(this.#part.subarray(0, this.#have));
    this.#part = part;
    this.#state = state;
  }

  #next(state: State, length: number): void {
    this.#partOffset += this.#part.length;
    this.#part = new Uint8Array(length);
    this.#have = 0;
    this.#state = state;
  }

  #u32(at: number): number {
    return new DataView(this.#part.buffer).getUint32(at, true);
  }

  #error(what: string): OpError {
    return new OpError(this.#options.code, `${this.#options.file} at offset ${this.#partOffset}: ${what}`);
  }
}
