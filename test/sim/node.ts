/**
 * One simulated replica: the real core, and around it what the engine does — collect the output, write, send, apply,
 * restore, in the order the core's door asks for — with a disk, a clock and crash points that belong to the simulator.
 */
import type { Output, RaftCore, RaftStart } from "../../nodehost/raft/types.js";
import type { BlockBody, EntryBlock } from "../../shared/codec/block.js";
import { crc32 } from "../../shared/codec/crc32.js";
import type { Index, ReplicaId, RequestKey, TimeMs } from "../../shared/types/ids.js";
import { emptyMembership, type Membership } from "../../shared/types/membership.js";
import type { Message, SnapshotMeta } from "../../shared/types/message.js";
import { Applier } from "./applier.js";
import { Desk } from "./desk.js";
import type { NodeDisk, NodeSnapshots } from "./disk.js";
import { ModelMachine } from "./disk-machine.js";
import { SimLog } from "./log.js";
import { type MachineState, witnessState } from "./machine.js";
import { type CrashPoint, type Seen, SHARD_ID, type SimNode, Violation, type World } from "./model.js";
import { protocolConfig } from "./options-protocol.js";
import type { Prng } from "./prng.js";
import { PulseWatch } from "./pulse.js";
import { EventKind } from "./queue.js";
import { createStorage } from "./storage.js";

export class ReplicaNode implements SimNode {
  readonly id: ReplicaId;
  readonly witness: boolean;
  readonly world: World;
  readonly disk: NodeDisk;
  readonly snapshots: NodeSnapshots;
  readonly applier: Applier;
  readonly machine: ModelMachine | undefined;
  readonly desk: Desk;
  readonly random: Prng;
  pulse: PulseWatch;
  core: RaftCore | undefined;
  alive = false;
  /** The log as handed to the disk: durable and in flight. */
  view = new SimLog();
  /** Grows with every start. */
  epoch = 0;
  /** Removed from the shard: does not start again by itself. */
  retired = false;
  refused: string | undefined;
  frozenUntil = 0;
  /** Set by the nemesis: crash when the current input is done. */
  crashSoon = false;
  readonly seen: Seen = { term: 0, commit: 0, applied: 0, leaderTerm: 0 };
  #startMembership: Membership = emptyMembership();
  #timerAt = 0;
  #turnPending = false;
  #clockRate = 1;
  #clockOffset = 0;
  #collecting = false;

  constructor(world: World, id: ReplicaId, witness: boolean) {
    this.id = id;
    this.witness = witness;
    this.world = world;
    this.random = world.stream(100 + id);
    this.machine = world.options.onDisk && !witness ? new ModelMachine() : undefined;
    this.applier = new Applier(this);
    this.desk = new Desk(this);
    const { disk, snapshots } = createStorage(this);
    this.disk = disk;
    this.snapshots = snapshots;
    this.pulse = new PulseWatch(this);
  }

  get membership(): Membership {
    return this.applier.membership;
  }

  get incarnation(): number {
    return this.disk.incarnation;
  }

  /** Output not yet collected: `view` is behind the core. */
  get behind(): boolean {
    return this.#turnPending;
  }

  /** Makes this an initial member: the bootstrap entries are durable and committed. */
  bootstrap(block: EntryBlock): void {
    this.#startMembership = this.world.initialMembership;
    this.disk.bootstrap(block);
  }

  start(): void {
    const { world, disk } = this;
    if (this.alive || this.refused !== undefined) return;
    this.alive = true;
    this.epoch += 1;
    this.desk.open();
    this.#timerAt = 0;
    this.#turnPending = false;
    this.crashSoon = false;
    this.frozenUntil = 0;
    const skew = world.options.clockSkew;
    this.#clockRate = 1 + (this.random.float() * 2 - 1) * skew;
    this.#clockOffset = this.random.int(100_000) - Math.floor(world.now * this.#clockRate);
    disk.open(() => {
      const { snapshot } = disk;
      if (snapshot === undefined || this.witness) this.#run(snapshot && witnessState(snapshot));
      else this.snapshots.load(snapshot, (state) => this.#run(state));
    });
  }

  /** The disk is read: from here on it takes part. */
  #run(state: MachineState | undefined): void {
    const { world, disk, random } = this;
    disk.proven();
    this.view = disk.log.copy();
    this.applier.start(this.#startMembership, state);
    this.core = world.createCore({
      config: this.#config(),
      start: this.#startState(),
      reader: disk.reader(),
      random: () => random.float(),
      crc32,
      nowMs: this.clock(),
    });
    const { term, commit, applied } = this.core;
    Object.assign(this.seen, { term, commit, applied, leaderTerm: 0 });
    this.pulse = new PulseWatch(this);
    world.checks.started(this);
    this.pulse.begin();
    this.touched();
  }

  #startState(): RaftStart {
    const { disk, applier } = this;
    const first = Math.max(disk.log.first, applier.applied + 1);
    return {
      hardState: disk.hardState,
      membership: applier.membership,
      applied: applier.applied,
      first: disk.log.first,
      precedingTerm: disk.log.precedingTerm,
      blocks: disk.log.slice(first, disk.log.last, Number.POSITIVE_INFINITY),
      last: disk.log.last,
      snapshot: disk.snapshot,
    };
  }

  #config() {
    const o = this.world.options;
    return {
      shardId: SHARD_ID,
      replicaId: this.id,
      electionTimeoutMs: o.electionTimeoutMs,
      heartbeatIntervalMs: o.heartbeatIntervalMs,
      witness: this.witness,
      quiesceAfterMs: o.quiesceAfterMs,
      inflightBytesMax: o.inflightBytesMax,
      inflightMessagesMax: o.inflightMessagesMax,
      replicateBytesMax: o.replicateBytesMax,
      cacheBytesMax: o.cacheBytesMax,
      ...protocolConfig(o, this.id),
    };
  }

  /** Everything volatile is gone; appends in flight survive by a draw. */
  crash(why: string): void {
    if (!this.alive) return;
    this.world.trace.note(this.world.now, this.id, EventKind.Nemesis, `crash (${why})`);
    this.world.ledger.crashes += 1;
    this.alive = false;
    this.core = undefined;
    this.disk.crash();
    this.machine?.crash(this.random);
  }

  /** Stopped for good by its own decision (removed). */
  retire(): void {
    this.retired = true;
    if (this.core !== undefined) this.desk.close();
    this.crash("removed");
  }

  refuse(why: string): void {
    if (this.refused !== undefined) return;
    this.crash(why);
    this.refused = why;
    this.world.trace.note(this.world.now, this.id, EventKind.Nemesis, `refuses to run: ${why}`);
    this.world.repair.begin();
  }

  clock(): TimeMs {
    return Math.floor(this.world.now * this.#clockRate) + this.#clockOffset;
  }

  timeOf(clockMs: TimeMs): number {
    return Math.max(this.world.now + 1, Math.ceil((clockMs - this.#clockOffset) / this.#clockRate));
  }

  // Inputs.

  receive(message: Message): void {
    this.world.checks.delivered(this, message);
    this.pulse.onMessage(message.from);
    this.core?.receive(message, this.clock());
    this.touched();
  }

  propose(body: BlockBody): void {
    this.core?.propose(body, this.clock());
    this.touched();
  }

  readIndex(key: RequestKey): void {
    this.world.checks.reads(this, key);
    this.core?.readIndex(key, this.clock());
    this.touched();
  }

  snapshotSent(to: ReplicaId, index: Index, ok: boolean): void {
    this.core?.snapshotSent(to, index, ok);
    this.touched();
  }

  entriesFetched(): void {
    this.core?.entriesFetched();
    this.touched();
  }

  unreachable(id: ReplicaId): void {
    this.core?.unreachable(id);
    this.touched();
  }

  /** To be called after every input to the core. */
  touched(): void {
    const { core, world } = this;
    if (core === undefined) return;
    world.checks.afterInput(this);
    if (this.#collecting) return;
    if (core.hasOutput) this.#wantTurn();
    if (this.crashSoon && this.core !== undefined) {
      this.crashSoon = false;
      world.nemesis.crash(this, "state-aware");
    }
    this.#armTimer();
  }

  thaw(): void {
    this.frozenUntil = this.world.now;
    this.desk.thawed();
  }

  /** An event of this node was put off because it stands still. */
  postponed(time: number): void {
    if (time === this.#timerAt) this.#timerAt = 0;
  }

  #wantTurn(): void {
    const { options, faults } = this.world;
    if (this.#turnPending) return;
    if (faults && this.random.chance(options.lazyTurn)) {
      this.#turnPending = true;
      this.world.after(this.random.int(4), EventKind.Turn, this, () => this.collect());
    } else this.collect();
  }

  /** Takes the output and does what it says, until there is none. */
  collect(): void {
    this.#turnPending = false;
    this.#collecting = true;
    for (let round = 0; this.core?.hasOutput === true; round++) {
      if (round > 1000) throw new Violation("R0", `node ${this.id} has output for ever`);
      this.#perform(this.core.takeOutput());
    }
    this.#collecting = false;
    this.touched();
  }

  #perform(out: Output): void {
    const { checks, nemesis, trace, now } = this.world;
    if (out.update !== undefined) {
      checks.beforeAppend(this, out.update);
      this.#updateView(out);
      trace.word(out.update.hardState.term * 64 + out.update.hardState.vote);
      trace.word(this.view.last);
    }
    const crashPoint = nemesis.crashPoint(this, out);
    if (crashPoint !== "beforeWrite") this.#emit(out, crashPoint);
    if (crashPoint !== "none") {
      nemesis.crash(this, crashPoint);
      return;
    }
    if (out.leader !== undefined) {
      const { leaderId, term } = out.leader;
      trace.note(now, this.id, EventKind.Turn, `term ${term} leader ${leaderId} role ${this.core?.role ?? "?"}`);
    }
    if (out.transfer !== undefined) {
      checks.transferred(this, out.transfer);
      this.desk.transferred(out.transfer);
    }
    this.world.ledger.promotionsEnded(out.promotions);
    checks.afterOutput(this);
    this.applier.enqueue(out.committed);
    for (const read of out.readStates) this.applier.confirmed(read);
    for (const dropped of out.dropped) {
      checks.dropped(this, dropped);
      this.desk.dropped(dropped);
    }
    for (const request of out.snapshotRequests) this.world.network.sendSnapshot(this, request, this.disk.snapshot);
    if (out.restore !== undefined) this.applier.restore(out.restore);
    if (out.removed !== undefined) {
      checks.removed(this, out.removed);
      this.retire();
    }
  }

  /** Writes, then sends, unless power goes between the two. */
  #emit(out: Output, crashPoint: CrashPoint): void {
    if (out.update !== undefined) this.#write(out, out.update.sequence);
    if (crashPoint === "beforeSend") return;
    for (const message of out.messages) {
      this.world.checks.sent(this, message);
      this.world.network.send(message);
    }
  }

  #updateView(out: Output): void {
    const { view } = this;
    if (out.update?.snapshot !== undefined) {
      const { meta, reset } = out.update.snapshot;
      if (reset) view.reset(meta.index, meta.term);
      else view.compactTo(meta.index);
    }
    if (out.update !== undefined) view.append(out.update.blocks);
  }

  #write(out: Output, sequence: number): void {
    const { update } = out;
    const done = (): void => {
      this.core?.persisted(sequence);
      this.touched();
    };
    this.disk.write({ update, ownSnapshot: undefined, done });
  }

  /** Records a snapshot of our own; afterwards older entries may go. */
  recordSnapshot(meta: SnapshotMeta, compactTo: Index): void {
    const done = (): void => {
      if (this.core === undefined || this.disk.snapshot !== meta) return;
      this.view.compactTo(compactTo);
      this.core.snapshotCreated(meta, compactTo);
      if (!this.witness) this.snapshots.prune(meta);
      this.touched();
    };
    this.disk.write({ update: undefined, ownSnapshot: { meta, compactTo }, done });
  }

  #armTimer(): void {
    const { core, world } = this;
    if (core === undefined || !Number.isFinite(core.deadlineMs)) return;
    const due = this.timeOf(core.deadlineMs);
    if (this.#timerAt > world.now && this.#timerAt <= due) return;
    this.#timerAt = due;
    world.after(due - world.now, EventKind.Timer, this, () => this.#timer(due));
  }

  #timer(due: number): void {
    const { core, world } = this;
    if (core === undefined || (due !== this.#timerAt && this.#timerAt !== 0)) return;
    this.#timerAt = 0;
    const now = this.clock();
    if (core.deadlineMs > now) {
      this.#armTimer();
      return;
    }
    world.trace.event(world.now, EventKind.Timer, this.id, undefined);
    world.steps += 1;
    this.pulse.rest();
    core.tick(now);
    world.checks.ticked(this);
    this.touched();
  }
}
