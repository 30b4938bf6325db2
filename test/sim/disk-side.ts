/**
 * What the apply side of a simulated node does besides when its machine is on disk, as Rsm and its parts do: opens the
 * machine beside log and snapshot, gives it only what it does not hold, syncs before a snapshot is recorded, recovers
 * it from a snapshot that came as a stream, and shrinks that afterwards. The rules are those of
 * nodehost/rsm/disk-progress.ts itself.
 */
import { checkOpened, DiskProgress } from "../../nodehost/rsm/disk-progress.js";
import { errorText } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { MachineContent, ModelMachine } from "./disk-machine.js";
import type { MachineState } from "./machine.js";
import { type SimNode, Violation } from "./model.js";
import { EventKind } from "./queue.js";

export class DiskSide {
  readonly machine: ModelMachine;
  readonly progress = new DiskProgress();
  readonly #node: SimNode;

  constructor(node: SimNode, machine: ModelMachine) {
    this.#node = node;
    this.machine = machine;
  }

  /** At a start, all at once: nothing else happens on the node meanwhile. */
  open(state: MachineState | undefined): void {
    const { disk, id } = this.#node;
    const { index } = this.machine.content;
    const beside =
      state?.disk === undefined
        ? undefined
        : {
            index: state.applied,
            machineIndex: state.disk.machineIndex,
            shrunk: state.disk.content === undefined,
          };
    try {
      checkOpened(index, { last: disk.log.last, snapshot: beside });
    } catch (error) {
      throw new Violation("R4", `node ${id}: ${errorText(error)}`);
    }
    if (index > (state?.applied ?? 0)) this.#node.world.ledger.faults.add("machinesAhead");
    this.progress.opened(index);
    if (state?.disk === undefined || disk.snapshot === undefined) return;
    const content = this.#missing(state);
    if (content !== undefined) {
      this.machine.recover(content);
      this.machine.synced(content);
      this.progress.opened(content.index);
    }
    if (state.disk.content !== undefined) this.#node.snapshots.shrink(disk.snapshot, () => undefined);
  }

  /** A snapshot from another node is recorded: `done` when the machine holds its state durably and the rest is gone. */
  recover(meta: SnapshotMeta, state: MachineState, done: () => void): void {
    const content = this.#missing(state);
    if (content !== undefined) this.machine.recover(content);
    this.#sync(() => {
      if (content !== undefined) this.progress.opened(content.index);
      this.#node.snapshots.shrink(meta, done);
    });
  }

  update(index: Index, fingerprint: number): void {
    this.machine.update(index, fingerprint);
    this.progress.gave(index);
  }

  /** Calls when what a snapshot of now relies on is durable. */
  checkpoint(machineIndex: Index, done: () => void): void {
    if (this.progress.isDurable(machineIndex)) done();
    else this.#sync(done);
  }

  /** What a snapshot has and the machine has not. */
  #missing({ applied, disk }: MachineState): MachineContent | undefined {
    if (disk === undefined || disk.machineIndex <= this.progress.machineIndex) return undefined;
    if (disk.content !== undefined) return disk.content;
    throw new Violation("R4", `node ${this.#node.id} restores snapshot ${applied}, which has no state`);
  }

  #sync(done: () => void): void {
    const { world, random } = this.#node;
    const { content } = this.machine;
    const at = this.progress.machineIndex;
    const delay = world.faults ? random.int(world.options.machineSyncMs + 1) : 0;
    world.after(delay, EventKind.Snapshot, this.#node, () => {
      this.machine.synced(content);
      this.progress.synced(at);
      done();
    });
  }
}
