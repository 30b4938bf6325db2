/** Transport of one host in a SimWorld: the same codec, handshake and snapshot protocol as TCP, on virtual time. */
import { ByteReader, MalformedError } from "../../shared/codec/bytes.js";
import { OpError } from "../../shared/errors.js";
import type { HostId, Target } from "../../shared/types/ids.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import { type DetailedStats, TransportCore } from "./core.js";
import { FRAME_HEADER_BYTES, FrameKind, FrameReader } from "./frame.js";
import { checkExpectedHost, Lane, toOpError } from "./hello.js";
import { DEFAULT_TRANSPORT_LIMITS } from "./limits.js";
import type { Hello, SnapshotHeader, Transport, TransportHandler } from "./port.js";
import { readPulse } from "./pulse-codec.js";
import { SimLink } from "./sim-link.js";
import { meet, overTheWire } from "./sim-meet.js";
import { PipeEnd } from "./sim-pipe.js";
import type { SimStation, SimWorld } from "./sim-world.js";
import { SnapshotReceiver } from "./snapshot-receiver.js";
import { SnapshotSender } from "./snapshot-sender.js";
import type { TcpTransportOptions } from "./tcp-transport.js";

export class SimTransport implements Transport, SimStation {
  readonly core: TransportCore;
  readonly #network: SimWorld;
  readonly #wanted: string;
  readonly #links = new Map<Target, SimLink>();
  readonly #senders = new Set<SnapshotSender>();
  readonly #receivers = new Set<SnapshotReceiver>();
  #snapshotsIn = 0;
  #address = "";

  constructor(network: SimWorld, options: TcpTransportOptions) {
    const { env, hello, addressBook, durableSequence } = options;
    const limits = { ...DEFAULT_TRANSPORT_LIMITS, ...options.limits };
    this.core = new TransportCore({ env, limits, hello, addressBook, durableSequence });
    this.#network = network;
    this.#wanted = options.advertiseAddress ?? options.listenAddress;
  }

  /** Where others reach this transport; empty before `start`. */
  get address(): string {
    return this.#address;
  }

  async start(handler: TransportHandler): Promise<{ readonly raftAddress: string }> {
    if (this.core.closed) throw new OpError("DL_ERR_CLOSED", "the transport is closed");
    this.#address = this.#network.bind(this.#wanted, this);
    this.core.setHandler(handler);
    try {
      this.core.listening(this.#address);
    } catch (error) {
      this.#network.unbind(this.#address, this);
      throw error;
    }
    return { raftAddress: this.#address };
  }

  send(target: Target, message: WireMessage): void {
    this.#link(target).send(message);
  }

  beat(target: Target): void {
    this.#link(target).beat();
  }

  pulse(target: Target, pulse: HostPulse): void {
    this.#link(target).pulse(pulse);
  }

  hostAt(target: Target): HostId | undefined {
    return this.#links.get(target)?.hostId;
  }

  #link(target: Target): SimLink {
    const known = this.#links.get(target);
    if (known !== undefined) return known;
    const link = new SimLink(this, this.#network, target);
    this.#links.set(target, link);
    return link;
  }

  flush(): void {
    if (this.core.closed) return;
    for (const link of this.#links.values()) link.flush();
  }

  /** Bytes of the message lane from a peer. Returns why they were refused. */
  deliver(from: Hello, bytes: Uint8Array): OpError | undefined {
    const { core } = this;
    if (core.closed) return undefined;
    const frames: (() => void)[] = [];
    const onFrame = (kind: number, frame: Uint8Array, durableSequence: number): boolean => {
      if (kind === FrameKind.Pulse) {
        const pulse = readPulse(new ByteReader(frame, FRAME_HEADER_BYTES));
        frames.push(() => core.handler.onPulse(from, pulse));
        return true;
      }
      const messages = core.decoder.decode(frame, FRAME_HEADER_BYTES);
      core.counters.messagesReceived += messages.length;
      frames.push(() => core.handler.onMessages(from, messages, durableSequence));
      return true;
    };
    let refused: OpError | undefined;
    try {
      new FrameReader(core.env.crc32, { onFrame }, core.limits.frameBytesMax).push(bytes);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      refused = toOpError(error);
      core.malformed(from.raftAddress, refused);
      core.refused(from.hostId, refused, false);
    }
    this.#network.onDelivery?.(from.raftAddress, this.#address, bytes);
    for (const hand of frames) if (!core.closed) hand();
    return refused;
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
    this.#senders.add(sender);
    core.env.timers.after(2 * this.#network.delayMs(), () => this.#connectStream(sender, target, address));
    try {
      await sender.run();
      core.counters.snapshotsSent += 1;
    } finally {
      this.#senders.delete(sender);
    }
  }

  #connectStream(sender: SnapshotSender, target: Target, address: string): void {
    if (!this.#senders.has(sender)) return;
    const network = this.#network;
    const remote = network.at(address);
    if (remote === undefined || !network.reaches(this.#address, address) || !network.reaches(address, this.#address)) {
      sender.fail(new OpError("DL_ERR_UNREACHABLE", `nobody answers at ${address}`));
      return;
    }
    const ending = meet(this, remote, Lane.Snapshot, (peer) => checkExpectedHost(target, peer));
    if (ending !== undefined) {
      sender.fail(ending.error);
      return;
    }
    const near = new PipeEnd(network, {
      core: this.core,
      address: this.#address,
      owner: {
        frame: (kind, frame) => sender.frame(kind, frame),
        drained: () => sender.drained(),
        closed: (error) => sender.fail(error),
      },
    });
    near.join(remote.acceptStream(overTheWire(this, Lane.Snapshot), near));
    sender.opened(near);
  }

  /** The receiving end of a stream that both sides have accepted. */
  acceptStream(from: Hello, far: PipeEnd): PipeEnd {
    const { core } = this;
    const end: PipeEnd = new PipeEnd(this.#network, {
      core,
      address: this.#address,
      owner: {
        frame: (kind, frame) => receiver.frame(kind, frame),
        drained: () => {},
        closed: (error) => receiver.closed(error),
      },
    });
    end.join(far);
    const receiver = new SnapshotReceiver({
      env: core.env,
      limits: core.limits,
      link: end,
      store: (header, chunks) => core.handler.onSnapshot(from, header, chunks),
      done: (stored) => {
        if (stored) core.counters.snapshotsReceived += 1;
        this.#receivers.delete(receiver);
        this.freeSnapshotSlot();
      },
    });
    this.#receivers.add(receiver);
    return end;
  }

  /** Throws OpError to refuse. Takes a slot for a snapshot. */
  admit(peer: Hello, lane: Lane): void {
    this.core.admit(peer);
    if (lane !== Lane.Snapshot) return;
    if (this.#snapshotsIn >= this.core.limits.snapshotStreamsInMax) {
      throw new OpError("DL_ERR_SYSTEM_BUSY", `this host already receives ${this.#snapshotsIn} snapshots`);
    }
    this.#snapshotsIn += 1;
  }

  freeSnapshotSlot(): void {
    this.#snapshotsIn -= 1;
  }

  greeted(peer: Hello): void {
    for (const link of this.#links.values()) link.seen(peer.hostId, peer.raftAddress);
  }

  peerClosed(remote: SimStation): void {
    for (const link of this.#links.values()) link.peerClosed(remote);
  }

  stats(): DetailedStats {
    return this.core.counters.snapshot();
  }

  async close(): Promise<void> {
    if (this.core.closed) return;
    this.core.close();
    const error = new OpError("DL_ERR_CLOSED", "the transport is closed");
    for (const receiver of [...this.#receivers]) receiver.closed(error);
    for (const sender of [...this.#senders]) sender.fail(error);
    if (this.#address !== "") this.#network.unbind(this.#address, this);
  }
}
