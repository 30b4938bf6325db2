/** The soak: its plan gives every kind its share, and each kind of work does something and sees a failure. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { MUTANTS } from "../mutants/bank.js";
import { buildMutant, findTrees } from "../mutants/build.js";
import { type JobName, type Piece, runPiece, SIZES, WEIGHTS } from "./soak-jobs.js";
import { Soak } from "./soak-plan.js";

const never = new AbortController().signal;

test("every kind of work comes first once and then gets its share of the time", () => {
  const soak = new Soak(1000, WEIGHTS, SIZES);
  const takesMs: Record<JobName, number> = { core: 20_000, hosts: 4_000, long: 3_000, twice: 2_000, canary: 5_000 };
  const usedMs = new Map<JobName, number>();
  const order: JobName[] = [];
  const seeds = new Set<number>();
  for (let totalMs = 0; totalMs < 3_600_000; ) {
    const next = soak.next();
    order.push(next.job);
    if (next.job === "core") for (let i = 0; i < next.count; i++) seeds.add(next.firstSeed + i);
    usedMs.set(next.job, (usedMs.get(next.job) ?? 0) + takesMs[next.job]);
    totalMs += takesMs[next.job];
    soak.done(next, { done: next.count, steps: 10, failures: [] }, takesMs[next.job]);
  }
  assert.equal(new Set(order.slice(0, 5)).size, 5);
  assert.equal(order[0], "canary");
  for (const [job, ms] of usedMs) assert.ok(Math.abs(ms / 36_000 - WEIGHTS[job]) < 1, `${job}: ${ms / 36_000} %`);
  const { runs } = soak.totals;
  assert.equal(seeds.size, runs.core, "no seed is taken twice");
  assert.equal(Math.min(...seeds), 1000);
});

test("failures of pieces are those of the soak, its seeds those of the core", () => {
  const soak = new Soak(1, WEIGHTS, SIZES);
  const failure = { job: "core", seed: 7, steps: 3000, why: "R1" } as const;
  const piece: Piece = { done: 400, steps: 1_200_000, failures: [failure] };
  const canary = soak.next();
  soak.done(canary, { done: 1, steps: 0, failures: [] }, 1);
  soak.done(soak.next(), piece, 20_000);
  assert.deepEqual(soak.failures, [failure]);
  const { seeds, steps, runs } = soak.totals;
  assert.deepEqual([seeds, steps, runs.core, runs.canary], [400, 1_200_000, 400, 1]);
});

test("each kind of work runs and finds nothing on sound code", async () => {
  for (const [job, count] of [
    ["core", 3],
    ["hosts", 2],
    ["twice", 1],
    ["canary", 1],
  ] as const) {
    const piece = await runPiece(job, { firstSeed: 11, count, signal: never });
    assert.deepEqual(piece.failures, [], job);
    assert.equal(piece.done, count, job);
  }
});

test("what is cut short by the end of the soak is no failure", async () => {
  const over = AbortSignal.abort();
  for (const job of ["core", "hosts", "twice"] as const) {
    const piece = await runPiece(job, { firstSeed: 11, count: 50, signal: over });
    assert.deepEqual(piece.failures, [], job);
  }
});

test("a bug in the core is a failure of the piece that meets it", async () => {
  const trees = findTrees();
  const [mutant] = MUTANTS.filter(({ quick }) => quick);
  assert.ok(mutant !== undefined);
  try {
    const folder = await buildMutant(mutant, { ...trees, target: `${trees.target}-soak` });
    const url = pathToFileURL(join(folder, "test/sim/soak-jobs.js")).href;
    const planted: typeof import("./soak-jobs.js") = await import(url);
    const { failures, done } = await planted.runPiece("core", { firstSeed: 1, count: 10, signal: never });
    assert.equal(done, 10);
    assert.ok(failures.length > 0);
    for (const { job, seed, steps, result } of failures) {
      assert.equal(job, "core");
      assert.equal(result?.ok, false);
      assert.ok(seed >= 1 && seed <= 10 && steps >= 3_000);
    }
  } finally {
    await rm(`${trees.target}-soak`, { recursive: true, force: true });
  }
});
