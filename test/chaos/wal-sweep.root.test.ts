/**
 * kill -9 at every kind of system call by which the log reaches a real disk, spread over a run (P08, P30, P45): what is
 * found again is the state after some prefix of the appends that contains every acknowledged one, and the log goes on
 * from there. (Power loss, which also takes the page cache, is nodehost/logdb/wal-crash.test.ts.)
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { logText } from "../../nodehost/logdb/test-support.js";
import type { WalLogDb } from "../../nodehost/logdb/wal-logdb.js";
import { tempDir } from "../kit/temp.js";
import { missing } from "./needs.js";
import { countCalls, runTraced } from "./strace.js";
import { openScriptLog, scriptOf } from "./wal-script.js";

const SCRIPT = fileURLToPath(new URL("./wal-script.js", import.meta.url));
const SEED = 1;
const APPENDS = 200;
const POINTS = 28;
/** Points of one kind of call at least, if it is made so often. */
const POINTS_PER_CALL = 2;
/** Idle times differ from run to run, and with them the number of seals: the last calls may not come. */
const REACHED_SURELY = 0.85;

interface Point {
  readonly call: string;
  readonly nth: number;
}

/** Points spread evenly over the calls of each kind, more where there are more. */
function choosePoints(counts: ReadonlyMap<string, number>): Point[] {
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  return [...counts].flatMap(([call, count]) => {
    const reached = Math.max(1, Math.floor(count * REACHED_SURELY));
    const points = Math.min(reached, Math.max(POINTS_PER_CALL, Math.round((POINTS * count) / total)));
    return Array.from({ length: points }, (_, i) => ({ call, nth: 1 + Math.floor(((i + 0.5) * reached) / points) }));
  });
}

/** texts[i]: what the log must hold after i appends. */
function expectedTexts(): string[] {
  const script = scriptOf(SEED);
  const texts = [script.model.text()];
  for (let i = 0; i < APPENDS; i++) {
    script.next();
    texts.push(script.model.text());
  }
  return texts;
}

async function countRun(directory: string): Promise<Map<string, number>> {
  const log = join(directory, "strace-count");
  const run = await runTraced([SCRIPT, join(directory, "count"), `${SEED}`, `${APPENDS}`], { log });
  assert.equal(run.code, 0, run.stderr);
  assert.ok(run.stdout.endsWith(`ack ${APPENDS}\n`));
  return countCalls(log);
}

/** Runs until the point, opens what is left, checks it. Returns how many appends were acknowledged. */
async function crashAt(t: TestContext, { call, nth }: Point, texts: readonly string[]): Promise<number> {
  const directory = await tempDir(t);
  const inject = `${call}:signal=SIGKILL:when=${nth}`;
  const program = [SCRIPT, join(directory, "run"), `${SEED}`, `${APPENDS}`];
  const { stdout, stderr, signal } = await runTraced(program, { log: join(directory, "strace"), inject });
  assert.equal(signal, "SIGKILL", `${call} ${nth}: the process was not killed\n${stderr}`);
  const acknowledged = Number(/ack (\d+)\n$/.exec(stdout)?.[1] ?? 0);
  const where = `killed at ${call} ${nth}, ${acknowledged} acknowledged`;
  const db = await openScriptLog(join(directory, "run"));
  try {
    const found = texts.indexOf(await logText(db), acknowledged);
    // One append is in flight at most.
    assert.ok(found === acknowledged || found === acknowledged + 1, `${where}: found the state after ${found}`);
    assert.equal(db.recovery().incomplete, undefined, where);
    await goOn(db, join(directory, "run"), where);
  } finally {
    await db.close();
  }
  return acknowledged;
}

/** What was recovered takes appends and keeps them. */
async function goOn(db: WalLogDb, directory: string, where: string): Promise<void> {
  const { present } = db.list();
  await db.append(
    present.map((key) => ({ ...key, hardState: { term: 99, vote: 1, commit: db.state(key)?.last ?? 0 } })),
  );
  const text = await logText(db);
  await db.close();
  const again = await openScriptLog(directory);
  try {
    assert.equal(await logText(again), text, where);
  } finally {
    await again.close();
  }
}

test("P08, P30, P45: kill -9 at any write, sync, rename or removal of the log loses nothing acknowledged", {
  skip: missing("strace"),
  timeout: 120_000,
}, async (t) => {
  const texts = expectedTexts();
  const counts = await countRun(await tempDir(t));
  const points = choosePoints(counts);
  const acknowledged: number[] = [];
  for (const point of points) acknowledged.push(await crashAt(t, point, texts));
  t.diagnostic(`${points.length} points: ${[...counts].map(([call, count]) => `${call} of ${count}`).join(", ")}`);
  // The sweep is worth something only if it met every phase of a log's life.
  assert.ok(points.length >= 25, `${points.length} points`);
  assert.ok((counts.get("pwrite64") ?? 0) > APPENDS, "each append is a write");
  for (const kind of [/^(fsync|fdatasync)$/, /^rename/, /^unlink/]) {
    assert.ok(
      points.some(({ call }) => kind.test(call)),
      `no point at ${kind}`,
    );
  }
  assert.ok(Math.min(...acknowledged) < APPENDS * 0.1 && Math.max(...acknowledged) > APPENDS * 0.7);
  assert.ok(new Set(acknowledged).size >= 15, "the points are spread over the run");
});
