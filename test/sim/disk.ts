/**
 * The disk of a simulated node: what is durable, and the appends on their way there. An append is all-or-nothing and
 * appends become durable in order. At a crash every append in flight survives or is lost (with all after it) by a
 * draw; what was not yet given to the disk is lost. With group commit one append is in flight and later updates join
 * the next one, as in the engine.
 */
import type { RaftUpdate } from "../../nodehost/raft/types.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";
import { SimLog } from "./log.js";

/** One thing to make durable: an update of the core, or the record of a snapshot of our own. */
export interface DiskWrite {
  readonly update: RaftUpdate | undefined;
  readonly ownSnapshot: { readonly meta: SnapshotMeta; readonly compactTo: number } | undefined;
  /** Called when it is durable, if the node still runs. */
  readonly done: () => void;
}

interface Append {
  readonly writes: DiskWrite[];
}

export interface DiskPort {
  /** Time until an append that starts now is durable. */
  latency(): number;
  schedule(delayMs: number, call: () => void): void;
  /** Sees each update before it changes the durable state. */
  beforeDurable(update: RaftUpdate): void;
}

export class SimDisk {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  log = new SimLog();
  snapshot: SnapshotMeta | undefined;
  /** Every vote ever durable here: term → candidate. Survives because the disk does. */
  readonly votes = new Map<number, number>();
  incarnation = 0;
  readonly #groupCommit: boolean;
  readonly #port: DiskPort;
  #inFlight: Append[] = [];
  #waiting: DiskWrite[] = [];
  #busyUntil = 0;

  constructor(groupCommit: boolean, port: DiskPort) {
    this.#groupCommit = groupCommit;
    this.#port = port;
  }

  get pending(): number {
    return this.#inFlight.length + this.#waiting.length;
  }

  write(write: DiskWrite, nowMs: number): void {
    if (this.#groupCommit && this.#inFlight.length > 0) {
      this.#waiting.push(write);
      return;
    }
    this.#start([write], nowMs);
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

  /** Power is gone: appends in flight survive one after the other as long as `survives` says so. */
  crash(survives: () => boolean): void {
    for (const append of this.#inFlight) {
      if (!survives()) break;
      for (const write of append.writes) this.#makeDurable(write);
    }
    this.#inFlight = [];
    this.#waiting = [];
    this.#busyUntil = 0;
  }

  #makeDurable(write: DiskWrite): void {
    const { update, ownSnapshot } = write;
    if (update !== undefined) this.#apply(update);
    if (ownSnapshot !== undefined && ownSnapshot.meta.index > (this.snapshot?.index ?? 0)) {
      this.snapshot = ownSnapshot.meta;
      this.log.compactTo(ownSnapshot.compactTo);
    }
  }

  #apply(update: RaftUpdate): void {
    this.#port.beforeDurable(update);
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
