/**
 * What all connections of one TCP transport share: environment, limits, our hello, the handler, counters and the set
 * of live sockets. After `close` nothing reaches the handler any more: every call up goes through here or checks
 * `closed`.
 */
import type { Counter, Env } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import type { Target } from "../../shared/types/ids.js";
import { isAddress } from "./address.js";
import { checkCompatible, completeHello, type LocalHello } from "./hello.js";
import type { TransportLimits } from "./limits.js";
import { MessageDecoder, MessageEncoder } from "./message-codec.js";
import type { AddressBook, Hello, TransportHandler, TransportStats } from "./port.js";

/** Counts of one transport since it was made. */
export interface DetailedStats extends TransportStats {
  /** Frames refused: wrong checksum, form or block. Each broke its connection. */
  readonly malformedFrames: number;
  readonly refusedConnections: number;
}

export class Counters {
  connections = 0;
  messagesSent = 0;
  messagesDropped = 0;
  messagesReceived = 0;
  bytesSent = 0;
  snapshotsSent = 0;
  snapshotsReceived = 0;
  malformedFrames = 0;
  refusedConnections = 0;

  snapshot(): DetailedStats {
    return { ...this };
  }
}

/** Anything with a socket that `close` must end. */
export interface Closable {
  abandon(): void;
}

export interface CoreOptions {
  readonly env: Env;
  readonly limits: TransportLimits;
  readonly hello: () => LocalHello;
  readonly addressBook: AddressBook;
  readonly durableSequence: () => number;
}

export class TransportCore {
  readonly env: Env;
  readonly limits: TransportLimits;
  readonly counters = new Counters();
  readonly encoder = new MessageEncoder();
  readonly decoder: MessageDecoder;
  readonly durableSequence: () => number;
  readonly #hello: () => LocalHello;
  readonly #book: AddressBook;
  readonly #live = new Set<Closable>();
  readonly #malformedTotal: Counter;
  #handler: TransportHandler | undefined;
  #raftAddress = "";
  #closed = false;

  constructor(options: CoreOptions) {
    this.env = options.env;
    this.limits = options.limits;
    this.durableSequence = options.durableSequence;
    this.decoder = new MessageDecoder(options.env.crc32);
    this.#hello = options.hello;
    this.#book = options.addressBook;
    this.#malformedTotal = options.env.metrics.counter(
      "drumline_transport_malformed_total",
      "Frames from peers refused as malformed",
    );
  }

  get closed(): boolean {
    return this.#closed;
  }

  get started(): boolean {
    return this.#raftAddress !== "" && !this.#closed;
  }

  get handler(): TransportHandler {
    if (this.#handler === undefined) throw new OpError("DL_ERR_CLOSED", "the transport is not started");
    return this.#handler;
  }

  /** Until `listening`, hellos cannot be made and nothing is sent. */
  setHandler(handler: TransportHandler | undefined): void {
    this.#handler = handler;
  }

  listening(raftAddress: string): void {
    completeHello(this.#hello(), raftAddress);
    this.#raftAddress = raftAddress;
  }

  hello(): Hello {
    return completeHello(this.#hello(), this.#raftAddress);
  }

  /** Throws OpError when this peer must be refused. */
  admit(peer: Hello): void {
    checkCompatible(this.hello(), peer);
    this.handler.onHello(peer);
  }

  learn(peer: Hello): void {
    this.#book.learn(peer.hostId, peer.raftAddress, peer.incarnation.counter);
  }

  resolve(target: Target): string | undefined {
    return isAddress(target) ? target : this.#book.resolve(target);
  }

  /** Where a snapshot for `target` goes, when `sending` others are on their way. Throws OpError when it cannot go. */
  snapshotAddress(target: Target, sending: number): string {
    if (!this.started) throw new OpError("DL_ERR_CLOSED", "the transport is not running");
    const { snapshotStreamsOutMax } = this.limits;
    if (sending >= snapshotStreamsOutMax) {
      throw new OpError("DL_ERR_SYSTEM_BUSY", `this host already sends ${snapshotStreamsOutMax} snapshots`);
    }
    const address = this.resolve(target);
    if (address === undefined) throw new OpError("DL_ERR_UNREACHABLE", `no address is known for ${target}`);
    return address;
  }

  /** Tells the handler later, never within `send` or `flush`. */
  unreachable(target: Target): void {
    this.env.timers.soon(() => {
      if (!this.#closed) this.handler.onUnreachable(target);
    });
  }

  /** Tells the handler later, as `unreachable`. */
  connected(target: Target, peer: Hello): void {
    this.env.timers.soon(() => {
      if (!this.#closed) this.handler.onConnected?.(target, peer);
    });
  }

  refused(peer: Target, error: OpError, byPeer: boolean): void {
    this.env.timers.soon(() => {
      if (!this.#closed) this.handler.onRefused?.(peer, error, byPeer);
    });
  }

  malformed(peer: string, error: OpError): void {
    this.counters.malformedFrames += 1;
    this.#malformedTotal.add(1);
    this.env.logger.warn({ peer, error: error.message }, "malformed bytes from a peer; connection broken");
  }

  track(item: Closable): void {
    this.#live.add(item);
  }

  untrack(item: Closable): void {
    this.#live.delete(item);
  }

  close(): void {
    this.#closed = true;
    for (const item of [...this.#live]) item.abandon();
    this.#live.clear();
    this.counters.connections = 0;
  }
}
