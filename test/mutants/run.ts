/**
 * Hunts mutants: for each, seeds run on a mutated copy until an invariant fails.
 *   node dist/test/mutants/run.js [--quick] [--only id,id] [--seeds 2000] [--steps 5000] [--parallel 2]
 * Prints a table. Exit code 1 if a mutant survives, hangs, or its `find` no longer matches exactly once.
 */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { MUTANTS } from "./bank.js";
import { buildMutant, StaleMutantError, type Trees } from "./build.js";
import type { Mutant } from "./mutant.js";

/** A mutant that makes the core spin would run for ever. */
const HUNT_LIMIT_MS = 300_000;

interface Hunt {
  readonly mutant: Mutant;
  readonly caughtBy: string;
  readonly seeds: number;
  readonly seconds: number;
}

interface Limits {
  readonly seeds: number;
  readonly steps: number;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      seeds: { type: "string", default: "2000" },
      steps: { type: "string", default: "5000" },
      parallel: { type: "string", default: String(Math.min(2, availableParallelism())) },
    },
  });
  const only = values.only?.split(",");
  const chosen = MUTANTS.filter((m) => (only === undefined ? !values.quick || m.quick : only.includes(m.id)));
  const limits = { seeds: Number(values.seeds), steps: Number(values.steps) };
  const trees = findTrees();
  const hunts: Hunt[] = [];
  const waiting = [...chosen];
  const hunter = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (process.stderr.isTTY)
        process.stderr.write(`\r${hunts.length}/${chosen.length} mutants, hunting ${next.id} \x1b[K`);
      hunts.push(await hunt(next, limits, trees));
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Number(values.parallel)) }, hunter));
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  await rm(trees.target, { recursive: true, force: true });
  return report(hunts, chosen);
}

async function hunt(mutant: Mutant, limits: Limits, trees: Trees): Promise<Hunt> {
  const started = performance.now();
  let caughtBy = "";
  let seeds = 0;
  try {
    const folder = await buildMutant(mutant, trees);
    const url = pathToFileURL(join(folder, "test/sim/jobs.js")).href;
    const jobs: typeof import("../sim/jobs.js") = await import(url);
    const range = { firstSeed: 1, seeds: limits.seeds, steps: limits.steps, workers: 1, stopAtFailure: true };
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<"hung">((resolve) => {
      timer = setTimeout(() => resolve("hung"), HUNT_LIMIT_MS);
    });
    const running = jobs.runSeeds(range, (result) => {
      seeds += 1;
      if (!result.ok) caughtBy = result.invariant;
    });
    const end = await Promise.race([running, limit]);
    clearTimeout(timer);
    if (end === "hung") throw new Error(`${mutant.id} did not end within ${HUNT_LIMIT_MS / 1000} s`);
    await rm(folder, { recursive: true, force: true });
  } catch (error) {
    if (!(error instanceof StaleMutantError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return { mutant, caughtBy: "", seeds: 0, seconds: 0 };
  }
  return { mutant, caughtBy, seeds, seconds: (performance.now() - started) / 1000 };
}

function findTrees(): Trees {
  const compiled = join(dirname(fileURLToPath(import.meta.url)), "../..");
  let root = compiled;
  while (!existsSync(join(root, "package.json"))) {
    if (dirname(root) === root) throw new Error("no package.json above the compiled tree");
    root = dirname(root);
  }
  return { root, compiled, target: join(root, ".build/mutants") };
}

function report(hunts: readonly Hunt[], chosen: readonly Mutant[]): number {
  const width = Math.max(...chosen.map((m) => m.id.length));
  process.stdout.write(`${"mutant".padEnd(width)}  caught by  seeds  seconds  what\n`);
  let missed = 0;
  for (const mutant of chosen) {
    const found = hunts.find((h) => h.mutant === mutant);
    const caughtBy = found?.caughtBy ?? "";
    if (caughtBy === "") missed += 1;
    const columns = [
      mutant.id.padEnd(width),
      (caughtBy === "" ? "SURVIVED" : caughtBy).padEnd(9),
      String(found?.seeds ?? 0).padStart(5),
      (found?.seconds ?? 0).toFixed(1).padStart(7),
      mutant.invariant,
    ];
    process.stdout.write(`${columns.join("  ")}\n`);
  }
  process.stdout.write(`${chosen.length - missed} caught, ${missed} missed\n`);
  return missed === 0 && chosen.length > 0 ? 0 : 1;
}

process.exit(await main());
