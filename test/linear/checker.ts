/**
 * Is a history linearizable? Each key is searched on its own (search.ts). The keys take turns with a budget of steps
 * that doubles from round to round, so that one wrong key is found fast while another one is hard.
 *
 * A verdict of "unknown" means that the steps were used up: a test must take it for a failure. Called by the chaos
 * tests.
 */
import { checkHistory, type Model, type Operation } from "./history.js";
import { Search } from "./search.js";

export type Verdict = "linearizable" | "violation" | "unknown";

export interface KeyVerdict<I, O> {
  readonly key: string;
  readonly verdict: Verdict;
  readonly steps: number;
  readonly operations: readonly Operation<I, O>[];
  /** The most operations that could be put in order: numbers into `operations`, in that order. */
  readonly longest: readonly number[];
}

export interface CheckResult<I, O> {
  readonly verdict: Verdict;
  readonly steps: number;
  /** In the order of their first call. After a violation was found the other keys may be "unknown". */
  readonly keys: readonly KeyVerdict<I, O>[];
}

export interface CheckOptions {
  /** Steps of all keys together. Default 10 million: some seconds, some hundred MB. */
  readonly stepsMax?: number;
}

const FIRST_ROUND_STEPS = 1000;
const STEPS_MAX = 10_000_000;

/** Throws RangeError if the history itself is not well formed. */
export function checkLinearizable<S extends string | number | null, I, O>(
  model: Model<S, I, O>,
  history: readonly Operation<I, O>[],
  options: CheckOptions = {},
): CheckResult<I, O> {
  checkHistory(history);
  const searches = partitions(history).map(([key, operations]) => ({
    key,
    search: new Search(model, operations),
    verdict: "unknown" as Verdict,
  }));
  let left = options.stepsMax ?? STEPS_MAX;
  let open = searches;
  for (let budget = FIRST_ROUND_STEPS; open.length > 0 && left > 0; budget *= 2) {
    for (const one of open) {
      const before = one.search.steps;
      const found = one.search.advance(Math.min(budget, left));
      left -= one.search.steps - before;
      if (found !== undefined) one.verdict = found ? "linearizable" : "violation";
      if (found === false) {
        open = [];
        break;
      }
    }
    open = open.filter((one) => one.verdict === "unknown");
  }
  const keys = searches.map(({ key, search, verdict }) => {
    const { steps, operations, longest } = search;
    return { key, verdict, steps, operations, longest };
  });
  return { verdict: worst(keys.map((one) => one.verdict)), steps: keys.reduce((sum, one) => sum + one.steps, 0), keys };
}

function partitions<I, O>(history: readonly Operation<I, O>[]): [string, Operation<I, O>[]][] {
  const byKey = new Map<string, Operation<I, O>[]>();
  for (const op of [...history].sort((a, b) => a.callMs - b.callMs)) {
    const list = byKey.get(op.key);
    if (list === undefined) byKey.set(op.key, [op]);
    else list.push(op);
  }
  return [...byKey];
}

function worst(verdicts: readonly Verdict[]): Verdict {
  if (verdicts.includes("violation")) return "violation";
  return verdicts.includes("unknown") ? "unknown" : "linearizable";
}
