/**
 * What every LogDb must do. Registered with node:test by logdb.test.ts for each implementation; usable by anyone who
 * writes another one.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { entriesOf } from "../../shared/codec/block.js";
import type { LogDb, LogUpdate } from "./port.js";
import { BOOTSTRAP, generator, hard, LogModel, logText, makeBlock, makeSnapshot, Workload } from "./test-support.js";

export interface LogDbUnderTest {
  /** Opens the log; again after `close`, with everything that was acknowledged. */
  open(): Promise<LogDb>;
  cleanup(): Promise<void>;
}

type Body = (open: () => Promise<LogDb>) => Promise<void>;
type Each = (title: string, body: Body) => void;

export function logDbSuite(name: string, make: () => Promise<LogDbUnderTest>): void {
  const each: Each = (title, body) => {
    test(`${name}: ${title}`, async () => {
      const subject = await make();
      try {
        await body(() => subject.open());
      } finally {
        await subject.cleanup();
      }
    });
  };
  basics(each);
  ranges(each);
  refusals(each);
  order(each);
  randomRuns(each);
}

const ONE = { shardId: 7, replicaId: 3 };
const TWO = { shardId: 8, replicaId: 4 };

/** Bootstrap and entries 1 … count, in blocks of `per`. */
function first(count: number, per = 1): LogUpdate {
  const blocks = [];
  for (let i = 1; i <= count; i += per)
    blocks.push(makeBlock(ONE.shardId, i, 1, { count: Math.min(per, count - i + 1) }));
  return { ...ONE, bootstrap: BOOTSTRAP, blocks, hardState: hard(1, 0) };
}

async function texts(db: LogDb, from: number, to: number): Promise<string[]> {
  const found: string[] = [];
  for (const block of await db.read(ONE, from, to, 1_000_000)) {
    for (const entry of entriesOf(block)) found.push(new TextDecoder().decode(entry.cmd));
  }
  return found;
}

function basics(each: Each): void {
  each("begins empty, and is empty again when nothing was written", async (open) => {
    for (let i = 0; i < 2; i++) {
      const db = await open();
      assert.deepEqual(db.recovery().replicas, []);
      assert.deepEqual(db.list(), { present: [], removed: [] });
      assert.equal(db.state(ONE), undefined);
      assert.equal(db.term(ONE, 1), undefined);
      assert.equal(db.appendAgeMs(), 0);
      await db.close();
    }
  });

  each("keeps bootstrap, hard state and entries over a restart", async (open) => {
    let db = await open();
    const sequence = await db.append([first(5, 2)]);
    assert.equal(db.durableSequence(), sequence);
    const expected = {
      ...ONE,
      bootstrap: BOOTSTRAP,
      hardState: hard(1, 4, 2),
      snapshot: undefined,
      first: 1,
      last: 5,
      precedingTerm: 0,
      damage: undefined,
    };
    const next = await db.append([{ ...ONE, hardState: hard(1, 4, 2) }]);
    assert.ok(next > sequence);
    assert.deepEqual(db.state(ONE), expected);
    assert.ok(db.metrics().appends === 2 && db.metrics().bytesWritten > 0);
    await db.close();
    db = await open();
    assert.ok(db.recovery().walSequence >= next);
    assert.deepEqual(db.recovery().replicas, [expected]);
    assert.deepEqual(db.state(ONE), expected);
    assert.deepEqual(await texts(db, 1, 5), ["7/1/1/", "7/2/1/", "7/3/1/", "7/4/1/", "7/5/1/"]);
    assert.deepEqual(
      [0, 1, 5, 6].map((index) => db.term(ONE, index)),
      [0, 1, 1, undefined],
    );
    await db.close();
  });

  each("remembers a removed replica for ever and takes nothing more of it", async (open) => {
    let db = await open();
    await db.append([first(3), { ...TWO, bootstrap: BOOTSTRAP }]);
    await db.append([{ ...ONE, remove: true }]);
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(db.list(), { present: [TWO], removed: [ONE] });
      assert.equal(db.state(ONE), undefined);
      await assert.rejects(db.append([first(1)]), { code: "DL_ERR_REPLICA_REMOVED" });
      await assert.rejects(db.read(ONE, 1, 1, 1), { code: "DL_ERR_INVALID_ARGUMENT" });
      await db.append([{ ...TWO, hardState: hard(i + 1, 0) }]);
      await db.close();
      db = await open();
      assert.deepEqual(db.recovery().removed, [ONE]);
    }
    await db.close();
  });

  each("closes twice, after the append in flight; then takes no more", async (open) => {
    let db = await open();
    const inFlight = db.append([first(2)]);
    await Promise.all([db.close(), db.close()]);
    await inFlight;
    await assert.rejects(db.append([first(1)]), { code: "DL_ERR_CLOSED" });
    db = await open();
    assert.equal(db.state(ONE)?.last, 2);
    await db.close();
  });
}

function ranges(each: Each): void {
  each("an append at i removes everything from i on, also within a block", async (open) => {
    let db = await open();
    await db.append([first(10, 5)]);
    await db.append([{ ...ONE, blocks: [makeBlock(7, 8, 2, { count: 2 })], hardState: hard(2, 7) }]);
    const expected = ["7/6/1/", "7/7/1/", "7/8/2/", "7/9/2/"];
    assert.deepEqual(await texts(db, 6, 9), expected);
    assert.deepEqual(
      [7, 8, 9, 10].map((i) => db.term(ONE, i)),
      [1, 2, 2, undefined],
    );
    await db.close();
    db = await open();
    assert.deepEqual(await texts(db, 6, 9), expected);
    assert.equal(db.state(ONE)?.last, 9);
    await db.append([{ ...ONE, blocks: [makeBlock(7, 1, 3)], hardState: hard(3, 0) }]);
    assert.deepEqual(await texts(db, 1, 1), ["7/1/3/"]);
    assert.equal(db.state(ONE)?.last, 1);
    await db.close();
  });

  each("reads clipped blocks, by bytes, and refuses what it does not hold", async (open) => {
    const db = await open();
    const whole = makeBlock(7, 6, 1, { count: 5 });
    await db.append([first(5, 5)]);
    await db.append([{ ...ONE, blocks: [whole.clip(6, 8)], hardState: hard(1, 0) }]);
    assert.deepEqual(await texts(db, 4, 7), ["7/4/1/", "7/5/1/", "7/6/1/", "7/7/1/"]);
    const one = await db.read(ONE, 2, 8, 1);
    assert.deepEqual(
      one.map((block) => [block.first, block.last]),
      [[2, 5]],
    );
    for (const [from, to] of [
      [0, 1],
      [1, 9],
      [9, 9],
      [3, 2],
    ] as const) {
      await assert.rejects(db.read(ONE, from, to, 100), { code: "DL_ERR_INVALID_ARGUMENT" }, `${from}–${to}`);
    }
    await assert.rejects(db.read(TWO, 1, 1, 100), { code: "DL_ERR_INVALID_ARGUMENT" });
    await db.close();
  });

  each("compacts, within blocks and wholly, and knows the term before the first entry", async (open) => {
    let db = await open();
    await db.append([first(10, 4)]);
    const meta = makeSnapshot(7, 6, 1);
    await db.append([{ ...ONE, hardState: hard(1, 8), snapshot: { meta, reset: false }, compactTo: 6 }]);
    for (let i = 0; i < 2; i++) {
      const state = db.state(ONE);
      assert.deepEqual([state?.first, state?.last, state?.precedingTerm], [7, 10, 1]);
      assert.deepEqual(state?.snapshot, meta);
      assert.deepEqual(
        [5, 6, 7].map((index) => db.term(ONE, index)),
        [undefined, 1, 1],
      );
      assert.deepEqual(await texts(db, 7, 9), ["7/7/1/", "7/8/1/", "7/9/1/"]);
      await assert.rejects(db.read(ONE, 6, 7, 100), { code: "DL_ERR_INVALID_ARGUMENT" });
      await db.close();
      db = await open();
    }
    await db.append([{ ...ONE, snapshot: { meta: makeSnapshot(7, 10, 1), reset: false }, compactTo: 10 }]);
    await db.append([{ ...ONE, blocks: [makeBlock(7, 11, 2)], hardState: hard(2, 10) }]);
    assert.deepEqual([db.state(ONE)?.first, db.term(ONE, 10), db.term(ONE, 11)], [11, 1, 2]);
    await db.close();
  });

  each("an installed snapshot resets the log, or keeps what matches", async (open) => {
    let db = await open();
    await db.append([first(10)]);
    await db.append([{ ...ONE, snapshot: { meta: makeSnapshot(7, 8, 1), reset: false } }]);
    assert.equal(db.state(ONE)?.last, 10);
    const meta = makeSnapshot(7, 50, 3);
    const reset: LogUpdate = {
      ...ONE,
      snapshot: { meta, reset: true },
      blocks: [makeBlock(7, 51, 4)],
      hardState: hard(4, 50),
    };
    await db.append([reset]);
    for (let i = 0; i < 2; i++) {
      const state = db.state(ONE);
      assert.deepEqual([state?.first, state?.last, state?.precedingTerm], [51, 51, 3]);
      assert.deepEqual([db.term(ONE, 50), db.term(ONE, 51), db.term(ONE, 49)], [3, 4, undefined]);
      assert.deepEqual(await texts(db, 51, 51), ["7/51/4/"]);
      await db.close();
      db = await open();
    }
    await db.close();
  });
}

function refusals(each: Each): void {
  each("refuses what does not fit, and then nothing of the append happens", async (open) => {
    const db = await open();
    await db.append([first(5)]);
    const before = await logText(db);
    const entries = (at: number, extra: Partial<LogUpdate> = {}): LogUpdate => ({
      ...ONE,
      blocks: [makeBlock(7, at, 1)],
      hardState: hard(1, 0),
      ...extra,
    });
    const bad: LogUpdate[] = [
      entries(7),
      entries(6, { blocks: [makeBlock(7, 6, 1), makeBlock(7, 8, 1)] }),
      { ...ONE, blocks: [makeBlock(7, 6, 1)] },
      { ...ONE, compactTo: 6 },
      { ...ONE, snapshot: { meta: makeSnapshot(7, 9, 1), reset: false } },
      { ...ONE, snapshot: { meta: makeSnapshot(7, 5, 2), reset: false } },
      { ...ONE, snapshot: { meta: makeSnapshot(8, 5, 1), reset: true } },
      { ...ONE, remove: true, hardState: hard(1, 0) },
      { ...TWO, hardState: hard(1, 0) },
    ];
    for (const update of bad) {
      const good: LogUpdate = { ...ONE, hardState: hard(9, 0) };
      await assert.rejects(db.append([good, update]), { code: "DL_ERR_INVALID_ARGUMENT" }, JSON.stringify(update));
    }
    assert.equal(await logText(db), before);
    await db.append([entries(6)]);
    assert.equal(db.state(ONE)?.last, 6);
    await db.close();
  });
}

function order(each: Each): void {
  each("applies several updates of one replica in one append, in order", async (open) => {
    let db = await open();
    await db.append([
      first(3),
      { ...ONE, blocks: [makeBlock(7, 3, 2)], hardState: hard(2, 1) },
      { ...ONE, blocks: [makeBlock(7, 4, 2)], hardState: hard(2, 2) },
      { ...TWO, bootstrap: BOOTSTRAP },
      { ...TWO, remove: true },
    ]);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await texts(db, 1, 4), ["7/1/1/", "7/2/1/", "7/3/2/", "7/4/2/"]);
      assert.deepEqual(db.state(ONE)?.hardState, hard(2, 2));
      assert.deepEqual(db.list(), { present: [ONE], removed: [TWO] });
      await db.close();
      db = await open();
    }
    await db.close();
  });

  each("queues concurrent appends in order; an empty one waits for those before it", async (open) => {
    const db = await open();
    const settled: number[] = [];
    const all = [db.append([first(1)])];
    for (let i = 2; i <= 20; i++) {
      all.push(db.append([{ ...ONE, blocks: [makeBlock(7, i, 1)], hardState: hard(1, i - 1) }]));
    }
    all.push(db.append([]));
    for (const [i, promise] of all.entries()) void promise.then(() => settled.push(i));
    const sequences = await Promise.all(all);
    assert.deepEqual(
      settled,
      [...settled].sort((a, b) => a - b),
    );
    const written = sequences.slice(0, -1);
    assert.deepEqual(
      written,
      [...new Set(written)].sort((a, b) => a - b),
    );
    assert.equal(sequences.at(-1), sequences.at(-2));
    assert.equal(db.state(ONE)?.last, 20);
    assert.equal(db.appendAgeMs(), 0);
    await db.close();
  });
}

function randomRuns(each: Each): void {
  each("holds what a model holds, over random appends and restarts", async (open) => {
    for (let seed = 1; seed <= 3; seed++) {
      const random = generator(seed);
      const model = new LogModel();
      let db = await open();
      // Each run continues on what the one before left; shards of other runs stay as they are.
      await forget(db);
      for (const key of db.list().removed) model.removed.add(`${key.shardId}/${key.replicaId}`);
      const workload = new Workload(random, model, 6000);
      for (let step = 0; step < 120; step++) {
        const updates = workload.next();
        model.apply(updates);
        await db.append(updates);
        if (random() < 0.05) {
          await db.close();
          db = await open();
        }
        if (step % 10 === 0) assert.equal(await logText(db), model.text(), `seed ${seed}, step ${step}`);
      }
      assert.equal(await logText(db), model.text(), `seed ${seed}, end`);
      await db.close();
    }
  });
}

async function forget(db: LogDb): Promise<void> {
  await db.append(db.list().present.map((key) => ({ ...key, remove: true })));
}
