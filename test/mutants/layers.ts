/**
 * The layers that a planted bug meets, in this order, until one of them catches it: seeds of the core simulator, seeds
 * of whole hosts, the tests that the bug names. Called by run.ts.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Ended, runProgram } from "../kit/child.js";
import type { RunResult } from "../sim/simulate.js";
import { compiledName, copyTree, type Trees } from "./build.js";
import type { Mutant } from "./mutant.js";
import { reachOf } from "./reach.js";

/** A mutant can make the code spin: without a result for so long it is caught. Generous: machines are busy. */
const STALL_MS = 120_000;
const HOST_SEEDS = 60;
const HOST_VIRTUAL_MS = 4_000;
const SIMULATION = "test/sim/worker.js";
const HOSTS = "test/hosts/main.js";
/** Two thousand seeds of the core see more of it than sixty of hosts. */
const CORE = /^nodehost\/(raft|log)\//;

export type LayerName = "simulation" | "hosts" | "tests";

export interface Catch {
  readonly layer: LayerName;
  /** Invariant, problem, or test file with the first test that failed. */
  readonly by: string;
  /** Seeds run in the layer that caught it; 0 for tests. */
  readonly seeds: number;
}

export interface Limits {
  readonly seeds: number;
  readonly steps: number;
}

export class Layers {
  readonly #trees: Trees;
  readonly #limits: Limits;
  readonly #reach: Readonly<Record<"simulation" | "hosts", ReadonlySet<string>>>;
  /** Tests that pass without a mutation, each run once. */
  readonly #sound = new Map<string, Promise<void>>();
  #base: Promise<string> | undefined;

  constructor(trees: Trees, limits: Limits) {
    this.#trees = trees;
    this.#limits = limits;
    const { compiled } = trees;
    this.#reach = { simulation: reachOf(compiled, SIMULATION), hosts: reachOf(compiled, HOSTS) };
  }

  /** Layers that run the mutant's file at all. */
  of(mutant: Mutant): readonly LayerName[] {
    const file = compiledName(mutant.file);
    if (mutant.unseen !== undefined) return ["tests"];
    const names: LayerName[] = [];
    if (this.#reach.simulation.has(file)) names.push("simulation");
    if (this.#reach.hosts.has(file) && !CORE.test(file)) names.push("hosts");
    if ((mutant.tests ?? []).length > 0) names.push("tests");
    return names;
  }

  /** `folder` holds the mutated tree. */
  async hunt(mutant: Mutant, folder: string): Promise<Catch | undefined> {
    for (const layer of this.of(mutant)) {
      const caught =
        layer === "simulation"
          ? await this.#simulate(folder)
          : layer === "hosts"
            ? await this.#runHosts(folder)
            : await this.#runTests(mutant.tests ?? [], folder);
      if (caught !== undefined) return caught;
    }
    return undefined;
  }

  async #simulate(folder: string): Promise<Catch | undefined> {
    const url = pathToFileURL(join(folder, "test/sim/jobs.js")).href;
    const jobs: typeof import("../sim/jobs.js") = await import(url);
    const { seeds: count, steps } = this.#limits;
    const stop = new AbortController();
    let seeds = 0;
    const failures: RunResult[] = [];
    const watch = setTimeout(() => stop.abort(), STALL_MS);
    const range = { firstSeed: 1, seeds: count, steps, workers: 1, stopAtFailure: true, signal: stop.signal };
    await jobs.runSeeds(range, (result) => {
      seeds += 1;
      if (!result.ok) failures.push(result);
      watch.refresh();
    });
    clearTimeout(watch);
    if (stop.signal.aborted) return { layer: "simulation", by: "hangs", seeds: seeds + 1 };
    const [failed] = failures;
    if (failed === undefined) return undefined;
    checkPlanted(failed.why);
    return { layer: "simulation", by: failed.invariant, seeds };
  }

  async #runHosts(folder: string): Promise<Catch | undefined> {
    const args = [
      join(folder, HOSTS),
      "1",
      `${HOST_SEEDS}`,
      `${HOST_VIRTUAL_MS}`,
      "--sessions",
      "2",
      "--stop",
      "--json",
    ];
    const { code, lines, errors } = await this.#run(args);
    if (code === 0) return undefined;
    checkPlanted(errors);
    const last = lines.at(-1) ?? "";
    const seeds = lines.filter((line) => line.startsWith('{"seed":')).length;
    if (code === "hangs") return { layer: "hosts", by: "hangs", seeds: seeds + 1 };
    if (!last.startsWith('{"seed":')) return { layer: "hosts", by: "crash", seeds: seeds + 1 };
    const { problems }: { problems: readonly string[] } = JSON.parse(last);
    return { layer: "hosts", by: (problems[0] ?? "").slice(0, 80), seeds };
  }

  async #runTests(tests: readonly string[], folder: string): Promise<Catch | undefined> {
    for (const test of tests) {
      await this.#checkSound(test);
      const { code, lines } = await this.#run(["--test-reporter=tap", join(folder, compiledName(test))]);
      if (code === 0) continue;
      checkPlanted(lines.join("\n"));
      const failed = lines.map((line) => /^\s*not ok \d+ - (.*)$/.exec(line)?.[1]).find((name) => name !== undefined);
      return { layer: "tests", by: `${test}: ${failed ?? code}`, seeds: 0 };
    }
    return undefined;
  }

  #run(args: readonly string[]): Promise<Ended> {
    return runProgram(args, { cwd: this.#trees.root, stallMs: STALL_MS });
  }

  /** A test that fails anyway catches nothing. */
  #checkSound(test: string): Promise<void> {
    let sound = this.#sound.get(test);
    if (sound === undefined) {
      sound = this.#passesUnmutated(test);
      this.#sound.set(test, sound);
    }
    return sound;
  }

  async #passesUnmutated(test: string): Promise<void> {
    this.#base ??= copyTree("unmutated", this.#trees);
    const { code, lines } = await this.#run([join(await this.#base, compiledName(test))]);
    if (code !== 0) throw new Error(`${test} fails without any mutation:\n${lines.slice(-30).join("\n")}`);
  }
}

/** Code that does not run is no bug that anybody could have written. */
function checkPlanted(text: string): void {
  const broken = /\b(ReferenceError|SyntaxError): .*/.exec(text);
  if (broken !== null) throw new Error(`the mutated code does not run: ${broken[0]}`);
}
