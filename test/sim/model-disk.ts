/**
 * The fast disk of a simulated node: a model of what is durable, and the appends on their way there. An append is
 * all-or-nothing and appends become durable in order. At a crash every append in flight survives or is lost (with all
 * after it) by a draw; what was not yet given to the disk is lost. With group commit one append is in flight and later
 * updates join the next one, as in the engine. Snapshots are references to the state they hold.
 */
import type { LogReader, RaftUpdate } from "../../nodehost/raft/types.js";
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Term } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { type DiskWrite, DurableState, type NodeDisk, type NodeSnapshots } from "./disk.js";
import type { MachineState } from "./machine.js";
import { SHARD_ID, type SimNode, Violation } from "./model.js";
import { EventKind } from "./queue.js";

interface Append {
  readonly writes: DiskWrite[];
}

export interface DiskPort {
  readonly groupCommit: boolean;
  now(): number;
  /** Time until an append that starts now is durable. */
  latency(): number;
  schedule(delayMs: number, call: () => void): void;
  /** Sees each update before it changes the durable state. */
  beforeDurable(update: RaftUpdate): void;
  /** Asked for each append in flight at a crash, oldest first, until one does not. */
  survives(): boolean;
  reader(): LogReader;
}

export class ModelDisk extends DurableState implements NodeDisk {
  incarnation = 0;
  readonly full = false;
  readonly #port: DiskPort;
  #inFlight: Append[] = [];
  #waiting: DiskWrite[] = [];
  #busyUntil = 0;

  constructor(port: DiskPort) {
    super();
    this.#port = port;
  }

  bootstrap(block: EntryBlock): void {
    this.hardState = { term: 1, vote: 0, commit: block.last };
    this.log.append([block]);
  }

  open(ready: () => void): void {
    this.incarnation += 1;
    ready();
  }

  reader(): LogReader {
    return this.#port.reader();
  }

  write(write: DiskWrite): void {
    if (this.#port.groupCommit && this.#inFlight.length > 0) {
      this.#waiting.push(write);
      return;
    }
    this.#start([write], this.#port.now());
  }

  #start(writes: DiskWrite[], nowMs: number): void {
    this.#inFlight.push({ writes });
    const at = Math.max(this.#busyUntil, nowMs + this.#port.latency());
    this.#busyUntil = at;
    this.#port.schedule(at - nowMs, () => this.#complete(at));
  }

  #complete(nowMs: number): void {
    const append = this.#inFlight.shift();
    if (append === undefined) return;
    for (const write of append.writes) this.#makeDurable(write);
    if (this.#waiting.length > 0 && this.#inFlight.length === 0) {
      const next = this.#waiting;
      this.#waiting = [];
      this.#start(next, nowMs);
    }
    for (const write of append.writes) write.done();
  }

  /** Has no size. */
  fill(): void {}

  heal(): void {}

  /** Has no files: it can only be lost as a whole. */
  readonly damaged = undefined;

  damage(): undefined {}

  lose(): void {}

  image(): () => void {
    return () => undefined;
  }

  proven(): void {}

  crash(): void {
    for (const append of this.#inFlight) {
      if (!this.#port.survives()) break;
      for (const write of append.writes) this.#makeDurable(write);
    }
    this.#inFlight = [];
    this.#waiting = [];
    this.#busyUntil = 0;
  }

  #makeDurable(write: DiskWrite): void {
    if (write.update !== undefined) this.#port.beforeDurable(write.update);
    this.apply(write);
  }
}

/** Snapshots as references: the ledger holds what is in each. */
export class ModelSnapshots implements NodeSnapshots {
  readonly #node: SimNode;
  #count = 0;

  constructor(node: SimNode) {
    this.#node = node;
  }

  save(state: MachineState, term: Term, done: (meta: SnapshotMeta) => void): void {
    const { world, random } = this.#node;
    const meta = this.#register(state, term);
    const delay = world.faults ? random.int(world.options.electionTimeoutMs) : 1;
    world.after(delay, EventKind.Snapshot, this.#node, () => done(meta));
  }

  #register(state: MachineState, term: Term): SnapshotMeta {
    const { id, world, incarnation } = this.#node;
    this.#count += 1;
    const directory = `n${id}-${incarnation}-${this.#count}`;
    world.ledger.snapshots.set(directory, state);
    const { applied: index, membership } = state;
    return { shardId: SHARD_ID, replicaId: id, index, term, membership, sizeBytes: 100, directory };
  }

  stream(state: MachineState, term: Term, done: (meta: SnapshotMeta, file: Uint8Array) => void): void {
    done(this.#register(state, term), new Uint8Array(0));
  }

  shrink(meta: SnapshotMeta, done: () => void): void {
    const { snapshots } = this.#node.world.ledger;
    const state = snapshots.get(meta.directory);
    if (state?.disk !== undefined) {
      snapshots.set(meta.directory, { ...state, disk: { ...state.disk, content: undefined } });
    }
    done();
  }

  load(meta: SnapshotMeta, done: (state: MachineState) => void): void {
    const state = this.#node.world.ledger.snapshots.get(meta.directory);
    if (state === undefined) throw new Violation("R7", `no snapshot ${meta.directory}`);
    done(state);
  }

  /** Nothing is sent but the meta, which names the state. */
  read(_meta: SnapshotMeta, done: (file: Uint8Array | undefined) => void): void {
    done(new Uint8Array(0));
  }

  verify(): void {}

  land(meta: SnapshotMeta, _chunks: readonly Uint8Array[], done: (landed: SnapshotMeta | undefined) => void): void {
    done(meta);
  }

  prune(_newest: SnapshotMeta): void {}
}
