/** The outgoing side of one target in a simulated network: what peer.ts is for TCP, without sockets. */
import { OpError } from "../../shared/errors.js";
import type { HostId, Target, TimeMs } from "../../shared/types/ids.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import { FrameKind, WIRE_VERSION_MIN } from "./frame.js";
import { checkExpectedHost, commonVersion, Lane, singleFrame } from "./hello.js";
import { backoffMs } from "./limits.js";
import { MessageBatch } from "./message-batch.js";
import { messageFor, PULSE_VERSION } from "./message-versions.js";
import { SimLine } from "./sim-line.js";
import { meet } from "./sim-meet.js";
import type { SimStation, SimWorld } from "./sim-world.js";

/** Messages kept while a connection is being made. */
const CONNECT_MESSAGES_MAX = 65_536;

export class SimLink {
  readonly target: Target;
  readonly #local: SimStation;
  readonly #network: SimWorld;
  #state: "idle" | "connecting" | "open" = "idle";
  #waiting: (WireMessage | HostPulse)[] = [];
  #beatDue = false;
  #remote: SimStation | undefined;
  #address = "";
  #wireVersion = WIRE_VERSION_MIN;
  #line: SimLine;
  /** Counts connections, so that news of an old one are recognised. */
  #generation = 0;
  #failures = 0;
  #nextAttemptAt: TimeMs = 0;

  constructor(local: SimStation, network: SimWorld, target: Target) {
    this.#local = local;
    this.#network = network;
    this.target = target;
    this.#line = new SimLine(network);
  }

  send(message: WireMessage): void {
    if (this.#state === "idle") this.#connect();
    if (this.#state === "idle" || this.#waiting.length >= CONNECT_MESSAGES_MAX) {
      this.#local.core.counters.messagesDropped += 1;
      return;
    }
    this.#waiting.push(message);
  }

  pulse(pulse: HostPulse): void {
    if (this.#state === "idle") this.#connect();
    if (this.#state === "open" && this.#wireVersion >= PULSE_VERSION) this.#waiting.push(pulse);
  }

  /** Who answers, while the connection is open. */
  get hostId(): HostId | undefined {
    return this.#state === "open" ? this.#remote?.core.hello().hostId : undefined;
  }

  /** See Transport.beat. */
  beat(): void {
    if (this.#state === "idle") this.#connect();
    this.#beatDue = this.#state !== "idle";
  }

  flush(): void {
    if (this.#waiting.length === 0 && !this.#beatDue) return;
    const { core } = this.#local;
    const address = core.resolve(this.target);
    if (this.#state !== "idle" && address !== undefined && address !== this.#address) {
      this.#drop();
      this.#state = "idle";
      return;
    }
    if (this.#state !== "open") return;
    const items = this.#waiting;
    this.#waiting = [];
    this.#beatDue = false;
    core.counters.messagesSent += items.length;
    if (!this.#network.chance(this.#network.knobs.splitRate)) this.#transmit(items);
    else for (const item of items) this.#transmit([item]);
  }

  /** Another transport has closed. */
  peerClosed(remote: SimStation): void {
    if (this.#remote !== remote || this.#state === "idle") return;
    const generation = this.#generation;
    this.#line.after(() => this.#fail(generation, new OpError("DL_ERR_UNREACHABLE", "the peer closed")));
  }

  /** A peer connected to us: it lives. */
  seen(hostId: Target, address: string): void {
    if (this.#state === "idle" && (this.target === hostId || this.target === address)) this.#nextAttemptAt = 0;
  }

  #transmit(items: readonly (WireMessage | HostPulse)[]): void {
    const { core } = this.#local;
    const batch = new MessageBatch(core.encoder, core.env.crc32);
    for (const item of items) {
      if ("kind" in item) batch.addPulse(item);
      else {
        const readable = messageFor(this.#wireVersion, item);
        if (readable !== undefined) batch.add(readable);
      }
    }
    const sequence = core.durableSequence();
    const bytes = batch.count > 0 ? batch.take(sequence) : singleFrame(FrameKind.Messages, sequence, core.env.crc32);
    core.counters.bytesSent += bytes.length;
    const { knobs } = this.#network;
    const generation = this.#generation;
    const remote = this.#remote;
    const arrive = () => this.#arrive(generation, remote, bytes);
    const copies = this.#network.chance(knobs.duplicateRate) ? 2 : 1;
    if (this.#network.chance(knobs.dropRate)) return;
    for (let i = 0; i < copies; i++) {
      if (i === 0 && !this.#network.chance(knobs.reorderRate)) this.#line.after(arrive);
      else this.#network.env.timers.after(this.#network.delayMs() + this.#network.delayMs(), arrive);
    }
  }

  #arrive(generation: number, remote: SimStation | undefined, bytes: Uint8Array): void {
    const { core } = this.#local;
    if (core.closed || remote === undefined) return;
    if (this.#network.at(remote.address) !== remote || !this.#network.reaches(this.#local.address, remote.address)) {
      this.#fail(generation, new OpError("DL_ERR_UNREACHABLE", "the connection broke"));
      return;
    }
    const error = remote.deliver(core.hello(), bytes);
    if (error === undefined) return;
    core.refused(this.target, error, true);
    this.#fail(generation, error);
  }

  #connect(): void {
    const { core } = this.#local;
    if (!core.started || core.env.now() < this.#nextAttemptAt) return;
    this.#generation += 1;
    const generation = this.#generation;
    const address = core.resolve(this.target);
    if (address === undefined) {
      this.#state = "connecting";
      this.#fail(generation, new OpError("DL_ERR_UNREACHABLE", `no address is known for ${this.target}`));
      return;
    }
    this.#address = address;
    this.#state = "connecting";
    this.#line = new SimLine(this.#network);
    this.#line.after(() => this.#meet(generation, address));
  }

  #meet(generation: number, address: string): void {
    if (generation !== this.#generation || this.#local.core.closed) return;
    const remote = this.#network.at(address);
    if (remote === undefined || !this.#network.reaches(this.#local.address, address)) {
      this.#fail(generation, new OpError("DL_ERR_UNREACHABLE", `nobody answers at ${address}`));
      return;
    }
    const met = meet(this.#local, remote, Lane.Messages, (peer) => checkExpectedHost(this.target, peer));
    this.#line.after(() => {
      if (met !== undefined) {
        this.#local.core.refused(this.target, met.error, met.refusedBy === "peer");
        this.#fail(generation, met.error);
      } else if (this.#network.at(address) === remote) this.#opened(generation, remote);
      else this.#fail(generation, new OpError("DL_ERR_UNREACHABLE", "the peer closed"));
    });
  }

  #opened(generation: number, remote: SimStation): void {
    if (generation !== this.#generation || this.#state !== "connecting") return;
    this.#state = "open";
    this.#failures = 0;
    this.#remote = remote;
    this.#wireVersion = commonVersion(this.#local.core.hello(), remote.core.hello());
    this.#local.core.counters.connections += 1;
    this.#local.core.connected(this.target, remote.core.hello());
    this.flush();
  }

  #drop(): void {
    if (this.#state === "open") this.#local.core.counters.connections -= 1;
    this.#local.core.counters.messagesDropped += this.#waiting.length;
    this.#waiting = [];
    this.#beatDue = false;
    this.#remote = undefined;
  }

  #fail(generation: number, error: OpError): void {
    if (generation !== this.#generation || this.#state === "idle") return;
    const { core } = this.#local;
    if (core.closed) return;
    this.#drop();
    this.#state = "idle";
    this.#nextAttemptAt = core.env.now() + backoffMs(core.limits, this.#failures, this.#network.env.random.next());
    this.#failures += 1;
    core.env.logger.debug({ target: this.target, error: error.message }, "peer unreachable");
    core.unreachable(this.target);
  }
}
