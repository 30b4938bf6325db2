/**
 * The apply side of a simulated node: committed blocks wait here, go through the small state machine, answer the
 * node's own requests and reads, and become snapshots.
 */
import type { ReadState } from "../../nodehost/raft/types.js";
import { applyConfigChange } from "../../nodehost/rsm/members.js";
import { SessionTable } from "../../nodehost/rsm/sessions.js";
import { type EntryBlock, EntryType } from "../../shared/codec/block.js";
import type { Index, Term } from "../../shared/types/ids.js";
import { emptyMembership, type Membership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { DiskSide } from "./disk-side.js";
import { type DecodedEntry, type MachineState, type SessionOutcome, witnessState } from "./machine.js";
import { type ApplierPort, SHARD_ID, type SimNode, Violation } from "./model.js";
import { mix } from "./prng.js";
import { EventKind } from "./queue.js";

export class Applier implements ApplierPort {
  readonly #node: SimNode;
  applied: Index = 0;
  appliedTerm: Term = 0;
  hash = 0;
  membership: Membership = emptyMembership();
  sessions: SessionTable;
  /** Of a machine on disk; made anew at each start. */
  disk: DiskSide | undefined;
  /** Application entries that changed the machine. */
  updates = 0;
  restoring = false;
  /** Asked for while another restore was under way. */
  #nextRestore: SnapshotMeta | undefined;
  #queue: EntryBlock[] = [];
  #scheduled = false;
  #saving = false;
  #snapshotAt: Index = 0;

  constructor(node: SimNode) {
    this.#node = node;
    this.sessions = this.#newSessions();
  }

  #newSessions(): SessionTable {
    const { sessionsMax, sessionResultsMax: resultsMax, onDisk: resultsMayBeLost } = this.#node.world.options;
    return new SessionTable({ sessionsMax, resultsMax, resultsMayBeLost });
  }

  /** `state` is that of the durable snapshot; without one it begins at the beginning. */
  start(initial: Membership, state: MachineState | undefined): void {
    const { disk, machine } = this.#node;
    this.disk = machine === undefined ? undefined : new DiskSide(this.#node, machine);
    this.disk?.open(state);
    this.#queue = [];
    this.#scheduled = false;
    this.#saving = false;
    this.restoring = false;
    this.#nextRestore = undefined;
    this.applied = state?.applied ?? 0;
    this.appliedTerm = disk.snapshot?.term ?? 0;
    this.hash = state?.hash ?? 0;
    this.membership = state?.membership ?? initial;
    this.sessions = this.#newSessions();
    if (state !== undefined) this.sessions.restore(state.sessions);
    this.updates = state?.updates ?? 0;
    this.#snapshotAt = this.applied;
  }

  enqueue(blocks: readonly EntryBlock[]): void {
    if (blocks.length === 0) return;
    if (this.restoring) throw new Violation("R7", `node ${this.#node.id} is given entries before its restore is done`);
    for (const block of blocks) this.#queue.push(block);
    this.#schedule();
  }

  confirmed(read: ReadState): void {
    this.#node.world.checks.readState(this.#node, read);
    this.#node.desk.confirmed(read, this.applied);
  }

  /** Replaces the state by an installed snapshot, after a while. */
  restore(meta: SnapshotMeta): void {
    const { world, disk, random } = this.#node;
    if (disk.snapshot === undefined || disk.snapshot.index < meta.index) {
      throw new Violation("R7", `node ${this.#node.id} restores snapshot ${meta.index} before it is durable`);
    }
    if (this.restoring) {
      this.#nextRestore = meta;
      return;
    }
    this.restoring = true;
    const { applyDelayMs } = world.options;
    const delay = world.faults && applyDelayMs > 0 ? random.int(applyDelayMs) : 0;
    if (delay === 0) this.#load(meta);
    else world.after(delay, EventKind.Snapshot, this.#node, () => this.#load(meta));
  }

  #load(meta: SnapshotMeta): void {
    if (this.#node.witness) {
      this.#restored(meta, witnessState(meta));
      return;
    }
    this.#node.snapshots.load(meta, (state) => {
      if (this.disk === undefined) this.#restored(meta, state);
      else this.disk.recover(meta, state, () => this.#restored(meta, state));
    });
  }

  #restored(meta: SnapshotMeta, state: MachineState): void {
    const node = this.#node;
    node.world.checks.restored(node, meta, state);
    if (node.witness) node.world.ledger.witnessInstalls += 1;
    else node.world.ledger.installs += 1;
    this.restoring = false;
    this.applied = state.applied;
    this.appliedTerm = meta.term;
    this.hash = state.hash;
    this.membership = state.membership;
    this.sessions.restore(state.sessions);
    this.updates = state.updates;
    this.#snapshotAt = state.applied;
    this.#queue = this.#queue.filter((block) => block.last > meta.index);
    node.core?.restored(meta);
    if (!node.witness) node.snapshots.prune(meta);
    const next = this.#nextRestore;
    this.#nextRestore = undefined;
    if (next !== undefined) this.restore(next);
    this.#node.desk.appliedTo(this.applied);
    if (this.#queue.length > 0) this.#schedule();
    node.touched();
  }

  #schedule(): void {
    const { world, random } = this.#node;
    if (this.#scheduled || this.restoring) return;
    const { applyDelayMs } = world.options;
    this.#scheduled = true;
    const slow = applyDelayMs > 0 && world.faults;
    world.after(slow ? random.int(applyDelayMs) : 0, EventKind.Apply, this.#node, () => {
      this.#scheduled = false;
      this.#run(slow ? 1 + random.int(8) : Number.POSITIVE_INFINITY);
    });
  }

  /** Applies up to `blocksMax` waiting blocks. */
  #run(blocksMax: number): void {
    const node = this.#node;
    if (this.restoring || node.core === undefined) return;
    const taken = this.#queue.splice(0, Math.min(blocksMax, this.#queue.length));
    for (const block of taken) {
      const entries = node.world.decoder.decode(block);
      for (let index = Math.max(block.first, this.applied + 1); index <= block.last; index++) {
        const entry = entries[index - block.baseIndex];
        if (entry === undefined || index !== this.applied + 1) {
          throw new Violation("R4", `node ${node.id} applies ${index} after ${this.applied}`);
        }
        this.#apply(index, block.term, entry);
        if (node.core === undefined) return;
      }
    }
    node.core.appliedTo(this.applied);
    this.#node.desk.appliedTo(this.applied);
    this.#maybeSnapshot();
    if (this.#queue.length > 0) this.#schedule();
    node.touched();
  }

  #apply(index: Index, term: Term, entry: DecodedEntry): void {
    const node = this.#node;
    const { checks, ledger } = node.world;
    const outcome = this.#update(index, entry);
    if (!node.witness) this.hash = mix(mix(this.hash, entry.fingerprint), this.updates);
    this.applied = index;
    this.appliedTerm = term;
    let refusal: string | undefined;
    if (entry.change !== undefined) {
      ({ membership: this.membership, refusal } = applyConfigChange(this.membership, entry.change, index));
    }
    checks.applied(node, index, entry);
    if (outcome !== undefined) checks.session(node, index, entry, outcome);
    const own = entry.key.replicaId === node.id && entry.key.incarnation === node.incarnation && entry.keyNumber !== 0;
    if (own) {
      checks.answered(node, entry.key, index);
      ledger.acked = Math.max(ledger.acked, index);
      ledger.ackedCount += 1;
      node.desk.applied(entry.key.sequence, index, outcome, refusal);
      if (outcome !== undefined) node.world.workload.sessionAnswered(entry.keyNumber, outcome);
    }
    if (entry.change === undefined) return;
    checks.changed(node, index);
    if (this.membership.configChangeIndex > ledger.membership.configChangeIndex) {
      ledger.membership = this.membership;
      const { voters, nonVotings, witnesses } = this.membership;
      for (const id of [...voters.keys(), ...nonVotings.keys()]) node.world.ensureNode(id, false);
      for (const id of witnesses.keys()) node.world.ensureNode(id, true);
    }
    node.core?.configChangeApplied(index, this.membership);
    checks.afterInput(node);
    if (this.membership.removed.has(node.id) && node.random.chance(0.6)) node.retire();
    else node.world.nemesis.changeApplied(node);
  }

  /** What an application entry does to the machine, unless that holds it; the outcome if it came under a session. */
  #update(index: Index, entry: DecodedEntry): SessionOutcome | undefined {
    const { session } = entry;
    if (entry.type !== EntryType.Application) return undefined;
    const verdict = session === undefined ? undefined : this.sessions.begin(session, index);
    if (verdict?.kind === "refused") return { kind: verdict.code, result: undefined };
    if (verdict?.kind === "answered") return verdict;
    this.updates += 1;
    if (this.disk?.progress.holds(index) === true) {
      if (session === undefined) return undefined;
      this.sessions.record(session, undefined);
      return { kind: "applied", result: undefined };
    }
    this.disk?.update(index, entry.fingerprint);
    if (session === undefined) return undefined;
    const result = { value: this.updates, data: Uint8Array.of(entry.fingerprint & 255, index & 255) };
    this.sessions.record(session, result);
    return { kind: "applied", result };
  }

  /** What a node that lacks entries is sent; undefined while the machine is ahead of what was walked through. */
  streamState(): MachineState | undefined {
    if (this.disk === undefined || this.restoring || this.applied < this.disk.progress.held) return undefined;
    const { content } = this.disk.machine;
    return { ...this.#state(), disk: { machineIndex: this.disk.progress.machineIndex, content } };
  }

  #state(): MachineState {
    const { applied, hash, membership, updates } = this;
    return { applied, hash, membership, updates, sessions: this.sessions.encode() };
  }

  #maybeSnapshot(): void {
    const { world, snapshots } = this.#node;
    const { snapshotEvery, compactionOverhead } = world.options;
    if (this.#saving || this.applied - this.#snapshotAt < snapshotEvery) return;
    this.#saving = true;
    this.#snapshotAt = this.applied;
    world.ledger.snapshotCount += 1;
    const { applied, appliedTerm, disk } = this;
    if (this.#node.witness) {
      this.#saving = false;
      this.#node.recordSnapshot(this.#witnessMeta(), applied);
      return;
    }
    const save = (state: MachineState): void => {
      snapshots.save(state, appliedTerm, (meta) => {
        this.#saving = false;
        if (meta !== undefined) this.#node.recordSnapshot(meta, Math.max(0, applied - compactionOverhead));
      });
    };
    const state = this.#state();
    if (disk === undefined) {
      save(state);
      return;
    }
    const machineIndex = disk.progress.checkpointIndex(applied);
    disk.checkpoint(machineIndex, () => save({ ...state, disk: { machineIndex, content: undefined } }));
  }

  #witnessMeta(): SnapshotMeta {
    const { applied: index, appliedTerm: term, membership } = this;
    return { shardId: SHARD_ID, replicaId: this.#node.id, index, term, membership, sizeBytes: 0, directory: "" };
  }
}
