/**
 * Makes a failed run smaller while the same invariant fails: options one class after the other to their calm value
 * (calm.ts), fewer nodes, rounder numbers, fewer steps. Taking something away shifts the schedule, so each candidate
 * is tried with a few others before it is given up. No clock decides: the same failure always shrinks alike.
 */
import { activeOptions, calmOptions } from "./calm.js";
import type { CoreFactory } from "./model.js";
import { drawOptions, type SimOptions } from "./options.js";
import { type RunResult, runSeed } from "./simulate.js";

/** Schedules tried per candidate. */
const SCHEDULES = 8;
const RUNS_MAX = 1500;

export interface ShrinkRequest {
  readonly seed: number;
  readonly steps: number;
  readonly createCore: CoreFactory;
  readonly overrides?: Partial<SimOptions>;
  /** Called after every run. */
  readonly progress?: (runs: number, active: number) => void;
  readonly runsMax?: number;
}

export interface Shrunk {
  readonly seed: number;
  readonly steps: number;
  /** All options: calm ones, and those that the failure needs. */
  readonly options: SimOptions;
  readonly result: RunResult;
  readonly runs: number;
}

/** `failed` is the result of `request`. */
export async function shrink(request: ShrinkRequest, failed: RunResult): Promise<Shrunk> {
  return await new Shrinker(request, failed).run();
}

/** The same invariant; a crash of the core also with the same text, numbers aside. */
export function sameFailure(a: RunResult, b: RunResult): boolean {
  const text = (why: string): string => (why.split("\n")[0] ?? "").replaceAll(/\d+/g, "#");
  return a.invariant === b.invariant && (a.invariant !== "crash" || text(a.why) === text(b.why));
}

class Shrinker {
  readonly #request: ShrinkRequest;
  readonly #failed: RunResult;
  readonly #runsMax: number;
  #options: SimOptions;
  #result: RunResult;
  #runs = 0;

  constructor(request: ShrinkRequest, failed: RunResult) {
    this.#request = request;
    this.#failed = failed;
    this.#runsMax = request.runsMax ?? RUNS_MAX;
    this.#options = { ...drawOptions(request.seed, request.steps), ...request.overrides, steps: request.steps };
    this.#result = failed;
  }

  async run(): Promise<Shrunk> {
    await this.#cutSteps();
    for (let before = ""; before !== this.#shape() && this.#hasBudget(); ) {
      before = this.#shape();
      await this.#calmDown();
      await this.#fewerNodes();
      await this.#roundNumbers();
      await this.#cutSteps();
    }
    const { steps } = this.#options;
    return { seed: this.#request.seed, steps, options: this.#options, result: this.#result, runs: this.#runs };
  }

  #hasBudget(): boolean {
    return this.#runs < this.#runsMax;
  }

  #shape(): string {
    return JSON.stringify({ ...this.#options, seed: 0 });
  }

  #names(): string[] {
    return Object.keys(activeOptions(this.#options)).filter((name) => name !== "voters");
  }

  /** Halves of what is not calm, then quarters, …, then single options. */
  async #calmDown(): Promise<void> {
    const calm: Record<string, unknown> = { ...calmOptions(this.#request.seed, this.#options.steps) };
    for (let size = this.#names().length; size >= 1; size = Math.floor(size / 2)) {
      for (let names = this.#names(), at = 0; at < names.length; at += size) {
        const chunk = names.slice(at, at + size);
        await this.#accept(Object.fromEntries(chunk.map((name) => [name, calm[name]])));
      }
    }
  }

  async #fewerNodes(): Promise<void> {
    for (let voters = 1; voters < this.#options.voters; voters++) if (await this.#accept({ voters })) return;
  }

  /** Two digits are easier to read than seventeen. */
  async #roundNumbers(): Promise<void> {
    for (const [name, value] of Object.entries(activeOptions(this.#options))) {
      if (typeof value !== "number" || value === 0) continue;
      const rounded = Number(value.toPrecision(value < 1 ? 1 : 2));
      if (rounded !== value) await this.#accept({ [name]: rounded });
    }
  }

  /** First to where it failed (unless that was after the faults), then by other schedules that fail sooner. */
  async #cutSteps(): Promise<void> {
    const failedAt = this.#result.steps + 1;
    if (failedAt < this.#options.steps) await this.#accept({ steps: failedAt });
    while (this.#options.steps > 20 && this.#hasBudget()) {
      const accepted = await this.#accept({ steps: Math.floor(this.#options.steps * 0.6) });
      if (!accepted) return;
      if (this.#result.steps + 1 < this.#options.steps) await this.#accept({ steps: this.#result.steps + 1 });
    }
  }

  /** Takes the change over if some schedule still fails with it. */
  async #accept(change: Partial<SimOptions>): Promise<boolean> {
    const schedule = this.#options.seed;
    for (let i = 0; i < SCHEDULES && this.#hasBudget(); i++) {
      const seed = i === 0 ? schedule : this.#request.seed + i - 1;
      if (i > 0 && seed === schedule) continue;
      const options = { ...this.#options, ...change, seed };
      const { createCore } = this.#request;
      const result = await runSeed({ seed: this.#request.seed, steps: options.steps, createCore, overrides: options });
      this.#runs += 1;
      this.#request.progress?.(this.#runs, this.#names().length);
      if (!sameFailure(this.#failed, result)) continue;
      this.#options = options;
      this.#result = result;
      return true;
    }
    return false;
  }
}
