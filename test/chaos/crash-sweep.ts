/**
 * kill -9 at every kind of system call by which the log reaches a real disk, spread over a run: what is found again is
 * the state after some prefix of the appends that contains every acknowledged one, and the log goes on from there.
 * (Power loss, which also takes the page cache, is test/storage/power-sweep.ts.) Needs strace.
 *
 *   npm run crash-sweep -- [--points 200] [--seed 1] [--appends 200] [--json]
 *
 * The root tests run a short one.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import { logText } from "../../nodehost/logdb/test-support.js";
import type { WalLogDb } from "../../nodehost/logdb/wal-logdb.js";
import { errorText } from "../../shared/errors.js";
import { missing } from "./needs.js";
import { countCalls, runTraced } from "./strace.js";
import { openScriptLog, scriptOf } from "./wal-script.js";

const SCRIPT = fileURLToPath(new URL("./wal-script.js", import.meta.url));
/** Points of one kind of call at least, if it is made so often. */
const POINTS_PER_CALL = 2;
/** Idle times differ from run to run, and with them the number of seals: the last calls may not come. */
const REACHED_SURELY = 0.85;

export interface SweepOptions {
  readonly points: number;
  readonly seed: number;
  readonly appends: number;
  /** Called after each point. */
  readonly progress?: (done: number, of: number) => void;
}

export interface SweptPoint {
  /** System call at whose n-th time the process was killed. */
  readonly call: string;
  readonly nth: number;
  /** Appends acknowledged by then. */
  readonly acknowledged: number;
  /** undefined = as promised. */
  readonly problem: string | undefined;
}

export interface Sweep {
  /** How often the run makes each call. */
  readonly counts: ReadonlyMap<string, number>;
  readonly points: readonly SweptPoint[];
}

export async function sweep(options: SweepOptions): Promise<Sweep> {
  const directory = await mkdtemp(join(tmpdir(), "drumline-sweep-"));
  try {
    const texts = expectedTexts(options);
    const counts = await countRun(join(directory, "count"), options);
    const chosen = choosePoints(counts, options.points);
    const points: SweptPoint[] = [];
    for (const point of chosen) {
      const at = join(directory, `point-${points.length}`);
      points.push(await crashAt({ directory: at, point, texts }, options));
      await rm(at, { recursive: true, force: true });
      options.progress?.(points.length, chosen.length);
    }
    return { counts, points };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

type Point = Pick<SweptPoint, "call" | "nth">;

/** Points spread evenly over the calls of each kind, more where there are more. */
function choosePoints(counts: ReadonlyMap<string, number>, wanted: number): Point[] {
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  return [...counts].flatMap(([call, count]) => {
    const reached = Math.max(1, Math.floor(count * REACHED_SURELY));
    const points = Math.min(reached, Math.max(POINTS_PER_CALL, Math.round((wanted * count) / total)));
    return Array.from({ length: points }, (_, i) => ({ call, nth: 1 + Math.floor(((i + 0.5) * reached) / points) }));
  });
}

/** texts[i]: what the log must hold after i appends. */
function expectedTexts({ seed, appends }: SweepOptions): string[] {
  const script = scriptOf(seed);
  const texts = [script.model.text()];
  for (let i = 0; i < appends; i++) {
    script.next();
    texts.push(script.model.text());
  }
  return texts;
}

async function countRun(directory: string, { seed, appends }: SweepOptions): Promise<Map<string, number>> {
  const log = `${directory}-strace`;
  const run = await runTraced([SCRIPT, directory, `${seed}`, `${appends}`], { log });
  assert.equal(run.code, 0, run.stderr);
  assert.ok(run.stdout.endsWith(`ack ${appends}\n`));
  return countCalls(log);
}

interface Crash {
  readonly directory: string;
  readonly point: Point;
  readonly texts: readonly string[];
}

/** Runs until the point, opens what is left, checks it. */
async function crashAt({ directory, point, texts }: Crash, { seed, appends }: SweepOptions): Promise<SweptPoint> {
  const { call, nth } = point;
  const inject = `${call}:signal=SIGKILL:when=${nth}`;
  const traced = { log: `${directory}-strace`, inject };
  const { stdout, stderr, signal } = await runTraced([SCRIPT, directory, `${seed}`, `${appends}`], traced);
  const acknowledged = Number(/ack (\d+)\n$/.exec(stdout)?.[1] ?? 0);
  if (signal !== "SIGKILL") return { call, nth, acknowledged, problem: `the process was not killed: ${stderr}` };
  try {
    await check(directory, texts, acknowledged);
    return { call, nth, acknowledged, problem: undefined };
  } catch (error) {
    return { call, nth, acknowledged, problem: errorText(error) };
  }
}

async function check(directory: string, texts: readonly string[], acknowledged: number): Promise<void> {
  const db = await openScriptLog(directory);
  try {
    const found = texts.indexOf(await logText(db), acknowledged);
    // One append is in flight at most.
    assert.ok(found === acknowledged || found === acknowledged + 1, `found the state after ${found}`);
    assert.equal(db.recovery().incomplete, undefined);
    await goOn(db, directory);
  } finally {
    await db.close();
  }
}

/** What was recovered takes appends and keeps them. */
async function goOn(db: WalLogDb, directory: string): Promise<void> {
  const { present } = db.list();
  await db.append(
    present.map((key) => ({ ...key, hardState: { term: 99, vote: 1, commit: db.state(key)?.last ?? 0 } })),
  );
  const text = await logText(db);
  await db.close();
  const again = await openScriptLog(directory);
  try {
    assert.equal(await logText(again), text);
  } finally {
    await again.close();
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      points: { type: "string", default: "200" },
      seed: { type: "string", default: "1" },
      appends: { type: "string", default: "200" },
      json: { type: "boolean", default: false },
    },
  });
  const [points = 0, seed = 0, appends = 0] = [values.points, values.seed, values.appends].map(Number);
  if (![points, seed, appends].every((n) => Number.isSafeInteger(n) && n > 0)) {
    process.stderr.write("expected whole numbers for --points, --seed and --appends\n");
    return 2;
  }
  const lacks = missing("strace");
  if (lacks !== false) {
    process.stderr.write(`${lacks}\n`);
    return 2;
  }
  const bar = process.stderr.isTTY
    ? new SingleBar({ format: "{bar} {value}/{total} points", stream: process.stderr })
    : undefined;
  const progress = (done: number, of: number): void => {
    if (done === 1) bar?.start(of, 0);
    bar?.update(done);
  };
  const swept = await sweep({ points, seed, appends, progress });
  bar?.stop();
  const bad = swept.points.filter((point) => point.problem !== undefined);
  if (values.json)
    process.stdout.write(`${JSON.stringify({ counts: Object.fromEntries(swept.counts), failed: bad })}\n`);
  for (const { call, nth, problem } of bad) process.stdout.write(`killed at ${call} ${nth}: ${problem}\n`);
  const calls = [...swept.counts].map(([call, count]) => `${call} of ${count}`).join(", ");
  process.stdout.write(`${swept.points.length} points: ${calls}\n`);
  process.stdout.write(`${swept.points.length - bad.length} passed, ${bad.length} failed\n`);
  return bad.length === 0 ? 0 : 1;
}

// Imported by the root test for `sweep`; a program when it is started itself or by an npm script.
if (process.argv[1]?.endsWith("crash-sweep.js") === true) process.exitCode = await main();
