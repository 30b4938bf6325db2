/** What goes wrong with disks at random times, beyond what every operation draws for itself (storage-device.ts). */
import type { SimNode, World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

export class StorageNemesis {
  readonly #world: World;
  readonly #random: Prng;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
  }

  begin(): void {
    const { wal, diskFullEveryMs } = this.#world.options;
    if (!wal) return;
    this.#every(diskFullEveryMs, () => this.#fill());
  }

  #every(meanMs: number, call: () => void): void {
    if (meanMs === 0) return;
    this.#world.after(1 + this.#random.exponential(meanMs), EventKind.Nemesis, undefined, () => {
      if (!this.#world.faults) return;
      call();
      this.#every(meanMs, call);
    });
  }

  #fill(): void {
    const node = this.#someone();
    const r = this.#random;
    const { electionTimeoutMs, segmentBytes } = this.#world.options;
    const roomBytes = r.int(2 * segmentBytes);
    if (node !== undefined) node.disk.fill(roomBytes, r.int(12 * electionTimeoutMs));
  }

  #someone(): SimNode | undefined {
    const running = this.#world.running();
    return running.length === 0 ? undefined : this.#random.pick(running);
  }
}
