/**
 * One TCP connection, either end: handshake, frames in, bytes out. Used by peer.ts and snapshot-sender.ts (dialing)
 * and by inbound.ts (accepting).
 *
 * States: connecting → hello → answer → open → over. `closed` is reported at most once, and never after `abandon`.
 * Frames are handed up only in state open, that is after both sides have accepted each other.
 */
import type { Socket } from "node:net";
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import type { TimerHandle } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import type { Closable, TransportCore } from "./core.js";
import { FRAME_HEADER_BYTES, FrameKind, FrameReader, type FrameSink } from "./frame.js";
import {
  HANDSHAKE_BYTES_MAX,
  Lane,
  readError,
  readHello,
  toOpError,
  writeAccept,
  writeHello,
  writeRefuse,
} from "./hello.js";
import type { Hello } from "./port.js";

/** How a connection ended. */
export interface Ending {
  readonly error: OpError;
  /** Who refused to go on, if that was the reason: this host or the other one. */
  readonly refusedBy: "us" | "peer" | undefined;
}

export interface ConnectionOwner {
  /** May this peer be talked to? Throws OpError to refuse it. */
  admit(peer: Hello, lane: Lane): void;
  opened(peer: Hello, lane: Lane): void;
  /** May throw MalformedError, which breaks the connection. */
  frame(kind: number, frame: Uint8Array, durableSequence: number): void;
  drained(): void;
  closed(ending: Ending): void;
  /** The socket is gone, however it ended. The last call. */
  gone(): void;
}

export interface ConnectionOptions {
  readonly core: TransportCore;
  readonly socket: Socket;
  readonly owner: ConnectionOwner;
  /** Set by the side that connects; the other one learns it from the Hello. */
  readonly lane?: Lane;
}

export class Connection implements FrameSink, Closable {
  readonly #core: TransportCore;
  readonly #socket: Socket;
  readonly #owner: ConnectionOwner;
  readonly #dialing: boolean;
  readonly #reader: FrameReader;
  #lane: Lane;
  #state: "connecting" | "hello" | "answer" | "open" | "over";
  #counted = false;
  #peer: Hello | undefined;
  #deadline: TimerHandle;

  constructor(options: ConnectionOptions) {
    const { core, socket } = options;
    this.#core = core;
    this.#socket = socket;
    this.#owner = options.owner;
    this.#dialing = options.lane !== undefined;
    this.#lane = options.lane ?? Lane.Messages;
    this.#state = this.#dialing ? "connecting" : "hello";
    this.#reader = new FrameReader(core.env.crc32, this, HANDSHAKE_BYTES_MAX);
    core.track(this);
    const late = () => this.fail(new OpError("DL_ERR_UNREACHABLE", "no handshake in time"));
    this.#deadline = core.env.timers.after(core.limits.connectTimeoutMs, late);
    socket.on("connect", () => this.#connected());
    socket.on("data", (chunk: Buffer) => this.#data(chunk));
    socket.on("drain", () => {
      if (this.#state === "open") this.#owner.drained();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      // When all addresses of a name fail, the error has a code but no message.
      this.fail(new OpError("DL_ERR_UNREACHABLE", error.message || error.code, { cause: error }));
    });
    socket.on("end", () => this.fail(new OpError("DL_ERR_UNREACHABLE", "the peer closed the connection")));
    socket.on("close", () => {
      this.fail(new OpError("DL_ERR_UNREACHABLE", "the connection is closed"));
      this.#deadline.cancel();
      core.untrack(this);
      this.#owner.gone();
    });
  }

  /** Hello of the other side, once it has come. */
  get peer(): Hello | undefined {
    return this.#peer;
  }

  get open(): boolean {
    return this.#state === "open";
  }

  /** Bytes handed over and not yet taken by the kernel. */
  get backlogBytes(): number {
    return this.#socket.writableLength;
  }

  /** Takes the bytes over. False: wait for `drained` before sending much more. */
  write(bytes: Uint8Array): boolean {
    this.#core.counters.bytesSent += bytes.length;
    return this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Sends the last bytes, then discards input until the other side has closed or `lingerMs` are over. */
  finish(bytes: Uint8Array): void {
    if (this.#state === "over") return;
    this.#core.counters.bytesSent += bytes.length;
    this.#over();
    // Closing with input unread would reset the connection and might overtake our last bytes.
    this.#socket.end(bytes);
    this.#socket.resume();
    this.#deadline = this.#core.env.timers.after(this.#core.limits.lingerMs, () => this.#socket.destroy());
  }

  /** Ends at once without telling the owner. */
  abandon(): void {
    this.#over();
    this.#socket.destroy();
  }

  /** Ends at once and tells the owner. */
  fail(error: OpError): void {
    this.#fail({ error, refusedBy: undefined });
  }

  onFrame(kind: number, frame: Uint8Array, durableSequence: number): boolean {
    if (kind === FrameKind.Refuse && this.#state !== "over") {
      this.#fail({ error: readError(new ByteReader(frame, FRAME_HEADER_BYTES)), refusedBy: "peer" });
    } else if (this.#state === "open") {
      this.#owner.frame(kind, frame, durableSequence);
    } else if (this.#state === "hello" && kind === FrameKind.Hello) {
      this.#greeted(frame);
    } else if (this.#state === "answer" && kind === FrameKind.Accept) {
      this.#accepted();
    } else if (this.#state !== "over") {
      throw new MalformedError(`frame of kind ${kind} during the handshake`);
    }
    return !this.#isOver();
  }

  #isOver(): boolean {
    return this.#state === "over";
  }

  #connected(): void {
    if (this.#state !== "connecting") return;
    this.#state = "hello";
    const w = new ByteWriter();
    writeHello(w, { hello: this.#core.hello(), lane: this.#lane }, this.#core.env.crc32);
    this.write(w.finish());
  }

  #data(chunk: Buffer): void {
    if (this.#state === "over") return;
    try {
      this.#reader.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length));
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#malformed(error);
    }
  }

  #malformed(cause: MalformedError): void {
    const error = toOpError(cause);
    this.#core.malformed(this.#peer?.raftAddress ?? this.#socket.remoteAddress ?? "unknown", error);
    // Who has not even said hello gets no answer.
    if (this.#peer === undefined) this.fail(error);
    else this.#refuse(new ByteWriter(), error);
  }

  #greeted(frame: Uint8Array): void {
    const { hello, lane } = readHello(new ByteReader(frame, FRAME_HEADER_BYTES));
    if (this.#dialing && lane !== this.#lane) throw new MalformedError("the peer answered for another lane");
    this.#lane = lane;
    this.#peer = hello;
    const w = new ByteWriter();
    if (!this.#dialing) writeHello(w, { hello: this.#core.hello(), lane }, this.#core.env.crc32);
    try {
      this.#core.admit(hello);
      this.#owner.admit(hello, lane);
    } catch (cause) {
      this.#refuse(w, toOpError(cause));
      return;
    }
    this.#state = "answer";
    if (this.#dialing) return;
    writeAccept(w, this.#core.env.crc32);
    this.write(w.finish());
  }

  #accepted(): void {
    const core = this.#core;
    if (this.#peer === undefined) throw new MalformedError("accept before hello");
    if (this.#dialing) {
      const w = new ByteWriter(32);
      writeAccept(w, core.env.crc32);
      this.write(w.finish());
    }
    this.#state = "open";
    this.#deadline.cancel();
    this.#reader.setMaxBytes(core.limits.frameBytesMax);
    core.counters.connections += 1;
    this.#counted = true;
    core.learn(this.#peer);
    this.#owner.opened(this.#peer, this.#lane);
  }

  #refuse(w: ByteWriter, error: OpError): void {
    this.#core.counters.refusedConnections += 1;
    writeRefuse(w, error, this.#core.env.crc32);
    this.finish(w.finish());
    this.#owner.closed({ error, refusedBy: "us" });
  }

  #fail(ending: Ending): void {
    if (this.#state === "over") return;
    this.#over();
    this.#socket.destroy();
    this.#owner.closed(ending);
  }

  #over(): void {
    this.#state = "over";
    this.#deadline.cancel();
    if (this.#counted) this.#core.counters.connections -= 1;
    this.#counted = false;
  }
}
