/**
 * All of a Bus but the link to a broker: subscriptions, requests by correlation id, splitting, status, closing. The
 * NATS bus and the simulated bus are this class over different links, so what the suite proves of one holds for both.
 *
 * The owner of the link calls `linkUp`, `linkDown`, `receive` and `noResponders`; everything else is the Bus port.
 * Invariants:
 * - Nothing is kept for later: without a link `publish` throws, and what was under way when it broke is given up.
 * - An answer is taken only by the request it belongs to: reply subjects are random per bus and numbered without
 *   reuse, so an answer that comes too late finds nobody and is dropped.
 * - A handler that throws harms neither the link nor other handlers.
 */
import { MalformedError } from "../codec/bytes.js";
import type { Env, TimerHandle } from "../env/env.js";
import { errorText, isOpError, OpError } from "../errors.js";
import { FRAMING_LIMITS, MessageIds, Reassembler, splitPayload } from "./framing.js";
import type { Bus, BusMessage, BusStatus, BusSubscription, RequestOptions } from "./port.js";
import { checkPattern, checkSubject, isSubject } from "./subjects.js";
import { WaitTable } from "./wait-table.js";

/** What the core needs of one connection to a broker. A link that broke is never used again. */
export interface BusLink {
  /** Most bytes the broker takes as one message. */
  readonly frameBytesMax: number;
  /** Throws OpError DL_ERR_BUS_LOST when it cannot take the frame. */
  send(subject: string, reply: string | undefined, frame: Uint8Array): void;
  subscribe(sid: number, pattern: string): void;
  unsubscribe(sid: number): void;
}

/** One message of the broker for one subscription. */
export interface Delivery {
  readonly sid: number;
  readonly subject: string;
  readonly reply: string | undefined;
  readonly frame: Uint8Array;
}

export interface BusCoreOptions {
  readonly env: Pick<Env, "now" | "timers" | "random" | "crc32" | "logger">;
  /** Takes the link down for good. Called once, after everything pending was rejected. */
  readonly onClose: () => Promise<void>;
}

interface Subscriber {
  readonly pattern: string;
  readonly handler: (message: BusMessage) => void;
}

const INBOX_SID = 0;
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export class BusCore implements Bus {
  readonly #env: BusCoreOptions["env"];
  readonly #onClose: () => Promise<void>;
  readonly #inbox: string;
  readonly #ids: MessageIds;
  readonly #reassembler: Reassembler;
  readonly #requests: WaitTable<Uint8Array>;
  readonly #readiness: WaitTable<undefined>;
  readonly #subscribers = new Map<number, Subscriber>();
  readonly #listeners = new Set<(status: BusStatus) => void>();
  #link: BusLink | undefined;
  #connects = 0;
  #lost = 0;
  #nextSid = INBOX_SID + 1;
  #nextWait = 1;
  #expiry: TimerHandle | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: BusCoreOptions) {
    this.#env = options.env;
    this.#onClose = options.onClose;
    this.#inbox = `_INBOX.${options.env.random.hex(12)}`;
    this.#ids = new MessageIds(options.env.random.int(2 ** 32));
    this.#reassembler = new Reassembler({ crc32: options.env.crc32, onLost: (count) => this.countLost(count) });
    this.#requests = new WaitTable(options.env.timers);
    this.#readiness = new WaitTable(options.env.timers);
  }

  // ---- for the owner of the link

  /** A connection is made: subscriptions go out before anybody learns of it. */
  linkUp(link: BusLink): void {
    if (this.#closing !== undefined) return;
    this.#link = link;
    this.#connects += 1;
    link.subscribe(INBOX_SID, `${this.#inbox}.*`);
    for (const [sid, subscriber] of this.#subscribers) link.subscribe(sid, subscriber.pattern);
    this.#readiness.settleAll(undefined);
    this.#notify();
  }

  /**
   * The connection broke. Counts at least one lost message: what was published meanwhile is a gap of unknown size.
   * Requests in flight are told, as their answers may have been in it.
   */
  linkDown(reason: string): void {
    if (this.#link === undefined) return;
    this.#link = undefined;
    this.#lost += 1;
    this.#reassembler.clear();
    this.#lost += this.#requests.failAll(() => new OpError("DL_ERR_BUS_LOST", reason));
    this.#notify();
  }

  receive(delivery: Delivery): void {
    const { sid, subject, frame } = delivery;
    const subscriber = this.#subscribers.get(sid);
    if (sid === INBOX_SID ? !this.#requests.has(subject) : subscriber === undefined) return;
    const payload = this.#assemble(`${sid}/${subject}`, frame);
    if (payload === undefined) return;
    if (subscriber === undefined) {
      this.#requests.settle(subject, payload);
      return;
    }
    const reply = delivery.reply;
    const answerable = reply !== undefined && isSubject(reply);
    const message = answerable ? { subject, payload, respond: this.#responder(reply) } : { subject, payload };
    try {
      subscriber.handler(message);
    } catch (error) {
      this.#env.logger.error({ subject, error: errorText(error) }, "a bus handler threw");
    }
  }

  /** The broker says that nobody listens to the request that named this reply subject. */
  noResponders(replySubject: string): void {
    const error = new OpError("DL_ERR_UNREACHABLE", "nobody listens to this subject", { outcome: "rejected" });
    this.#requests.fail(replySubject, error);
  }

  countLost(count: number): void {
    this.#lost += count;
    this.#notify();
  }

  // ---- the port

  status(): BusStatus {
    return { connected: this.#link !== undefined, connects: this.#connects, lost: this.#lost };
  }

  onStatus(listener: (status: BusStatus) => void): () => void {
    const own = (status: BusStatus): void => listener(status);
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  publish(subject: string, payload: Uint8Array): void {
    checkSubject(subject);
    this.#send(subject, undefined, payload);
  }

  subscribe(pattern: string, handler: (message: BusMessage) => void): BusSubscription {
    checkPattern(pattern);
    this.#checkOpen();
    const sid = this.#nextSid;
    this.#nextSid += 1;
    this.#subscribers.set(sid, { pattern, handler });
    this.#link?.subscribe(sid, pattern);
    return {
      close: () => {
        if (this.#subscribers.delete(sid)) this.#link?.unsubscribe(sid);
      },
    };
  }

  async request(subject: string, payload: Uint8Array, options: RequestOptions): Promise<Uint8Array> {
    checkSubject(subject);
    checkWait(options);
    const replySubject = `${this.#inbox}.${this.#nextWait}`;
    this.#nextWait += 1;
    this.#checkOpen();
    const answer = this.#requests.start(replySubject, `a request to ${subject}`, options);
    try {
      this.#send(subject, replySubject, payload);
    } catch (error) {
      this.#requests.fail(replySubject, error instanceof Error ? error : new Error(errorText(error)));
    }
    return answer;
  }

  async ready(options: RequestOptions): Promise<void> {
    checkWait(options);
    this.#checkOpen();
    if (this.#link !== undefined) return;
    const key = String(this.#nextWait);
    this.#nextWait += 1;
    await this.#readiness.start(key, "no connection to the message bus", options);
  }

  close(): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    const closed = (): Error => new OpError("DL_ERR_CLOSED", "the bus is closed");
    const wasConnected = this.#link !== undefined;
    this.#link = undefined;
    // Assigned before anybody is called who might call again.
    const { promise, settle } = deferred();
    this.#closing = promise;
    this.#expiry?.cancel();
    this.#subscribers.clear();
    this.#requests.failAll(closed);
    this.#readiness.failAll(closed);
    if (wasConnected) this.#notify();
    this.#listeners.clear();
    settle(this.#onClose());
    return promise;
  }

  // ---- inside

  #checkOpen(): void {
    if (this.#closing !== undefined) {
      throw new OpError("DL_ERR_CLOSED", "the bus is closed", { outcome: "rejected" });
    }
  }

  #send(subject: string, reply: string | undefined, payload: Uint8Array): void {
    this.#checkOpen();
    const link = this.#link;
    if (link === undefined) {
      throw new OpError("DL_ERR_BUS_LOST", "not connected to the message bus", { outcome: "rejected" });
    }
    const frames = splitPayload(payload, {
      frameBytesMax: link.frameBytesMax,
      ids: this.#ids,
      crc32: this.#env.crc32,
    });
    for (const frame of frames) link.send(subject, reply, frame);
  }

  #responder(replySubject: string): (payload: Uint8Array) => void {
    let answered = false;
    return (payload) => {
      if (answered || this.#closing !== undefined) return;
      answered = true;
      try {
        this.#send(replySubject, undefined, payload);
      } catch (error) {
        const code = isOpError(error) ? error.code : "";
        this.#env.logger.debug({ code, error: errorText(error) }, "an answer could not be sent");
        this.countLost(1);
      }
    };
  }

  #assemble(stream: string, frame: Uint8Array): Uint8Array | undefined {
    try {
      const payload = this.#reassembler.accept(stream, frame, this.#env.now());
      this.#watchExpiry();
      return payload;
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#env.logger.warn({ stream, error: error.message }, "dropped a malformed bus message");
      this.countLost(1);
      return undefined;
    }
  }

  #watchExpiry(): void {
    if (this.#reassembler.pending === 0 || this.#expiry !== undefined) return;
    this.#expiry = this.#env.timers.after(FRAMING_LIMITS.expiryMs, () => {
      this.#expiry = undefined;
      this.#reassembler.expire(this.#env.now());
      this.#watchExpiry();
    });
  }

  #notify(): void {
    const status = this.status();
    for (const listener of [...this.#listeners]) {
      try {
        listener(status);
      } catch (error) {
        this.#env.logger.error({ error: errorText(error) }, "a bus status listener threw");
      }
    }
  }
}

function checkWait(options: RequestOptions): void {
  if (!(options.timeoutMs > 0 && options.timeoutMs <= LONGEST_TIMEOUT_MS)) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `timeoutMs ${options.timeoutMs}, expected 1 to ${LONGEST_TIMEOUT_MS}`);
  }
  if (options.signal?.aborted === true) {
    throw new OpError("DL_ERR_CANCELED", "canceled before it was sent", { outcome: "rejected" });
  }
}

function deferred(): { promise: Promise<void>; settle: (by: Promise<void>) => void } {
  let settle: (by: Promise<void>) => void = () => {};
  const promise = new Promise<void>((resolve) => {
    settle = resolve;
  });
  return { promise, settle };
}
