/**
 * What clients did and saw, as the linearizability checker takes it. Written by the chaos tests, read by checker.ts.
 *
 * Times are of one monotonic clock and closed intervals: an operation that returned at the instant another was called
 * is concurrent with it. An operation that certainly had no effect does not belong into a history; neither does a read
 * without an answer.
 */

/** `I` and `O` are the model's: what was asked, and what was answered. */
export interface Operation<I, O> {
  /** Who asked. One process has one operation at a time; after an unknown outcome it goes on under another number. */
  readonly process: number;
  /** Operations on different keys are independent: each key is checked on its own. */
  readonly key: string;
  readonly input: I;
  /** Undefined: the outcome is unknown. It may take effect at any time after the call, or never. */
  readonly output: O | undefined;
  readonly callMs: number;
  /** Of no meaning when the outcome is unknown. */
  readonly returnMs: number;
}

/** A sequential specification of one key. Pure: the checker calls it in any order. */
export interface Model<S extends string | number | null, I, O> {
  readonly initial: S;
  /** The state afterwards; undefined if `output` cannot be the answer to `input` in `state`. No output fits always. */
  step(state: S, input: I, output: O | undefined): S | undefined;
  /** For people. */
  describe(input: I, output: O | undefined): string;
}

/** Throws if the history breaks its own rules: that is a mistake of the test, not of what it tests. */
export function checkHistory<I, O>(history: readonly Operation<I, O>[]): void {
  const last = new Map<number, Operation<I, O>>();
  for (const op of [...history].sort((a, b) => a.callMs - b.callMs)) {
    const { process, callMs, returnMs, output } = op;
    if (!Number.isFinite(callMs)) throw new RangeError(`process ${process}: called at ${callMs}`);
    if (output !== undefined && !(returnMs >= callMs)) {
      throw new RangeError(`process ${process}: called at ${callMs}, returned at ${returnMs}`);
    }
    const before = last.get(process);
    if (before !== undefined && (before.output === undefined || before.returnMs > callMs)) {
      throw new RangeError(`process ${process}: called at ${callMs} before its call at ${before.callMs} had ended`);
    }
    last.set(process, op);
  }
}
