/** One worker thread of a run over many seeds. */
import { parentPort, workerData } from "node:worker_threads";
import { Raft } from "../../nodehost/raft/raft.js";
import type { WorkerJob } from "./jobs.js";
import { runSeed } from "./simulate.js";

// Requests that fail make errors by the thousand; a failed seed is run again elsewhere, with stacks (report.ts).
Error.stackTraceLimit = 0;
const job: WorkerJob = workerData;
for (let seed = job.firstSeed; seed < job.endSeed; seed += job.stride) {
  const { steps, overrides } = job;
  const result = await runSeed({ seed, steps, overrides, createCore: (deps) => new Raft(deps) });
  parentPort?.postMessage(result);
  if (!result.ok && job.stopAtFailure) break;
}
