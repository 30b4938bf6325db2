/**
 * A broker and its buses inside one process, on injected time and randomness: the same seed gives the same run. Used
 * by the simulator, by tests, and wherever a process wants a bus without a network. Everything but the link is
 * BusCore, so splitting, correlation and closing behave as on NATS.
 *
 * What it models: loss, delay, repetition and (on request) reordering of each broker message, a broker that goes down
 * and comes back, a bus cut off from the broker and noticing it only later, reconnects spread by jitter. As on NATS,
 * messages from one bus to another keep their order, and nothing is stored for a bus that is away.
 */
import type { Env, TimerHandle } from "../env/env.js";
import { silentLogger } from "../env/env.js";
import { OpError } from "../errors.js";
import { LIMITS } from "../limits.js";
import { BusCore, type BusLink } from "./bus-core.js";
import type { Bus } from "./port.js";
import { subjectMatches } from "./subjects.js";

export interface SimFaults {
  /** Probability that one broker message is not delivered to one subscription. */
  readonly lossRate: number;
  /** Probability that it is delivered twice. */
  readonly duplicateRate: number;
  /** Probability that it may overtake earlier ones. */
  readonly reorderRate: number;
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
}

export const NO_FAULTS: SimFaults = { lossRate: 0, duplicateRate: 0, reorderRate: 0, minDelayMs: 0, maxDelayMs: 0 };

export interface SimBrokerOptions {
  readonly env: Pick<Env, "now" | "timers" | "random" | "crc32"> & Partial<Pick<Env, "logger">>;
  readonly faults?: Partial<SimFaults>;
  /** Most bytes of one broker message; larger payloads are split. */
  readonly frameBytesMax?: number;
  readonly reconnectMinMs?: number;
  readonly reconnectMaxMs?: number;
}

/** Counts broker messages (parts, not payloads). */
export interface SimBusStats {
  readonly published: number;
  readonly delivered: number;
  readonly lost: number;
  readonly duplicated: number;
}

interface SimMessage {
  readonly from: SimEndpoint;
  readonly subject: string;
  readonly reply: string | undefined;
  readonly frame: Uint8Array;
}

interface SimEndpoint {
  readonly name: string;
  readonly core: BusCore;
  readonly subscriptions: Map<number, string>;
  /** Counts connections; what was sent on an earlier one is not delivered. 0 = none yet. */
  epoch: number;
  connected: boolean;
  cut: boolean;
  closed: boolean;
  pendingTimer: TimerHandle | undefined;
  /** Messages under way per sending bus, oldest first. */
  readonly underWay: Map<string, (() => void)[]>;
}

export class SimBroker {
  readonly #env: SimBrokerOptions["env"];
  readonly #frameBytesMax: number;
  readonly #reconnectMinMs: number;
  readonly #reconnectMaxMs: number;
  readonly #endpoints = new Map<string, SimEndpoint>();
  readonly #stats = { published: 0, delivered: 0, lost: 0, duplicated: 0 };
  #faults: SimFaults;
  #up = true;

  constructor(options: SimBrokerOptions) {
    this.#env = options.env;
    this.#faults = { ...NO_FAULTS, ...options.faults };
    this.#frameBytesMax = options.frameBytesMax ?? LIMITS.busPayloadBytesMax;
    this.#reconnectMinMs = options.reconnectMinMs ?? 200;
    this.#reconnectMaxMs = options.reconnectMaxMs ?? 2000;
  }

  stats(): SimBusStats {
    return { ...this.#stats };
  }

  setFaults(faults: Partial<SimFaults>): void {
    this.#faults = { ...this.#faults, ...faults };
  }

  /** A bus of this name, connecting at the next occasion. A closed one's name may be used again. */
  createBus(name: string): Bus {
    if (this.#endpoints.has(name)) throw new OpError("DL_ERR_INVALID_ARGUMENT", `a bus named ${name} exists`);
    const env = { ...pick(this.#env), logger: this.#env.logger ?? silentLogger };
    const core = new BusCore({ env, onClose: () => this.#closed(endpoint) });
    const endpoint: SimEndpoint = {
      name,
      core,
      subscriptions: new Map(),
      epoch: 0,
      connected: false,
      cut: false,
      closed: false,
      pendingTimer: undefined,
      underWay: new Map(),
    };
    this.#endpoints.set(name, endpoint);
    this.#schedule(endpoint, 0, () => this.#connect(endpoint));
    return core;
  }

  /** The broker stops: every bus notices at once, as sockets are reset. */
  down(): void {
    this.#up = false;
    for (const endpoint of this.#endpoints.values()) this.#disconnect(endpoint, "the broker is down");
  }

  /** The broker runs again: buses come back one by one. */
  up(): void {
    if (this.#up) return;
    this.#up = true;
    for (const endpoint of this.#endpoints.values()) this.#reconnectSoon(endpoint);
  }

  /** Nothing passes between this bus and the broker any more; the bus notices after `noticedAfterMs`. */
  cut(name: string, options: { readonly noticedAfterMs?: number } = {}): void {
    const endpoint = this.#endpoint(name);
    endpoint.cut = true;
    const notice = (): void => this.#disconnect(endpoint, "the broker does not answer");
    if (options.noticedAfterMs === undefined) notice();
    else this.#schedule(endpoint, options.noticedAfterMs, notice);
  }

  /** Ends `cut`. A bus that had not noticed goes on as if nothing had been. */
  heal(name: string): void {
    const endpoint = this.#endpoint(name);
    if (!endpoint.cut) return;
    endpoint.cut = false;
    endpoint.pendingTimer?.cancel();
    this.#reconnectSoon(endpoint);
  }

  #endpoint(name: string): SimEndpoint {
    const endpoint = this.#endpoints.get(name);
    if (endpoint === undefined) throw new OpError("DL_ERR_INVALID_ARGUMENT", `no bus named ${name}`);
    return endpoint;
  }

  #schedule(endpoint: SimEndpoint, delayMs: number, call: () => void): void {
    endpoint.pendingTimer?.cancel();
    endpoint.pendingTimer = this.#env.timers.after(delayMs, call);
  }

  #reconnectSoon(endpoint: SimEndpoint): void {
    if (endpoint.connected || endpoint.closed) return;
    const span = this.#reconnectMaxMs - this.#reconnectMinMs;
    const delayMs = this.#reconnectMinMs + this.#env.random.next() * span;
    this.#schedule(endpoint, delayMs, () => this.#connect(endpoint));
  }

  #connect(endpoint: SimEndpoint): void {
    if (!this.#up || endpoint.cut || endpoint.closed || endpoint.connected) return;
    endpoint.epoch += 1;
    endpoint.connected = true;
    endpoint.core.linkUp(this.#link(endpoint, endpoint.epoch));
  }

  #disconnect(endpoint: SimEndpoint, reason: string): void {
    endpoint.pendingTimer?.cancel();
    if (!endpoint.connected) return;
    endpoint.connected = false;
    endpoint.subscriptions.clear();
    endpoint.core.linkDown(reason);
  }

  async #closed(endpoint: SimEndpoint): Promise<void> {
    endpoint.closed = true;
    endpoint.connected = false;
    endpoint.subscriptions.clear();
    endpoint.pendingTimer?.cancel();
    this.#endpoints.delete(endpoint.name);
  }

  #link(endpoint: SimEndpoint, epoch: number): BusLink {
    const current = (): boolean => endpoint.connected && endpoint.epoch === epoch;
    return {
      frameBytesMax: this.#frameBytesMax,
      send: (subject, reply, frame) => {
        if (current()) this.#publish({ from: endpoint, subject, reply, frame });
      },
      subscribe: (sid, pattern) => {
        if (current()) endpoint.subscriptions.set(sid, pattern);
      },
      unsubscribe: (sid) => {
        if (current()) endpoint.subscriptions.delete(sid);
      },
    };
  }

  #publish(message: SimMessage): void {
    this.#stats.published += 1;
    if (message.from.cut) {
      this.#stats.lost += 1;
      return;
    }
    const { from, subject, reply, frame } = message;
    let interested = 0;
    for (const to of this.#endpoints.values()) {
      for (const [sid, pattern] of to.subscriptions) {
        if (!subjectMatches(pattern, subject)) continue;
        interested += 1;
        this.#deliver(message, to, () => to.core.receive({ sid, subject, reply, frame }));
      }
    }
    if (interested === 0 && reply !== undefined) this.#deliver(message, from, () => from.core.noResponders(reply));
  }

  #deliver(message: SimMessage, to: SimEndpoint, hand: () => void): void {
    const { lossRate, duplicateRate } = this.#faults;
    if (this.#chance(lossRate)) {
      this.#stats.lost += 1;
      return;
    }
    this.#send(message, to, hand);
    if (!this.#chance(duplicateRate)) return;
    this.#stats.duplicated += 1;
    this.#send(message, to, hand);
  }

  /** Each pair of buses has one queue: whichever timer fires first hands over the oldest message of the pair. */
  #send(message: SimMessage, to: SimEndpoint, hand: () => void): void {
    const { minDelayMs, maxDelayMs, reorderRate } = this.#faults;
    const epoch = to.epoch;
    const arrive = (): void => {
      const lost = to.cut || !to.connected || to.epoch !== epoch;
      this.#stats[lost ? "lost" : "delivered"] += 1;
      if (!lost) hand();
    };
    const delayMs = minDelayMs + this.#env.random.next() * (maxDelayMs - minDelayMs);
    if (this.#chance(reorderRate)) {
      this.#env.timers.after(delayMs, arrive);
      return;
    }
    const queue = to.underWay.get(message.from.name) ?? [];
    to.underWay.set(message.from.name, queue);
    queue.push(arrive);
    this.#env.timers.after(delayMs, () => {
      queue.shift()?.();
      if (queue.length === 0) to.underWay.delete(message.from.name);
    });
  }

  /** Draws only when there is something to decide, so that a fault switched off leaves the other draws alone. */
  #chance(rate: number): boolean {
    return rate > 0 && this.#env.random.next() < rate;
  }
}

function pick(env: SimBrokerOptions["env"]): Pick<Env, "now" | "timers" | "random" | "crc32"> {
  return { now: () => env.now(), timers: env.timers, random: env.random, crc32: env.crc32 };
}
