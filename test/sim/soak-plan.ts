/** Which piece of work a soak takes next, and what came of it so far. Knows no clock; soak.ts measures. */
import type { Failure, JobName, Piece } from "./soak-jobs.js";

export interface NextPiece {
  readonly job: JobName;
  readonly firstSeed: number;
  readonly count: number;
  /** Time it is counted with until it is done. */
  readonly reservedMs: number;
}

export interface Totals {
  /** Of the core simulator, long runs and repeated ones included. */
  readonly seeds: number;
  readonly steps: number;
  readonly runs: Readonly<Record<JobName, number>>;
}

interface Kind {
  readonly name: JobName;
  usedMs: number;
  lastMs: number;
  taken: number;
  runs: number;
}

/** At first each kind once, the canary before all. */
const ORDER: readonly JobName[] = ["canary", "core", "hosts", "twice", "long"];

export class Soak {
  readonly failures: Failure[] = [];
  readonly #firstSeed: number;
  readonly #weights: Readonly<Record<JobName, number>>;
  readonly #sizes: Readonly<Record<JobName, number>>;
  readonly #kinds = ORDER.map((name): Kind => ({ name, usedMs: 0, lastMs: 1, taken: 0, runs: 0 }));
  #steps = 0;

  constructor(firstSeed: number, weights: Readonly<Record<JobName, number>>, sizes: Readonly<Record<JobName, number>>) {
    this.#firstSeed = firstSeed;
    this.#weights = weights;
    this.#sizes = sizes;
  }

  get totals(): Totals {
    const of = (job: JobName): number => this.#kind(job).runs;
    const runs = { core: of("core"), long: of("long"), hosts: of("hosts"), twice: of("twice"), canary: of("canary") };
    return { seeds: runs.core + runs.long + runs.twice, steps: this.#steps, runs };
  }

  /** The kind that is furthest behind its share. */
  next(): NextPiece {
    const share = ({ name, usedMs }: Kind): number => usedMs / this.#weights[name];
    const kind = this.#kinds.reduce((a, b) => (share(b) < share(a) ? b : a));
    const { name: job, lastMs: reservedMs } = kind;
    const count = this.#sizes[job];
    const firstSeed = this.#firstSeed + kind.taken;
    kind.usedMs += reservedMs;
    kind.taken += count;
    return { job, firstSeed, count, reservedMs };
  }

  done({ job, reservedMs }: NextPiece, piece: Piece, tookMs: number): void {
    const kind = this.#kind(job);
    kind.usedMs += tookMs - reservedMs;
    kind.lastMs = tookMs;
    kind.runs += piece.done;
    this.#steps += piece.steps;
    this.failures.push(...piece.failures);
  }

  #kind(job: JobName): Kind {
    const kind = this.#kinds.find(({ name }) => name === job);
    if (kind === undefined) throw new RangeError(`no kind ${job}`);
    return kind;
  }
}
