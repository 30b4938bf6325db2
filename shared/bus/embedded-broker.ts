/**
 * A small broker that speaks the NATS client protocol, for a first run on a machine that has nothing but Node, and
 * for tests. One process, core publish/subscribe only: no clustering, no persistence, no TLS, no accounts. Production
 * runs nats-server; clients cannot tell the difference in what is listed here: INFO, CONNECT, PING, PONG, PUB, HPUB,
 * SUB with queue groups, UNSUB with a maximum, +OK, -ERR, `*` and `>`, headers, no-responders, echo, max_payload,
 * user/password or token, slow consumers cut off.
 *
 * Started by the demo and by `drumline broker`; its parts are broker-*.ts.
 * Invariant: no client can stop it or disturb another client's connection; what each may occupy is bounded.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { type AddressInfo, createServer, isIPv6, type Server, type Socket } from "node:net";
import type { Env, TimerHandle } from "../env/env.js";
import { createRealEnv } from "../env/real-env.js";
import { errorText, OpError } from "../errors.js";
import { InterestTrie } from "./broker-interest.js";
import type { PublishCommand } from "./broker-parser.js";
import {
  BrokerSession,
  type BrokerSubscription,
  type ConnectOptions,
  type SessionLimits,
  type SessionOwner,
} from "./broker-session.js";

export interface EmbeddedBrokerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 4222; 0 takes a free one. */
  readonly port?: number;
  readonly user?: string;
  readonly pass?: string;
  readonly token?: string;
  /** Largest payload in bytes, headers included. Default 1 MiB. */
  readonly maxPayload?: number;
  /** A client with more bytes than this waiting is cut off. Default 64 MiB. */
  readonly maxPending?: number;
  readonly maxControlLine?: number;
  readonly maxConnections?: number;
  /** Per client. */
  readonly maxSubscriptions?: number;
  readonly pingIntervalMs?: number;
  readonly authTimeoutMs?: number;
  readonly env?: Pick<Env, "timers" | "logger" | "random">;
}

export interface EmbeddedBrokerStats {
  readonly connections: number;
  readonly totalConnections: number;
  readonly subscriptions: number;
  readonly inMessages: number;
  readonly inBytes: number;
  readonly outMessages: number;
  readonly outBytes: number;
  readonly slowConsumers: number;
  readonly protocolErrors: number;
  readonly authErrors: number;
}

export interface EmbeddedBroker {
  /** `nats://host:port`, without credentials. */
  readonly url: string;
  readonly port: number;
  stats(): EmbeddedBrokerStats;
  /** Ends all connections, after what was gathered for them was sent. Idempotent. */
  close(): Promise<void>;
}

/** The protocol level the broker answers for; clients switch features on by it. */
const SERVER_VERSION = "2.9.0";
const PINGS_OUT_MAX = 2;

/** Rejects with DL_ERR_ADDRESS_IN_USE or DL_ERR_INVALID_ADDRESS. */
export async function startEmbeddedBroker(options: EmbeddedBrokerOptions = {}): Promise<EmbeddedBroker> {
  const broker = new Broker(options);
  await broker.listen();
  return broker;
}

class Broker implements EmbeddedBroker, SessionOwner {
  readonly env: Pick<Env, "timers" | "logger" | "random">;
  readonly limits: SessionLimits;
  readonly authRequired: boolean;
  readonly interest = new InterestTrie<BrokerSubscription>();
  readonly #options: EmbeddedBrokerOptions;
  readonly #host: string;
  readonly #serverId: string;
  readonly #server: Server;
  readonly #sessions = new Set<BrokerSession>();
  readonly #touched = new Set<BrokerSession>();
  readonly #maxConnections: number;
  readonly #counts = {
    total: 0,
    inMessages: 0,
    inBytes: 0,
    outMessages: 0,
    outBytes: 0,
    slow: 0,
    protocol: 0,
    auth: 0,
  };
  #port = 0;
  #queueTurn = 0;
  #pinger: TimerHandle | undefined;
  #closing: Promise<void> | undefined;
  #onEmpty = (): void => {};

  constructor(options: EmbeddedBrokerOptions) {
    this.#options = options;
    this.env = options.env ?? createRealEnv();
    this.#host = options.host ?? "127.0.0.1";
    this.#serverId = this.env.random.hex(16).toUpperCase();
    this.#maxConnections = options.maxConnections ?? 4096;
    this.authRequired = options.user !== undefined || options.token !== undefined;
    this.limits = {
      controlLineBytesMax: options.maxControlLine ?? 4096,
      payloadBytesMax: options.maxPayload ?? 1024 * 1024,
      pendingBytesMax: options.maxPending ?? 64 * 1024 * 1024,
      subscriptionsMax: options.maxSubscriptions ?? 65_536,
      authTimeoutMs: options.authTimeoutMs ?? 2000,
      pingsOutMax: PINGS_OUT_MAX,
    };
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `nats://${isIPv6(this.#host) ? `[${this.#host}]` : this.#host}:${this.#port}`;
  }

  async listen(): Promise<void> {
    const port = this.#options.port ?? 4222;
    await new Promise<void>((resolve, reject) => {
      const refuse = (error: NodeJS.ErrnoException): void => reject(listenError(error, `${this.#host}:${port}`));
      this.#server.once("error", refuse);
      try {
        this.#server.listen({ host: this.#host, port }, () => {
          this.#server.removeListener("error", refuse);
          resolve();
        });
      } catch (error) {
        reject(new OpError("DL_ERR_INVALID_ADDRESS", `${this.#host}:${port}: ${errorText(error)}`));
      }
    });
    this.#server.on("error", (error) =>
      this.env.logger.error({ error: error.message }, "the broker's listener failed"),
    );
    this.#port = portOf(this.#server.address());
    this.#pinger = this.env.timers.every(this.#options.pingIntervalMs ?? 30_000, () => {
      for (const session of this.#sessions) session.heartbeat();
      this.flush();
    });
  }

  stats(): EmbeddedBrokerStats {
    const { total, inMessages, inBytes, outMessages, outBytes, slow, protocol, auth } = this.#counts;
    return {
      connections: this.#sessions.size,
      totalConnections: total,
      subscriptions: this.interest.size,
      inMessages,
      inBytes,
      outMessages,
      outBytes,
      slowConsumers: slow,
      protocolErrors: protocol,
      authErrors: auth,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  // ---- for sessions

  info(clientId: number): string {
    return JSON.stringify({
      server_id: this.#serverId,
      server_name: "drumline-embedded",
      version: SERVER_VERSION,
      proto: 1,
      host: this.#host,
      port: this.#port,
      headers: true,
      max_payload: this.limits.payloadBytesMax,
      client_id: clientId,
      ...(this.authRequired ? { auth_required: true } : {}),
    });
  }

  authorize(given: ConnectOptions): boolean {
    const { user, pass, token } = this.#options;
    if (!this.authRequired) return true;
    if (token !== undefined && sameSecret(given.token, token)) return true;
    return user !== undefined && sameSecret(given.user, user) && sameSecret(given.pass, pass ?? "");
  }

  route(from: BrokerSession, command: PublishCommand): void {
    this.#counts.inMessages += 1;
    this.#counts.inBytes += command.payload.length;
    const matched = this.interest.match(command.subject);
    let delivered = 0;
    for (const subscription of matched.plain) {
      if (subscription.session === from && !from.echo) continue;
      if (subscription.session.deliver(subscription, command)) delivered += 1;
    }
    for (const members of matched.queues) if (this.#toOneOf(members, from, command)) delivered += 1;
    this.#counts.outMessages += delivered;
    this.#counts.outBytes += delivered * command.payload.length;
    if (delivered === 0 && command.reply !== undefined) from.tellNoResponders(command.reply);
  }

  touched(session: BrokerSession): void {
    this.#touched.add(session);
  }

  flush(): void {
    for (const session of this.#touched) session.flush();
    this.#touched.clear();
  }

  cutOff(reason: "slow consumer" | "protocol" | "auth"): void {
    if (reason === "slow consumer") this.#counts.slow += 1;
    else this.#counts[reason] += 1;
  }

  ended(session: BrokerSession): void {
    this.#sessions.delete(session);
    this.#touched.delete(session);
    if (this.#sessions.size === 0) this.#onEmpty();
  }

  // ---- inside

  async #shutDown(): Promise<void> {
    this.#pinger?.cancel();
    const stopped = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    const emptied = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    for (const session of this.#sessions) session.finish();
    if (this.#sessions.size === 0) this.#onEmpty();
    await Promise.all([stopped, emptied]);
  }

  /** Members take turns; one that cannot have the message leaves it to the next. */
  #toOneOf(members: readonly BrokerSubscription[], from: BrokerSession, command: PublishCommand): boolean {
    this.#queueTurn = (this.#queueTurn + 1) >>> 0;
    for (let at = 0; at < members.length; at++) {
      const member = members[(this.#queueTurn + at) % members.length];
      if (member === undefined || (member.session === from && !from.echo)) continue;
      if (member.session.deliver(member, command)) return true;
    }
    return false;
  }

  #accept(socket: Socket): void {
    this.#counts.total += 1;
    const session = new BrokerSession(this, socket, this.#counts.total);
    this.#sessions.add(session);
    if (this.#sessions.size > this.#maxConnections) session.fail("maximum connections exceeded");
    else if (this.#closing !== undefined) session.finish();
  }
}

function portOf(address: string | AddressInfo | null): number {
  return typeof address === "object" && address !== null ? address.port : 0;
}

function listenError(error: NodeJS.ErrnoException, address: string): OpError {
  if (error.code === "EADDRINUSE") return new OpError("DL_ERR_ADDRESS_IN_USE", address, { cause: error });
  return new OpError("DL_ERR_INVALID_ADDRESS", `${address}: ${error.message}`, { cause: error });
}

/** Takes the same time whatever is wrong with it. */
function sameSecret(given: string, wanted: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(wanted));
}
