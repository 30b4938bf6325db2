/**
 * Hunts mutants: each is built into a copy of the tree and meets one layer after the other until it is caught.
 *   npm run mutants -- [--quick] [--only id,id] [--seeds 2000] [--steps 5000] [--parallel 2] [--markdown]
 * Prints a table, with --markdown the rows of the table in RELIABILITY.md. Exit code 1 if a mutant is missed, if its
 * `find` no longer matches exactly once, or if simulation alone catches less than 95 % of those that it can reach.
 */
import { rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { MUTANTS } from "./bank.js";
import { buildMutant, findTrees, StaleMutantError, type Trees } from "./build.js";
import { Layers } from "./layers.js";
import type { Mutant } from "./mutant.js";
import { type Hunt, markdownText, summaryOf, tableText } from "./table.js";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      seeds: { type: "string", default: "2000" },
      steps: { type: "string", default: "5000" },
      parallel: { type: "string", default: String(Math.min(2, availableParallelism())) },
      markdown: { type: "boolean", default: false },
    },
  });
  const only = values.only?.split(",");
  const chosen = MUTANTS.filter((m) => (only === undefined ? !values.quick || m.quick : only.includes(m.id)));
  const unknown = only?.filter((id) => !chosen.some((m) => m.id === id)) ?? [];
  if (unknown.length > 0 || chosen.length === 0) throw new Error(`no mutant ${unknown.join(", ")}`);
  const trees = findTrees();
  const layers = new Layers(trees, { seeds: Number(values.seeds), steps: Number(values.steps) });
  const hunts: Hunt[] = [];
  const waiting = [...chosen];
  const hunter = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      show(`${hunts.length}/${chosen.length} mutants, hunting ${next.id}`);
      hunts.push(await hunt(next, layers, trees));
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.max(1, Number(values.parallel)) }, hunter));
  } finally {
    await rm(trees.target, { recursive: true, force: true });
  }
  show("");
  const ordered = chosen.flatMap((mutant) => hunts.filter((h) => h.mutant === mutant));
  const summary = summaryOf(ordered);
  process.stdout.write(`${values.markdown ? markdownText(ordered) : tableText(ordered)}\n${summary.text}\n`);
  return summary.missed === 0 && (summary.enough || chosen.length < MUTANTS.length) ? 0 : 1;
}

async function hunt(mutant: Mutant, layers: Layers, trees: Trees): Promise<Hunt> {
  const started = performance.now();
  const reachable = layers.of(mutant).some((layer) => layer !== "tests");
  try {
    const folder = await buildMutant(mutant, trees);
    const caught = await layers.hunt(mutant, folder);
    await rm(folder, { recursive: true, force: true });
    return { mutant, caught, reachable, seconds: (performance.now() - started) / 1000 };
  } catch (error) {
    if (!(error instanceof StaleMutantError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return { mutant, caught: undefined, reachable, seconds: 0 };
  }
}

function show(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text}\x1b[K`);
}

process.exit(await main());
