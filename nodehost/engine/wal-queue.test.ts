/** Group commit: what is merged has the effect of its parts in order; a full disk loses nothing; a failure ends all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FatalStorageError, OpError } from "../../shared/errors.js";
import { createMemoryLogDb } from "../logdb/memory-logdb.js";
import type { LogDb, LogUpdate } from "../logdb/port.js";
import { BOOTSTRAP, hard, logText, makeBlock, makeSnapshot, settle } from "../logdb/test-support.js";
import { mergeUpdates, WalQueue } from "./wal-queue.js";

const KEY = { shardId: 7, replicaId: 3 };
const START: LogUpdate = {
  ...KEY,
  bootstrap: BOOTSTRAP,
  blocks: [makeBlock(7, 1, 1, { count: 4 })],
  hardState: hard(1, 2),
};

/** Every kind of change, in small: each may follow each if the log allows it. */
function changes(): LogUpdate[] {
  const list: LogUpdate[] = [
    { ...KEY, hardState: hard(2, 2, 1) },
    { ...KEY, bootstrap: { ...BOOTSTRAP, app: "other" } },
    { ...KEY, remove: true },
  ];
  for (const first of [3, 4, 5, 6, 9]) {
    for (const count of [1, 3]) {
      list.push({ ...KEY, blocks: [makeBlock(7, first, 2, { count })], hardState: hard(2, 3) });
    }
  }
  const two = [makeBlock(7, 5, 2), makeBlock(7, 6, 3, { count: 2 })];
  list.push({ ...KEY, blocks: two, hardState: hard(3, 4) });
  list.push({ ...KEY, snapshot: { meta: makeSnapshot(7, 2, 1), reset: false }, compactTo: 2 });
  list.push({ ...KEY, snapshot: { meta: makeSnapshot(7, 4, 1), reset: false }, compactTo: 1 });
  list.push({ ...KEY, snapshot: { meta: makeSnapshot(7, 5, 2), reset: false }, compactTo: 5 });
  list.push({ ...KEY, snapshot: { meta: makeSnapshot(7, 8, 3), reset: true }, hardState: hard(3, 8) });
  list.push({ ...KEY, snapshot: { meta: makeSnapshot(7, 8, 3), reset: false }, compactTo: 8 });
  list.push({ ...KEY, snapshot: { meta: makeSnapshot(7, 20, 4), reset: true }, hardState: hard(4, 20) });
  const after = [makeBlock(7, 9, 4, { count: 2 })];
  const meta = makeSnapshot(7, 8, 3);
  list.push({ ...KEY, snapshot: { meta, reset: true }, blocks: after, hardState: hard(4, 8) });
  return list;
}

/** Everything that can be seen of the replica, also which terms the log still knows. */
async function view(db: LogDb): Promise<string> {
  const state = db.state(KEY);
  const terms = Array.from({ length: 24 }, (_, index) => db.term(KEY, index) ?? "-").join(",");
  const text = state === undefined || state.last < state.first ? "" : await logText(db);
  return JSON.stringify([
    state?.hardState,
    state?.snapshot,
    state?.first,
    state?.last,
    state?.bootstrap.app,
    terms,
    text,
    db.list(),
  ]);
}

async function appendAll(batches: readonly (readonly LogUpdate[])[]): Promise<LogDb | undefined> {
  const db = createMemoryLogDb();
  try {
    for (const batch of batches) await db.append(batch);
    return db;
  } catch {
    return undefined;
  }
}

test("merged updates have the effect of the same updates one after the other, in all small cases", async () => {
  const list = changes();
  let compared = 0;
  for (const a of list) {
    for (const b of list) {
      for (const c of [undefined, ...list]) {
        const updates = c === undefined ? [a, b] : [a, b, c];
        const sequential = await appendAll([[START], ...updates.map((u) => [u])]);
        if (sequential === undefined) continue;
        const merged: LogUpdate[] = [];
        for (const update of updates) {
          const last = merged.pop();
          const one = last === undefined ? update : mergeUpdates(last, update);
          if (one !== undefined) merged.push(one);
          else if (last !== undefined) merged.push(last, update);
        }
        const atOnce = await appendAll([[START], merged]);
        assert.ok(atOnce !== undefined, `refused: ${JSON.stringify(merged)}`);
        assert.equal(await view(atOnce), await view(sequential), JSON.stringify(updates));
        compared += 1;
      }
    }
  }
  assert.ok(compared > 500, `${compared} cases`);
});

/** A log whose appends the test settles by hand. */
class HandLog {
  readonly appends: (readonly LogUpdate[])[] = [];
  readonly #settle: { resolve: (sequence: number) => void; reject: (error: unknown) => void }[] = [];
  readonly db: LogDb;

  constructor() {
    const append = (updates: readonly LogUpdate[]): Promise<number> => {
      this.appends.push(updates);
      return new Promise((resolve, reject) => this.#settle.push({ resolve, reject }));
    };
    this.db = { ...createMemoryLogDb(), append };
  }

  async succeed(): Promise<void> {
    this.#settle.shift()?.resolve(1);
    await settle();
  }

  async fail(error: unknown): Promise<void> {
    this.#settle.shift()?.reject(error);
    await settle();
  }
}

function setup() {
  const log = new HandLog();
  const errors: unknown[] = [];
  const done: string[] = [];
  const queue = new WalQueue(log.db, (error) => errors.push(error));
  const add = (shardId: number, term: number, name: string): void =>
    queue.add({ shardId, replicaId: 1, hardState: hard(term, 0) }, () => done.push(name), {
      failed: (error) => done.push(`${name} failed: ${error instanceof OpError ? error.code : String(error)}`),
    });
  return { log, errors, done, queue, add };
}

test("one append is in flight; what comes meanwhile is one append more, reported in order", async () => {
  const { log, done, queue, add } = setup();
  add(1, 1, "a");
  queue.start();
  add(1, 2, "b");
  add(2, 1, "c");
  queue.start();
  add(1, 3, "d");
  assert.equal(log.appends.length, 1);
  assert.deepEqual(done, []);
  await log.succeed();
  assert.deepEqual(done, ["a"]);
  assert.equal(log.appends.length, 2);
  assert.deepEqual(
    log.appends[1]?.map((u) => [u.shardId, u.hardState?.term]),
    [
      [1, 3],
      [2, 1],
    ],
  );
  await log.succeed();
  assert.deepEqual(done, ["a", "b", "d", "c"]);
});

test("nothing is written before start, and an empty queue writes nothing", async () => {
  const { log, queue, add } = setup();
  queue.start();
  assert.equal(log.appends.length, 0);
  add(1, 1, "a");
  assert.equal(log.appends.length, 0);
  queue.start();
  assert.equal(log.appends.length, 1);
});

test("a full disk: all is kept in order, tried again on the tick, and reported when it worked (P44)", async () => {
  const { log, errors, done, queue, add } = setup();
  add(1, 1, "a");
  queue.start();
  add(1, 2, "b");
  add(2, 5, "c");
  await log.fail(new OpError("DL_ERR_DISK_FULL"));
  assert.equal(queue.diskFull, true);
  queue.start();
  assert.equal(log.appends.length, 1, "only the tick tries again");
  queue.retry();
  assert.equal(queue.diskFull, true, "until an append has worked");
  assert.equal(log.appends.length, 2);
  assert.deepEqual(
    log.appends[1]?.map((u) => [u.shardId, u.hardState?.term]),
    [
      [1, 2],
      [2, 5],
    ],
  );
  await log.fail(new OpError("DL_ERR_DISK_FULL"));
  queue.retry();
  await log.succeed();
  assert.deepEqual(done, ["a", "b", "c"]);
  assert.equal(queue.diskFull, false);
  assert.deepEqual(errors, []);
  queue.retry();
  assert.equal(log.appends.length, 3);
});

test("an update that must not wait for space is given up when the disk is full, and said so", async () => {
  const { log, done, queue, add } = setup();
  const update = { shardId: 9, replicaId: 1, bootstrap: BOOTSTRAP, hardState: hard(0, 0) };
  const failed = (error: unknown): void => {
    done.push(error instanceof OpError ? error.code : "?");
  };
  queue.add(update, () => done.push("never"), { failed, refuseWhenFull: true });
  add(1, 1, "a");
  queue.start();
  await log.fail(new OpError("DL_ERR_DISK_FULL"));
  assert.deepEqual(done, ["DL_ERR_DISK_FULL"]);
  queue.retry();
  assert.deepEqual(
    log.appends[1]?.map((u) => u.shardId),
    [1],
  );
});

test("a failed append ends everything: told once, nothing is written any more (P45)", async () => {
  const { log, errors, done, queue, add } = setup();
  const error = new FatalStorageError("EIO");
  add(1, 1, "a");
  queue.start();
  add(2, 1, "b");
  const idle = queue.whenIdle();
  await log.fail(error);
  await idle;
  assert.deepEqual(errors, [error]);
  assert.deepEqual(done, ["a failed: FatalStorageError: EIO", "b failed: FatalStorageError: EIO"]);
  add(3, 1, "c");
  queue.start();
  queue.retry();
  assert.equal(log.appends.length, 1);
  assert.equal(done.at(-1), "c failed: FatalStorageError: EIO");
  await queue.whenIdle();
});

test("whenIdle waits for what is in flight and for what waits behind it", async () => {
  const { log, queue, add } = setup();
  await queue.whenIdle();
  add(1, 1, "a");
  queue.start();
  add(1, 2, "b");
  let idle = false;
  const waiting = queue.whenIdle().then(() => {
    idle = true;
  });
  await log.succeed();
  assert.equal(idle, false);
  await log.succeed();
  await waiting;
  assert.equal(idle, true);
});

test("what waits of a stopped replica is forgotten: its next start must not meet it", async () => {
  const { log, queue, add } = setup();
  add(1, 1, "a");
  queue.start();
  add(1, 2, "b");
  add(2, 2, "c");
  queue.discard({ shardId: 1, replicaId: 1 });
  await log.succeed();
  assert.deepEqual(
    log.appends[1]?.map((u) => u.shardId),
    [2],
  );
});
