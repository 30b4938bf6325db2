/**
 * Many seeds for a given time: npm run soak -- [--minutes 60] [--first-seed N] [--workers 2] [--record]
 * Fresh seeds of the simulator, long runs, whole hosts, runs repeated in another process, and planted bugs that must be
 * caught. Stops by itself. Ends with a line of JSON and a row for the table "Volumes run" of RELIABILITY.md, which
 * --record puts there. Exit code 1 if anything failed: the seeds, and a report of the first one, are printed.
 */
import { execFileSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Presets, SingleBar } from "cli-progress";
import { Raft } from "../../nodehost/raft/raft.js";
import { findTrees } from "../mutants/build.js";
import type { CoreFactory } from "./model.js";
import { explain, shrunkCommand, shrunkText } from "./report.js";
import { shrink } from "./shrink.js";
import { type Failure, type JobName, runPiece, SIZES, WEIGHTS } from "./soak-jobs.js";
import { Soak } from "./soak-plan.js";

const FAILURES_MAX = 10;
const MARK = "<!-- next rows here -->";
const createCore: CoreFactory = (deps) => new Raft(deps);

interface Settings {
  readonly minutes: number;
  readonly firstSeed: number;
  readonly workers: number;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "60" },
      "first-seed": { type: "string", default: String(randomInt(1, 1_000_000_000)) },
      workers: { type: "string", default: String(Math.min(2, availableParallelism())) },
      record: { type: "boolean", default: false },
    },
  });
  const [minutes, firstSeed, workers] = [values.minutes, values["first-seed"], values.workers].map(Number);
  if (!(minutes !== undefined && minutes > 0 && Number.isSafeInteger(firstSeed) && Number.isSafeInteger(workers))) {
    process.stderr.write("usage: npm run soak -- [--minutes N] [--first-seed N] [--workers K] [--record]\n");
    return 2;
  }
  const settings: Settings = { minutes, firstSeed: firstSeed ?? 1, workers: Math.max(1, workers ?? 1) };
  process.stdout.write(`soak of ${minutes} min from seed ${firstSeed} with ${workers} workers\n`);
  const soak = new Soak(settings.firstSeed, WEIGHTS, SIZES);
  await run(soak, settings);
  await rm(findTrees().target, { recursive: true, force: true });
  for (const [i, failure] of soak.failures.entries()) await tell(failure, i === 0);
  return finish(soak, settings, values.record);
}

async function run(soak: Soak, { minutes, workers }: Settings): Promise<void> {
  const started = performance.now();
  const lengthMs = minutes * 60_000;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), lengthMs);
  const format = "soak {bar} {percentage} % | {seeds} seeds, {steps} M steps, {failed} failed | {duration_formatted}";
  const bar = new SingleBar({ format, noTTYOutput: true, notTTYSchedule: 60_000, hideCursor: true }, Presets.rect);
  const show = (): void => {
    const { seeds, steps } = soak.totals;
    const millions = (steps / 1e6).toFixed(1);
    bar.update(Math.min(minutes * 60, Math.round((performance.now() - started) / 1000)), {
      seeds,
      steps: millions,
      failed: soak.failures.length,
    });
  };
  bar.start(minutes * 60, 0, { seeds: 0, steps: "0", failed: 0 });
  const shown = setInterval(show, 1_000);
  const lane = async (): Promise<void> => {
    while (!stop.signal.aborted && soak.failures.length < FAILURES_MAX) {
      const next = soak.next();
      const from = performance.now();
      soak.done(next, await runPiece(next.job, { ...next, signal: stop.signal }), performance.now() - from);
    }
  };
  try {
    await Promise.all(Array.from({ length: workers }, lane));
  } finally {
    clearTimeout(timer);
    clearInterval(shown);
    show();
    bar.stop();
  }
}

/** The first one in full. */
async function tell(failure: Failure, inFull: boolean): Promise<void> {
  const { job, seed, steps, why, result } = failure;
  const again: Record<JobName, string> = {
    core: `npm run sim -- --seed ${seed} --steps ${steps}`,
    long: `npm run sim -- --seed ${seed} --steps ${steps}`,
    twice: `npm run sim -- --seed ${seed} --steps ${steps}`,
    hosts: `node dist/test/hosts/main.js ${seed} 1 6000 --sessions 3 --log`,
    canary: "npm run mutants -- --quick",
  };
  process.stdout.write(`\nfailed (${job}): seed ${seed}: ${why}\nagain: ${again[job]}\n`);
  if (!inFull || result === undefined) return;
  const request = { seed, steps, createCore };
  process.stdout.write(`${await explain(request, result)}\n`);
  const shrunk = await shrink({ ...request, runsMax: 600 }, result);
  const small = { seed, steps: shrunk.steps, createCore, overrides: shrunk.options };
  process.stdout.write(`${shrunkText(shrunk, steps)}\n${await explain(small, shrunk.result, shrunkCommand(shrunk))}\n`);
}

function finish(soak: Soak, { minutes, firstSeed, workers }: Settings, record: boolean): number {
  const { seeds, steps, runs } = soak.totals;
  const failures = soak.failures.map(({ job, seed, why }) => ({ job, seed, why: why.split("\n")[0] }));
  const date = new Date().toISOString().slice(0, 10);
  const commit = commitName();
  const enough = runs.canary > 0 && seeds > 0;
  const ok = failures.length === 0 && enough;
  const about = { event: "soak", ok, date, commit, minutes, firstSeed, workers };
  process.stdout.write(`${JSON.stringify({ ...about, seeds, steps, runs, failures })}\n`);
  const what = [
    `${seeds.toLocaleString("en")} seeds, ${(steps / 1e6).toFixed(0)} M steps`,
    `${runs.long} runs of 200,000 steps`,
    `${runs.hosts} of whole hosts`,
    `${runs.twice} repeated`,
    `${runs.canary} planted bugs`,
  ].join(", ");
  const verdict = ok ? "passed" : enough ? `${failures.length} failed` : "too short: nothing proven";
  const command = `npm run soak -- --minutes ${minutes} --first-seed ${firstSeed}`;
  const row = `| ${date} | ${commit} | \`${command}\` | ${what} | ${verdict} |`;
  process.stdout.write(`${row}\n`);
  if (record) addRow(row);
  return ok ? 0 : 1;
}

function commitName(): string {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

function addRow(row: string): void {
  const path = join(findTrees().root, "RELIABILITY.md");
  const page = readFileSync(path, "utf8");
  if (page.split(MARK).length !== 2) throw new Error(`${path} has no place for rows (${MARK})`);
  writeFileSync(path, page.replace(MARK, `${row}\n${MARK}`));
}

process.exitCode = await main();
