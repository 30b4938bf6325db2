/**
 * A machine for the crash tests of the log: SimDisk and the checkpoint store's twin, which stand still in the middle of
 * an operation or lose their power together. Small segments, moved early, so that short runs meet every phase of a log.
 */
import { SimDisk } from "../../shared/files/sim-files.js";
import { SimCheckpointDisk } from "./sim-checkpoint.js";
import { ManualEnv } from "./test-support.js";
import type { WalLogDb } from "./wal-logdb.js";
import { openWalLogDb } from "./wal-open.js";

export class Machine {
  readonly disk = new SimDisk();
  readonly checkpoints = new SimCheckpointDisk();
  #clock = new ManualEnv();
  #onStop: () => void = () => undefined;
  /** Never, unless `stopAfter` was called. */
  stopped: Promise<void> = new Promise(() => {});

  /** Stands still in the middle of the `count`-th operation from now (of the disk, or of the checkpoint store). */
  stopAfter(count: number): void {
    let left = count;
    const meet = () => {
      left -= 1;
      return left === 0 ? ("stop" as const) : undefined;
    };
    this.disk.fault = meet;
    this.checkpoints.fault = meet;
    this.stopped = new Promise((resolve) => {
      this.#onStop = resolve;
    });
    this.checkpoints.onStop = () => this.#onStop();
    void this.disk.whenStopped().then(() => this.#onStop());
  }

  /** What runs beside the appends (seals, moves) comes to stand in its next operation. */
  async halt(): Promise<void> {
    this.disk.fault = () => "stuck";
    this.checkpoints.fault = () => "stuck";
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** The process dies; what it wrote is still seen. */
  kill(random: () => number): void {
    this.disk.kill();
    this.checkpoints.crash(random);
    this.#clock = new ManualEnv();
  }

  /** The power is gone. */
  crash(random: () => number): void {
    this.disk.crash(random);
    this.checkpoints.crash(random);
    this.#clock = new ManualEnv();
  }

  open(): Promise<WalLogDb> {
    return openWalLogDb({
      files: this.disk,
      walDir: "/wal",
      dataDir: "/data",
      dataSetId: "set-1",
      env: this.#clock.env,
      checkpointStore: this.checkpoints.factory,
      onFatal: (error) => {
        throw error;
      },
      segmentSizes: { firstBytes: 64 * 1024, maxBytes: 64 * 1024 },
      relocation: { above: 2, bytesPerSecond: Number.POSITIVE_INFINITY },
    });
  }

  idle(): void {
    this.#clock.advance(11);
  }
}
