/**
 * The kinds of work of a soak, each run in pieces of some seconds to a minute. A piece returns what it did and what
 * failed; it never throws for a failure of the product. Called by soak.ts.
 */
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Raft } from "../../nodehost/raft/raft.js";
import type { HostSeed } from "../hosts/main.js";
import { type Ended, runProgram } from "../kit/child.js";
import { MUTANTS } from "../mutants/bank.js";
import { buildMutant, findTrees } from "../mutants/build.js";
import { Layers } from "../mutants/layers.js";
import { runSeeds } from "./jobs.js";
import type { RunResult } from "./simulate.js";
import { runSeed } from "./simulate.js";

const STALL_MS = 120_000;
const CANARY_SEEDS = 200;
const LONG_STEPS = 200_000;
const HOST_VIRTUAL_MS = 6_000;

export type JobName = "core" | "long" | "hosts" | "twice" | "canary";

/** Share of the time that each kind gets. */
export const WEIGHTS: Readonly<Record<JobName, number>> = { core: 80, hosts: 10, long: 6, twice: 2, canary: 2 };

export interface Failure {
  readonly job: JobName;
  /** 0 of a canary. */
  readonly seed: number;
  readonly steps: number;
  readonly why: string;
  /** Of a run of the core: can be explained. */
  readonly result?: RunResult;
}

export interface Piece {
  /** Runs, or canaries. */
  readonly done: number;
  readonly steps: number;
  readonly failures: readonly Failure[];
}

export interface PieceOptions {
  readonly firstSeed: number;
  readonly count: number;
  /** The soak is over: what is under way is given up without a verdict. */
  readonly signal: AbortSignal;
}

/** Seeds that one piece takes. */
export const SIZES: Readonly<Record<JobName, number>> = { core: 400, hosts: 20, long: 1, twice: 3, canary: 1 };

export function runPiece(job: JobName, options: PieceOptions): Promise<Piece> {
  switch (job) {
    case "core":
      return core(job, options, 3_000 + (options.firstSeed % 2_001));
    case "long":
      return core(job, options, LONG_STEPS);
    case "hosts":
      return hosts(options);
    case "twice":
      return twice(options);
    default:
      return canary(options);
  }
}

/** Fresh seeds on a worker. One that gives no result for too long is a failure too. */
async function core(job: JobName, { firstSeed, count, signal }: PieceOptions, steps: number): Promise<Piece> {
  const failures: Failure[] = [];
  const stalled = new AbortController();
  const either = AbortSignal.any([signal, stalled.signal]);
  let done = 0;
  let total = 0;
  const watch = setTimeout(() => stalled.abort(), STALL_MS);
  await runSeeds({ firstSeed, seeds: count, steps, workers: 1, signal: either }, (result) => {
    done += 1;
    total += result.steps;
    if (!result.ok) failures.push({ job, seed: result.seed, steps, why: result.why, result });
    watch.refresh();
  });
  clearTimeout(watch);
  if (stalled.signal.aborted) {
    failures.push({ job, seed: firstSeed + done, steps, why: `no result within ${STALL_MS / 1000} s` });
  }
  return { done, steps: total, failures };
}

/** Whole hosts on virtual time, in a process of their own. */
async function hosts({ firstSeed, count, signal }: PieceOptions): Promise<Piece> {
  const args = [programOf("../hosts/main.js"), `${firstSeed}`, `${count}`, `${HOST_VIRTUAL_MS}`, "--sessions", "3"];
  const ended = await child([...args, "--json"], signal);
  const results = ended.lines.filter((line) => line.startsWith('{"seed":')).map((line): HostSeed => JSON.parse(line));
  const failures = results
    .filter(({ problems }) => problems.length > 0)
    .map(({ seed, problems }): Failure => ({ job: "hosts", seed, steps: 0, why: problems.join("; ") }));
  if (!signal.aborted && results.length < count) {
    const why = `ended with ${ended.code}: ${ended.errors.slice(-2_000)}`;
    failures.push({ job: "hosts", seed: firstSeed + results.length, steps: 0, why });
  }
  return { done: results.length, steps: 0, failures };
}

/** The same seed here and in another process must give the same hash. */
async function twice({ firstSeed, count, signal }: PieceOptions): Promise<Piece> {
  const failures: Failure[] = [];
  const steps = 3_000;
  let total = 0;
  for (let seed = firstSeed; seed < firstSeed + count && !signal.aborted; seed++) {
    const here = await runSeed({ seed, steps, createCore: (deps) => new Raft(deps) });
    const args = [programOf("./main.js"), "--seed", `${seed}`, "--steps", `${steps}`];
    const { lines } = await child(args, signal);
    total += here.steps;
    const there = lines.find((line) => line.startsWith("trace hash "))?.slice(11);
    if (!signal.aborted && there !== here.hash) {
      failures.push({ job: "twice", seed, steps, why: `trace hash ${here.hash} here, ${there} in another process` });
    }
  }
  return { done: count, steps: total, failures };
}

/** A planted bug must be caught: a soak that finds nothing may be blind (P70). */
async function canary({ firstSeed }: PieceOptions): Promise<Piece> {
  const trees = findTrees();
  const quick = MUTANTS.filter((mutant) => mutant.quick);
  const mutant = quick[firstSeed % quick.length];
  if (mutant === undefined) throw new Error("no quick mutants");
  const layers = new Layers(trees, { seeds: CANARY_SEEDS, steps: 5_000 });
  const folder = await buildMutant(mutant, trees);
  try {
    const caught = await layers.hunt(mutant, folder);
    const why = `the planted bug ${mutant.id} is not caught within ${CANARY_SEEDS} seeds`;
    const failures: Failure[] = caught === undefined ? [{ job: "canary", seed: 0, steps: 0, why }] : [];
    return { done: 1, steps: 0, failures };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function child(args: readonly string[], signal: AbortSignal): Promise<Ended> {
  return runProgram(args, { cwd: process.cwd(), stallMs: STALL_MS, signal });
}

function programOf(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}
