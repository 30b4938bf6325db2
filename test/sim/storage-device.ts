/**
 * The hardware below the real storage code of one node: files, checkpoint rows, and how they behave in time and in a
 * crash. Made once per node; it outlives every start.
 */
import { SimCheckpointDisk, type SimCheckpointFault } from "../../nodehost/logdb/sim-checkpoint.js";
import { decodeSegmentList, SEGMENTS_ROW } from "../../nodehost/logdb/wal-segments.js";
import type { Env } from "../../shared/env/env.js";
import { SimDisk, type SimFault, type SimOperation } from "../../shared/files/sim-files.js";
import type { SimNode } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

export class StorageDevice {
  readonly files: SimDisk;
  readonly checkpoints: SimCheckpointDisk;
  readonly #node: SimNode;
  readonly #random: Prng;
  /** Until then writes of the log are under way. */
  busyUntilMs = 0;

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
    const { options, ledger } = this.#node.world;
    const random = (): number => r.float();
    this.busyUntilMs = 0;
    this.checkpoints.crash(random);
    if (r.chance(options.processDeath)) {
      this.files.kill();
      ledger.faults.add("processDeaths");
      return;
    }
    const { lostBlocks, tornBlocks, lostNames } = this.files.crash(random);
    ledger.faults.add("lostBlocks", lostBlocks);
    ledger.faults.add("tornBlocks", tornBlocks);
    ledger.faults.add("lostNames", lostNames);
  }

  /** To be called before the storage code is opened: a crash ends all faults. */
  begin(): void {
    this.files.fault = (operation) => this.#fault(operation);
    this.checkpoints.fault = () => this.#commitFault();
  }

  /** For a while there is room for `bytes` more. */
  fill(bytes: number, forMs: number): void {
    const { world } = this.#node;
    const { files } = this;
    if (files.capacityBytes < Number.MAX_SAFE_INTEGER) return;
    files.capacityBytes = files.usedBytes + bytes;
    world.ledger.faults.add("fullDisks");
    world.after(forMs, EventKind.Nemesis, undefined, () => this.empty());
  }

  /** There is room again. */
  empty(): void {
    this.files.capacityBytes = Number.MAX_SAFE_INTEGER;
  }

  /** Segment files in use that had another life before. */
  reusedSegments(): number {
    const row = this.checkpoints.rows.get(SEGMENTS_ROW);
    if (row === undefined) return 0;
    return decodeSegmentList(row).used.filter(({ generation }) => generation > 1).length;
  }

  #fault({ kind, path }: SimOperation): SimFault | undefined {
    const { world } = this.#node;
    const { ioErrorChance, stuckChance } = world.options;
    if (!world.faults || ioErrorChance + stuckChance === 0) return undefined;
    const r = this.#random;
    if (kind === "open" || kind === "read") {
      if (!r.chance(ioErrorChance / 4)) return undefined;
      world.ledger.faults.add("readErrors");
      return "EIO";
    }
    if (r.chance(ioErrorChance)) {
      world.ledger.faults.add("writeErrors");
      return "EIO";
    }
    // Nothing watches over a snapshot that does not end: it is not on the path of anybody's promise.
    if (!path.startsWith("/wal") || !r.chance(stuckChance)) return undefined;
    world.ledger.faults.add("stuckWrites");
    this.busyUntilMs = Number.POSITIVE_INFINITY;
    return "stuck";
  }

  #commitFault(): SimCheckpointFault | undefined {
    const { world } = this.#node;
    const r = this.#random;
    if (!world.faults || !r.chance(world.options.ioErrorChance + world.options.stuckChance)) return undefined;
    world.ledger.faults.add("checkpointErrors");
    return r.chance(0.5) ? "reject" : "stuck";
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
    const delayMs = r.int(options.diskMs + 1) + slow;
    this.busyUntilMs = Math.max(this.busyUntilMs, this.#node.world.now + delayMs);
    return delayMs;
  }

  /** Of what is not on the path of an append. */
  #small(): number {
    const { options, faults } = this.#node.world;
    return faults ? this.#random.int(1 + options.diskMs / 8) : 0;
  }
}
