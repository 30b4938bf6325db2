/**
 * Gathers what one client of the embedded broker is to be sent, so that a burst of messages becomes few writes.
 *
 * Small payloads are copied: keeping a view of them would keep the whole chunk they came in. Large ones are passed on
 * as they are. Bytes not yet taken by the kernel are counted by `pendingBytes`, on which the session acts.
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";

const SLAB_BYTES = 64 * 1024;
const COPY_BYTES_MAX = 8 * 1024;
const CRLF = "\r\n";

export class ClientOutput {
  readonly #socket: Socket;
  #slab = Buffer.allocUnsafeSlow(0);
  /** The part of the slab that holds bytes not yet in `#pieces` is [start, end). */
  #start = 0;
  #end = 0;
  readonly #pieces: Uint8Array[] = [];
  #gatheredBytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get pendingBytes(): number {
    return this.#gatheredBytes + this.#socket.writableLength;
  }

  /** A line without its end, then perhaps a payload with one. */
  add(line: string, payload?: Uint8Array): void {
    this.#text(line);
    this.#text(CRLF);
    if (payload === undefined) return;
    if (payload.length <= COPY_BYTES_MAX) {
      this.#reserve(payload.length);
      this.#slab.set(payload, this.#end);
      this.#end += payload.length;
      this.#gatheredBytes += payload.length;
    } else {
      this.#seal();
      this.#pieces.push(payload);
      this.#gatheredBytes += payload.length;
    }
    this.#text(CRLF);
  }

  flush(): void {
    this.#seal();
    if (this.#pieces.length === 0) return;
    this.#gatheredBytes = 0;
    const pieces = this.#pieces.splice(0);
    if (!this.#socket.writable) return;
    if (pieces.length === 1 && pieces[0] !== undefined) {
      this.#socket.write(pieces[0]);
      return;
    }
    this.#socket.cork();
    for (const piece of pieces) this.#socket.write(piece);
    this.#socket.uncork();
  }

  #text(text: string): void {
    // Three bytes are the most that UTF-8 needs for one UTF-16 unit.
    this.#reserve(text.length * 3);
    const bytes = this.#slab.write(text, this.#end);
    this.#end += bytes;
    this.#gatheredBytes += bytes;
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#slab.length) return;
    this.#seal();
    this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes));
    this.#start = 0;
    this.#end = 0;
  }

  #seal(): void {
    if (this.#end === this.#start) return;
    this.#pieces.push(this.#slab.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }
}
