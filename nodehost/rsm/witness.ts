/**
 * What a witness has in the place of a state machine: the membership, and how far it is. It goes through the log for
 * config changes, and knows of all else only that it is there. Its snapshots are records without a file. Stands where
 * Rsm stands for other replicas; made and driven by the engine.
 *
 * Invariants: as Rsm, entries are applied once each, in index order; an application entry is never applied, it ends
 * this replica (R20: the core takes none, so that would be a bug).
 */
import { assert } from "../../shared/assert.js";
import { type EntryBlock, EntryType } from "../../shared/codec/block.js";
import { OpError } from "../../shared/errors.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import { isWitnessSnapshot, type SnapshotMeta } from "../../shared/types/message.js";
import { ApplyQueue } from "./apply-queue.js";
import { hashText } from "./hash.js";
import { applyConfigEntry, membershipHash } from "./members.js";
import {
  type FoundState,
  MachineFailure,
  type ReplicaStateMachine,
  type RsmOptions,
  type SnapshotStream,
} from "./types.js";

export type WitnessOptions = Omit<RsmOptions, "machine" | "store" | "sessionLimits">;

export class WitnessRsm implements ReplicaStateMachine {
  readonly onDisk = false;
  readonly #options: WitnessOptions;
  readonly #queue: ApplyQueue;
  #applied: Index = 0;
  #appliedTerm: Term = 0;
  #membership: Membership;
  #snapshotIndex: Index = 0;
  #failure: MachineFailure | undefined;
  #closed = false;

  constructor(options: WitnessOptions) {
    this.#options = options;
    this.#queue = new ApplyQueue(options.crc32);
    this.#membership = options.membership;
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

  enqueue(blocks: readonly EntryBlock[]): void {
    if (this.#failure !== undefined) throw this.#failure;
    for (const block of blocks) this.#queue.push(block);
  }

  run(budgetMs: number): "idle" | "more" {
    if (this.#failure !== undefined) throw this.#failure;
    const deadlineMs = this.#options.now() + budgetMs;
    while (!this.#closed) {
      const entry = this.#queue.peek();
      if (entry === undefined) {
        const { damage } = this.#queue;
        if (damage !== undefined) throw this.#fail(damage.index, damage.message);
        return "idle";
      }
      const { type, index, term, key } = this.#queue.take();
      if (type === EntryType.Application) throw this.#fail(index, "an application entry in the log of a witness");
      this.#applied = index;
      this.#appliedTerm = term;
      if (type === EntryType.ConfigChange) {
        const { change, membership, refusal } = applyConfigEntry(this.#membership, entry);
        this.#membership = membership;
        this.#options.sink.onConfigChange(index, change, membership, key, refusal);
      }
      if (this.#options.now() >= deadlineMs) return this.backlog > 0 ? "more" : "idle";
    }
    return "idle";
  }

  lookup(): never {
    throw witnessError(this.#options.shardId, this.#options.replicaId);
  }

  async start(found: FoundState): Promise<void> {
    const { snapshot } = found;
    if (snapshot !== undefined) await this.restore(snapshot);
  }

  async saveSnapshot(): Promise<SnapshotMeta> {
    if (this.#failure !== undefined) throw this.#failure;
    const { shardId, replicaId } = this.#options;
    if (this.#applied <= this.#snapshotIndex) {
      throw new OpError("DL_ERR_NO_SNAPSHOT", `applied index is ${this.#applied}`);
    }
    this.#snapshotIndex = this.#applied;
    const at = { shardId, replicaId, index: this.#applied, term: this.#appliedTerm, membership: this.#membership };
    return { ...at, sizeBytes: 0, directory: "" };
  }

  async sync(): Promise<void> {}

  streamSnapshot(): Promise<SnapshotStream> {
    return Promise.reject(witnessError(this.#options.shardId, this.#options.replicaId));
  }

  async restore(meta: SnapshotMeta): Promise<void> {
    assert(meta.index >= this.#applied, `restore of ${meta.index} below applied ${this.#applied}`);
    if (!isWitnessSnapshot(meta)) throw this.#fail(meta.index, "a snapshot with state in the log of a witness");
    this.#queue.dropTo(meta.index);
    this.#applied = meta.index;
    this.#appliedTerm = meta.term;
    this.#membership = meta.membership;
    this.#snapshotIndex = meta.index;
  }

  hash(): undefined {
    return undefined;
  }

  membershipHash(): string {
    return membershipHash(this.#membership);
  }

  sessionHash(): undefined {
    return undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#queue.clear();
  }

  #fail(index: Index, message: string): MachineFailure {
    this.#failure ??= new MachineFailure(index, message, hashText(message));
    this.#queue.clear();
    return this.#failure;
  }
}

/** What is answered to who asks a witness for data. */
export function witnessError(shardId: number, replicaId: number): OpError {
  return new OpError("DL_ERR_WITNESS", `shard ${shardId} replica ${replicaId}`);
}
