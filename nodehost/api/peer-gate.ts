/**
 * What comes from other hosts, on its way to the engine: who may speak (peer-register.ts), from when on what a peer
 * says counts, and what it means that a peer refuses us. The transport's handler; made by compose.ts.
 *
 * A peer that has seen a newer start of this directory, or more of its log, says so by refusing the connection. That is
 * believed at once and for ever: this directory is an old copy, or another process uses a copy of it, so no replica in
 * it may vote again. One word is enough, because a quorum that does not know better may not be asked to decide.
 */
import { type Counter, type Env, silentLogger } from "../../shared/env/env.js";
import { errorText, type OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { HostId, Target } from "../../shared/types/ids.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import type { DirectoryRefusal, Engine } from "../engine/index.js";
import {
  type AddressBook,
  type Hello,
  PEER_ANSWERED,
  type SnapshotHeader,
  type TransportHandler,
} from "../transport/index.js";
import type { PeerRegister } from "./peer-register.js";

/** What whoever sees a refused directory should do. */
export const REFUSED_TODO =
  "stop it for good, let its replicas be replaced under new ids, and start this host again with an empty directory";

export interface PeerGateOptions {
  readonly env: Env;
  readonly engine: Engine;
  readonly peers: PeerRegister;
  readonly addressBook: AddressBook;
}

export class PeerGate implements TransportHandler {
  readonly #options: PeerGateOptions;
  /** Frames of peers whose start is being made durable. */
  readonly #held = new Map<HostId, { readonly from: Hello; readonly messages: readonly WireMessage[] }[]>();
  readonly #refusedPeers: Counter;
  readonly #twins = new Set<string>();

  constructor(options: PeerGateOptions) {
    this.#options = options;
    this.#refusedPeers = options.env.metrics.counter(
      "drumline_peers_refused_total",
      "Connections refused because the peer's directory is old, lost or copied",
    );
  }

  onHello(hello: Hello): void {
    const { peers, addressBook } = this.#options;
    try {
      peers.check(hello);
    } catch (error) {
      this.#refusedPeers.add();
      this.#lookAtTwin(hello);
      throw error;
    }
    addressBook.learn(hello.hostId, hello.raftAddress, hello.incarnation.counter);
    this.#options.engine.onHello(hello);
  }

  /** One that comes before the peer's start is durable here is lost: the next one is not far. */
  onPulse(from: Hello, pulse: HostPulse): void {
    const { engine, peers } = this.#options;
    if (peers.settled(from) === undefined) engine.onPulse(from, pulse);
  }

  onMessages(from: Hello, messages: readonly WireMessage[], durableSequence: number): void {
    const { engine, peers } = this.#options;
    // A start that was replaced meanwhile.
    if (!peers.acknowledge(from, durableSequence) || messages.length === 0) return;
    const settled = peers.settled(from);
    if (settled === undefined) engine.onMessages(from, messages);
    else this.#hold(from, messages, settled);
  }

  onConnected(target: Target, peer: Hello): void {
    this.#options.engine.onConnected(target, peer);
  }

  onUnreachable(target: Target): void {
    this.#options.engine.onUnreachable(target);
  }

  onRefused(peer: Target, error: OpError, byPeer: boolean): void {
    const { code, message } = error;
    const logger = this.#options.engine.refusal === undefined ? this.#options.env.logger : silentLogger;
    logger.warn({ peer, code, message, byPeer }, byPeer ? "a peer refuses us" : "a peer is refused");
    if (!byPeer || (code !== "DL_ERR_DATA_STALE" && code !== "DL_ERR_HOST_CLONED")) return;
    const said = message.slice(message.lastIndexOf(PEER_ANSWERED) + PEER_ANSWERED.length);
    this.refuse({ code, detail: `${peer} refuses this directory: ${said}; ${REFUSED_TODO}` });
  }

  async onSnapshot(from: Hello, header: SnapshotHeader, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#options.peers.settled(from);
    await this.#options.engine.onSnapshot(from, header, chunks);
  }

  /** Nothing in this directory takes part any more, after a restart neither. */
  refuse(refusal: DirectoryRefusal): void {
    const { engine, env, peers } = this.#options;
    if (engine.refusal !== undefined) return;
    engine.refuseDirectory(refusal);
    peers.setRefusal(refusal).catch((error: unknown) => {
      env.logger.error({ error: errorText(error) }, "not remembered that this directory must not be used");
    });
  }

  #hold(from: Hello, messages: readonly WireMessage[], settled: Promise<void>): void {
    const { engine, peers } = this.#options;
    const held = this.#held.get(from.hostId);
    if (held !== undefined) {
      if (held.length < LIMITS.heldMessagesMax) held.push({ from, messages });
      return;
    }
    const frames = [{ from, messages }];
    this.#held.set(from.hostId, frames);
    const deliver = (): void => {
      this.#held.delete(from.hostId);
      for (const frame of frames)
        if (peers.settled(frame.from) === undefined) engine.onMessages(frame.from, frame.messages);
    };
    // When the write failed they count as lost on the way; the next message tries again.
    settled.then(deliver, () => this.#held.delete(from.hostId));
  }

  /** Another process has our identity. The one that started later is the copy; of equal ones the peers decide. */
  #lookAtTwin(hello: Hello): void {
    const { peers, env } = this.#options;
    if (!peers.isTwin(hello)) return;
    const { raftAddress, incarnation } = hello;
    if (!this.#twins.has(incarnation.nonce)) {
      this.#twins.add(incarnation.nonce);
      env.logger.error({ raftAddress, incarnation }, "another process runs with a copy of this directory: stop it");
    }
    if (!peers.startedAfter(hello)) return;
    const what = `the process at ${raftAddress} has the same identity and started before this one`;
    this.refuse({ code: "DL_ERR_HOST_CLONED", detail: `${what}; ${REFUSED_TODO}` });
  }
}
