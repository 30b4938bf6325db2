/**
 * What simulated transports share: who is bound where, which directions are cut, chance and delay. The public face is
 * SimNetwork (sim-network.ts).
 */
import type { Env } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import { formatAddress, parseAddress } from "./address.js";
import type { TransportCore } from "./core.js";
import type { Lane } from "./hello.js";
import type { Hello } from "./port.js";
import type { Delays } from "./sim-line.js";
import type { PipeEnd } from "./sim-pipe.js";

export interface SimKnobs {
  /** Chance that what one flush sends to one peer is lost. All rates are 0 … 1. */
  dropRate: number;
  /** Chance that it arrives twice, the second time out of order. */
  duplicateRate: number;
  /** Chance that it is overtaken by later ones. */
  reorderRate: number;
  /** Chance that each message of a flush travels, and is lost or repeated, alone. */
  splitRate: number;
  delayMinMs: number;
  delayMaxMs: number;
}

export interface SimNetworkOptions {
  /** Virtual time, timers and randomness. */
  readonly env: Env;
  readonly knobs?: Partial<SimKnobs>;
  /** Sees all that is delivered on the message lane, for traces. */
  readonly onDelivery?: (from: string, to: string, bytes: Uint8Array) => void;
}

/** One bound transport, as the others meet it. */
export interface SimStation {
  readonly core: TransportCore;
  readonly address: string;
  /** Throws OpError to refuse. Takes a slot for a snapshot. */
  admit(peer: Hello, lane: Lane): void;
  freeSnapshotSlot(): void;
  /** A peer was accepted. */
  greeted(peer: Hello): void;
  peerClosed(remote: SimStation): void;
  /** Bytes of the message lane from a peer. Returns why they were refused. */
  deliver(from: Hello, bytes: Uint8Array): OpError | undefined;
  /** The receiving end of a snapshot stream that both sides have accepted. */
  acceptStream(from: Hello, far: PipeEnd): PipeEnd;
}

const FIRST_FREE_PORT = 20_000;

export class SimWorld implements Delays {
  readonly env: Env;
  readonly knobs: SimKnobs;
  readonly onDelivery: ((from: string, to: string, bytes: Uint8Array) => void) | undefined;
  readonly #bound = new Map<string, SimStation>();
  readonly #blocked = new Map<string, Set<string>>();
  #nextPort = FIRST_FREE_PORT;

  constructor(options: SimNetworkOptions) {
    this.env = options.env;
    this.onDelivery = options.onDelivery;
    const calm = { dropRate: 0, duplicateRate: 0, reorderRate: 0, splitRate: 0, delayMinMs: 0.2, delayMaxMs: 1 };
    this.knobs = { ...calm, ...options.knobs };
  }

  setKnobs(knobs: Partial<SimKnobs>): void {
    Object.assign(this.knobs, knobs);
  }

  /** Nothing gets from one address to the other any more; the way back stays open. Breaks what is sent that way. */
  block(from: string, to: string): void {
    const blocked = this.#blocked.get(from) ?? new Set();
    blocked.add(to);
    this.#blocked.set(from, blocked);
  }

  unblock(from: string, to: string): void {
    this.#blocked.get(from)?.delete(to);
  }

  /** Cuts each address of one group from each of the other, both ways. */
  partition(group: readonly string[], others: readonly string[]): void {
    for (const a of group) {
      for (const b of others) {
        this.block(a, b);
        this.block(b, a);
      }
    }
  }

  /** Removes all blocks. */
  heal(): void {
    this.#blocked.clear();
  }

  reaches(from: string, to: string): boolean {
    return this.#blocked.get(from)?.has(to) !== true;
  }

  /** Bytes as a peer with a faulty encoder would send them on an accepted connection. */
  inject(from: string, to: string, bytes: Uint8Array): void {
    const sender = this.#bound.get(from);
    if (sender !== undefined) this.#bound.get(to)?.deliver(sender.core.hello(), bytes);
  }

  /** For transports. Resolves port 0. Throws DL_ERR_ADDRESS_IN_USE, DL_ERR_INVALID_ADDRESS. */
  bind(wanted: string, transport: SimStation): string {
    const parsed = parseAddress(wanted);
    const port = parsed.port === 0 ? this.#nextPort++ : parsed.port;
    const address = formatAddress({ host: parsed.host, port });
    if (this.#bound.has(address)) throw new OpError("DL_ERR_ADDRESS_IN_USE", address);
    this.#bound.set(address, transport);
    return address;
  }

  unbind(address: string, transport: SimStation): void {
    if (this.#bound.get(address) !== transport) return;
    this.#bound.delete(address);
    for (const other of this.#bound.values()) other.peerClosed(transport);
  }

  at(address: string): SimStation | undefined {
    return this.#bound.get(address);
  }

  /** One trip's delay. */
  delayMs(): number {
    const { delayMinMs, delayMaxMs } = this.knobs;
    return delayMinMs + this.env.random.next() * (delayMaxMs - delayMinMs);
  }

  chance(rate: number): boolean {
    return rate > 0 && this.env.random.next() < rate;
  }
}
