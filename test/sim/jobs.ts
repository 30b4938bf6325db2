/**
 * Runs many seeds on a bounded number of worker threads. Worker w of k takes every k-th seed, so that the set of runs
 * does not depend on speed. Results come back one by one; their order does.
 */
import { Worker } from "node:worker_threads";
import type { SimOptions } from "./options.js";
import type { RunResult } from "./simulate.js";

export interface SeedRange {
  readonly firstSeed: number;
  readonly seeds: number;
  readonly steps: number;
  readonly workers: number;
  /** Replaces drawn options in every run. */
  readonly overrides?: Partial<SimOptions>;
  /** End at the first failure (mutants): only that one is interesting. */
  readonly stopAtFailure?: boolean;
  /** Ends the run early: its workers are terminated. */
  readonly signal?: AbortSignal;
}

/** What a worker is told. */
export interface WorkerJob {
  readonly firstSeed: number;
  readonly endSeed: number;
  readonly stride: number;
  readonly steps: number;
  readonly stopAtFailure: boolean;
  readonly overrides: Partial<SimOptions>;
}

/** Resolves when every seed is done (or one failed, if asked). Rejects if a worker itself breaks. */
export async function runSeeds(range: SeedRange, onResult: (result: RunResult) => void): Promise<void> {
  if (range.signal?.aborted === true) return;
  const workers: Worker[] = [];
  const runs = Array.from({ length: Math.min(range.workers, range.seeds) }, (_, w) => {
    const job: WorkerJob = {
      firstSeed: range.firstSeed + w,
      endSeed: range.firstSeed + range.seeds,
      stride: range.workers,
      steps: range.steps,
      stopAtFailure: range.stopAtFailure ?? false,
      overrides: range.overrides ?? {},
    };
    return runWorker(job, workers, onResult);
  });
  const stop = (): void => terminate(workers);
  range.signal?.addEventListener("abort", stop);
  await Promise.all(runs);
  range.signal?.removeEventListener("abort", stop);
}

function runWorker(job: WorkerJob, workers: Worker[], onResult: (result: RunResult) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: job });
    workers.push(worker);
    worker.on("message", (result: RunResult) => {
      onResult(result);
      if (!result.ok && job.stopAtFailure) terminate(workers);
    });
    worker.on("error", reject);
    worker.on("exit", () => resolve());
  });
}

/** Each run ends with the "exit" of its worker. */
function terminate(workers: readonly Worker[]): void {
  for (const worker of workers) worker.terminate().catch(() => {});
}
