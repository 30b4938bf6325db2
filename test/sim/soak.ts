/**
 * Runs what finds bugs for as long as it is told, on fresh seeds, and says what it did:
 *   npm run soak -- [--minutes 60] [--first-seed N] [--steps 3000] [--workers 2] [--record]
 *
 * Jobs by weight: seeds of the simulator, a few of them very long; seeds of whole hosts; seeds run again in another
 * process, whose trace must be the same. Before all of it a planted bug must be caught: a soak that sees nothing is a
 * failure. Ends by itself; the last lines are one JSON object and a row for the table "Volumes run" of RELIABILITY.md,
 * which --record adds there. Exit code 1 if anything failed.
 */
import { execFile, execFileSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import type { HostSeed } from "../hosts/main.js";
import { MUTANTS } from "../mutants/bank.js";
import { buildMutant, findTrees } from "../mutants/build.js";
import { runSeeds } from "./jobs.js";
import type { RunResult } from "./simulate.js";

const BATCH_SEEDS = 200;
const LONG_STEPS = 200_000;
const HOST_SEEDS = 4;
const HOST_VIRTUAL_MS = 6_000;
const AGAIN_SEEDS = 3;
const CANARY_SEEDS = 500;
const JOB_LIMIT_MS = 600_000;
/** Jobs of different kinds in a row: one of them is long, two are of hosts, one is run again. */
const SCHEDULE = ["seeds", "hosts", "seeds", "seeds", "again", "seeds", "hosts", "seeds", "long", "seeds"] as const;
const MARK = "<!-- next rows here -->";

interface Options {
  readonly minutes: number;
  readonly firstSeed: number;
  readonly steps: number;
  readonly workers: number;
  readonly record: boolean;
}

class Soak {
  readonly #options: Options;
  readonly #endMs: number;
  #nextSeed: number;
  #jobs = 0;
  seeds = 0;
  steps = 0;
  longRuns = 0;
  hostSeeds = 0;
  again = 0;
  readonly failures: string[] = [];

  constructor(options: Options) {
    this.#options = options;
    this.#nextSeed = options.firstSeed;
    this.#endMs = performance.now() + options.minutes * 60_000;
  }

  get leftMs(): number {
    return this.#endMs - performance.now();
  }

  /** One of the workers: a job after the other until the time is over. */
  async lane(): Promise<void> {
    while (this.leftMs > 0) {
      const kind = SCHEDULE[this.#jobs++ % SCHEDULE.length];
      if (kind === "seeds") await this.#simulate(BATCH_SEEDS, this.#options.steps);
      else if (kind === "long") await this.#long();
      else if (kind === "hosts") await this.#hosts();
      else await this.#again();
    }
  }

  fail(what: string): void {
    this.failures.push(what.split("\n")[0] ?? what);
    process.stdout.write(`${what}\n`);
  }

  #take(count: number): number {
    const first = this.#nextSeed;
    this.#nextSeed += count;
    return first;
  }

  async #simulate(count: number, steps: number): Promise<RunResult[]> {
    const firstSeed = this.#take(count);
    const results: RunResult[] = [];
    const limit = AbortSignal.timeout(JOB_LIMIT_MS);
    await runSeeds({ firstSeed, seeds: count, steps, workers: 1, signal: limit }, (result) => {
      results.push(result);
      this.seeds += 1;
      this.steps += result.steps;
      if (!result.ok) this.fail(`seed ${result.seed} of ${steps} steps: ${result.invariant}: ${result.why}`);
    });
    if (limit.aborted)
      this.fail(`seeds from ${firstSeed} on, ${steps} steps: not done in ${JOB_LIMIT_MS / 60_000} min`);
    return results;
  }

  async #long(): Promise<void> {
    await this.#simulate(1, LONG_STEPS);
    this.longRuns += 1;
  }

  async #hosts(): Promise<void> {
    const firstSeed = this.#take(HOST_SEEDS);
    const program = fileURLToPath(new URL("../hosts/main.js", import.meta.url));
    const args = [program, `${firstSeed}`, `${HOST_SEEDS}`, `${HOST_VIRTUAL_MS}`, "--sessions", "2", "--json"];
    const { lines, why } = await run(args);
    const seen = lines.filter((line) => line.startsWith('{"seed":')).map((line): HostSeed => JSON.parse(line));
    for (const { seed, problems } of seen) {
      if (problems.length > 0) this.fail(`hosts, seed ${seed}: ${problems.join("; ")}`);
    }
    if (seen.length < HOST_SEEDS) this.fail(`hosts, seeds from ${firstSeed} on: ended early\n${why}`);
    this.hostSeeds += seen.length;
  }

  async #again(): Promise<void> {
    const { steps } = this.#options;
    for (const { seed, hash, ok } of await this.#simulate(AGAIN_SEEDS, steps)) {
      if (!ok) continue;
      const program = fileURLToPath(new URL("./main.js", import.meta.url));
      const { lines } = await run([program, "--seed", `${seed}`, "--steps", `${steps}`]);
      if (!lines.includes(`trace hash ${hash}`))
        this.fail(`seed ${seed}: another process has another trace than ${hash}`);
      this.again += 1;
    }
  }
}

function run(args: readonly string[]): Promise<{ readonly lines: readonly string[]; readonly why: string }> {
  return new Promise((resolve) => {
    const limits = { timeout: JOB_LIMIT_MS, maxBuffer: 64 * 1024 * 1024 };
    execFile(process.execPath, [...args], limits, (error, stdout, stderr) => {
      resolve({ lines: stdout.split("\n"), why: error === null ? "" : `${error.message}\n${stderr}` });
    });
  });
}

/** A planted bug that the first seeds of a healthy harness catch. Undefined if they do. */
async function canary(): Promise<string | undefined> {
  const mutant = MUTANTS.find((m) => m.quick);
  if (mutant === undefined) return "there is no quick planted bug";
  const trees = findTrees();
  try {
    const folder = await buildMutant(mutant, trees);
    const jobs: typeof import("./jobs.js") = await import(pathToFileURL(join(folder, "test/sim/jobs.js")).href);
    let caught = false;
    const range = { firstSeed: 1, seeds: CANARY_SEEDS, steps: 4_000, workers: 1, stopAtFailure: true };
    await jobs.runSeeds(range, (result) => {
      caught ||= !result.ok;
    });
    return caught ? undefined : `the planted bug ${mutant.id} survived ${CANARY_SEEDS} seeds`;
  } finally {
    rmSync(trees.target, { recursive: true, force: true });
  }
}

function report(soak: Soak, options: Options): void {
  const { seeds, steps, longRuns, hostSeeds, again, failures } = soak;
  const commit = commitOf();
  const { minutes, firstSeed } = options;
  const done = { minutes, firstSeed, commit, seeds, steps, longRuns, hostSeeds, again, failures };
  process.stdout.write(`${JSON.stringify(done)}\n`);
  const simulated = `${seeds} seeds, ${(steps / 1e6).toFixed(1)} M steps, ${longRuns} of them of ${LONG_STEPS} steps`;
  const what = `${simulated}; ${hostSeeds} seeds of whole hosts; ${again} seeds twice`;
  const result = failures.length === 0 ? "passed; the planted bug was caught" : `${failures.length} failed`;
  const command = `npm run soak -- --minutes ${minutes} --first-seed ${firstSeed}`;
  const row = `| ${new Date().toISOString().slice(0, 10)} | ${commit} | \`${command}\` | ${what} | ${result} |`;
  process.stdout.write(`${row}\n${seeds + hostSeeds - failures.length} passed, ${failures.length} failed\n`);
  if (!options.record) return;
  const path = join(findTrees().root, "RELIABILITY.md");
  writeFileSync(path, readFileSync(path, "utf8").replace(MARK, `${row}\n${MARK}`));
}

function commitOf(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

function parse(): Options | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "60" },
      "first-seed": { type: "string", default: String(randomInt(1_000_000, 1_000_000_000)) },
      steps: { type: "string", default: "3000" },
      workers: { type: "string", default: "2" },
      record: { type: "boolean", default: false },
    },
  });
  const minutes = Number(values.minutes);
  const [firstSeed = 0, steps = 0, workers = 0] = [values["first-seed"], values.steps, values.workers].map(Number);
  const whole = [firstSeed, steps, workers].every((n) => Number.isSafeInteger(n) && n >= 1);
  if (!(minutes > 0) || !whole) return undefined;
  return { minutes, firstSeed, steps, workers, record: values.record };
}

async function main(): Promise<number> {
  const options = parse();
  if (options === undefined) {
    process.stderr.write("expected numbers above 0 for --minutes, --first-seed, --steps and --workers\n");
    return 2;
  }
  process.stderr.write(`first seed ${options.firstSeed}, ${options.minutes} min\n`);
  const soak = new Soak(options);
  const bar = process.stderr.isTTY
    ? new SingleBar({ format: "{bar} {percentage} %  {seeds} seeds, {failed} failed", stream: process.stderr })
    : undefined;
  bar?.start(100, 0, { seeds: 0, failed: 0 });
  const show = setInterval(() => {
    const part = 1 - soak.leftMs / (options.minutes * 60_000);
    bar?.update(Math.min(100, Math.round(part * 100)), { seeds: soak.seeds, failed: soak.failures.length });
  }, 1_000);
  const survived = await canary();
  if (survived !== undefined) soak.fail(survived);
  await Promise.all(Array.from({ length: options.workers }, () => soak.lane()));
  clearInterval(show);
  bar?.stop();
  report(soak, options);
  return soak.failures.length === 0 ? 0 : 1;
}

process.exitCode = await main();
