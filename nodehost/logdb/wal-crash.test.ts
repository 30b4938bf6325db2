/**
 * Power loss at every operation of a run, on the real WAL code above SimDisk: what is found again is the state after
 * some prefix of the appends that contains every acknowledged one (P08, P45). Also crashes during recovery itself, and
 * while blocks of quiet replicas are moved to newer segments: the model knows nothing of segments.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogUpdate } from "./port.js";
import { Machine } from "./test-machine.js";
import { BOOTSTRAP, generator, hard, LogModel, logText, makeBlock, Workload } from "./test-support.js";
import type { WalLogDb } from "./wal-logdb.js";

interface Run {
  /** texts[i]: the state after i appends. */
  readonly texts: string[];
  acknowledged: number;
  segments: number;
  movedBytes: number;
}

/** Opens and appends until the machine stops or the steps are done. */
async function run(machine: Machine, seed: number, steps: number): Promise<Run> {
  const random = generator(seed);
  const model = new LogModel();
  const workload = new Workload(random, model, 3000);
  const result: Run = { texts: [model.text()], acknowledged: 0, segments: 0, movedBytes: 0 };
  const work = async () => {
    const db = await machine.open();
    for (let step = 0; step < steps; step++) {
      const updates = step === 0 ? quietShard() : workload.next();
      model.apply(updates);
      result.texts.push(model.text());
      await db.append(updates);
      result.acknowledged += 1;
      const { segments, relocatedBytes } = db.metrics();
      result.segments = Math.max(result.segments, segments);
      result.movedBytes = relocatedBytes;
      if (random() < 0.2) machine.idle();
    }
    await db.close();
  };
  await Promise.race([work(), machine.stopped]);
  return result;
}

/** Nothing of it is ever compacted: its blocks are in the way of every segment's second life. */
function quietShard(): LogUpdate[] {
  const blocks = [1, 2, 3, 4, 5].map((index) => makeBlock(9, index, 1, { bytes: 1000 }));
  const truncated = makeBlock(9, 5, 2, { count: 3 });
  const key = { shardId: 9, replicaId: 1 };
  return [
    { ...key, bootstrap: BOOTSTRAP, blocks, hardState: hard(1, 2) },
    { ...key, blocks: [truncated.clip(5, 6)], hardState: hard(2, 2) },
  ];
}

/** Opens, and crashes while opening up to two times. */
async function reopen(machine: Machine, random: () => number): Promise<WalLogDb> {
  for (let attempt = 0; attempt < 2; attempt++) {
    machine.stopAfter(1 + Math.floor(random() * 30));
    const db = await Promise.race([machine.open(), machine.stopped]);
    if (db !== undefined) {
      machine.disk.fault = undefined;
      machine.checkpoints.fault = undefined;
      return db;
    }
    machine.crash(random);
  }
  return machine.open();
}

test("P08, P45: crash at every operation of a run: a prefix with all that was acknowledged", async () => {
  const STEPS = 60;
  let furthest = 0;
  let moved = 0;
  for (let seed = 1; seed <= 6; seed++) {
    let done = false;
    // Every operation of the first run, every seventh of the others.
    for (let stop = seed === 1 ? 1 : seed; !done; stop += seed === 1 ? 1 : 7) {
      const machine = new Machine();
      machine.stopAfter(stop);
      const { texts, acknowledged, segments, movedBytes } = await run(machine, seed, STEPS);
      done = acknowledged === STEPS;
      furthest = Math.max(furthest, segments);
      moved += movedBytes;
      const random = generator(seed * 1000 + stop);
      machine.crash(random);
      const db = await reopen(machine, random);
      const found = texts.indexOf(await logText(db), acknowledged);
      const where = `seed ${seed}, stopped at ${stop}, ${acknowledged} acknowledged`;
      assert.ok(found >= acknowledged && found < texts.length, `${where}: found state ${found}`);
      assert.equal(db.recovery().incomplete, undefined, where);
      assert.ok(db.durableSequence() >= acknowledged, where);
      await continueOn(db, machine, where);
    }
  }
  assert.ok(furthest >= 3, `the runs crossed segments (${furthest})`);
  assert.ok(moved > 100_000, `blocks were moved (${moved} bytes)`);
});

/** What was recovered is a log like any other: it takes appends and keeps them over a clean restart. */
async function continueOn(db: WalLogDb, machine: Machine, where: string): Promise<void> {
  const keys = db.list().present;
  await db.append(keys.map((key) => ({ ...key, hardState: { term: 99, vote: 1, commit: db.state(key)?.last ?? 0 } })));
  const text = await logText(db);
  await db.close();
  const again = await machine.open();
  assert.equal(await logText(again), text, where);
  await again.close();
}

test("P45: a run of crashes one after the other never loses what was acknowledged", async () => {
  for (let seed = 1; seed <= 8; seed++) {
    const machine = new Machine();
    const random = generator(seed * 77);
    const model = new LogModel();
    const workload = new Workload(random, model, 3000);
    for (let life = 0; life < 12; life++) {
      const db = await reopen(machine, random);
      assert.equal(await logText(db), model.text(), `seed ${seed}, life ${life}`);
      for (let step = 0; step < 15; step++) {
        const updates = life + step === 0 ? quietShard() : workload.next();
        model.apply(updates);
        await db.append(updates);
        if (random() < 0.2) machine.idle();
      }
      await machine.halt();
      machine.crash(random);
    }
  }
});
