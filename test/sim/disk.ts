/**
 * What a node has durable, and the doors of the two disks that keep it: model-disk.ts, synchronous and fast, and
 * wal-disk.ts, the real log and snapshot files above simulated ones. Invariants read `DurableState` whichever it is.
 */
import type { LogReader, RaftUpdate } from "../../nodehost/raft/types.js";
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";
import type { Damage } from "./damage.js";
import { SimLog } from "./log.js";
import type { MachineState } from "./machine.js";
import type { Prng } from "./prng.js";

/** One thing to make durable: an update of the core, or the record of a snapshot of our own. */
export interface DiskWrite {
  readonly update: RaftUpdate | undefined;
  readonly ownSnapshot: { readonly meta: SnapshotMeta; readonly compactTo: Index } | undefined;
  /** Called when it is durable, if the node still runs. */
  readonly done: () => void;
}

/** As it would be found after a crash, as far as it was acknowledged. */
export class DurableState {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  log = new SimLog();
  snapshot: SnapshotMeta | undefined;
  /** Every vote ever durable here: term → candidate. */
  readonly votes = new Map<Term, number>();

  copy(): DurableState {
    const other = new DurableState();
    other.hardState = this.hardState;
    other.log = this.log.copy();
    other.snapshot = this.snapshot;
    for (const [term, vote] of this.votes) other.votes.set(term, vote);
    return other;
  }

  apply(write: Pick<DiskWrite, "update" | "ownSnapshot">): void {
    const { update, ownSnapshot } = write;
    if (update !== undefined) this.#applyUpdate(update);
    if (ownSnapshot !== undefined && ownSnapshot.meta.index > (this.snapshot?.index ?? 0)) {
      this.snapshot = ownSnapshot.meta;
      this.log.compactTo(ownSnapshot.compactTo);
    }
  }

  #applyUpdate(update: RaftUpdate): void {
    this.hardState = update.hardState;
    if (update.hardState.vote !== 0) this.votes.set(update.hardState.term, update.hardState.vote);
    if (update.snapshot !== undefined) {
      const { meta, reset } = update.snapshot;
      this.snapshot = meta;
      if (reset) this.log.reset(meta.index, meta.term);
      else this.log.compactTo(meta.index);
    }
    this.log.append(update.blocks);
  }
}

export interface NodeDisk extends Readonly<Pick<DurableState, "hardState" | "log" | "snapshot" | "votes">> {
  /** Starts so far. Survives because the disk does. */
  readonly incarnation: number;
  /** Before the first start of an initial member: its log begins with these entries, all committed. */
  bootstrap(block: EntryBlock): void;
  /** Counts a start and reads back what is durable; then calls, at once or later, unless the node crashes before. */
  open(ready: () => void): void;
  /** Of entries the core does not hold in memory. */
  reader(): LogReader;
  write(write: DiskWrite): void;
  /** Nothing can be written: proposals are refused. */
  readonly full: boolean;
  /** Not for long: there will be room for `bytes` more only. */
  fill(bytes: number, forMs: number): void;
  /** Faults that last end now. */
  heal(): void;
  /** Power is gone. */
  crash(): void;
  /** What was done to its files and may be found at any time. */
  readonly damaged: string | undefined;
  /** Damages its files; undefined: it has nothing to damage, or is in use. */
  damage(kind: Damage, r: Prng): string | undefined;
  /** Everything is gone. */
  lose(): void;
  /**
   * Keeps all of it as it is; the call that is returned, made while the node is down, brings that back, or the log
   * alone.
   */
  image(): (what: "all" | "log") => void;
  /** What the node starts from was read and is right: whatever was damaged did not matter. */
  proven(): void;
}

/** Snapshot files of a node. Calls back at once or later, and never after a crash. */
export interface NodeSnapshots {
  /** Saves what the machine holds; `done` when the file is whole and named, or, with undefined, when that failed. */
  save(state: MachineState, term: Term, done: (meta: SnapshotMeta | undefined) => void): void;
  /** The state in a recorded snapshot. */
  load(meta: SnapshotMeta, done: (state: MachineState) => void): void;
  /** The file of a recorded snapshot as it is sent, undefined if it cannot be read. */
  read(meta: SnapshotMeta, done: (file: Uint8Array | undefined) => void): void;
  /** Another node refused the file: is it what it should be? If not the node refuses to run. */
  verify(meta: SnapshotMeta): void;
  /** The file of a state that is sent without being saved here, and its meta; of machines on disk. */
  stream(state: MachineState, term: Term, done: (meta: SnapshotMeta, file: Uint8Array) => void): void;
  /** The machine has what the snapshot holds: the rest of it is kept. */
  shrink(meta: SnapshotMeta, done: () => void): void;
  /** Lands a file that another node sent; `done` with the meta to record here, or undefined if it was refused. */
  land(meta: SnapshotMeta, chunks: readonly Uint8Array[], done: (landed: SnapshotMeta | undefined) => void): void;
  /** `newest` is recorded and in force: older ones may go. */
  prune(newest: SnapshotMeta): void;
}
