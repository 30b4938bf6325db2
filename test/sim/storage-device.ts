/**
 * The hardware below the real storage code of one node: files, checkpoint rows, and how they behave in time and in a
 * crash. Made once per node; it outlives every start.
 */
import { SimCheckpointDisk } from "../../nodehost/logdb/sim-checkpoint.js";
import type { Env } from "../../shared/env/env.js";
import { SimDisk, type SimOperation } from "../../shared/files/sim-files.js";
import type { SimNode } from "./model.js";
import type { Prng } from "./prng.js";

export class StorageDevice {
  readonly files: SimDisk;
  readonly checkpoints: SimCheckpointDisk;
  readonly #node: SimNode;
  readonly #random: Prng;

  constructor(node: SimNode, random: Prng, env: Env) {
    this.#node = node;
    this.#random = random;
    const { timers } = env;
    this.files = new SimDisk({ timers, latencyMs: (operation) => this.#latency(operation) });
    this.checkpoints = new SimCheckpointDisk({ timers, latencyMs: () => this.#small() });
  }

  /** The process dies, or the power goes. */
  crash(): void {
    const r = this.#random;
    if (r.chance(this.#node.world.options.processDeath)) {
      this.files.kill();
      this.checkpoints.crash(() => 0);
      return;
    }
    const random = (): number => r.float();
    this.files.crash(random);
    this.checkpoints.crash(random);
  }

  #latency({ kind, path }: SimOperation): number {
    const { options, faults } = this.#node.world;
    if (kind === "open" || kind === "read") {
      return faults && this.#random.chance(options.fetchPending * 0.2) ? this.#random.int(10) : 0;
    }
    if (kind !== "write" || !path.startsWith("/wal/")) return this.#small();
    if (!faults) return 1;
    const r = this.#random;
    const slow = r.chance(options.diskSlowChance) ? r.int(options.diskSlowMs) : 0;
    return r.int(options.diskMs + 1) + slow;
  }

  /** Of what is not on the path of an append. */
  #small(): number {
    const { options, faults } = this.#node.world;
    return faults ? this.#random.int(1 + options.diskMs / 8) : 0;
  }
}
