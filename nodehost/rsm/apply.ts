/**
 * Applies committed entries to the machine within a time budget: memory machines entry by entry, others in batches.
 * Owns `applied`, `membership`, the client sessions, what an on-disk machine holds (`disk`) and the failure. Used by
 * Rsm, which decides when it may run. What an on-disk machine holds already is walked through for membership and
 * sessions only.
 *
 * Invariants: a result goes to the sink only for keys of this replica and this incarnation, in log order, after
 * `applied` covers it; a machine that throws, answers nonsense, or a block whose checksum is wrong ends in a
 * MachineFailure and nothing is applied afterwards. Answers are checked on every replica, not only where a caller
 * waits: so a broken machine fails alike everywhere.
 */
import { type Entry, type EntryBlock, EntryType } from "../../shared/codec/block.js";
import type { Index, Term, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { ApplyQueue } from "./apply-queue.js";
import { DiskProgress } from "./disk-progress.js";
import { hashText } from "./hash.js";
import { applyConfigEntry } from "./members.js";
import { SessionTable } from "./sessions.js";
import type { Result, SmEntry, StateMachine } from "./state-machine.js";
import { MachineFailure, type RsmOptions } from "./types.js";

const BATCH_ENTRIES_MAX = 256;
const BATCH_BYTES_MAX = 1024 * 1024;
/** Weight of the newest batch in the running estimate of what an entry costs. */
const COST_WEIGHT = 0.3;
/** Machines that take entries in batches. */
interface BatchMachine {
  update(entries: readonly SmEntry[]): readonly Result[] | Promise<readonly Result[]>;
}

export class Applier {
  /** As of `applied`, unless an update is in flight. */
  readonly sessions: SessionTable;
  /** Of an on-disk machine. */
  readonly disk: DiskProgress | undefined;
  readonly #options: RsmOptions;
  readonly #queue: ApplyQueue;
  #applied: Index = 0;
  #appliedTerm: Term = 0;
  #membership: Membership;
  #failure: MachineFailure | undefined;
  #updating: Promise<void> | undefined;
  #stopped = false;
  /** Estimate, to cut batches that would exceed the budget. */
  #entryCostMs = 0;

  constructor(options: RsmOptions) {
    this.#options = options;
    this.#queue = new ApplyQueue(options.crc32);
    this.#membership = options.membership;
    this.disk = options.machine.kind === "onDisk" ? new DiskProgress() : undefined;
    this.sessions = new SessionTable({ ...options.sessionLimits, resultsMayBeLost: this.disk !== undefined });
  }

  get applied(): Index {
    return this.#applied;
  }

  get appliedTerm(): Term {
    return this.#appliedTerm;
  }

  get membership(): Membership {
    return this.#membership;
  }

  get backlog(): number {
    return this.#queue.last - this.#applied;
  }

  get failure(): MachineFailure | undefined {
    return this.#failure;
  }

  /** The update in flight of a machine that answers with promises. Rejects with MachineFailure. */
  get updating(): Promise<void> | undefined {
    return this.#updating;
  }

  enqueue(block: EntryBlock): void {
    this.#queue.push(block);
  }

  /** Nothing is applied and nothing reaches the sink from now on. */
  stop(): void {
    this.#stopped = true;
    this.#queue.clear();
  }

  restoredTo(meta: SnapshotMeta): void {
    this.#queue.dropTo(meta.index);
    this.#applied = meta.index;
    this.#appliedTerm = meta.term;
    this.#membership = meta.membership;
  }

  /** Records the failure (the first one stays) and returns it. */
  fail(index: Index, message: string): MachineFailure {
    this.#failure ??= new MachineFailure(index, message, hashText(message));
    this.#queue.clear();
    return this.#failure;
  }

  run(budgetMs: number): "idle" | "more" | Promise<void> {
    const { now } = this.#options;
    const deadline = now() + budgetMs;
    while (!this.#stopped) {
      const entry = this.#queue.peek();
      if (entry === undefined) {
        const { damage } = this.#queue;
        if (damage !== undefined) throw this.fail(damage.index, damage.message);
        return "idle";
      }
      const pending = entry.type === EntryType.Application ? this.#application(entry, deadline) : this.#internal();
      if (pending !== undefined) {
        this.#updating = pending;
        return pending;
      }
      if (now() >= deadline) return this.backlog > 0 ? "more" : "idle";
    }
    return "idle";
  }

  /** An entry of a session is applied by itself: what it does to the table must be done before the next one. */
  #application(entry: Entry, deadline: TimeMs): Promise<void> | undefined {
    if (entry.session === undefined) return this.#updateUnlessHeld(entry, deadline);
    const verdict = this.sessions.begin(entry.session, entry.index);
    if (verdict.kind === "apply") return this.#updateUnlessHeld(entry, deadline);
    if (entry.index === this.disk?.held) throw this.#notOfThisLog(entry.index);
    this.#queue.take();
    this.#advance(entry);
    if (this.#isOwn(entry)) {
      const { sink } = this.#options;
      if (verdict.kind === "answered") sink.onResult(entry.key.sequence, entry.index, verdict.result);
      else sink.onRejected(entry.key.sequence, entry.index, verdict.code);
    }
    return undefined;
  }

  #updateUnlessHeld(entry: Entry, deadline: TimeMs): Promise<void> | undefined {
    if (this.disk?.holds(entry.index) !== true) return this.#update(deadline);
    this.#queue.take();
    this.#advance(entry);
    if (entry.session !== undefined) this.sessions.record(entry.session, undefined);
    return undefined;
  }

  /** The machine says that this was the last entry it was given, but it was given to no machine. */
  #notOfThisLog(index: Index): MachineFailure {
    return this.fail(index, `the machine was opened at ${index}, which is no entry for it: it is not of this log`);
  }

  #update(deadline: TimeMs): Promise<void> | undefined {
    const { machine } = this.#options;
    return machine.kind === "memory"
      ? this.#updateOne(machine.machine)
      : this.#updateBatch(machine.machine, this.#takeBatch(deadline));
  }

  #updateOne(machine: StateMachine): Promise<void> | undefined {
    const entry = this.#queue.take();
    const answer = this.#guard(entry.index, () => machine.update(entry));
    if (isThenable(answer)) return this.#later(entry.index, answer, (result) => this.#finish([entry], [result]));
    this.#finish([entry], [answer]);
    return undefined;
  }

  #updateBatch(machine: BatchMachine, entries: readonly Entry[]): Promise<void> | undefined {
    const { now } = this.#options;
    const first = entries[0]?.index ?? this.#applied;
    const started = now();
    const answer = this.#guard(first, () => machine.update(entries));
    if (isThenable(answer)) return this.#later(first, answer, (results) => this.#finish(entries, results));
    const cost = (now() - started) / entries.length;
    this.#entryCostMs += (cost - this.#entryCostMs) * COST_WEIGHT;
    this.#finish(entries, answer);
    return undefined;
  }

  /** Consecutive entries for the machine, as many as are likely to fit into the budget, at least one. */
  #takeBatch(deadline: TimeMs): readonly Entry[] {
    const affordable = (deadline - this.#options.now()) / Math.max(this.#entryCostMs, 1e-6);
    const countMax = Math.min(Math.max(Math.floor(affordable), 1), BATCH_ENTRIES_MAX);
    const entries: Entry[] = [];
    let bytes = 0;
    while (entries.length < countMax && bytes < BATCH_BYTES_MAX) {
      const entry = this.#queue.peek();
      if (entry === undefined || entry.type !== EntryType.Application) break;
      if (entries.length > 0 && (entry.session !== undefined || bytes + entry.cmd.length > BATCH_BYTES_MAX)) break;
      bytes += entry.cmd.length;
      entries.push(this.#queue.take());
      if (entry.session !== undefined) break;
    }
    return entries;
  }

  #guard<T>(index: Index, call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw this.fail(index, failureText(error));
    }
  }

  #later<T>(index: Index, answer: PromiseLike<T>, finish: (value: T) => void): Promise<void> {
    return Promise.resolve(answer).then(
      (value) => {
        this.#updating = undefined;
        finish(value);
      },
      (error: unknown) => {
        this.#updating = undefined;
        throw this.fail(index, failureText(error));
      },
    );
  }

  #finish(entries: readonly Entry[], results: unknown): void {
    const first = entries[0]?.index ?? this.#applied;
    if (!isResults(results, entries.length)) {
      throw this.fail(first, `the machine must answer ${entries.length} results { value: integer, data?: bytes }`);
    }
    if (this.#stopped) return;
    const last = entries[entries.length - 1];
    if (last !== undefined) {
      this.#advance(last);
      this.disk?.gave(last.index);
    }
    const { sink } = this.#options;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i];
      const result = results[i];
      if (entry === undefined || result === undefined) continue;
      if (entry.session !== undefined) this.sessions.record(entry.session, result);
      if (this.#isOwn(entry)) sink.onResult(entry.key.sequence, entry.index, result);
    }
  }

  #isOwn({ key }: Entry): boolean {
    return key.replicaId === this.#options.replicaId && key.incarnation === this.#options.incarnation;
  }

  /** No-ops, metadata and config changes: nothing for the machine. */
  #internal(): undefined {
    const entry = this.#queue.take();
    if (entry.index === this.disk?.held) throw this.#notOfThisLog(entry.index);
    this.#advance(entry);
    if (entry.type !== EntryType.ConfigChange) {
      const { replicaId, incarnation, sink } = this.#options;
      const { key } = entry;
      // A barrier of this host: everything before it is applied.
      const own = key.replicaId === replicaId && key.incarnation === incarnation;
      if (own) sink.onResult(key.sequence, entry.index, { value: entry.index });
      return;
    }
    const { change, membership, refusal } = applyConfigEntry(this.#membership, entry);
    this.#membership = membership;
    this.#options.sink.onConfigChange(entry.index, change, this.#membership, entry.key, refusal);
  }

  #advance(entry: Entry): void {
    this.#applied = entry.index;
    this.#appliedTerm = entry.term;
  }
}

/** Without the stack: it names files of this host, and the text must be equal on all replicas. */
function failureText(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function isResults(value: unknown, count: number): value is readonly Result[] {
  return Array.isArray(value) && value.length === count && value.every(isResult);
}

function isResult(value: unknown): value is Result {
  if (typeof value !== "object" || value === null || !("value" in value) || !Number.isSafeInteger(value.value)) {
    return false;
  }
  return !("data" in value) || value.data === undefined || value.data instanceof Uint8Array;
}
