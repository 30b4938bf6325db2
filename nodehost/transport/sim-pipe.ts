/**
 * A simulated connection for one snapshot stream: two ends, each a StreamLink. Bytes travel in order, with the
 * network's delays; a reader that pauses lets them pile up to a window, above which the writer has to wait.
 */
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { OpError } from "../../shared/errors.js";
import type { TransportCore } from "./core.js";
import { FRAME_HEADER_BYTES, FrameKind, FrameReader, type FrameSink } from "./frame.js";
import { readError, toOpError, writeRefuse } from "./hello.js";
import { type Delays, SimLine } from "./sim-line.js";
import type { StreamLink } from "./snapshot-receiver.js";

/** As a socket's buffers: what may be under way before `write` says stop. */
const WINDOW_BYTES = 256 * 1024;

export interface PipeNetwork extends Delays {
  reaches(from: string, to: string): boolean;
}

export interface PipeOwner {
  frame(kind: number, frame: Uint8Array): void;
  drained(): void;
  closed(error: OpError): void;
}

export interface PipeSide {
  readonly core: TransportCore;
  readonly address: string;
  readonly owner: PipeOwner;
}

export class PipeEnd implements StreamLink, FrameSink {
  readonly #network: PipeNetwork;
  readonly #side: PipeSide;
  readonly #line: SimLine;
  readonly #reader: FrameReader;
  #other: PipeEnd | undefined;
  #arrived: Uint8Array[] = [];
  #underWayBytes = 0;
  #paused = false;
  #over = false;

  constructor(network: PipeNetwork, side: PipeSide) {
    this.#network = network;
    this.#side = side;
    this.#line = new SimLine(network);
    this.#reader = new FrameReader(side.core.env.crc32, this, side.core.limits.frameBytesMax);
    side.core.track(this);
  }

  join(other: PipeEnd): void {
    this.#other = other;
  }

  write(bytes: Uint8Array): boolean {
    const other = this.#other;
    if (this.#over || other === undefined) return true;
    this.#side.core.counters.bytesSent += bytes.length;
    this.#underWayBytes += bytes.length;
    this.#line.after(() => {
      if (this.#over && other.#over) return;
      if (this.#network.reaches(this.#side.address, other.#side.address)) other.#arrive(bytes);
      else this.#break(new OpError("DL_ERR_UNREACHABLE", "the connection broke"));
    });
    return this.#underWayBytes <= WINDOW_BYTES;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#network.env.timers.soon(() => this.#read());
  }

  finish(bytes: Uint8Array): void {
    this.write(bytes);
    this.#end();
    this.#line.after(() => this.#other?.fail(new OpError("DL_ERR_UNREACHABLE", "the peer closed the connection")));
  }

  abandon(): void {
    if (this.#over) return;
    this.#end();
    this.#line.after(() => this.#other?.fail(new OpError("DL_ERR_UNREACHABLE", "the peer closed the connection")));
  }

  /** The connection is gone; the owner is told once. */
  fail(error: OpError): void {
    if (this.#over) return;
    this.#end();
    if (!this.#side.core.closed) this.#side.owner.closed(error);
  }

  #break(error: OpError): void {
    this.fail(error);
    this.#other?.fail(error);
  }

  #end(): void {
    this.#over = true;
    this.#side.core.untrack(this);
  }

  #arrive(bytes: Uint8Array): void {
    this.#arrived.push(bytes);
    this.#read();
  }

  #read(): void {
    while (!this.#paused || this.#over) {
      const bytes = this.#arrived.shift();
      if (bytes === undefined) return;
      const other = this.#other;
      if (other !== undefined) other.#taken(bytes.length);
      if (!this.#over) this.#parse(bytes);
    }
  }

  #taken(bytes: number): void {
    const full = this.#underWayBytes > WINDOW_BYTES;
    this.#underWayBytes -= bytes;
    if (full && this.#underWayBytes <= WINDOW_BYTES && !this.#over) this.#side.owner.drained();
  }

  #parse(bytes: Uint8Array): void {
    const { core, owner } = this.#side;
    try {
      this.#reader.push(bytes);
    } catch (cause) {
      if (!(cause instanceof MalformedError)) throw cause;
      const error = toOpError(cause);
      core.malformed(this.#other === undefined ? "unknown" : this.#other.#side.address, error);
      const w = new ByteWriter();
      writeRefuse(w, error, core.env.crc32);
      this.finish(w.finish());
      owner.closed(error);
    }
  }

  onFrame(kind: number, frame: Uint8Array): boolean {
    if (kind === FrameKind.Refuse) this.fail(readError(new ByteReader(frame, FRAME_HEADER_BYTES)));
    else this.#side.owner.frame(kind, frame);
    return !this.#over;
  }
}
