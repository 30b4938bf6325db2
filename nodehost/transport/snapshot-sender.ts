/**
 * Sends one snapshot on a link: header, chunks no bigger than the limit, end; then waits for the receiver's status.
 *
 * At most one thing is awaited at a time (the source's next chunk, room in the link, the status), and each wait ends
 * at once when the stream fails, is aborted, or the receiver answers early. The source's iterator is always returned.
 */
import type { Env, TimerHandle } from "../../shared/env/env.js";
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import { FrameKind } from "./frame.js";
import type { TransportLimits } from "./limits.js";
import type { SnapshotHeader } from "./port.js";
import {
  decodeSnapshotStatus,
  encodeSnapshotChunk,
  encodeSnapshotEnd,
  encodeSnapshotHeader,
} from "./snapshot-codec.js";
import type { StreamLink } from "./snapshot-receiver.js";

export interface SenderOptions {
  readonly env: Env;
  readonly limits: TransportLimits;
  readonly header: SnapshotHeader;
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal | undefined;
}

export class SnapshotSender {
  readonly #options: SenderOptions;
  #link: StreamLink | undefined;
  #stored = false;
  #failure: OpError | undefined;
  /** Ends the current wait. */
  #interrupt: (() => void) | undefined;
  #opened: (() => void) | undefined;
  #drained: (() => void) | undefined;
  #timer: TimerHandle | undefined;
  #sentBytes = 0;
  #crcOfAll = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** The link is accepted by both sides. */
  opened(link: StreamLink): void {
    this.#link = link;
    this.#opened?.();
  }

  frame(kind: number, frame: Uint8Array): void {
    if (kind === FrameKind.SnapshotStatus) {
      const error = decodeSnapshotStatus(frame);
      if (error !== undefined) this.fail(error);
      else this.#succeed();
    } else if (this.#timer !== undefined) {
      this.#watch();
    }
  }

  drained(): void {
    this.#drained?.();
  }

  /** Ends the stream with this error; the first one counts. */
  fail(error: OpError): void {
    if (this.#stored) return;
    this.#failure ??= error;
    this.#interrupt?.();
  }

  #succeed(): void {
    if (this.#failure !== undefined) return;
    this.#stored = true;
    this.#interrupt?.();
  }

  /** Resolves when the receiver has stored the snapshot. Rejects with an OpError. */
  async run(): Promise<void> {
    const { signal, chunks } = this.#options;
    const abort = () => this.fail(new OpError("DL_ERR_CANCELED", "the snapshot stream was aborted"));
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    const source = chunks[Symbol.asyncIterator]();
    try {
      await this.#stream(source);
    } finally {
      this.#timer?.cancel();
      signal?.removeEventListener("abort", abort);
      this.#link?.abandon();
      // Not awaited: a source that hangs must not keep us.
      void Promise.resolve(source.return?.()).catch(() => {});
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #stream(source: AsyncIterator<Uint8Array>): Promise<void> {
    if (this.#link === undefined) {
      await this.#wait(
        new Promise<void>((resolve) => {
          this.#opened = resolve;
        }),
      );
    }
    const { env, header } = this.#options;
    await this.#write(() => encodeSnapshotHeader(header, env.crc32));
    while (!this.#over) {
      const next = await this.#next(source);
      if (next === undefined) break;
      await this.#chunk(next);
    }
    await this.#write(() => encodeSnapshotEnd(this.#sentBytes, this.#crcOfAll, env.crc32));
    if (this.#over) return;
    this.#watch();
    await this.#wait(new Promise<void>(() => {}));
  }

  get #over(): boolean {
    return this.#stored || this.#failure !== undefined;
  }

  /** Resolves when `promise` does or the stream is over, whichever is first. */
  #wait<T>(promise: Promise<T>): Promise<T | undefined> {
    if (this.#over) return Promise.resolve(undefined);
    return new Promise<T | undefined>((resolve) => {
      this.#interrupt = () => resolve(undefined);
      promise.then(resolve, (error: unknown) => {
        this.fail(
          isOpError(error)
            ? error
            : new OpError("DL_ERR_ABORTED", `the snapshot's source failed: ${errorText(error)}`, { cause: error }),
        );
      });
    });
  }

  async #next(source: AsyncIterator<Uint8Array>): Promise<Uint8Array | undefined> {
    const result = await this.#wait(source.next());
    return result === undefined || result.done === true ? undefined : result.value;
  }

  async #chunk(bytes: Uint8Array): Promise<void> {
    const { env, limits } = this.#options;
    for (let at = 0; at < bytes.length && !this.#over; at += limits.snapshotChunkBytes) {
      const piece = bytes.subarray(at, at + limits.snapshotChunkBytes);
      const offset = this.#sentBytes;
      await this.#write(() => encodeSnapshotChunk(offset, piece, env.crc32));
      this.#sentBytes += piece.length;
      this.#crcOfAll = env.crc32(piece, this.#crcOfAll);
    }
  }

  async #write(encode: () => Uint8Array): Promise<void> {
    const link = this.#link;
    if (this.#over || link === undefined) return;
    if (link.write(encode())) return;
    this.#watch();
    await this.#wait(
      new Promise<void>((resolve) => {
        this.#drained = resolve;
      }),
    );
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Breaks the stream when the receiver shows no progress. Started anew at each sign of it. */
  #watch(): void {
    const { env, limits } = this.#options;
    this.#timer?.cancel();
    this.#timer = env.timers.after(limits.snapshotStallMs, () => {
      this.fail(new OpError("DL_ERR_UNREACHABLE", `the receiver made no progress for ${limits.snapshotStallMs} ms`));
    });
  }
}
