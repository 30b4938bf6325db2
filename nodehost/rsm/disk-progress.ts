/**
 * Where an on-disk machine stands: which entries it holds (and is never given again), which of them are durable for
 * certain, and whether what it says when it is opened fits the log and the snapshot record beside it. Pure rules, used
 * by Rsm and Applier, and as they are by the simulator.
 *
 * Invariants: an entry the machine holds is never given to it again (P31); a session checkpoint at S is recorded only
 * when every entry given to the machine up to S is durable in it, so that after any crash S is not ahead of it; a
 * machine ahead of its log or behind its checkpoint is not run.
 */
import { OpError } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";
import type { DiskSnapshot } from "./snapshot-format.js";

/** The log and the newest recorded snapshot that a machine is opened beside. */
export interface FoundBeside {
  /** Last entry in the log, 0 if there never was one. */
  readonly last: Index;
  readonly snapshot: (DiskSnapshot & { readonly index: Index }) | undefined;
}

export class DiskProgress {
  #held: Index = 0;
  #given: Index = 0;
  #synced: Index = 0;

  /** Last entry in the machine. */
  get machineIndex(): Index {
    return this.#given;
  }

  /** Entries up to it came with the machine, when it was opened or recovered. */
  get held(): Index {
    return this.#held;
  }

  /** The machine was opened, or recovered and synced, at this index. */
  opened(index: Index): void {
    this.#held = index;
    this.#given = index;
    this.#synced = index;
  }

  /** True: the machine holds this entry already, its effect must not be had twice. */
  holds(index: Index): boolean {
    return index <= this.#held;
  }

  gave(index: Index): void {
    this.#given = index;
  }

  /** A sync that began when the machine was at `index` ended. */
  synced(index: Index): void {
    if (index > this.#synced) this.#synced = index;
  }

  /** True: all that the machine was given up to `index` is durable. */
  isDurable(index: Index): boolean {
    return Math.min(index, this.#given) <= this.#synced;
  }

  /** For a snapshot of the state at `applied`, which may be behind the machine while it is caught up with. */
  checkpointIndex(applied: Index): Index {
    return Math.min(this.#given, applied);
  }
}

/**
 * What a machine that says `index` when it is opened must be. DL_ERR_MACHINE_AHEAD, DL_ERR_MACHINE_BEHIND: machine and
 * log are not of one life, and neither may be trusted. A machine behind a snapshot that holds its state is recovered.
 */
export function checkOpened(index: Index, found: FoundBeside): void {
  const { last, snapshot } = found;
  if (!Number.isSafeInteger(index) || index < 0) {
    throw new OpError("DL_ERR_MACHINE_AHEAD", `open answered ${String(index)}, expected a log index`);
  }
  if (index > last) throw new OpError("DL_ERR_MACHINE_AHEAD", `it is at ${index}, the log ends at ${last}`);
  if (snapshot === undefined) return;
  const { machineIndex, shrunk } = snapshot;
  if (index < machineIndex && shrunk) {
    const what = `it is at ${index}, the log begins after ${snapshot.index}, where it had been at ${machineIndex}`;
    throw new OpError("DL_ERR_MACHINE_BEHIND", what);
  }
  if (index > machineIndex && index <= snapshot.index) {
    const what = `it is at ${index}, but was given nothing from ${machineIndex} to ${snapshot.index}`;
    throw new OpError("DL_ERR_MACHINE_AHEAD", what);
  }
}
