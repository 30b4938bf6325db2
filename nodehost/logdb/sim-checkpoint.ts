/**
 * The checkpoint store of tests and the simulator: rows in memory that outlive a crash when, and only when, their
 * commit was acknowledged (an unacknowledged one is kept or lost as a whole). Faults as LMDB has them: a commit
 * that rejects, or never settles.
 */
import type { Timers } from "../../shared/env/env.js";
import type { CheckpointChange, CheckpointStore, CheckpointStoreFactory } from "./checkpoint-store.js";

export type SimCheckpointFault = "reject" | "stuck" | "stop";

export class SimCheckpointDisk {
  #durable = new Map<string, Uint8Array>();
  #inFlight: readonly CheckpointChange[] | undefined;
  #epoch = 0;
  /** With `latencyMs`: commits take that time, if it is not 0, instead of one microtask. */
  readonly #latency: { readonly timers: Timers; readonly latencyMs: () => number } | undefined;
  /** Asked before every commit. "stop": begun, and never settles (see SimDisk). */
  fault: (() => SimCheckpointFault | undefined) | undefined;
  onStop: (() => void) | undefined;

  constructor(latency?: { readonly timers: Timers; readonly latencyMs: () => number }) {
    this.#latency = latency;
  }

  get rows(): ReadonlyMap<string, Uint8Array> {
    return this.#durable;
  }

  /** Power loss: the commit in flight is kept or lost. */
  crash(random: () => number): void {
    this.#epoch += 1;
    this.fault = undefined;
    const changes = this.#inFlight;
    this.#inFlight = undefined;
    if (changes !== undefined && random() < 0.5) this.#apply(changes);
  }

  /** Takes older rows for those that are. */
  restore(rows: ReadonlyMap<string, Uint8Array>): void {
    this.wipe();
    this.#durable = new Map(rows);
  }

  /** Loses everything (a directory that was wiped). */
  wipe(): void {
    this.#epoch += 1;
    this.#durable = new Map();
    this.#inFlight = undefined;
  }

  readonly factory: CheckpointStoreFactory = async () => {
    const epoch = this.#epoch;
    const store: CheckpointStore = {
      load: async () => new Map(this.#durable),
      commit: (changes) => this.#commit(epoch, changes),
      diskBytes: () => 0,
      close: async () => {},
    };
    return store;
  };

  #commit(epoch: number, changes: readonly CheckpointChange[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (epoch !== this.#epoch) return;
      const fault = this.fault?.();
      this.#inFlight = changes;
      if (fault === "stop") this.onStop?.();
      if (fault === "stop" || fault === "stuck") return;
      const settle = () => {
        if (epoch !== this.#epoch) return;
        this.#inFlight = undefined;
        if (fault === "reject") return reject(new Error("MDB_PANIC: simulated"));
        this.#apply(changes);
        resolve();
      };
      const delayMs = this.#latency?.latencyMs() ?? 0;
      if (this.#latency === undefined || delayMs === 0) queueMicrotask(settle);
      else this.#latency.timers.after(delayMs, settle);
    });
  }

  #apply(changes: readonly CheckpointChange[]): void {
    for (const { key, value } of changes) {
      if (value === undefined) this.#durable.delete(key);
      else this.#durable.set(key, value.slice());
    }
  }
}
