/**
 * The demo's clients: per shard one closed loop of writes with unique values, and the ledger of what became of each.
 *
 * A value is appended to one of a few keys, so that every write stays visible and a double one is seen. An unknown
 * outcome is counted and never retried: a new value follows. A certain refusal is tried elsewhere at once, with the
 * same value. While a write waits without an answer, another one is started each HEDGE_MS, so that the largest gap
 * between two acknowledgements measures the shard and not a client's time-out.
 */
import { isOpError } from "../../shared/errors.js";

/** Keys per shard. */
export const KEYS = 64;

export interface WriterPort {
  /** Where the shard may be written, best first; empty while nobody is known. */
  route(shardId: number): readonly string[];
  /** Resolves when acknowledged; rejects with OpError. */
  append(address: string, shardId: number, write: Write): Promise<void>;
  now(): number;
  pause(ms: number): Promise<void>;
}

export interface Write {
  readonly key: string;
  /** Unique in its shard, from 1. */
  readonly value: number;
}

export type Fate = { readonly kind: "acked"; readonly by: string } | { readonly kind: "unknown" | "refused" };

const HEDGE_MS = 200;
const IN_FLIGHT_MAX = 8;
const REFUSED_PAUSE_MS = 10;

export function keyOf(value: number): string {
  return `k${value % KEYS}`;
}

/** Fates of one shard's writes, by value. */
export class ShardLedger {
  readonly shardId: number;
  readonly fates: (Fate | undefined)[] = [undefined];
  acked = 0;
  unknown = 0;
  refusals = 0;
  /** Largest time without an acknowledgement, and when it ended. */
  maxGapMs = 0;
  maxGapEndedMs = 0;
  #lastAckMs: number;
  #ended = false;

  constructor(shardId: number, nowMs: number) {
    this.shardId = shardId;
    this.#lastAckMs = nowMs;
  }

  settle(value: number, fate: Fate, nowMs: number): void {
    this.fates[value] = fate;
    if (fate.kind === "unknown") this.unknown += 1;
    if (fate.kind !== "acked") return;
    this.acked += 1;
    this.#measure(nowMs);
    this.#lastAckMs = nowMs;
  }

  /** No new writes from now on: silence up to here counts, silence after it does not. */
  end(nowMs: number): void {
    this.#measure(nowMs);
    this.#ended = true;
  }

  #measure(nowMs: number): void {
    const gapMs = nowMs - this.#lastAckMs;
    if (this.#ended || gapMs <= this.maxGapMs) return;
    this.maxGapMs = gapMs;
    this.maxGapEndedMs = nowMs;
  }
}

/** Writes to one shard until stopped. */
export class ShardWriter {
  readonly ledger: ShardLedger;
  readonly #port: WriterPort;
  readonly #waiting = new Set<Promise<void>>();
  #next = 1;
  #lastStartMs = 0;
  #stopped = false;

  constructor(shardId: number, port: WriterPort) {
    this.#port = port;
    this.ledger = new ShardLedger(shardId, port.now());
  }

  /** Starts the first write, and later one more whenever the newest has waited too long. Call it often. */
  nudge(): void {
    if (this.#stopped || this.#waiting.size >= IN_FLIGHT_MAX) return;
    if (this.#waiting.size > 0 && this.#port.now() - this.#lastStartMs < HEDGE_MS) return;
    this.#start();
  }

  /** No new writes; resolves when every started one has its fate. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.ledger.end(this.#port.now());
    await Promise.all(this.#waiting);
  }

  #start(): void {
    const value = this.#next++;
    this.#lastStartMs = this.#port.now();
    const write = this.#write(value).then((fate) => {
      this.#waiting.delete(write);
      this.ledger.settle(value, fate, this.#port.now());
      const isNewest = value === this.#next - 1;
      if (!this.#stopped && (isNewest || this.#waiting.size === 0)) this.#start();
    });
    this.#waiting.add(write);
  }

  async #write(value: number): Promise<Fate> {
    const { shardId } = this.ledger;
    const write = { key: keyOf(value), value };
    for (let attempt = 0; ; attempt++) {
      const route = this.#port.route(shardId);
      const address = route[attempt % Math.max(1, route.length)];
      if (address !== undefined) {
        try {
          await this.#port.append(address, shardId, write);
          return { kind: "acked", by: address };
        } catch (error) {
          // Anything but a certain refusal may have been applied.
          if (!isOpError(error) || error.outcome !== "rejected") return { kind: "unknown" };
          this.ledger.refusals += 1;
        }
      }
      if (this.#stopped) return { kind: "refused" };
      // A whole round was refused: no leader yet.
      const isRoundDone = route.length === 0 || attempt % route.length === route.length - 1;
      if (isRoundDone) await this.#port.pause(REFUSED_PAUSE_MS);
    }
  }
}
