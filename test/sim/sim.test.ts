/**
 * The simulator in `npm test`: same seed, same hash (also in another process); a volume of seeds on two workers; and
 * that the runs really do what they are for.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Raft } from "../../nodehost/raft/raft.js";
import { runSeeds } from "./jobs.js";
import { explain } from "./report.js";
import { addCoverage, coverageOf, type RunRequest, type RunResult, runSeed } from "./simulate.js";

const SEEDS = 500;
const STEPS = 3000;
const WORKERS = 2;
const PROCESS_SEEDS = [3, 11, 42];

const request = (seed: number): RunRequest => ({ seed, steps: STEPS, createCore: (deps) => new Raft(deps) });
const run = (seed: number): Promise<RunResult> => runSeed(request(seed));

test("the same seed gives the same trace hash twice, other seeds give others", async () => {
  const hashes = new Set<string>();
  for (let seed = 1; seed <= 10; seed++) {
    const first = await run(seed);
    assert.equal((await run(seed)).hash, first.hash, `seed ${seed}`);
    hashes.add(first.hash);
  }
  assert.equal(hashes.size, 10);
});

test("another process gets the same trace hash", async () => {
  const program = fileURLToPath(new URL("./main.js", import.meta.url));
  for (const seed of PROCESS_SEEDS) {
    const args = [program, "--seed", String(seed), "--steps", String(STEPS)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    assert.match(stdout, new RegExp(`trace hash ${(await run(seed)).hash}\n`), `seed ${seed}`);
  }
});

test(`${SEEDS} seeds of ${STEPS} steps hold every invariant and recover`, { timeout: 240_000 }, async () => {
  let totals = coverageOf(undefined);
  let done = 0;
  const failed: RunResult[] = [];
  await runSeeds({ firstSeed: 1, seeds: SEEDS, steps: STEPS, workers: WORKERS }, (result) => {
    done += 1;
    if (!result.ok) failed.push(result);
    totals = addCoverage(totals, result.coverage);
  });
  failed.sort((a, b) => a.seed - b.seed);
  const [first] = failed;
  if (first !== undefined) assert.fail(`${failed.length} seeds failed\n${await explain(request(first.seed), first)}`);
  assert.equal(done, SEEDS);
  // A simulator in which nothing happens would pass as well (P70).
  const { stranded, faults, ...happened } = totals;
  for (const [name, value] of Object.entries(happened)) assert.ok(value >= SEEDS / 10, `too few ${name}: ${value}`);
  for (const [name, value] of faults) assert.ok(value > 0, `no ${name}`);
  assert.ok((faults.get("standstills") ?? 0) <= SEEDS / 20, "too many runs ended standing still");
  assert.ok(stranded <= SEEDS / 50, `too many runs ended stranded: ${stranded}`);
});
