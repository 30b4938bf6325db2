/**
 * The simulator's command line.
 *   node dist/test/sim/main.js --seed 7                     one seed: options, what it did, trace hash, verdict
 *   node dist/test/sim/main.js --seed 7 --trace             the same with every event
 *   node dist/test/sim/main.js --seeds 1000 --workers 2     seeds 1 … 1000; the last line is "N passed, N failed"
 * Exit code 0: nothing failed; 1: a violation; 2: usage.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Raft } from "../../nodehost/raft/raft.js";
import { runSeeds, type SeedRange } from "./jobs.js";
import { drawOptions, formatOptions, type SimOptions } from "./options.js";
import { addCoverage, coverageOf, coverageText, type RunResult, runSeed } from "./simulate.js";

const REPORTS_MAX = 3;
const USAGE = [
  "usage: main.js --seed N [--steps N] [--trace] [--set option=value]…",
  "     | main.js --seeds N [--first-seed N] [--steps N] [--workers K]\n",
].join("\n");

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seeds: { type: "string" },
      "first-seed": { type: "string", default: "1" },
      steps: { type: "string", default: "5000" },
      workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
      trace: { type: "boolean", default: false },
      set: { type: "string", multiple: true, default: [] },
    },
  });
  const steps = count(values.steps);
  if (values.seed !== undefined) {
    return one(count(values.seed), steps, { trace: values.trace, set: values.set });
  }
  if (values.seeds === undefined) throw new UsageError("give --seed or --seeds");
  const firstSeed = count(values["first-seed"]);
  const overrides = parseOverrides(values.set, drawOptions(firstSeed, steps));
  const workers = Math.max(1, count(values.workers));
  return many({ firstSeed, seeds: count(values.seeds), steps, workers, overrides });
}

class UsageError extends Error {}

function count(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < 0) throw new UsageError(`not a number: ${text}`);
  return value;
}

async function one(seed: number, steps: number, how: { trace: boolean; set: readonly string[] }): Promise<number> {
  const overrides = parseOverrides(how.set, drawOptions(seed, steps));
  const options = { ...drawOptions(seed, steps), ...overrides };
  process.stdout.write(`options: ${formatOptions(options)}\n`);
  const started = performance.now();
  const result = await runSeed({
    seed,
    steps,
    createCore: (deps) => new Raft(deps),
    overrides,
    ...(how.trace ? { traceSink: (line: string) => process.stdout.write(`${line}\n`) } : {}),
  });
  const seconds = (performance.now() - started) / 1000;
  if (!result.ok) process.stdout.write(`${result.report}\n`);
  process.stdout.write(`steps ${result.steps}, virtual ${result.virtualMs} ms, ${coverageText(result.coverage)}\n`);
  process.stderr.write(`${Math.round(result.steps / seconds)} steps/s\n`);
  process.stdout.write(`trace hash ${result.hash}\n${result.ok ? "passed" : "FAILED"}\n`);
  return result.ok ? 0 : 1;
}

/** `name=value` pairs, each of a known option and of its type. */
function parseOverrides(pairs: readonly string[], drawn: SimOptions): Partial<SimOptions> {
  const overrides: Record<string, number | boolean> = {};
  const known = new Map<string, number | boolean>(Object.entries(drawn));
  for (const pair of pairs) {
    const [name = "", text = ""] = pair.split("=");
    const present = known.get(name);
    if (present === undefined) throw new UsageError(`no option ${name}`);
    const value = typeof present === "boolean" ? text === "true" : Number(text);
    if (typeof value === "number" && Number.isNaN(value)) throw new UsageError(`not a number: ${text}`);
    overrides[name] = value;
  }
  return overrides;
}

async function many(range: SeedRange): Promise<number> {
  const started = performance.now();
  const failures: RunResult[] = [];
  let totals = coverageOf(undefined);
  let done = 0;
  let steps = 0;
  let shownAt = 0;
  await runSeeds(range, (result) => {
    done += 1;
    steps += result.steps;
    totals = addCoverage(totals, result.coverage);
    if (!result.ok) {
      failures.push(result);
      if (failures.length <= REPORTS_MAX) process.stdout.write(`${result.report}\n\n`);
    }
    const now = performance.now();
    if (process.stderr.isTTY && (now - shownAt > 200 || done === range.seeds)) {
      shownAt = now;
      const rate = Math.round((steps / (now - started)) * 1000);
      process.stderr.write(`\r${done}/${range.seeds} seeds, ${failures.length} failed, ${rate} steps/s `);
      if (done === range.seeds) process.stderr.write("\n");
    }
  });
  const seconds = (performance.now() - started) / 1000;
  failures.sort((a, b) => a.seed - b.seed);
  for (const failed of failures) process.stdout.write(`failed: seed ${failed.seed} (${failed.invariant})\n`);
  process.stdout.write(`${coverageText(totals)}\n`);
  const rate = Math.round(steps / seconds);
  process.stdout.write(`${steps} steps in ${seconds.toFixed(1)} s, ${rate} steps/s with ${range.workers} workers\n`);
  process.stdout.write(`${done - failures.length} passed, ${failures.length} failed\n`);
  return failures.length === 0 && done === range.seeds ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 2;
}
