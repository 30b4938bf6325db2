/**
 * The options of a run in which nothing goes wrong: three voters, room everywhere, a healthy disk and network, no
 * clients. A shrunk failure and a regression file are this, and what they need besides. Made from the drawn options,
 * so that a new knob is off in old files: 0 and false are off unless the table says otherwise.
 */
import { drawOptions, type SimOptions } from "./options.js";

/** Where 0 or false is not the calm value. */
const CALM: Partial<SimOptions> = {
  voters: 3,
  electionTimeoutMs: 150,
  heartbeatIntervalMs: 30,
  preVote: true,
  checkQuorum: true,
  inflightBytesMax: 1_000_000,
  inflightMessagesMax: 256,
  replicateBytesMax: 65_536,
  cacheBytesMax: 1_000_000,
  snapshotEvery: 1_000_000_000,
  compactionOverhead: 100,
  batchMax: 1,
  sessionsMax: 64,
  sessionResultsMax: 8,
  sessionRetryMs: 300,
  requestTimeoutMs: 1000,
  groupCommit: true,
  segmentBytes: 64 * 4096,
  segmentGrowth: 2,
  sealAfterMs: 10,
  writeDeadlineMs: 1500,
};

export function calmOptions(seed: number, steps: number): SimOptions {
  const drawn = drawOptions(seed, steps);
  const off: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(drawn)) off[name] = typeof value === "number" ? 0 : false;
  return { ...drawn, ...off, ...CALM, seed, steps };
}

/** What of `options` is not calm: all that is needed to have them again. Names `seed` if the schedule is another's. */
export function activeOptions(options: SimOptions, seed = options.seed): Partial<SimOptions> {
  const calm = new Map<string, unknown>(Object.entries(calmOptions(seed, options.steps)));
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => calm.get(name) !== value));
}

/**
 * Checks names and types, for what comes from a command line or a file. `seed` is allowed: it changes the schedule
 * only. Throws RangeError.
 */
export function checkOverrides(pairs: Iterable<readonly [string, unknown]>): Partial<SimOptions> {
  const known = new Map<string, unknown>(Object.entries(calmOptions(1, 1)));
  const overrides: Record<string, unknown> = {};
  for (const [name, value] of pairs) {
    const like = known.get(name);
    if (like === undefined) throw new RangeError(`no option ${name}, expected one of: ${[...known.keys()].join(" ")}`);
    if (typeof value !== typeof like || Number.isNaN(value)) {
      throw new RangeError(`option ${name}: got ${String(value)}, expected a ${typeof like}`);
    }
    overrides[name] = value;
  }
  return overrides;
}
