/**
 * Regression files: failures that were found once, each with all it needs, so that `npm test` runs them for ever.
 * Written by `npm run sim -- --seed N --shrink --record`, read by regress.test.ts. Options that a file does not name
 * are calm (calm.ts): knobs that came later do not change what it does.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { activeOptions, calmOptions, checkOverrides } from "./calm.js";
import type { SimOptions } from "./options.js";

export interface Regression {
  readonly seed: number;
  readonly steps: number;
  /** Beside the calm ones. */
  readonly overrides: Partial<SimOptions>;
  /** Which one failed. */
  readonly invariant: string;
  /** Day on which it was recorded, YYYY-MM-DD. */
  readonly date: string;
  /** What the bug was, in one line. */
  readonly story: string;
}

export interface RegressionFile extends Regression {
  readonly name: string;
}

/** Folder of the sources, also when this runs from dist or from a mutated tree. */
export function regressFolder(): string {
  let root = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(root, "package.json"))) {
    if (dirname(root) === root) throw new Error("no package.json above the compiled tree");
    root = dirname(root);
  }
  return join(root, "test/sim/regress");
}

export function readRegressions(folder = regressFolder()): RegressionFile[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
  return names.sort().map((name) => ({ name, ...parse(name, readFileSync(join(folder, name), "utf8")) }));
}

/** Returns the path written. An existing file is replaced: the newest shrink of a seed counts. */
export function writeRegression(regression: Regression, folder = regressFolder()): string {
  const { seed, steps, invariant, date, story } = regression;
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${invariant.toLowerCase()}-${seed}.json`);
  const text = { seed, steps, invariant, date, story, overrides: regression.overrides };
  writeFileSync(path, `${JSON.stringify(text, undefined, 2)}\n`);
  return path;
}

/** All options of its run. */
export function regressionOptions({ seed, steps, overrides }: Regression): SimOptions {
  return { ...calmOptions(seed, steps), ...overrides };
}

/** What a failed run of these options is as a regression. */
export function regressionOf(options: SimOptions, about: Omit<Regression, "steps" | "overrides">): Regression {
  const { seed } = about;
  return { ...about, steps: options.steps, overrides: activeOptions(options, seed) };
}

function parse(name: string, text: string): Regression {
  const { seed, steps, overrides, invariant, date, story }: Regression = JSON.parse(text);
  const numbers = Number.isSafeInteger(seed) && Number.isSafeInteger(steps);
  const texts = [invariant, date, story].every((field) => typeof field === "string" && field !== "");
  if (!numbers || !texts || !/^\d{4}-\d\d-\d\d$/.test(date))
    throw new RangeError(`${name}: a field is missing or wrong`);
  return { seed, steps, overrides: checkOverrides(Object.entries(overrides)), invariant, date, story };
}
