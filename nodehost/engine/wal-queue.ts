/**
 * Group commit: one append in flight; what every replica wants durable meanwhile is merged into the next one. Grows
 * with load by itself. Durability is reported to replicas in the order they asked.
 *
 * Invariants: updates of one replica reach the log in the order of `add`; a full disk loses nothing and keeps
 * `diskFull` up until an append worked; after a failed append nothing is written any more.
 */
import { isOpError, OpError } from "../../shared/errors.js";
import type { LogDb, LogUpdate, ReplicaKey } from "../logdb/port.js";

/** What else the owner of an update wants to hear. */
export interface AppendOptions {
  /** The append failed for good, or `refuseWhenFull` applies. Called instead of `durable`. */
  readonly failed?: (error: unknown) => void;
  /** When the disk is full the update is given up (nothing of it was written) instead of being kept for later. */
  readonly refuseWhenFull?: boolean;
}

interface Asked {
  readonly durable: () => void;
  readonly options: AppendOptions;
}

interface Waiting {
  readonly updates: LogUpdate[];
  readonly asked: Asked[];
}

/**
 * Merges `next` into `earlier`, both of one replica, so that one record has the effect of both in order. Undefined if
 * no single record has: then both are written, one after the other.
 */
export function mergeUpdates(earlier: LogUpdate, next: LogUpdate): LogUpdate | undefined {
  if (next.remove === true) return next;
  if (earlier.remove === true) return undefined;
  const { snapshot } = next;
  // A record resets before it appends: entries of `earlier` that the later snapshot only covers would be cut off.
  if (snapshot?.reset === false && earlier.snapshot?.reset === true) return undefined;
  const from = next.blocks?.[0]?.first ?? Number.POSITIVE_INFINITY;
  // Never asked for by Raft (a snapshot is of committed entries), and so not worth a rule of its own.
  if (earlier.snapshot !== undefined && from <= earlier.snapshot.meta.index) return undefined;
  const merged: { -readonly [K in keyof LogUpdate]: LogUpdate[K] } = { ...earlier };
  if (next.bootstrap !== undefined) merged.bootstrap = next.bootstrap;
  if (next.hardState !== undefined) merged.hardState = next.hardState;
  if (snapshot !== undefined) {
    merged.snapshot = snapshot;
    if (snapshot.reset) {
      merged.blocks = [];
      delete merged.compactTo;
    }
  }
  if (next.compactTo !== undefined) merged.compactTo = Math.max(next.compactTo, merged.compactTo ?? 0);
  if (next.blocks !== undefined && next.blocks.length > 0) {
    const kept = (merged.blocks ?? [])
      .filter((b) => b.first < from)
      .map((b) => (b.last < from ? b : b.clip(b.first, from - 1)));
    merged.blocks = [...kept, ...next.blocks];
  }
  return merged;
}

export class WalQueue {
  readonly #logDb: Pick<LogDb, "append">;
  readonly #onError: (error: unknown) => void;
  #waiting = new Map<string, Waiting>();
  #inFlight = false;
  #idle: (() => void)[] = [];
  #failure: { readonly error: unknown } | undefined;
  #diskFull = false;
  /** Set by LogPressure: the log has too many segments. */
  crowded = false;

  /** `onError` is called once, for an append that failed for another reason than a full disk. */
  constructor(logDb: Pick<LogDb, "append">, onError: (error: unknown) => void) {
    this.#logDb = logDb;
    this.#onError = onError;
  }

  /** The disk is full: appends are tried again by `retry`, new proposals should be refused. */
  get diskFull(): boolean {
    return this.#diskFull;
  }

  /** Why no proposal should be taken now: what is appended anyway (entries of leaders elsewhere) goes on. */
  refusal(): OpError | undefined {
    if (this.#diskFull) return new OpError("DL_ERR_DISK_FULL");
    return this.crowded ? new OpError("DL_ERR_SYSTEM_BUSY", "the log waits for room") : undefined;
  }

  /** Queues; `durable` is called when it is so. Nothing is written before `start`. */
  add(update: LogUpdate, durable: () => void, options: AppendOptions = {}): void {
    if (this.#failure !== undefined) {
      options.failed?.(this.#failure.error);
      return;
    }
    const asked = [{ durable, options }];
    this.#join(keyText(update), { updates: [update], asked });
  }

  /** Begins the next append if none is in flight and something waits. */
  start(): void {
    if (this.#diskFull) return;
    this.#append();
  }

  /** Called on the host's tick: tries again after a full disk. */
  retry(): void {
    if (this.#diskFull) this.#append();
  }

  /** Resolves when no append is in flight and nothing waits (or the log failed, or the disk is full). */
  whenIdle(): Promise<void> {
    this.start();
    if (!this.#inFlight) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Forgets what waits of a stopped replica: nothing of it was promised, and its next start must not meet it. */
  discard(key: ReplicaKey): void {
    this.#waiting.delete(keyText(key));
  }

  #append(): void {
    if (this.#inFlight || this.#failure !== undefined) return;
    if (this.#waiting.size === 0) {
      this.#diskFull = false;
      return;
    }
    const batch = this.#waiting;
    this.#waiting = new Map();
    this.#inFlight = true;
    this.#logDb.append([...batch.values()].flatMap((w) => w.updates)).then(
      () => this.#settled(batch),
      (error: unknown) => {
        this.#inFlight = false;
        if (isOpError(error) && error.code === "DL_ERR_DISK_FULL") this.#putBack(batch);
        else this.#fail(batch, error);
        this.#release();
      },
    );
  }

  /** Nothing of the batch was written: it goes first again, with what came since after it. */
  #putBack(batch: ReadonlyMap<string, Waiting>): void {
    this.#diskFull = true;
    const since = this.#waiting;
    this.#waiting = new Map();
    for (const [key, waiting] of batch) if (!refused(waiting)) this.#join(key, waiting);
    for (const [key, waiting] of since) if (!refused(waiting)) this.#join(key, waiting);
  }

  #join(key: string, later: Waiting): void {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) {
      this.#waiting.set(key, later);
      return;
    }
    for (const update of later.updates) {
      const last = waiting.updates.pop();
      const merged = last === undefined ? update : mergeUpdates(last, update);
      if (merged !== undefined) waiting.updates.push(merged);
      else if (last !== undefined) waiting.updates.push(last, update);
    }
    waiting.asked.push(...later.asked);
  }

  #settled(batch: ReadonlyMap<string, Waiting>): void {
    this.#inFlight = false;
    this.#diskFull = false;
    for (const { asked } of batch.values()) for (const { durable } of asked) durable();
    this.start();
    this.#release();
  }

  #fail(batch: ReadonlyMap<string, Waiting>, error: unknown): void {
    this.#failure = { error };
    const lost = [...batch.values(), ...this.#waiting.values()];
    this.#waiting = new Map();
    this.#onError(error);
    for (const { asked } of lost) for (const { options } of asked) options.failed?.(error);
  }

  #release(): void {
    if (this.#inFlight) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }
}

/** True if the update is given up because the disk is full; its owners know then. */
function refused({ asked }: Waiting): boolean {
  if (!asked.some((a) => a.options.refuseWhenFull === true)) return false;
  for (const { options } of asked) options.failed?.(new OpError("DL_ERR_DISK_FULL"));
  return true;
}

function keyText(key: ReplicaKey): string {
  return `${key.shardId}/${key.replicaId}`;
}
