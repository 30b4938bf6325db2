/**
 * What goes wrong with disks at random times, beyond what every operation draws for itself (storage-device.ts): a disk
 * is full for a while; files rot or are gone; a disk is lost, or replaced by an older copy of it.
 *
 * Fault budget: a disk is damaged only if the voters that are left are a quorum, and the next one only when no damaged
 * replica is a member any more (repair.ts). Runs beyond the budget (`overBudget`) must end in a shard that stands
 * still, never in one that forgets.
 */
import { DAMAGES, needsStop } from "./damage.js";
import { NODES_MAX, type SimNode, type World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

/** Replicas that may still be needed to take the place of others. */
const SPARE_IDS = 3;

export class StorageNemesis {
  readonly #world: World;
  readonly #random: Prng;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
  }

  begin(): void {
    const { wal, diskFullEveryMs, damageEveryMs, lostDiskEveryMs, staleDiskEveryMs } = this.#world.options;
    this.#every(lostDiskEveryMs, () => this.#lose());
    if (!wal) return;
    this.#every(diskFullEveryMs, () => this.#fill());
    this.#every(damageEveryMs, () => this.#damage());
    this.#every(staleDiskEveryMs, () => this.#goBack());
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
    const running = this.#world.running();
    const r = this.#random;
    const { electionTimeoutMs, segmentBytes } = this.#world.options;
    if (running.length > 0) r.pick(running).disk.fill(r.int(2 * segmentBytes), r.int(12 * electionTimeoutMs));
  }

  #damage(): void {
    const node = this.#victim();
    if (node === undefined) return;
    const r = this.#random;
    const { trace, now, ledger, nemesis } = this.#world;
    for (let tries = 0; tries < 4; tries++) {
      const kind = r.pick(DAMAGES);
      // Damage of a running replica is found at its next start, or when it reads what is damaged.
      if (needsStop(kind) || r.chance(0.5)) nemesis.crash(node, `to be damaged: ${kind}`);
      const what = node.disk.damage(kind, r);
      if (what === undefined) continue;
      trace.note(now, node.id, EventKind.Nemesis, `${kind}: ${what}`);
      ledger.faults.add(kind);
      return;
    }
  }

  #lose(): void {
    const node = this.#victim();
    if (node === undefined) return;
    node.disk.lose();
    this.#world.ledger.faults.add("lostDisks");
    node.refuse("its disk is lost");
  }

  /** Keeps an image of some disk, and some time later puts it in place of what the disk has become. */
  #goBack(): void {
    const r = this.#random;
    const world = this.#world;
    const running = world.running();
    if (running.length === 0) return;
    const node = r.pick(running);
    const restore = node.disk.image();
    world.after(1 + r.int(10 * world.options.electionTimeoutMs), EventKind.Nemesis, undefined, () => {
      if (!world.faults || !this.#mayLose(node)) return;
      const what = r.chance(0.5) ? "all" : "log";
      world.nemesis.crash(node, `to get an older copy of ${what}`);
      restore(what);
      world.ledger.faults.add(what === "all" ? "staleDisks" : "staleWal");
    });
  }

  #victim(): SimNode | undefined {
    const candidates = [...this.#world.nodes.values()].filter((node) => this.#mayLose(node));
    return candidates.length === 0 ? undefined : this.#random.pick(candidates);
  }

  /** Within the budget, and there is an id for its successor. */
  #mayLose(node: SimNode): boolean {
    const { nodes, repair, options } = this.#world;
    if (node.refused !== undefined || node.retired || (node.alive && node.core === undefined)) return false;
    if (options.overBudget) return true;
    if (repair.needed || nodes.size + SPARE_IDS > NODES_MAX) return false;
    return repair.canDoWithout(node);
  }
}
