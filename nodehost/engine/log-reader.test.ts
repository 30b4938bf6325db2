/** Entries that are no longer in memory: asked, fetched, asked again; rewritten or compacted meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryBlock } from "../../shared/codec/block.js";
import { OpError } from "../../shared/errors.js";
import { createMemoryLogDb } from "../logdb/memory-logdb.js";
import type { LogDb } from "../logdb/port.js";
import { BOOTSTRAP, hard, makeBlock, settle } from "../logdb/test-support.js";
import { AsyncLogReader } from "./log-reader.js";

const KEY = { shardId: 7, replicaId: 3 };

async function setup(blocks: readonly EntryBlock[]) {
  const db = createMemoryLogDb();
  await db.append([{ ...KEY, bootstrap: BOOTSTRAP, blocks, hardState: hard(1, 0) }]);
  const told = { fetched: 0, errors: [] as unknown[], reads: 0 };
  const counting: LogDb = Object.create(db, {
    read: {
      value: (...args: Parameters<LogDb["read"]>) => {
        told.reads += 1;
        return db.read(...args);
      },
    },
    term: { value: (...args: Parameters<LogDb["term"]>) => db.term(...args) },
  });
  const reader = new AsyncLogReader(
    counting,
    KEY,
    () => {
      told.fetched += 1;
    },
    (error) => told.errors.push(error),
  );
  return { db, reader, told };
}

function ranges(found: readonly EntryBlock[] | "pending" | "compacted"): unknown {
  return typeof found === "string" ? found : found.map((b) => [b.first, b.last, b.term]);
}

test("the first ask starts one read, the next one after it gets the entries", async () => {
  const { reader, told } = await setup([makeBlock(7, 1, 1, { count: 3 }), makeBlock(7, 4, 2, { count: 2 })]);
  assert.equal(reader.slice(2, 5, 1_000_000), "pending");
  assert.equal(reader.slice(2, 5, 1_000_000), "pending");
  assert.equal(told.reads, 1);
  await settle();
  assert.equal(told.fetched, 1);
  assert.deepEqual(ranges(reader.slice(2, 5, 1_000_000)), [
    [2, 3, 1],
    [4, 5, 2],
  ]);
  assert.equal(reader.slice(2, 5, 1_000_000), "pending", "kept for one ask only");
});

test("what was fetched is clipped to what is asked now", async () => {
  const { reader } = await setup([makeBlock(7, 1, 1, { count: 5 })]);
  reader.slice(2, 5, 1_000_000);
  await settle();
  assert.deepEqual(ranges(reader.slice(2, 3, 1_000_000)), [[2, 3, 1]]);
});

test("entries rewritten since they were fetched are not handed out (P27)", async () => {
  const { db, reader, told } = await setup([makeBlock(7, 1, 1, { count: 5 })]);
  reader.slice(2, 5, 1_000_000);
  await settle();
  await db.append([{ ...KEY, blocks: [makeBlock(7, 4, 3, { count: 1 })], hardState: hard(3, 3) }]);
  assert.equal(reader.slice(2, 4, 1_000_000), "pending");
  await settle();
  assert.equal(told.fetched, 2);
  assert.deepEqual(ranges(reader.slice(2, 4, 1_000_000)), [
    [2, 3, 1],
    [4, 4, 3],
  ]);
});

test("compacted entries are said to be so, before and after a fetch (P29)", async () => {
  const { db, reader } = await setup([makeBlock(7, 1, 1, { count: 5 })]);
  reader.slice(2, 5, 1_000_000);
  await settle();
  await db.append([{ ...KEY, compactTo: 3 }]);
  assert.equal(reader.slice(2, 5, 1_000_000), "compacted");
  assert.equal(reader.slice(4, 5, 1_000_000), "pending", "the term before index 4 is still known");
  assert.equal(reader.term(3), 1);
  assert.equal(reader.term(2), undefined);
});

test("a range that is gone when it is read is asked for again, not an error", async () => {
  const { reader, told } = await setup([makeBlock(7, 1, 1, { count: 3 })]);
  assert.equal(reader.slice(2, 9, 1_000_000), "pending");
  await settle();
  assert.deepEqual([told.fetched, told.errors.length], [1, 0]);
  assert.equal(reader.slice(2, 3, 1_000_000), "pending");
  await settle();
  assert.deepEqual(ranges(reader.slice(2, 3, 1_000_000)), [[2, 3, 1]]);
});

test("a read that fails is reported (P48)", async () => {
  const damaged = new OpError("DL_ERR_LOGDB_CORRUPT");
  const { db } = await setup([makeBlock(7, 1, 1, { count: 3 })]);
  const broken: LogDb = Object.create(db, {
    read: { value: () => Promise.reject(damaged) },
    term: { value: (...args: Parameters<LogDb["term"]>) => db.term(...args) },
  });
  const errors: unknown[] = [];
  const reader = new AsyncLogReader(
    broken,
    KEY,
    () => assert.fail("nothing was fetched"),
    (error) => errors.push(error),
  );
  assert.equal(reader.slice(2, 3, 1_000_000), "pending");
  await settle();
  assert.deepEqual(errors, [damaged]);
});
