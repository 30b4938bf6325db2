/** Runs one seed: draws its options, steps its world under faults, then demands recovery. Never throws. */
import { errorText } from "../../shared/errors.js";
import { addFaults, type Fault } from "./fault-counts.js";
import { Liveness } from "./liveness.js";
import { type CoreFactory, Violation, type World } from "./model.js";
import { drawOptions, type SimOptions } from "./options.js";
import { RestPhase } from "./rest.js";
import type { TraceSink } from "./trace.js";
import { SimulatedWorld } from "./world.js";

export interface RunRequest {
  readonly seed: number;
  readonly steps: number;
  readonly createCore: CoreFactory;
  /** Replaces drawn options (looking at one seed). `seed` here changes the schedule and not the options. */
  readonly overrides?: Partial<SimOptions>;
  /** Looks at the run from outside; the sink it returns gets every event. */
  readonly observe?: (world: World) => TraceSink;
}

export interface RunResult {
  readonly seed: number;
  readonly ok: boolean;
  readonly steps: number;
  readonly virtualMs: number;
  readonly hash: string;
  /** What the run did, so that a harness that tests nothing is seen. */
  readonly coverage: Coverage;
  /** Id of the invariant that failed, "" if ok. */
  readonly invariant: string;
  /** What was found, "" if ok. report.ts tells the rest. */
  readonly why: string;
}

export interface Coverage {
  readonly elections: number;
  readonly committed: number;
  readonly acked: number;
  readonly reads: number;
  readonly snapshots: number;
  readonly changes: number;
  readonly crashes: number;
  readonly rests: number;
  readonly installs: number;
  readonly witnessCommits: number;
  readonly witnessInstalls: number;
  readonly transfers: number;
  readonly aborts: number;
  readonly promoted: number;
  readonly promotionsGivenUp: number;
  readonly stranded: number;
  readonly sessions: number;
  readonly sessionRepeats: number;
  readonly sessionRefusals: number;
  readonly faults: ReadonlyMap<Fault, number>;
}

/** What several runs did together. */
export function addCoverage(a: Coverage, b: Coverage): Coverage {
  return {
    elections: a.elections + b.elections,
    committed: a.committed + b.committed,
    acked: a.acked + b.acked,
    reads: a.reads + b.reads,
    snapshots: a.snapshots + b.snapshots,
    changes: a.changes + b.changes,
    crashes: a.crashes + b.crashes,
    rests: a.rests + b.rests,
    installs: a.installs + b.installs,
    witnessCommits: a.witnessCommits + b.witnessCommits,
    witnessInstalls: a.witnessInstalls + b.witnessInstalls,
    transfers: a.transfers + b.transfers,
    aborts: a.aborts + b.aborts,
    promoted: a.promoted + b.promoted,
    promotionsGivenUp: a.promotionsGivenUp + b.promotionsGivenUp,
    stranded: a.stranded + b.stranded,
    sessions: a.sessions + b.sessions,
    sessionRepeats: a.sessionRepeats + b.sessionRepeats,
    sessionRefusals: a.sessionRefusals + b.sessionRefusals,
    faults: addFaults(a.faults, b.faults),
  };
}

export function coverageText(coverage: Coverage): string {
  const { faults, ...numbers } = coverage;
  return [...Object.entries(numbers), ...faults].map(([name, value]) => `${name} ${value}`).join(", ");
}

export async function runSeed(request: RunRequest): Promise<RunResult> {
  const { seed, steps, createCore, observe } = request;
  const options = { ...drawOptions(seed, steps), ...request.overrides };
  let world: SimulatedWorld | undefined;
  let failure: unknown;
  try {
    world = new SimulatedWorld({ options, createCore, observe });
    world.begin();
    if (world.stirred) await world.settle();
    while (world.steps < steps && world.step()) if (world.stirred) await world.settle();
    await new Liveness(world).run();
    await new RestPhase(world).run();
  } catch (error) {
    failure = error;
  }
  const invariant = failure === undefined ? "" : failure instanceof Violation ? failure.invariant : "crash";
  return {
    seed,
    ok: failure === undefined,
    steps: world?.steps ?? 0,
    virtualMs: world?.now ?? 0,
    hash: world?.trace.hash ?? "",
    coverage: coverageOf(world),
    invariant,
    why: failure === undefined ? "" : failure instanceof Violation ? failure.message : stackOf(failure),
  };
}

/** What a world did so far; nothing without one. */
export function coverageOf(world: SimulatedWorld | undefined): Coverage {
  const ledger = world?.ledger;
  return {
    elections: ledger?.leaders.size ?? 0,
    committed: ledger?.commit ?? 0,
    acked: ledger?.ackedCount ?? 0,
    reads: ledger?.readCount ?? 0,
    snapshots: ledger?.snapshotCount ?? 0,
    changes: ledger?.membershipAt.size ?? 0,
    crashes: ledger?.crashes ?? 0,
    rests: ledger?.rests ?? 0,
    installs: ledger?.installs ?? 0,
    witnessCommits: ledger?.witnessCommits ?? 0,
    witnessInstalls: ledger?.witnessInstalls ?? 0,
    transfers: ledger?.transfersDone ?? 0,
    aborts: ledger?.transfersAborted ?? 0,
    promoted: ledger?.promoted ?? 0,
    promotionsGivenUp: ledger?.promotionsGivenUp ?? 0,
    stranded: ledger?.stranded ?? 0,
    sessions: ledger?.sessions ?? 0,
    sessionRepeats: ledger?.sessionRepeats ?? 0,
    sessionRefusals: ledger?.sessionRefusals ?? 0,
    faults: ledger?.faults.counts ?? new Map(),
  };
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : errorText(error);
}
