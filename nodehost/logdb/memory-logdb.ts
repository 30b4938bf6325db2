/**
 * LogDb in memory: for tests, the simulator's fastest mode and applications' own tests. What is durable lives in a
 * MemoryLogStore, which outlives the LogDb: open another one on the same store and it finds what was acknowledged.
 * `store.crash()` models power loss: appends in flight vanish and never settle, the old LogDb is dead.
 *
 * Invariants: an append is applied to the store at the moment its promise resolves, all or nothing, in call order.
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Env } from "../../shared/env/env.js";
import { FatalStorageError, OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";
import type {
  BootstrapRecord,
  LogDb,
  LogDbMetrics,
  LogUpdate,
  RecoveredReplica,
  Recovery,
  ReplicaKey,
} from "./port.js";
import { type LogRange, ReplicaLog } from "./replica-log.js";
import { checkUpdate, nameOf, type Plan } from "./update-check.js";

interface MemoryRange extends LogRange {
  readonly block: EntryBlock;
}

interface MemoryReplica extends ReplicaKey {
  bootstrap: BootstrapRecord;
  hardState: HardState;
  snapshot: SnapshotMeta | undefined;
  readonly log: ReplicaLog<MemoryRange>;
}

/** What survives a crash. One LogDb is open on it at a time: the newest. */
export class MemoryLogStore {
  readonly replicas = new Map<string, MemoryReplica>();
  readonly removed = new Map<string, ReplicaKey>();
  sequence = 0;
  /** Raised by every open and crash: an older LogDb no longer reaches the store. */
  epoch = 0;

  /** Power loss: what is in flight never settles, and the LogDb open on this store is dead. */
  crash(): void {
    this.epoch += 1;
  }
}

export interface MemoryLogDbOptions {
  /** Default: a new, empty one. */
  readonly store?: MemoryLogStore;
  /** Time an append takes; needs `env`. Default: one microtask. */
  readonly latencyMs?: () => number;
  readonly env?: Env;
  /** Called once when a fault was "broken", or "stuck" for longer than the deadline. */
  readonly onFatal?: (error: FatalStorageError) => void;
  /** Asked before each append: "full" refuses it (DL_ERR_DISK_FULL), "broken" is fail-stop, "stuck" never settles. */
  readonly fault?: () => "full" | "broken" | "stuck" | undefined;
}

export function createMemoryLogDb(options: MemoryLogDbOptions = {}): LogDb {
  return new MemoryLogDb(options);
}

interface Waiting {
  readonly updates: readonly LogUpdate[];
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: Error) => void;
  readonly sinceMs: number;
}

class MemoryLogDb implements LogDb {
  readonly #options: MemoryLogDbOptions;
  readonly #store: MemoryLogStore;
  readonly #epoch: number;
  readonly #recovery: Recovery;
  readonly #waiting: Waiting[] = [];
  readonly #idle: (() => void)[] = [];
  #busy = false;
  #stuck = false;
  #closed = false;
  #fatal: FatalStorageError | undefined;
  #appends = 0;
  #bytesWritten = 0;

  constructor(options: MemoryLogDbOptions) {
    this.#options = options;
    this.#store = options.store ?? new MemoryLogStore();
    this.#store.epoch += 1;
    this.#epoch = this.#store.epoch;
    this.#recovery = {
      replicas: [...this.#store.replicas.values()].map(recovered),
      removed: [...this.#store.removed.values()],
      walSequence: this.#store.sequence,
    };
  }

  recovery(): Recovery {
    return this.#recovery;
  }

  state(key: ReplicaKey): RecoveredReplica | undefined {
    const replica = this.#store.replicas.get(idOf(key));
    return replica === undefined ? undefined : recovered(replica);
  }

  list(): { readonly present: readonly ReplicaKey[]; readonly removed: readonly ReplicaKey[] } {
    const present = [...this.#store.replicas.values()].map(({ shardId, replicaId }) => ({ shardId, replicaId }));
    return { present, removed: [...this.#store.removed.values()] };
  }

  append(updates: readonly LogUpdate[]): Promise<number> {
    if (this.#fatal !== undefined) return Promise.reject(this.#fatal);
    if (this.#closed) return Promise.reject(new OpError("DL_ERR_CLOSED", "the log is closed", { outcome: "rejected" }));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ updates, resolve, reject, sinceMs: this.#options.env?.now() ?? 0 });
      if (!this.#busy) this.#next();
    });
  }

  durableSequence(): number {
    return this.#store.sequence;
  }

  async read(key: ReplicaKey, first: Index, last: Index, maxBytes: number): Promise<readonly EntryBlock[]> {
    if (this.#fatal !== undefined) throw this.#fatal;
    const log = this.#store.replicas.get(idOf(key))?.log;
    if (log === undefined || first < log.first || last > log.last || first > last) {
      throw new OpError("DL_ERR_INVALID_ARGUMENT", `${nameOf(key)} does not hold [${first}, ${last}]`);
    }
    const blocks: EntryBlock[] = [];
    let bytes = 0;
    for (const range of log.slice(first, last)) {
      if (blocks.length > 0 && bytes + range.block.bytes.length > maxBytes) break;
      bytes += range.block.bytes.length;
      blocks.push(range.block.clip(Math.max(first, range.first), Math.min(last, range.last)));
    }
    return blocks;
  }

  term(key: ReplicaKey, index: Index): Term | undefined {
    return this.#store.replicas.get(idOf(key))?.log.term(index);
  }

  appendAgeMs(): number {
    const head = this.#waiting[0];
    return head === undefined || this.#options.env === undefined ? 0 : this.#options.env.now() - head.sinceMs;
  }

  /** Memory holds no disk. */
  pinning(): readonly ReplicaKey[] {
    return [];
  }

  metrics(): LogDbMetrics {
    return { appends: this.#appends, bytesWritten: this.#bytesWritten, segments: 1, diskBytes: this.#bytesWritten };
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#waiting.length === 0 || this.#dead() || this.#stuck) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #dead(): boolean {
    return this.#store.epoch !== this.#epoch || this.#fatal !== undefined;
  }

  /** Starts the append at the head of the queue; it stays there until it settles. */
  #next(): void {
    const head = this.#waiting[0];
    if (head === undefined) {
      this.#busy = false;
      for (const resolve of this.#idle.splice(0)) resolve();
      return;
    }
    this.#busy = true;
    const fault = this.#options.fault?.();
    if (fault === "stuck") {
      this.#stuck = true;
      this.#options.env?.timers.after(LIMITS.walWriteDeadlineMs, () => this.#fail("a write did not settle in time"));
      return;
    }
    const { env, latencyMs } = this.#options;
    const settle = () => this.#settle(head, fault);
    if (env !== undefined && latencyMs !== undefined) env.timers.after(latencyMs(), settle);
    else queueMicrotask(settle);
  }

  #settle(head: Waiting, fault: "full" | "broken" | undefined): void {
    if (this.#dead()) return;
    if (fault === "broken") {
      this.#fail("a write failed");
      return;
    }
    this.#waiting.shift();
    try {
      if (fault === "full") throw new OpError("DL_ERR_DISK_FULL");
      head.resolve(this.#apply(head.updates));
    } catch (error) {
      head.reject(error instanceof Error ? error : new Error(String(error)));
    }
    this.#next();
  }

  #fail(what: string): void {
    if (this.#dead()) return;
    const error = new FatalStorageError(what);
    this.#fatal = error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    for (const resolve of this.#idle.splice(0)) resolve();
    this.#options.onFatal?.(error);
  }

  #apply(updates: readonly LogUpdate[]): number {
    const plans = new Map<string, Plan>();
    const terms: Term[] = [];
    for (const update of updates) {
      const replica = this.#store.replicas.get(idOf(update));
      const plan = plans.get(idOf(update)) ?? this.#plan(update, replica);
      plans.set(idOf(update), plan);
      terms.push(checkUpdate(plan, update, (index) => replica?.log.term(index)).compactTerm);
    }
    if (updates.length === 0) return this.#store.sequence;
    updates.forEach((update, i) => {
      this.#applyOne(update, terms[i] ?? 0);
    });
    this.#appends += 1;
    this.#store.sequence += 1;
    return this.#store.sequence;
  }

  #plan(key: ReplicaKey, replica: MemoryReplica | undefined): Plan {
    const removed = this.#store.removed.has(idOf(key));
    const log = replica?.log;
    return { exists: log !== undefined, removed, damage: undefined, first: log?.first ?? 1, last: log?.last ?? 0 };
  }

  #applyOne(update: LogUpdate, compactTerm: Term): void {
    const id = idOf(update);
    if (update.remove === true) {
      this.#store.replicas.delete(id);
      this.#store.removed.set(id, { shardId: update.shardId, replicaId: update.replicaId });
      return;
    }
    let replica = this.#store.replicas.get(id);
    if (replica === undefined) {
      if (update.bootstrap === undefined) return;
      replica = newReplica(update, update.bootstrap);
      this.#store.replicas.set(id, replica);
    }
    if (update.bootstrap !== undefined) replica.bootstrap = update.bootstrap;
    if (update.snapshot !== undefined) {
      const { meta, reset } = update.snapshot;
      replica.snapshot = meta;
      if (reset) replica.log.reset(meta.index, meta.term);
    }
    for (const block of update.blocks ?? []) {
      this.#bytesWritten += block.bytes.length;
      replica.log.append({ first: block.first, last: block.last, term: block.term, block });
    }
    if (update.hardState !== undefined) replica.hardState = update.hardState;
    if (update.compactTo !== undefined) replica.log.compact(update.compactTo, compactTerm);
  }
}

function newReplica(key: ReplicaKey, bootstrap: BootstrapRecord): MemoryReplica {
  return {
    shardId: key.shardId,
    replicaId: key.replicaId,
    bootstrap,
    hardState: { term: 0, vote: 0, commit: 0 },
    snapshot: undefined,
    log: new ReplicaLog(() => {}),
  };
}

function recovered(replica: MemoryReplica): RecoveredReplica {
  const { shardId, replicaId, bootstrap, hardState, snapshot, log } = replica;
  const { first, last, precedingTerm } = log;
  const damage = hardState.commit > last ? `commit ${hardState.commit} is above the last index ${last}` : undefined;
  return { shardId, replicaId, bootstrap, hardState, snapshot, first, last, precedingTerm, damage };
}

function idOf(key: ReplicaKey): string {
  return `${key.shardId}/${key.replicaId}`;
}
