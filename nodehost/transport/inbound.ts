/**
 * An accepted connection: messages of one peer, or one snapshot stream, as its Hello says. On the message lane it only
 * receives; all it ever says is that it lives.
 */
import type { Socket } from "node:net";
import { ByteReader, MalformedError } from "../../shared/codec/bytes.js";
import type { TimerHandle } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import { Connection, type ConnectionOwner, type Ending } from "./connection.js";
import type { TransportCore } from "./core.js";
import { FRAME_HEADER_BYTES, FrameKind } from "./frame.js";
import { Lane, singleFrame } from "./hello.js";
import type { Hello } from "./port.js";
import { readPulse } from "./pulse-codec.js";
import { SnapshotReceiver } from "./snapshot-receiver.js";

/** What the inbound side needs from its transport. */
export interface InboundHost {
  readonly core: TransportCore;
  /** False when as many snapshots as allowed are being received. */
  takeSnapshotSlot(): boolean;
  freeSnapshotSlot(): void;
  /** A peer was accepted. */
  greeted(inbound: Inbound, peer: Hello): void;
  ended(inbound: Inbound): void;
}

export class Inbound implements ConnectionOwner {
  readonly #host: InboundHost;
  readonly #core: TransportCore;
  readonly #connection: Connection;
  #peer: Hello | undefined;
  #receiver: SnapshotReceiver | undefined;
  #hasSlot = false;
  #ackTimer: TimerHandle | undefined;

  constructor(host: InboundHost, socket: Socket) {
    this.#host = host;
    this.#core = host.core;
    this.#connection = new Connection({ core: host.core, socket, owner: this });
  }

  /** Of the other side, once both have accepted. */
  get peer(): Hello | undefined {
    return this.#peer;
  }

  /** The peer was started again: what its former life sent is no longer of interest. */
  replace(): void {
    this.#connection.fail(new OpError("DL_ERR_UNREACHABLE", "the peer was started again"));
  }

  admit(_peer: Hello, lane: Lane): void {
    if (lane !== Lane.Snapshot) return;
    if (!this.#host.takeSnapshotSlot()) {
      const max = this.#core.limits.snapshotStreamsInMax;
      throw new OpError("DL_ERR_SYSTEM_BUSY", `this host already receives ${max} snapshots`);
    }
    this.#hasSlot = true;
  }

  opened(peer: Hello, lane: Lane): void {
    this.#peer = peer;
    this.#host.greeted(this, peer);
    if (lane !== Lane.Snapshot) return;
    const core = this.#core;
    this.#receiver = new SnapshotReceiver({
      env: core.env,
      limits: core.limits,
      link: this.#connection,
      store: (header, chunks) => core.handler.onSnapshot(peer, header, chunks),
      done: (stored) => {
        if (stored) core.counters.snapshotsReceived += 1;
        this.#freeSlot();
      },
    });
  }

  frame(kind: number, frame: Uint8Array, durableSequence: number): void {
    if (this.#receiver !== undefined) {
      this.#receiver.frame(kind, frame);
      return;
    }
    const core = this.#core;
    const isPulse = kind === FrameKind.Pulse;
    if ((kind !== FrameKind.Messages && !isPulse) || this.#peer === undefined)
      throw new MalformedError(`unexpected frame of kind ${kind}`);
    this.#ackTimer ??= core.env.timers.after(core.limits.ackDelayMs, () => this.#acknowledge());
    if (isPulse) {
      core.handler.onPulse(this.#peer, readPulse(new ByteReader(frame, FRAME_HEADER_BYTES)));
      return;
    }
    const messages = core.decoder.decode(frame, FRAME_HEADER_BYTES);
    core.counters.messagesReceived += messages.length;
    core.handler.onMessages(this.#peer, messages, durableSequence);
  }

  #acknowledge(): void {
    this.#ackTimer = undefined;
    if (!this.#connection.open) return;
    this.#connection.write(singleFrame(FrameKind.Ack, this.#core.durableSequence(), this.#core.env.crc32));
  }

  drained(): void {}

  closed(ending: Ending): void {
    this.#ackTimer?.cancel();
    const peer = this.#connection.peer;
    if (ending.refusedBy !== undefined && peer !== undefined) {
      this.#core.refused(peer.hostId, ending.error, ending.refusedBy === "peer");
    }
    if (this.#receiver !== undefined) this.#receiver.closed(ending.error);
    else this.#freeSlot();
  }

  gone(): void {
    this.#host.ended(this);
  }

  /** The transport closes: readers of a stream get an error, timers end. */
  shutdown(): void {
    this.#ackTimer?.cancel();
    this.#receiver?.closed(new OpError("DL_ERR_CLOSED", "the transport is closed"));
  }

  #freeSlot(): void {
    if (!this.#hasSlot) return;
    this.#hasSlot = false;
    this.#host.freeSnapshotSlot();
  }
}
