/**
 * Receives one snapshot on a link that both sides have accepted: checks header, offsets, checksum and total, hands the
 * chunks to `onSnapshot` and answers with its outcome. The link is paused while the handler has chunks to read.
 *
 * `done` is called exactly once, when the handler has settled (or was never called): only then the stream's slot is
 * free. A link that breaks before the end makes the handler's iterable throw.
 */
import { MalformedError } from "../../shared/codec/bytes.js";
import type { Env, TimerHandle } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import { FrameKind } from "./frame.js";
import { singleFrame, toOpError } from "./hello.js";
import type { TransportLimits } from "./limits.js";
import type { SnapshotHeader } from "./port.js";
import {
  decodeSnapshotChunk,
  decodeSnapshotEnd,
  decodeSnapshotHeader,
  encodeSnapshotStatus,
} from "./snapshot-codec.js";
import { SnapshotInbox } from "./snapshot-inbox.js";

/** An accepted connection, or a simulated one, as snapshot streams need it. */
export interface StreamLink {
  /** False: wait for `drained` before writing more. */
  write(bytes: Uint8Array): boolean;
  pause(): void;
  resume(): void;
  /** Last bytes; the link closes when the other side has had the chance to read them. */
  finish(bytes: Uint8Array): void;
  /** Ends at once; nothing is reported to the one who abandons. */
  abandon(): void;
}

export interface ReceiverOptions {
  readonly env: Env;
  readonly limits: TransportLimits;
  readonly link: StreamLink;
  readonly store: (header: SnapshotHeader, chunks: AsyncIterable<Uint8Array>) => Promise<void>;
  readonly done: (stored: boolean) => void;
}

export class SnapshotReceiver {
  readonly #options: ReceiverOptions;
  readonly #inbox: SnapshotInbox;
  #state: "header" | "chunks" | "ended" | "over" = "header";
  #receivedBytes = 0;
  #crcOfAll = 0;
  #timer: TimerHandle | undefined;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#inbox = new SnapshotInbox(() => this.#wanted());
    this.#watch();
  }

  /** Throws MalformedError; the caller then breaks the link and calls `closed`. */
  frame(kind: number, frame: Uint8Array): void {
    if (kind === FrameKind.SnapshotHeader && this.#state === "header") {
      this.#start(decodeSnapshotHeader(frame));
    } else if (kind === FrameKind.SnapshotChunk && this.#state === "chunks") {
      this.#chunk(frame);
    } else if (kind === FrameKind.SnapshotEnd && this.#state === "chunks") {
      this.#end(frame);
    } else if (this.#state !== "over") {
      throw new MalformedError(`frame of kind ${kind} in a snapshot stream`);
    }
  }

  /** The link is gone. */
  closed(error: OpError): void {
    this.#timer?.cancel();
    if (this.#state === "over") return;
    const started = this.#state !== "header";
    this.#state = "over";
    this.#inbox.fail(
      new OpError("DL_ERR_UNREACHABLE", `the snapshot stream broke: ${error.message}`, { cause: error }),
    );
    if (!started) this.#options.done(false);
  }

  #start(header: SnapshotHeader): void {
    this.#state = "chunks";
    this.#timer?.cancel();
    this.#options.link.pause();
    this.#store(header).then(
      () => this.#settled(undefined),
      (error: unknown) => this.#settled(toOpError(error)),
    );
  }

  /** In an async function, so that a handler that throws at once is a rejection too. */
  async #store(header: SnapshotHeader): Promise<void> {
    await this.#options.store(header, this.#inbox);
  }

  #wanted(): void {
    if (this.#state !== "chunks") return;
    this.#options.link.resume();
    this.#watch();
  }

  /** Breaks the stream when nothing comes although we read. */
  #watch(): void {
    const { env, limits, link } = this.#options;
    this.#timer?.cancel();
    this.#timer = env.timers.after(limits.snapshotStallMs, () => {
      link.abandon();
      this.closed(new OpError("DL_ERR_TIMEOUT", `nothing came for ${limits.snapshotStallMs} ms`));
    });
  }

  #chunk(frame: Uint8Array): void {
    const { offset, bytes } = decodeSnapshotChunk(frame);
    if (offset !== this.#receivedBytes) {
      throw new MalformedError(`snapshot chunk at ${offset}, expected ${this.#receivedBytes}`);
    }
    this.#receivedBytes += bytes.length;
    this.#crcOfAll = this.#options.env.crc32(bytes, this.#crcOfAll);
    this.#timer?.cancel();
    this.#inbox.push(bytes);
    if (!this.#inbox.waiting) this.#options.link.pause();
  }

  #end(frame: Uint8Array): void {
    const { totalBytes, crcOfAll } = decodeSnapshotEnd(frame);
    if (totalBytes !== this.#receivedBytes || crcOfAll !== this.#crcOfAll) {
      throw new MalformedError(`snapshot ends at ${totalBytes} bytes, received ${this.#receivedBytes}`);
    }
    this.#state = "ended";
    this.#inbox.end();
    // From here on the sender only listens; storing may take long, so it is told that we live.
    this.#options.link.resume();
    this.#timer?.cancel();
    const { env, limits, link } = this.#options;
    this.#timer = env.timers.every(limits.snapshotStallMs / 3, () => {
      link.write(singleFrame(FrameKind.Ack, 0, env.crc32));
    });
  }

  #settled(error: OpError | undefined): void {
    this.#timer?.cancel();
    if (this.#state !== "over") {
      this.#state = "over";
      this.#options.link.finish(encodeSnapshotStatus(error, this.#options.env.crc32));
    }
    this.#options.done(error === undefined);
  }
}
