/**
 * Reads what NATS clients send, chunk by chunk as the socket gives it. Used by one session of the embedded broker.
 *
 * Invariants: what is kept between chunks is bounded (an unfinished line by `controlLineBytesMax`, an unfinished
 * payload by `payloadBytesMax`); a payload that lies within one chunk is a view into it, any other is copied once;
 * input that is no command throws ProtocolViolation and nothing else, after which the parser is not used again.
 */
import { Buffer } from "node:buffer";

/** The text is what the client is told after -ERR before its connection is closed. */
export class ProtocolViolation extends Error {
  override readonly name = "ProtocolViolation";
}

export interface ParserLimits {
  readonly controlLineBytesMax: number;
  readonly payloadBytesMax: number;
}

/** A publication: `payload` holds headers first, `headerBytes` of them (0 = none). */
export interface PublishCommand {
  readonly subject: string;
  readonly reply: string | undefined;
  readonly headerBytes: number;
  readonly payload: Uint8Array;
}

export interface CommandSink {
  connect(options: string): void;
  ping(): void;
  pong(): void;
  publish(command: PublishCommand): void;
  subscribe(subject: string, queue: string | undefined, sid: string): void;
  unsubscribe(sid: string, max: number | undefined): void;
}

/** A publication whose payload is still to come. */
interface Announced {
  readonly subject: string;
  readonly reply: string | undefined;
  readonly headerBytes: number;
  readonly totalBytes: number;
}

const LF = 10;
const CR = 13;
const EMPTY = Buffer.alloc(0);
const COUNT = /^[0-9]{1,9}$/;
const GAP = /[ \t]+/;

export class CommandParser {
  readonly #limits: ParserLimits;
  readonly #sink: CommandSink;
  /** Begin of a line whose end has not come. */
  #line: Buffer = EMPTY;
  #announced: Announced | undefined;
  /** Room for a payload that does not lie within one chunk, and how much of it came. */
  #gathered: Buffer = EMPTY;
  #gatheredBytes = 0;

  constructor(limits: ParserLimits, sink: CommandSink) {
    this.#limits = limits;
    this.#sink = sink;
  }

  /** Bytes kept for the next chunk. */
  get heldBytes(): number {
    return this.#line.length + this.#gatheredBytes;
  }

  /** Calls the sink for each command that is complete. Stops after the command that made `stopped` true. */
  push(chunk: Buffer, stopped: () => boolean = () => false): void {
    let at = 0;
    while (at < chunk.length && !stopped()) {
      at = this.#announced === undefined ? this.#readLine(chunk, at) : this.#readPayload(chunk, at, this.#announced);
    }
  }

  #readLine(chunk: Buffer, start: number): number {
    const end = chunk.indexOf(LF, start);
    const next = end === -1 ? chunk.length : end + 1;
    const lineBytes = this.#line.length + next - start;
    if (lineBytes > this.#limits.controlLineBytesMax) throw new ProtocolViolation("Maximum Control Line Exceeded");
    if (end === -1) {
      const rest = chunk.subarray(start);
      this.#line = this.#line.length === 0 ? Buffer.from(rest) : Buffer.concat([this.#line, rest]);
      return next;
    }
    let text: string;
    if (this.#line.length === 0) {
      text = chunk.toString("utf8", start, end);
    } else {
      text = Buffer.concat([this.#line, chunk.subarray(start, end)]).toString("utf8");
      this.#line = EMPTY;
    }
    this.#command(text.charCodeAt(text.length - 1) === CR ? text.slice(0, -1) : text);
    return next;
  }

  #readPayload(chunk: Buffer, start: number, announced: Announced): number {
    const needed = announced.totalBytes + 2;
    const piece = chunk.subarray(start, start + needed - this.#gatheredBytes);
    let bytes: Buffer = piece;
    if (piece.length < needed) {
      if (this.#gatheredBytes === 0) this.#gathered = Buffer.allocUnsafe(needed);
      piece.copy(this.#gathered, this.#gatheredBytes);
      this.#gatheredBytes += piece.length;
      if (this.#gatheredBytes < needed) return chunk.length;
      bytes = this.#gathered;
      this.#gathered = EMPTY;
      this.#gatheredBytes = 0;
    }
    const { subject, reply, headerBytes, totalBytes } = announced;
    if (bytes[totalBytes] !== CR || bytes[totalBytes + 1] !== LF) throw new ProtocolViolation("Parser Error");
    this.#announced = undefined;
    this.#sink.publish({ subject, reply, headerBytes, payload: bytes.subarray(0, totalBytes) });
    return start + piece.length;
  }

  #command(line: string): void {
    const gap = line.search(GAP);
    const verb = (gap === -1 ? line : line.slice(0, gap)).toUpperCase();
    const rest = gap === -1 ? "" : line.slice(gap).trim();
    switch (verb) {
      case "PUB":
        this.#announce(words(rest), false);
        return;
      case "HPUB":
        this.#announce(words(rest), true);
        return;
      case "SUB":
        this.#subscribe(words(rest));
        return;
      case "UNSUB":
        this.#unsubscribe(words(rest));
        return;
      case "PING":
        this.#sink.ping();
        return;
      case "PONG":
        this.#sink.pong();
        return;
      case "CONNECT":
        this.#sink.connect(rest);
        return;
      case "+OK":
      case "-ERR":
        return;
      default:
        throw new ProtocolViolation("Unknown Protocol Operation");
    }
  }

  #announce(args: readonly string[], withHeaders: boolean): void {
    const counts = withHeaders ? 2 : 1;
    const names = args.length - counts;
    const subject = args[0];
    if (subject === undefined || names < 1 || names > 2) throw new ProtocolViolation("Parser Error");
    const reply = names === 2 ? args[1] : undefined;
    const totalBytes = count(args[args.length - 1]);
    const headerBytes = withHeaders ? count(args[names]) : 0;
    if (totalBytes > this.#limits.payloadBytesMax) throw new ProtocolViolation("Maximum Payload Violation");
    if (headerBytes > totalBytes) throw new ProtocolViolation("Parser Error");
    this.#announced = { subject, reply, headerBytes, totalBytes };
  }

  #subscribe(args: readonly string[]): void {
    const [subject, second, third] = args;
    if (subject === undefined || second === undefined || args.length > 3) throw new ProtocolViolation("Parser Error");
    if (third === undefined) this.#sink.subscribe(subject, undefined, second);
    else this.#sink.subscribe(subject, second, third);
  }

  #unsubscribe(args: readonly string[]): void {
    const [sid, max] = args;
    if (sid === undefined || args.length > 2) throw new ProtocolViolation("Parser Error");
    this.#sink.unsubscribe(sid, max === undefined ? undefined : count(max));
  }
}

function words(text: string): string[] {
  return text === "" ? [] : text.split(GAP);
}

function count(text: string | undefined): number {
  if (text === undefined || !COUNT.test(text)) throw new ProtocolViolation("Parser Error");
  return Number(text);
}
