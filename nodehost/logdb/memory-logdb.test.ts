/** Crashes and faults of the memory LogDb, as tests of what is above it use them (the suite runs in logdb.test.ts). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createMemoryLogDb, MemoryLogStore } from "./memory-logdb.js";
import type { LogUpdate } from "./port.js";
import { BOOTSTRAP, hard, ManualEnv, makeBlock, settle } from "./test-support.js";

const KEY = { shardId: 1, replicaId: 1 };
const FIRST: LogUpdate = { ...KEY, bootstrap: BOOTSTRAP, blocks: [makeBlock(1, 1, 1)], hardState: hard(1, 0) };
const SECOND: LogUpdate = { ...KEY, blocks: [makeBlock(1, 2, 1)], hardState: hard(1, 1) };

test("P08: a crash keeps what was acknowledged; what was in flight vanishes and never settles", async () => {
  const store = new MemoryLogStore();
  const clock = new ManualEnv();
  const db = createMemoryLogDb({ store, env: clock.env, latencyMs: () => 5 });
  const first = db.append([FIRST]);
  clock.advance(5);
  await first;
  let settled = false;
  void db.append([SECOND]).finally(() => {
    settled = true;
  });
  clock.advance(4);
  assert.equal(db.appendAgeMs(), 4);
  store.crash();
  clock.advance(100);
  await settle();
  assert.equal(settled, false);
  const again = createMemoryLogDb({ store });
  assert.equal(again.state(KEY)?.last, 1);
  await again.append([SECOND]);
  assert.equal(again.state(KEY)?.last, 2);
  await again.close();
  await db.close();
});

test("a full disk refuses one append; a broken or stuck one is fail-stop", async () => {
  for (const fault of ["broken", "stuck"] as const) {
    const clock = new ManualEnv();
    const fatal: Error[] = [];
    let next: "full" | "broken" | "stuck" | undefined;
    const onFatal = (error: Error) => fatal.push(error);
    const db = createMemoryLogDb({ env: clock.env, onFatal, fault: () => next });
    await db.append([FIRST]);
    next = "full";
    await assert.rejects(db.append([SECOND]), { code: "DL_ERR_DISK_FULL" });
    assert.equal(db.state(KEY)?.last, 1);
    next = fault;
    const failing = [db.append([SECOND]), db.append([])];
    clock.advance(10_000);
    for (const promise of failing) await assert.rejects(promise, (error) => error === fatal[0]);
    await assert.rejects(db.append([SECOND]), (error) => error === fatal[0]);
    await assert.rejects(db.read(KEY, 1, 1, 1), (error) => error === fatal[0]);
    assert.equal(fatal.length, 1);
    await db.close();
  }
});
