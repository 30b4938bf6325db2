/**
 * One client of the embedded broker: what it said in CONNECT, its subscriptions, and what it is sent. Created by the
 * broker for each accepted socket.
 *
 * Invariants: whatever a client sends ends at most its own connection; a client that does not take its messages is cut
 * off at `pendingBytesMax`; once a session is over, it has no subscriptions left.
 */
import type { Socket } from "node:net";
import type { Env, TimerHandle } from "../env/env.js";
import { errorText } from "../errors.js";
import { type InterestTrie, isBrokerSubject, isLiteral } from "./broker-interest.js";
import { ClientOutput } from "./broker-output.js";
import {
  CommandParser,
  type CommandSink,
  type ParserLimits,
  ProtocolViolation,
  type PublishCommand,
} from "./broker-parser.js";

export interface SessionLimits extends ParserLimits {
  readonly pendingBytesMax: number;
  readonly subscriptionsMax: number;
  readonly authTimeoutMs: number;
  readonly pingsOutMax: number;
}

export interface BrokerSubscription {
  readonly session: BrokerSession;
  readonly subject: string;
  readonly queue: string | undefined;
  readonly sid: string;
  /** Ends after so many messages in all. */
  max: number | undefined;
  delivered: number;
  active: boolean;
}

/** What a client may say of itself. Unknown fields are ignored, as clients of all versions send many. */
export interface ConnectOptions {
  readonly verbose: boolean;
  readonly pedantic: boolean;
  readonly echo: boolean;
  readonly headers: boolean;
  readonly noResponders: boolean;
  readonly user: string;
  readonly pass: string;
  readonly token: string;
}

/** The broker, as a session sees it. */
export interface SessionOwner {
  readonly env: Pick<Env, "timers" | "logger">;
  readonly limits: SessionLimits;
  readonly authRequired: boolean;
  readonly interest: InterestTrie<BrokerSubscription>;
  /** The INFO line for this client. */
  info(clientId: number): string;
  authorize(options: ConnectOptions): boolean;
  route(from: BrokerSession, command: PublishCommand): void;
  /** Something was added to this session's output. */
  touched(session: BrokerSession): void;
  /** Sends what was gathered for all sessions. */
  flush(): void;
  cutOff(reason: "slow consumer" | "protocol" | "auth"): void;
  ended(session: BrokerSession): void;
}

const NO_RESPONDERS = new TextEncoder().encode("NATS/1.0 503\r\n\r\n");
const LINGER_MS = 1000;

export class BrokerSession implements CommandSink {
  readonly id: number;
  readonly #owner: SessionOwner;
  readonly #socket: Socket;
  readonly #output: ClientOutput;
  readonly #parser: CommandParser;
  readonly #subscriptions = new Map<string, BrokerSubscription>();
  #options: ConnectOptions | undefined;
  #over = false;
  #pingsOut = 0;
  #timer: TimerHandle | undefined;

  constructor(owner: SessionOwner, socket: Socket, id: number) {
    this.#owner = owner;
    this.#socket = socket;
    this.id = id;
    this.#output = new ClientOutput(socket);
    this.#parser = new CommandParser(owner.limits, this);
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.#onData(chunk));
    socket.on("error", () => this.#end());
    socket.on("close", () => {
      this.#end();
      this.#timer?.cancel();
      owner.ended(this);
    });
    this.#reply(`INFO ${owner.info(id)}`);
    this.#output.flush();
    if (!owner.authRequired) return;
    this.#timer = owner.env.timers.after(owner.limits.authTimeoutMs, () => {
      if (this.#options === undefined) this.fail("Authentication Timeout", "auth");
    });
  }

  get echo(): boolean {
    return this.#options?.echo ?? true;
  }

  /** Tells the client why, and ends its connection. */
  fail(text: string, reason: "protocol" | "auth" = "protocol"): void {
    if (this.#over) return;
    this.#owner.cutOff(reason);
    this.#output.add(`-ERR '${text}'`);
    this.finish();
  }

  /** Sends what is gathered, then ends the connection. */
  finish(): void {
    this.#output.flush();
    this.#end();
    this.#socket.end();
    // A peer that neither reads nor closes does not keep the socket.
    this.#timer?.cancel();
    this.#timer = this.#owner.env.timers.after(LINGER_MS, () => this.#socket.destroy());
  }

  destroy(): void {
    this.#end();
    this.#socket.destroy();
  }

  flush(): void {
    this.#output.flush();
  }

  /** Called at each ping interval. */
  heartbeat(): void {
    if (this.#over) return;
    if (this.#pingsOut >= this.#owner.limits.pingsOutMax) {
      this.fail("Stale Connection");
      return;
    }
    this.#pingsOut += 1;
    this.#reply("PING");
  }

  /** Sends a message to one subscription of this client; false if it must not have it. */
  deliver(subscription: BrokerSubscription, command: PublishCommand): boolean {
    if (this.#over || !subscription.active) return false;
    const { subject, reply, headerBytes, payload } = command;
    const target = reply === undefined ? `${subject} ${subscription.sid}` : `${subject} ${subscription.sid} ${reply}`;
    if (headerBytes === 0) this.#output.add(`MSG ${target} ${payload.length}`, payload);
    else if (this.#options?.headers === true) {
      this.#output.add(`HMSG ${target} ${headerBytes} ${payload.length}`, payload);
    } else {
      this.#output.add(`MSG ${target} ${payload.length - headerBytes}`, payload.subarray(headerBytes));
    }
    subscription.delivered += 1;
    if (subscription.max !== undefined && subscription.delivered >= subscription.max) this.#drop(subscription);
    if (this.#output.pendingBytes > this.#owner.limits.pendingBytesMax) this.#slow();
    else this.#owner.touched(this);
    return true;
  }

  /** Nobody got a request of this client: it is told on its own reply subject. */
  tellNoResponders(reply: string): void {
    if (this.#options?.noResponders !== true) return;
    const own = this.#owner.interest.match(reply);
    const inbox = [...own.plain, ...own.queues.flat()].find((each) => each.session === this);
    const command = { subject: reply, reply: undefined, headerBytes: NO_RESPONDERS.length, payload: NO_RESPONDERS };
    if (inbox !== undefined) this.deliver(inbox, command);
  }

  // ---- commands of the client

  connect(text: string): void {
    let options: ConnectOptions;
    try {
      options = connectOptions(JSON.parse(text));
    } catch (error) {
      this.#owner.env.logger.debug({ client: this.id, error: errorText(error) }, "CONNECT is not JSON");
      throw new ProtocolViolation("Parser Error");
    }
    if (options.noResponders && !options.headers) {
      throw new ProtocolViolation("No Responders Requires Headers Support");
    }
    if (!this.#owner.authorize(options)) {
      this.fail("Authorization Violation", "auth");
      return;
    }
    this.#timer?.cancel();
    this.#options = options;
    this.#ok();
  }

  ping(): void {
    this.#reply("PONG");
  }

  pong(): void {
    this.#pingsOut = 0;
  }

  publish(command: PublishCommand): void {
    if (!this.#admitted()) return;
    if (this.#options?.pedantic === true && !isLiteral(command.subject)) this.#reply("-ERR 'Invalid Publish Subject'");
    this.#owner.route(this, command);
    this.#ok();
  }

  subscribe(subject: string, queue: string | undefined, sid: string): void {
    if (!this.#admitted()) return;
    if (!isBrokerSubject(subject)) {
      this.#reply("-ERR 'Invalid Subject'");
      return;
    }
    if (!this.#subscriptions.has(sid)) {
      if (this.#subscriptions.size >= this.#owner.limits.subscriptionsMax) {
        throw new ProtocolViolation("Maximum Subscriptions Exceeded");
      }
      const subscription = { session: this, subject, queue, sid, max: undefined, delivered: 0, active: true };
      this.#subscriptions.set(sid, subscription);
      this.#owner.interest.add(subscription);
    }
    this.#ok();
  }

  unsubscribe(sid: string, max: number | undefined): void {
    if (!this.#admitted()) return;
    const subscription = this.#subscriptions.get(sid);
    if (subscription !== undefined) {
      if (max !== undefined && max > subscription.delivered) subscription.max = max;
      else this.#drop(subscription);
    }
    this.#ok();
  }

  // ---- inside

  #onData(chunk: Buffer): void {
    if (this.#over) return;
    this.#pingsOut = 0;
    try {
      this.#parser.push(chunk, () => this.#over);
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
      this.fail(error.message);
    }
    this.#owner.flush();
  }

  #admitted(): boolean {
    if (!this.#owner.authRequired || this.#options !== undefined) return true;
    this.fail("Authorization Violation", "auth");
    return false;
  }

  #ok(): void {
    if (this.#options?.verbose === true) this.#reply("+OK");
  }

  #reply(line: string): void {
    if (this.#over) return;
    this.#output.add(line);
    if (this.#output.pendingBytes > this.#owner.limits.pendingBytesMax) this.#slow();
    else this.#owner.touched(this);
  }

  /** Its buffers are full, so it cannot be told. */
  #slow(): void {
    this.#owner.cutOff("slow consumer");
    this.#owner.env.logger.warn({ client: this.id }, "cut off a client that does not take its messages");
    this.destroy();
  }

  #drop(subscription: BrokerSubscription): void {
    subscription.active = false;
    this.#subscriptions.delete(subscription.sid);
    this.#owner.interest.remove(subscription);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    for (const subscription of this.#subscriptions.values()) {
      subscription.active = false;
      this.#owner.interest.remove(subscription);
    }
    this.#subscriptions.clear();
  }
}

function connectOptions(value: unknown): ConnectOptions {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ProtocolViolation("Parser Error");
  const fields = new Map<string, unknown>(Object.entries(value));
  const text = (name: string): string => {
    const field = fields.get(name);
    return typeof field === "string" ? field : "";
  };
  return {
    verbose: fields.get("verbose") === true,
    pedantic: fields.get("pedantic") === true,
    echo: fields.get("echo") !== false,
    headers: fields.get("headers") === true,
    noResponders: fields.get("no_responders") === true,
    user: text("user"),
    pass: text("pass"),
    token: text("auth_token"),
  };
}
