/**
 * The simulator's command line (`npm run sim -- …`).
 *   --seed 7                     one seed: options, what it did, trace hash, verdict
 *   --seed 7 --trace             the same with every event
 *   --seed 7 --shrink            the same, and a smaller run that fails alike; --record keeps it as a regression file
 *   --seeds 1000 --workers 2     seeds 1 … 1000; explains and shrinks the first failure; ends with "N passed, N failed"
 * Exit code 0: nothing failed; 1: a violation; 2: usage.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Raft } from "../../nodehost/raft/raft.js";
import { calmOptions, checkOverrides } from "./calm.js";
import { runSeeds, type SeedRange } from "./jobs.js";
import type { CoreFactory } from "./model.js";
import { drawOptions, formatOptions, type SimOptions } from "./options.js";
import { regressionOf, writeRegression } from "./regress.js";
import { explain, shrunkCommand, shrunkText } from "./report.js";
import { type ShrinkRequest, shrink } from "./shrink.js";
import { addCoverage, coverageOf, coverageText, type RunResult, runSeed } from "./simulate.js";
import { formatLine, type TraceLine } from "./trace.js";

const USAGE = [
  "usage: npm run sim -- --seed N [--steps N] [--trace] [--calm] [--set option=value]… [--shrink] [--record --story …]",
  "     | npm run sim -- --seeds N [--first-seed N] [--steps N] [--workers K] [--set …]… [--no-shrink]\n",
].join("\n");

const createCore: CoreFactory = (deps) => new Raft(deps);

interface How {
  readonly trace: boolean;
  readonly shrink: boolean;
  readonly record: boolean;
  readonly story: string;
}

class UsageError extends Error {}

function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seeds: { type: "string" },
      "first-seed": { type: "string", default: "1" },
      steps: { type: "string", default: "5000" },
      workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
      trace: { type: "boolean", default: false },
      calm: { type: "boolean", default: false },
      shrink: { type: "boolean", default: false },
      "no-shrink": { type: "boolean", default: false },
      record: { type: "boolean", default: false },
      story: { type: "string", default: "" },
      set: { type: "string", multiple: true, default: [] },
    },
  });
  const steps = count(values.steps);
  if (values.record && values.story === "")
    throw new UsageError("--record needs --story: what went wrong, in one line");
  const set = parseOverrides(values.set);
  if (values.seed !== undefined) {
    const seed = count(values.seed);
    const overrides = values.calm ? { ...calmOptions(seed, steps), ...set } : set;
    const how = { trace: values.trace, shrink: values.shrink || values.record, record: values.record };
    return one({ seed, steps, overrides }, { ...how, story: values.story });
  }
  if (values.seeds === undefined) throw new UsageError("give --seed or --seeds");
  const firstSeed = count(values["first-seed"]);
  const workers = Math.max(1, count(values.workers));
  return many({ firstSeed, seeds: count(values.seeds), steps, workers, overrides: set }, !values["no-shrink"]);
}

function count(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < 0) throw new UsageError(`not a number: ${text}`);
  return value;
}

/** `name=value` pairs, each of a known option and of its type. */
function parseOverrides(pairs: readonly string[]): Partial<SimOptions> {
  return checkOverrides(
    pairs.map((pair) => {
      const [name = "", text = ""] = pair.split("=");
      return [name, text === "true" || text === "false" ? text === "true" : text === "" ? text : Number(text)];
    }),
  );
}

type Asked = Pick<ShrinkRequest, "seed" | "steps"> & { readonly overrides: Partial<SimOptions> };

async function one(asked: Asked, how: How): Promise<number> {
  const request = { ...asked, createCore };
  const options = { ...drawOptions(asked.seed, asked.steps), ...asked.overrides };
  say(`options: ${formatOptions(options)}`);
  const started = performance.now();
  const observe = () => (line: TraceLine) => say(formatLine(line));
  const result = await runSeed(how.trace ? { ...request, observe } : request);
  const seconds = (performance.now() - started) / 1000;
  if (!result.ok) say(await explain(request, result));
  say(`steps ${result.steps}, virtual ${result.virtualMs} ms, ${coverageText(result.coverage)}`);
  process.stderr.write(`${Math.round(result.steps / seconds)} steps/s\n`);
  if (!result.ok && how.shrink) await shrinkAndSay(request, result, how);
  say(`trace hash ${result.hash}\n${result.ok ? "passed" : "FAILED"}`);
  return result.ok ? 0 : 1;
}

async function shrinkAndSay(request: ShrinkRequest, failed: RunResult, how: How): Promise<void> {
  const progress = (runs: number, active: number): void => {
    if (process.stderr.isTTY) process.stderr.write(`\rshrinking: ${runs} runs, ${active} options left \x1b[K`);
  };
  const shrunk = await shrink({ ...request, progress }, failed);
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  const { seed, steps, options, result } = shrunk;
  const { createCore } = request;
  say(`\n${shrunkText(shrunk, request.steps)}\n`);
  say(await explain({ seed, steps, createCore, overrides: options }, result, shrunkCommand(shrunk)));
  if (!how.record) return;
  const date = new Date().toISOString().slice(0, 10);
  const regression = regressionOf(options, { seed, invariant: result.invariant, date, story: how.story });
  say(`recorded: ${writeRegression(regression)}`);
}

async function many(range: SeedRange, shrinks: boolean): Promise<number> {
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
    if (!result.ok) failures.push(result);
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
  const [first] = failures;
  if (first !== undefined) {
    const { overrides = {} } = range;
    const request = { seed: first.seed, steps: range.steps, overrides, createCore };
    say(await explain(request, first));
    if (shrinks) await shrinkAndSay(request, first, { trace: false, shrink: true, record: false, story: "" });
  }
  for (const failed of failures) say(`failed: seed ${failed.seed} (${failed.invariant})`);
  say(coverageText(totals));
  const rate = Math.round(steps / seconds);
  say(`${steps} steps in ${seconds.toFixed(1)} s, ${rate} steps/s with ${range.workers} workers`);
  say(`${done - failures.length} passed, ${failures.length} failed`);
  return failures.length === 0 && done === range.seeds ? 0 : 1;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 2;
}
