/** Leadership as streams: a subscriber sees the current state first, then changes; only the latest per shard waits. */
import type { ShardId } from "../../shared/types/ids.js";
import type { LeaderUpdate } from "../engine/index.js";

class Subscriber implements AsyncIterator<LeaderUpdate> {
  readonly #shardId: ShardId | undefined;
  readonly #leave: (self: Subscriber) => void;
  readonly #latest = new Map<ShardId, LeaderUpdate>();
  /** One per `next` that waits. */
  #waiting: (() => void)[] = [];
  #done = false;

  constructor(shardId: ShardId | undefined, current: Iterable<LeaderUpdate>, leave: (self: Subscriber) => void) {
    this.#shardId = shardId;
    this.#leave = leave;
    for (const update of current) this.push(update);
  }

  push(update: LeaderUpdate): void {
    if (this.#shardId !== undefined && update.shardId !== this.#shardId) return;
    this.#latest.set(update.shardId, update);
    this.#wake();
  }

  end(): void {
    this.#done = true;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async next(): Promise<IteratorResult<LeaderUpdate>> {
    for (;;) {
      for (const [shardId, update] of this.#latest) {
        this.#latest.delete(shardId);
        return { done: false, value: update };
      }
      if (this.#done) return { done: true, value: undefined };
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  return(): Promise<IteratorResult<LeaderUpdate>> {
    this.#leave(this);
    this.#latest.clear();
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }
}

export class LeaderHub {
  readonly #current = new Map<ShardId, LeaderUpdate>();
  readonly #subscribers = new Set<Subscriber>();
  #closed = false;

  publish(update: LeaderUpdate): void {
    this.#current.set(update.shardId, update);
    for (const subscriber of this.#subscribers) subscriber.push(update);
  }

  forget(shardId: ShardId): void {
    this.#current.delete(shardId);
  }

  /** All shards of this host, or one. Ends when the host closes; leave by `break`. */
  subscribe(shardId: ShardId | undefined): AsyncIterable<LeaderUpdate> {
    return {
      [Symbol.asyncIterator]: () => {
        const subscriber = new Subscriber(shardId, this.#current.values(), (self) => this.#subscribers.delete(self));
        if (this.#closed) subscriber.end();
        else this.#subscribers.add(subscriber);
        return subscriber;
      },
    };
  }

  close(): void {
    this.#closed = true;
    for (const subscriber of this.#subscribers) subscriber.end();
    this.#subscribers.clear();
  }
}
