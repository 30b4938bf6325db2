/**
 * The Transport of real hosts, on TCP. One outgoing connection per target for messages (peer.ts), one per snapshot
 * stream; incoming ones (inbound.ts) only receive. The direction of a connection is the direction of its messages, so
 * that no two hosts ever have to agree on which of two crossing connections to keep.
 */
import { createServer, type Server, type Socket } from "node:net";
import { assert } from "../../shared/assert.js";
import type { HostPort } from "../../shared/codec/host-port.js";
import type { Env } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import type { HostId, Target } from "../../shared/types/ids.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import { formatAddress, isWildcard, parseAddress } from "./address.js";
import { type DetailedStats, TransportCore } from "./core.js";
import { checkExpectedHost, Lane, type LocalHello } from "./hello.js";
import { Inbound, type InboundHost } from "./inbound.js";
import { DEFAULT_TRANSPORT_LIMITS, type TransportLimits } from "./limits.js";
import { dial, Peer } from "./peer.js";
import type { AddressBook, Hello, SnapshotHeader, Transport, TransportHandler } from "./port.js";
import { SnapshotSender } from "./snapshot-sender.js";

export interface TcpTransportOptions {
  readonly env: Env;
  /** Where to listen, `host:port`; port 0 takes any free one. */
  readonly listenAddress: string;
  /** What others are told, when it differs; port 0 stands for the port really bound. */
  readonly advertiseAddress?: string;
  /** Called for each connection, so that it may change while the host runs. An address in it is ignored. */
  readonly hello: () => LocalHello;
  readonly addressBook: AddressBook;
  /** Highest WAL sequence durable here; stamped on every frame. */
  readonly durableSequence: () => number;
  readonly limits?: Partial<TransportLimits>;
}

export function createTcpTransport(options: TcpTransportOptions): TcpTransport {
  return new TcpTransport(options);
}

export class TcpTransport implements Transport, InboundHost {
  readonly core: TransportCore;
  readonly #listenAddress: string;
  readonly #advertiseAddress: string | undefined;
  readonly #peers = new Map<Target, Peer>();
  readonly #inbounds = new Set<Inbound>();
  readonly #senders = new Set<SnapshotSender>();
  #unflushed: Peer[] = [];
  #server: Server | undefined;
  #snapshotsIn = 0;
  #closing: Promise<void> | undefined;

  constructor(options: TcpTransportOptions) {
    const { env, hello, addressBook, durableSequence } = options;
    const limits = { ...DEFAULT_TRANSPORT_LIMITS, ...options.limits };
    this.core = new TransportCore({ env, limits, hello, addressBook, durableSequence });
    this.#listenAddress = options.listenAddress;
    this.#advertiseAddress = options.advertiseAddress;
  }

  async start(handler: TransportHandler): Promise<{ readonly raftAddress: string }> {
    assert(this.#server === undefined, "a transport starts once");
    if (this.core.closed) throw new OpError("DL_ERR_CLOSED", "the transport is closed");
    const wanted = parseAddress(this.#listenAddress);
    const advertised = parseAddress(this.#advertiseAddress ?? this.#listenAddress);
    if (isWildcard(advertised.host)) {
      throw new OpError("DL_ERR_INVALID_ADDRESS", `${advertised.host} reaches nobody: give an address to advertise`);
    }
    this.core.setHandler(handler);
    const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 });
    server.maxConnections = this.core.limits.connectionsInMax;
    server.on("connection", (socket) => this.#accept(socket));
    this.#server = server;
    try {
      const port = await listen(server, wanted, (error) => {
        this.core.env.logger.warn({ error: error.message }, "accepting a connection failed");
      });
      const raftAddress = formatAddress({
        host: advertised.host,
        port: advertised.port === 0 ? port : advertised.port,
      });
      this.core.listening(raftAddress);
      return { raftAddress };
    } catch (error) {
      this.#server = undefined;
      server.close();
      throw error;
    }
  }

  #accept(socket: Socket): void {
    if (!this.core.started) {
      socket.destroy();
      return;
    }
    this.#inbounds.add(new Inbound(this, socket));
  }

  send(target: Target, message: WireMessage): void {
    const peer = this.#peer(target);
    if (peer.send(message)) this.#flushLater(peer);
  }

  beat(target: Target): void {
    const peer = this.#peer(target);
    if (peer.beat()) this.#flushLater(peer);
  }

  pulse(target: Target, pulse: HostPulse): void {
    const peer = this.#peer(target);
    if (peer.pulse(pulse)) this.#flushLater(peer);
  }

  hostAt(target: Target): HostId | undefined {
    return this.#peers.get(target)?.hostId;
  }

  #peer(target: Target): Peer {
    const known = this.#peers.get(target);
    if (known !== undefined) return known;
    const peer = new Peer(this.core, target);
    this.#peers.set(target, peer);
    return peer;
  }

  #flushLater(peer: Peer): void {
    if (peer.unflushed) return;
    peer.unflushed = true;
    this.#unflushed.push(peer);
  }

  flush(): void {
    const peers = this.#unflushed;
    if (peers.length === 0) return;
    this.#unflushed = [];
    const now = this.core.env.now();
    const durable = this.core.durableSequence();
    for (const peer of peers) {
      peer.unflushed = false;
      peer.flush(now, durable);
    }
  }

  async sendSnapshot(
    target: Target,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<void> {
    const { core } = this;
    const address = core.snapshotAddress(target, this.#senders.size);
    const sender = new SnapshotSender({ env: core.env, limits: core.limits, header, chunks, signal });
    const connection = dial(core, address, Lane.Snapshot, {
      admit: (peer) => checkExpectedHost(target, peer),
      opened: () => sender.opened(connection),
      frame: (kind, frame) => sender.frame(kind, frame),
      drained: () => sender.drained(),
      closed: (ending) => sender.fail(ending.error),
      gone: () => {},
    });
    this.#senders.add(sender);
    try {
      await sender.run();
      core.counters.snapshotsSent += 1;
    } finally {
      connection.abandon();
      this.#senders.delete(sender);
    }
  }

  /** Sockets accepted and not closed yet. */
  get inboundCount(): number {
    return this.#inbounds.size;
  }

  stats(): DetailedStats {
    return this.core.counters.snapshot();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.core.close();
    for (const inbound of this.#inbounds) inbound.shutdown();
    this.#inbounds.clear();
    for (const sender of [...this.#senders]) sender.fail(new OpError("DL_ERR_CLOSED", "the transport is closed"));
    const server = this.#server;
    if (server?.listening !== true) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }

  takeSnapshotSlot(): boolean {
    if (this.#snapshotsIn >= this.core.limits.snapshotStreamsInMax) return false;
    this.#snapshotsIn += 1;
    return true;
  }

  freeSnapshotSlot(): void {
    this.#snapshotsIn -= 1;
  }

  greeted(inbound: Inbound, peer: Hello): void {
    for (const known of this.#peers.values()) known.seen(peer);
    for (const other of [...this.#inbounds]) {
      const older = other.peer;
      if (other === inbound || older?.hostId !== peer.hostId) continue;
      if (older.incarnation.counter < peer.incarnation.counter) other.replace();
    }
  }

  ended(inbound: Inbound): void {
    this.#inbounds.delete(inbound);
  }
}

/** Resolves to the port really bound. Throws DL_ERR_ADDRESS_IN_USE, DL_ERR_INVALID_ADDRESS. */
function listen(server: Server, address: HostPort, onLaterError: (error: Error) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const code = error.code === "EADDRINUSE" ? "DL_ERR_ADDRESS_IN_USE" : "DL_ERR_INVALID_ADDRESS";
      reject(new OpError(code, `${formatAddress(address)} (${error.code ?? error.message})`, { cause: error }));
    });
    server.listen({ host: address.host, port: address.port }, () => {
      // Later errors (no descriptors left while accepting) must not end the process.
      server.on("error", onLaterError);
      const bound = server.address();
      resolve(bound !== null && typeof bound === "object" ? bound.port : address.port);
    });
  });
}
