/** Moving live blocks out of the oldest segment: bounded disk, reads that race with it, damage, old format. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk } from "../../shared/files/sim-files.js";
import type { ReplicaKey } from "./port.js";
import { A, B, create, entry, Host } from "./test-host.js";
import { hard, LogModel, logText, makeBlock, makeSnapshot } from "./test-support.js";
import type { WalLogDb } from "./wal-logdb.js";

const FAST = { relocation: { above: 2, bytesPerSecond: Number.POSITIVE_INFINITY } };
const QUIET_ENTRIES = 20;

/** A is written once and stays; B is busy and compacted all the time. */
async function quietAndBusy(db: WalLogDb, rounds: number, model?: LogModel): Promise<void> {
  const write = async (updates: Parameters<WalLogDb["append"]>[0]): Promise<void> => {
    model?.apply(updates);
    await db.append(updates);
  };
  await write([create(A), create(B)]);
  for (let index = 1; index <= QUIET_ENTRIES; index++) await write([entry(A, index, 500)]);
  for (let index = 1; index <= rounds; index++) {
    await write([entry(B, index, 8000)]);
    if (index % 5 === 0) await write([compacted(B, index)]);
  }
}

function compacted(key: ReplicaKey, index: number) {
  return {
    ...key,
    hardState: hard(1, index),
    snapshot: { meta: makeSnapshot(key.shardId, index, 1), reset: false },
    compactTo: index,
  };
}

test("a quiet replica does not pin the log: its blocks move on, and are found after a restart", async () => {
  const host = new Host();
  const model = new LogModel();
  const db = await host.open(FAST);
  await quietAndBusy(db, 200, model);
  const { segments, relocatedBytes, bytesWritten } = db.metrics();
  assert.ok(segments <= 4, `${segments} segments`);
  assert.ok(relocatedBytes >= QUIET_ENTRIES * 500, `${relocatedBytes} bytes moved`);
  // Once per round of the whole log, not more: the quiet blocks are a twentieth of what is written in one.
  assert.ok(relocatedBytes < bytesWritten / 8, `${relocatedBytes} of ${bytesWritten} bytes`);
  assert.equal(await logText(db), model.text());
  await db.close();
  const again = await host.open(FAST);
  assert.equal(await logText(again), model.text());
  assert.deepEqual(
    again.recovery().replicas.map((r) => r.damage),
    [undefined, undefined],
  );
  await again.close();
});

test("without relocation the same run fills segment after segment", async () => {
  const host = new Host();
  const db = await host.open({ relocation: { above: 1000, bytesPerSecond: Number.POSITIVE_INFINITY } });
  await quietAndBusy(db, 200);
  assert.ok(db.metrics().segments > 8, `${db.metrics().segments} segments`);
  assert.deepEqual(db.pinning(), [A]);
  await db.close();
});

test("a paced relocation goes on when time does, and ends with the log", async () => {
  const host = new Host();
  const db = await host.open({ relocation: { above: 2, bytesPerSecond: 10_000 } });
  await quietAndBusy(db, 60);
  const early = db.metrics().relocatedBytes;
  for (let i = 0; i < 400; i++) {
    host.clock.advance(50);
    await db.append([{ ...B, hardState: hard(1, 60) }]);
  }
  const late = db.metrics().relocatedBytes;
  assert.ok(late > early, `${early} and then ${late} bytes`);
  assert.ok(db.metrics().segments <= 5, `${db.metrics().segments} segments`);
  await db.close();
});

test("reads see every entry while its block moves and its old segment is used again", async () => {
  const host = new Host();
  const db = await host.open(FAST);
  await quietAndBusy(db, 10);
  let reads = 0;
  for (let index = 11; index <= 200; index++) {
    const reading = db.read(A, 1, QUIET_ENTRIES, 1_000_000);
    await db.append([entry(B, index, 8000)]);
    if (index % 5 === 0) await db.append([compacted(B, index)]);
    const blocks = await reading;
    assert.equal(blocks.length, QUIET_ENTRIES);
    reads += 1;
  }
  assert.equal(reads, 190);
  assert.ok(db.metrics().relocatedBytes > 0);
  await db.close();
});

test("what is truncated or compacted before its record is written is not moved", async () => {
  const host = new Host();
  const model = new LogModel();
  const db = await host.open(FAST);
  const write = async (updates: Parameters<WalLogDb["append"]>[0]): Promise<void> => {
    model.apply(updates);
    await db.append(updates);
  };
  await write([create(A), create(B)]);
  for (let index = 1; index <= QUIET_ENTRIES; index++) await write([entry(A, index, 500)]);
  for (let index = 1; index <= 150; index++) {
    // Not awaited one by one: relocations stand in the queue between these.
    const jobs = [[entry(B, index, 8000)]];
    if (index % 5 === 0) jobs.push([compacted(B, index)]);
    if (index === 40) jobs.push([{ ...A, blocks: [makeBlock(A.shardId, 12, 2, { count: 2 })], hardState: hard(2, 3) }]);
    if (index === 41) jobs.push([compacted(A, 4)]);
    for (const updates of jobs) model.apply(updates);
    await Promise.all(jobs.map((updates) => db.append(updates)));
  }
  assert.equal(await logText(db), model.text());
  await db.close();
  const again = await host.open(FAST);
  assert.equal(await logText(again), model.text());
  await again.close();
});

test("a damaged block stays where it is, is named, and does not keep others from moving", async () => {
  const host = new Host(new SimDisk());
  const db = await host.open(FAST);
  await db.append([create(A), create(B)]);
  for (let index = 1; index <= QUIET_ENTRIES; index++) await db.append([entry(A, index, 500)]);
  const frame = (await host.frames()).find(({ header }) => header.recordCount === 1);
  assert.ok(frame);
  // Within the payload of A's first block.
  host.disk.flip(frame.path, frame.header.startBlock * 4096 + 64 + 32 + 32 + 24 + 200);
  for (let index = 1; index <= 60; index++) {
    await db.append([entry(B, index, 8000)]);
    if (index % 5 === 0) await db.append([compacted(B, index)]);
  }
  assert.ok(db.metrics().relocatedBytes > 0);
  await assert.rejects(db.read(A, 1, 1, 1_000_000), { code: "DL_ERR_LOGDB_CORRUPT", message: /segment 1 at \d+/ });
  assert.equal((await db.read(A, 2, QUIET_ENTRIES, 1_000_000)).length, QUIET_ENTRIES - 1);
  await db.close();
});

test("a full disk puts a move off, and room lets it go on", async () => {
  const host = new Host();
  const db = await host.open(FAST);
  await quietAndBusy(db, 20);
  // What is there stays, and nothing can be added: a move has no segment to go to.
  host.disk.capacityBytes = host.disk.usedBytes;
  let refused = 0;
  for (let attempt = 0; attempt < 100 && refused < 5; attempt++) {
    await db.append([entry(B, (db.state(B)?.last ?? 0) + 1, 8000)]).catch((error: unknown) => {
      assert.equal((error as { code?: string }).code, "DL_ERR_DISK_FULL");
      refused += 1;
    });
    host.clock.advance(1_000);
  }
  assert.equal(refused, 5);
  const before = db.metrics().relocatedBytes;
  host.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
  host.clock.advance(5_000);
  const last = db.state(B)?.last ?? 0;
  for (let index = last + 1; index <= last + 100; index++) {
    await db.append([entry(B, index, 8000)]);
    if (index % 5 === 0) await db.append([compacted(B, index)]);
    host.clock.advance(50);
  }
  assert.ok(db.metrics().relocatedBytes > before);
  assert.equal((await db.read(A, 1, QUIET_ENTRIES, 1_000_000)).length, QUIET_ENTRIES);
  await db.close();
});
