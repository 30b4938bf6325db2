/**
 * The Bus over NATS: the only file that names the `nats` package. Used by the composition roots of hosts and masters.
 *
 * Reconnecting is done here and not by the client, each time with a fresh connection: a client that reconnects keeps
 * what was published meanwhile and sends it as a stale burst, cannot be closed before its first connection, and stops
 * for good when a server refuses its credentials. BusCore does the rest (inbox, splitting, status).
 *
 * Invariants: one attempt or one connection at a time; retries never end before `close`, 0.2 to 2 s apart with jitter;
 * after `close` no socket and no timer is left, even when the broker is frozen and takes no bytes; bytes waiting for
 * the broker stay below LIMITS.sendBufferBytesMax. One warning when the broker is lost, one note when it is back.
 */
import { Socket } from "node:net";
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  type Msg,
  type NatsConnection,
  nkeyAuthenticator,
} from "nats";
import type { Env, TimerHandle } from "../env/env.js";
import { errorText, OpError } from "../errors.js";
import { LIMITS } from "../limits.js";
import { BusCore, type BusLink } from "./bus-core.js";
import type { Bus } from "./port.js";
import { parseServer, probeServer, type ServerAddress, serverText } from "./server-address.js";

export interface NatsBusOptions {
  /** `nats://host:port`, or several of one cluster. Credentials may stand in the address. */
  readonly servers: string | readonly string[];
  readonly env: Env;
  /** Shown by the broker's monitoring. */
  readonly name?: string;
  readonly user?: string;
  readonly pass?: string;
  readonly token?: string;
  /** Seed of an nkey (SU…). */
  readonly nkeySeed?: string;
  /** Content of a .creds file. */
  readonly creds?: string;
  readonly tls?: NatsTlsOptions;
  /** Bounds of the pause between attempts. Default 200 and 2000. */
  readonly reconnectMinMs?: number;
  readonly reconnectMaxMs?: number;
  readonly connectTimeoutMs?: number;
  /** A broker that leaves two pings unanswered is given up. Default 5000. */
  readonly pingIntervalMs?: number;
}

export interface NatsTlsOptions {
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  /** The broker speaks TLS from the first byte. */
  readonly handshakeFirst?: boolean;
}

/** Returns at once and connects in the background. Throws DL_ERR_INVALID_ADDRESS for an address that is none. */
export function createNatsBus(options: NatsBusOptions): Bus {
  const servers = (typeof options.servers === "string" ? options.servers.split(",") : options.servers).map((text) =>
    parseServer(text.trim()),
  );
  if (servers.length === 0) throw new OpError("DL_ERR_INVALID_ADDRESS", "no NATS server given");
  const connector = new Connector(options, servers);
  connector.start();
  return connector.core;
}

const PINGS_OUT_MAX = 2;
const CLOSE_FLUSH_MS = 1000;

class Connector {
  readonly core: BusCore;
  readonly #options: NatsBusOptions;
  readonly #env: Env;
  readonly #servers: readonly ServerAddress[];
  readonly #abort = new AbortController();
  #nextServer: number;
  #failures = 0;
  #warned = false;
  #current: NatsConnection | undefined;
  #running: Promise<void> = Promise.resolve();
  #endPause: (() => void) | undefined;

  constructor(options: NatsBusOptions, servers: readonly ServerAddress[]) {
    this.#options = options;
    this.#env = options.env;
    this.#servers = servers;
    // Buses of one deployment spread over the servers of the cluster.
    this.#nextServer = options.env.random.int(servers.length);
    this.core = new BusCore({ env: options.env, onClose: () => this.#stop() });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Attempt, serve until lost, pause, and again. Never rejects. */
  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      const server = this.#servers[this.#nextServer % this.#servers.length];
      this.#nextServer += 1;
      if (server === undefined) return;
      try {
        await this.#serve(await this.#dial(server), server);
      } catch (error) {
        this.#failures += 1;
        this.#sayDown(server, errorText(error));
      }
      await this.#pause();
    }
  }

  async #dial(server: ServerAddress): Promise<NatsConnection> {
    const timeoutMs = this.#options.connectTimeoutMs ?? 5000;
    await probeServer(server, {
      timers: this.#env.timers,
      timeoutMs,
      signal: this.#abort.signal,
      greeting: this.#options.tls?.handshakeFirst !== true,
    });
    return connect(clientOptions(this.#options, server, timeoutMs));
  }

  /** Returns when the connection is over. */
  async #serve(connection: NatsConnection, server: ServerAddress): Promise<void> {
    const lost = connection.closed();
    if (this.#abort.signal.aborted) {
      await closeHard(connection);
      return;
    }
    this.#current = connection;
    this.#failures = 0;
    void this.#watch(connection);
    this.#env.logger.info({ server: serverText(server) }, "connected to the message bus");
    this.#warned = false;
    this.core.linkUp(new NatsLink(connection, this.core, this.#env));
    const reason = await lost;
    this.#current = undefined;
    if (this.#abort.signal.aborted) return;
    this.#sayDown(server, reason instanceof Error ? reason.message : "the connection was closed");
    this.core.linkDown(`the connection to ${serverText(server)} was lost`);
  }

  /** Logs what the broker complains of. Ends with the connection. */
  async #watch(connection: NatsConnection): Promise<void> {
    try {
      for await (const status of connection.status()) {
        if (status.type === "error") {
          this.#env.logger.warn({ code: String(status.data) }, "the message broker reports an error");
        }
        // The client waits for its last bytes to be written before it gives up; a frozen broker never takes them.
        if (status.type === "staleConnection") socketOf(connection)?.destroy();
      }
    } catch (error) {
      this.#env.logger.debug({ error: errorText(error) }, "the status of the bus connection ended");
    }
  }

  #sayDown(server: ServerAddress, error: string): void {
    if (this.#abort.signal.aborted) return;
    const fields = { server: serverText(server), error };
    if (this.#warned) this.#env.logger.debug(fields, "the message bus is still unreachable");
    else this.#env.logger.warn(fields, "the message bus is unreachable; retrying");
    this.#warned = true;
  }

  /** Longer after each failure, and never the same for all, so that a restarted broker is not stormed. */
  async #pause(): Promise<void> {
    if (this.#abort.signal.aborted) return;
    const minMs = this.#options.reconnectMinMs ?? 200;
    const maxMs = Math.max(minMs, this.#options.reconnectMaxMs ?? 2000);
    const ceilingMs = Math.min(maxMs, minMs * 2 ** (1 + Math.min(this.#failures, 16)));
    const delayMs = minMs + this.#env.random.next() * (ceilingMs - minMs);
    let timer: TimerHandle | undefined;
    await new Promise<void>((resolve) => {
      timer = this.#env.timers.after(delayMs, resolve);
      this.#endPause = resolve;
    });
    timer?.cancel();
  }

  /** What was published before `close` still goes out, if the broker takes it soon. */
  async #stop(): Promise<void> {
    this.#abort.abort();
    this.#endPause?.();
    const connection = this.#current;
    if (connection !== undefined) {
      await this.#flush(connection);
      await closeHard(connection);
    }
    await this.#running;
  }

  async #flush(connection: NatsConnection): Promise<void> {
    let timer: TimerHandle | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#env.timers.after(CLOSE_FLUSH_MS, resolve);
    });
    const flushed = connection.flush().catch((error: unknown) => {
      this.#env.logger.debug({ error: errorText(error) }, "the last messages to the bus may be lost");
    });
    await Promise.race([late, flushed]);
    timer?.cancel();
  }
}

/** One live connection. */
class NatsLink implements BusLink {
  readonly frameBytesMax: number;
  readonly #connection: NatsConnection;
  readonly #core: BusCore;
  readonly #env: Env;
  readonly #socket: Socket | undefined;
  readonly #unsubscribe = new Map<number, () => void>();

  constructor(connection: NatsConnection, core: BusCore, env: Env) {
    this.#connection = connection;
    this.#core = core;
    this.#env = env;
    this.#socket = socketOf(connection);
    this.frameBytesMax = Math.min(LIMITS.busPayloadBytesMax, connection.info?.max_payload ?? LIMITS.busPayloadBytesMax);
  }

  send(subject: string, reply: string | undefined, frame: Uint8Array): void {
    if (this.#connection.isClosed()) throw lost("the connection was just lost");
    const waitingBytes = this.#socket?.writableLength ?? 0;
    if (waitingBytes > LIMITS.sendBufferBytesMax) {
      this.#core.countLost(1);
      throw lost(`the broker does not take its bytes, ${waitingBytes} are waiting`);
    }
    try {
      this.#connection.publish(subject, frame, reply === undefined ? undefined : { reply });
    } catch (error) {
      throw lost(errorText(error));
    }
  }

  subscribe(sid: number, pattern: string): void {
    if (this.#connection.isClosed()) return;
    const subscription = this.#connection.subscribe(pattern, {
      callback: (error, message) => {
        if (error === null) this.#receive(sid, message);
        else this.#env.logger.warn({ subject: pattern, error: error.message }, "the broker ended a subscription");
      },
    });
    this.#unsubscribe.set(sid, () => subscription.unsubscribe());
  }

  unsubscribe(sid: number): void {
    const unsubscribe = this.#unsubscribe.get(sid);
    this.#unsubscribe.delete(sid);
    if (!this.#connection.isClosed()) unsubscribe?.();
  }

  /** Must not throw: the client would stop reading for good. */
  #receive(sid: number, message: Msg): void {
    try {
      const frame = message.data;
      if (frame.length === 0 && message.headers?.code === 503) {
        this.#core.noResponders(message.subject);
        return;
      }
      const reply = message.reply === "" ? undefined : message.reply;
      this.#core.receive({ sid, subject: message.subject, reply, frame });
    } catch (error) {
      this.#env.logger.error({ error: errorText(error) }, "a bus message could not be handled");
    }
  }
}

function clientOptions(options: NatsBusOptions, server: ServerAddress, timeoutMs: number): ConnectionOptions {
  const client: ConnectionOptions = {
    servers: [serverText(server)],
    timeout: timeoutMs,
    reconnect: false,
    noAsyncTraces: true,
    // The servers to use are configured; what a cluster gossips may not be reachable from here.
    ignoreClusterUpdates: true,
    pingInterval: options.pingIntervalMs ?? 5000,
    maxPingOut: PINGS_OUT_MAX,
  };
  if (options.name !== undefined) client.name = options.name;
  const user = options.user ?? (server.user === "" ? undefined : server.user);
  if (user !== undefined) {
    client.user = user;
    client.pass = options.pass ?? server.pass;
  }
  if (options.token !== undefined) client.token = options.token;
  const encoder = new TextEncoder();
  if (options.nkeySeed !== undefined) client.authenticator = nkeyAuthenticator(encoder.encode(options.nkeySeed));
  if (options.creds !== undefined) client.authenticator = credsAuthenticator(encoder.encode(options.creds));
  if (options.tls !== undefined) client.tls = { ...options.tls };
  else if (server.tls) client.tls = {};
  return client;
}

function lost(detail: string): OpError {
  return new OpError("DL_ERR_BUS_LOST", detail);
}

/** Closes without waiting for a broker that takes no bytes. */
async function closeHard(connection: NatsConnection): Promise<void> {
  socketOf(connection)?.destroy();
  await connection.close();
}

/**
 * The client's socket, which it does not show: needed to end a connection whose broker is frozen and to see how much
 * waits to be written. Undefined if the client is built otherwise; a test with a frozen broker would tell.
 */
function socketOf(connection: NatsConnection): Socket | undefined {
  let at: unknown = connection;
  for (const key of ["protocol", "transport", "socket"]) {
    if (typeof at !== "object" || at === null) return undefined;
    at = Reflect.get(at, key);
  }
  return at instanceof Socket ? at : undefined;
}
