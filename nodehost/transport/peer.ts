/**
 * The outgoing side of one target: messages are batched per flush and written as one Buffer on one connection, which
 * is made when there is something to send.
 *
 * - Nothing here waits, blocks or throws; what cannot be sent is dropped and counted.
 * - While the connection is being made, messages are kept up to a limit; in back-off they are dropped.
 * - `unreachable` is reported once per failed or broken connection.
 * - The receiver acknowledges that it lives; bytes unacknowledged for too long break the connection. Without this a
 *   path that swallows packets keeps a connection "up" for many minutes.
 */
import { connect } from "node:net";
import { OpError } from "../../shared/errors.js";
import type { HostId, Target, TimeMs } from "../../shared/types/ids.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import { parseAddress } from "./address.js";
import { Connection, type ConnectionOwner, type Ending } from "./connection.js";
import type { TransportCore } from "./core.js";
import { FrameKind, WIRE_VERSION_MIN } from "./frame.js";
import { checkExpectedHost, commonVersion, Lane, singleFrame, toOpError } from "./hello.js";
import { backoffMs } from "./limits.js";
import { MessageBatch } from "./message-batch.js";
import { messageFor, PULSE_VERSION } from "./message-versions.js";
import type { Hello } from "./port.js";

/** Messages kept until the version of the peer is known. */
const LATER_MAX = 4_096;
/** Idle connections are probed by the kernel after this time. */
const KEEP_ALIVE_MS = 10_000;

/** Begins a connection to a `host:port` text; names are resolved now. Throws DL_ERR_INVALID_ADDRESS. */
export function dial(core: TransportCore, address: string, lane: Lane, owner: ConnectionOwner): Connection {
  const { host, port } = parseAddress(address);
  if (port === 0) throw new OpError("DL_ERR_INVALID_ADDRESS", `${address} has no port`);
  const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS });
  return new Connection({ core, socket, owner, lane });
}

export class Peer implements ConnectionOwner {
  readonly target: Target;
  /** Kept by the transport: already in its list of peers to flush. */
  unflushed = false;
  readonly #core: TransportCore;
  readonly #batch: MessageBatch;
  #connection: Connection | undefined;
  #address = "";
  /** Bytes still in the socket after the last flush. */
  #backlogBytes = 0;
  #beatDue = false;
  /** Messages that only a newer peer can read, until it is known what this one is. */
  #later: WireMessage[] = [];
  #failures = 0;
  #nextAttemptAt: TimeMs = 0;
  #openedAt: TimeMs = 0;
  /** In use on the connection; until it is open, what every peer can read. */
  #wireVersion = WIRE_VERSION_MIN;
  /** When the oldest unacknowledged bytes were written, 0 = none. */
  #unackedSince: TimeMs = 0;

  constructor(core: TransportCore, target: Target) {
    this.#core = core;
    this.target = target;
    this.#batch = new MessageBatch(core.encoder, core.env.crc32);
  }

  /** True when the message was taken and waits for a flush. */
  send(message: WireMessage): boolean {
    const connection = this.#connection ?? this.#reconnect();
    if (connection === undefined || !this.#hasRoom(connection)) {
      this.#core.counters.messagesDropped += 1;
      return false;
    }
    const readable = messageFor(this.#wireVersion, message);
    if (readable !== undefined) return this.#add(readable);
    if (!connection.open && this.#later.length < LATER_MAX) this.#later.push(message);
    else this.#core.counters.messagesDropped += 1;
    return false;
  }

  #add(message: WireMessage): boolean {
    try {
      this.#batch.add(message);
    } catch (error) {
      // Only a name above 64 KiB can do this. The message is lost, as on a bad network; the rest goes on.
      this.#core.counters.messagesDropped += 1;
      this.#core.env.logger.error({ target: this.target, error: toOpError(error).message }, "message not encodable");
    }
    return true;
  }

  /** True when the pulse was taken and waits for a flush. A connection is begun if there is none. */
  pulse(pulse: HostPulse): boolean {
    const connection = this.#connection ?? this.#reconnect();
    if (connection?.open !== true || this.#wireVersion < PULSE_VERSION || !this.#hasRoom(connection)) return false;
    this.#batch.addPulse(pulse);
    return true;
  }

  /** Who answers, while the connection is open. */
  get hostId(): HostId | undefined {
    return this.#connection?.open === true ? this.#connection.peer?.hostId : undefined;
  }

  #hasRoom(connection: Connection): boolean {
    const { limits } = this.#core;
    const waiting = this.#batch.byteLength;
    if (!connection.open) return waiting < limits.connectBufferBytesMax;
    if (waiting + this.#backlogBytes < limits.sendBufferBytesMax) return true;
    this.#backlogBytes = connection.backlogBytes;
    if (waiting + this.#backlogBytes < limits.sendBufferBytesMax) return true;
    // A full buffer takes nothing, so no flush would notice that the peer is dead.
    this.#isDead(connection, this.#core.env.now());
    return false;
  }

  /** See Transport.beat. True when there is something to flush. */
  beat(): boolean {
    this.#beatDue = (this.#connection ?? this.#reconnect()) !== undefined;
    return this.#beatDue;
  }

  /** Writes what was batched. `now` and `durableSequence` are read once per flush of the transport. */
  flush(now: TimeMs, durableSequence: number): void {
    const connection = this.#connection;
    if (connection === undefined || (this.#batch.count === 0 && !this.#beatDue)) return;
    if (this.#moved(connection)) {
      // Not a failure: the next send connects to the new address at once.
      this.#drop();
      return;
    }
    if (!connection.open || this.#isDead(connection, now)) return;
    this.#write(connection, now, durableSequence);
  }

  /** Breaks a connection whose receiver has not shown for too long that it lives. */
  #isDead(connection: Connection, now: TimeMs): boolean {
    if (this.#unackedSince === 0 || now - this.#unackedSince <= this.#core.limits.ackTimeoutMs) return false;
    connection.fail(new OpError("DL_ERR_UNREACHABLE", "bytes were not acknowledged in time"));
    return true;
  }

  #write(connection: Connection, now: TimeMs, durableSequence: number): void {
    this.#core.counters.messagesSent += this.#batch.count;
    if (this.#unackedSince === 0) this.#unackedSince = now;
    this.#beatDue = false;
    const { crc32 } = this.#core.env;
    const isBeat = this.#batch.count === 0;
    connection.write(
      isBeat ? singleFrame(FrameKind.Messages, durableSequence, crc32) : this.#batch.take(durableSequence),
    );
    this.#backlogBytes = connection.backlogBytes;
  }

  #moved(connection: Connection): boolean {
    const address = this.#core.resolve(this.target);
    if (address === undefined || address === this.#address) return false;
    connection.abandon();
    this.#connection = undefined;
    return true;
  }

  #reconnect(): Connection | undefined {
    const core = this.#core;
    if (!core.started || core.env.now() < this.#nextAttemptAt) return undefined;
    const address = core.resolve(this.target);
    if (address === undefined) {
      this.#failed(new OpError("DL_ERR_UNREACHABLE", `no address is known for ${this.target}`));
      return undefined;
    }
    this.#address = address;
    this.#wireVersion = WIRE_VERSION_MIN;
    this.#backlogBytes = 0;
    this.#unackedSince = 0;
    try {
      this.#connection = dial(core, address, Lane.Messages, this);
    } catch (error) {
      this.#failed(toOpError(error));
    }
    return this.#connection;
  }

  #drop(): void {
    this.#beatDue = false;
    this.#core.counters.messagesDropped += this.#later.length;
    this.#later = [];
    this.#core.counters.messagesDropped += this.#batch.count;
    this.#batch.clear();
  }

  #failed(error: OpError): void {
    const { env, limits } = this.#core;
    const now = env.now();
    if (this.#openedAt !== 0 && now - this.#openedAt >= limits.reconnectMaxMs) this.#failures = 0;
    this.#openedAt = 0;
    this.#nextAttemptAt = now + backoffMs(limits, this.#failures, env.random.next());
    this.#failures += 1;
    this.#connection = undefined;
    this.#drop();
    env.logger.debug({ target: this.target, address: this.#address, error: error.message }, "peer unreachable");
    this.#core.unreachable(this.target);
  }

  /** Someone connected to us from this target: it lives, and an older life of it is over. */
  seen(hello: Hello): void {
    if (this.target !== hello.hostId && this.target !== hello.raftAddress) return;
    const known = this.#connection?.peer;
    if (this.#connection === undefined) this.#nextAttemptAt = 0;
    else if (known !== undefined && known.hostId === hello.hostId) {
      if (known.incarnation.counter >= hello.incarnation.counter) return;
      this.#connection.fail(new OpError("DL_ERR_UNREACHABLE", "the peer was started again"));
      this.#nextAttemptAt = 0;
    }
  }

  admit(peer: Hello): void {
    checkExpectedHost(this.target, peer);
  }

  opened(peer: Hello): void {
    this.#openedAt = this.#core.env.now();
    this.#wireVersion = commonVersion(this.#core.hello(), peer);
    this.#core.connected(this.target, peer);
    const later = this.#later;
    this.#later = [];
    for (const message of later) this.send(message);
    const connection = this.#connection;
    if (connection === undefined || (this.#batch.count === 0 && !this.#beatDue)) return;
    this.#write(connection, this.#openedAt, this.#core.durableSequence());
  }

  frame(kind: number): void {
    // Anything else is of a later version of the same wire: it concerns us no more than an acknowledgement does.
    if (kind === FrameKind.Ack) this.#unackedSince = 0;
  }

  drained(): void {
    this.#backlogBytes = 0;
  }

  gone(): void {}

  closed(ending: Ending): void {
    const { error, refusedBy } = ending;
    if (refusedBy !== undefined) {
      // Asking again soon would not change the answer.
      this.#failures = Math.max(this.#failures, 16);
      this.#core.env.logger.warn({ target: this.target, refusedBy, error: error.message }, "connection refused");
      this.#core.refused(this.target, error, refusedBy === "peer");
    }
    this.#failed(error);
  }
}
