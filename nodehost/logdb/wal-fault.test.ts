/**
 * What the log does when the disk does not do its part: write errors, stuck writes, a full disk; and that it uses
 * segments again, and remembers removals beyond the frames that say so.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FatalStorageError } from "../../shared/errors.js";
import { readWhole } from "../../shared/files/port.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import { A, B, C, create, entry, Host, SEGMENT_BYTES, sixFrames } from "./test-host.js";
import { generator, hard, logText, makeBlock, makeSnapshot, settle } from "./test-support.js";

test("P45: a write error stops the log for good; what was acknowledged is found again", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  const before = await logText(db);
  host.disk.fault = ({ kind }) => (kind === "write" ? "EIO" : undefined);
  const failed = [db.append([entry(A, 3)]), db.append([entry(B, 3)])];
  const errors = (await Promise.allSettled(failed)).map((r) => (r.status === "rejected" ? r.reason : undefined));
  host.disk.fault = undefined;
  assert.equal(host.fatal.length, 1);
  assert.deepEqual(errors, [host.fatal[0], host.fatal[0]]);
  await assert.rejects(db.append([entry(C, 3)]), (error) => error === host.fatal[0]);
  await assert.rejects(db.read(A, 1, 1, 100), (error) => error === host.fatal[0]);
  await db.close();
  assert.equal(host.fatal.length, 1);
  host.kill();
  assert.equal(await logText(await host.open()), before);
});

test("P45: a write that does not settle in time stops the log; a late end changes nothing", async () => {
  const host = new Host();
  const { db, last } = await sixFrames(host);
  host.clock.advance(1);
  host.disk.fault = ({ kind }) => (kind === "write" ? "stuck" : undefined);
  const stuck = db.append([entry(A, 3)]);
  const waiting = db.append([entry(B, 3)]);
  host.clock.advance(9000);
  assert.equal(db.appendAgeMs(), 9000);
  assert.equal(host.fatal.length, 0);
  host.clock.advance(11_000);
  for (const promise of [stuck, waiting]) await assert.rejects(promise, { code: "DL_ERR_STORAGE_FAILED" });
  assert.equal(host.fatal.length, 1);
  assert.equal(db.durableSequence(), last);
  await db.close();
});

test("P45: a checkpoint commit that rejects or hangs stops the log", async () => {
  for (const fault of ["reject", "stuck"] as const) {
    const host = new Host();
    const { db } = await sixFrames(host);
    host.checkpoints.fault = () => fault;
    let index = 3;
    let error: unknown;
    // The next segment is needed at some point, and cannot be listed.
    while (error === undefined && index < 40) {
      const append = db.append([entry(A, index, 8000)]).catch((reason: unknown) => {
        error = reason;
      });
      await settle();
      host.clock.advance(20_001);
      await append;
      index += 1;
    }
    assert.equal(host.fatal.length, 1, fault);
    assert.equal(error, host.fatal[0]);
    await db.close();
  }
});

test("a write that hangs while opening rejects open", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  await db.close();
  host.disk.fault = ({ kind }) => (kind === "write" ? "stuck" : undefined);
  const opening = assert.rejects(host.open(), { code: "DL_ERR_STORAGE_FAILED" });
  for (let i = 0; i < 20; i++) await settle();
  host.clock.advance(20_001);
  await opening;
});

test("every operation of opening that fails, and every change that hangs, rejects open with a code", async () => {
  for (const fault of ["EIO", "stuck"] as const) {
    for (let number = 1; ; number++) {
      const host = new Host();
      let met = false;
      host.disk.fault = (operation) => {
        met ||= operation.number === number;
        const reads = operation.kind === "read" || operation.kind === "open";
        return operation.number === number && (fault === "EIO" || !reads) ? fault : undefined;
      };
      const opening = host.open().then(
        () => undefined,
        (error: unknown) => error,
      );
      await settle();
      host.clock.advance(20_000);
      const error = await opening;
      if (!met) break;
      assert.ok(error === undefined || error instanceof FatalStorageError, `${fault} at ${number}: ${error}`);
    }
  }
});

test("a full disk refuses appends before anything is written, and the log goes on when there is room", async () => {
  const host = new Host(new SimDisk({ capacityBytes: 2 * SEGMENT_BYTES }));
  const { db } = await sixFrames(host);
  let index = 3;
  let full: unknown;
  while (full === undefined && index < 100) {
    await db.append([entry(A, index, 8000)]).then(
      () => {
        index += 1;
      },
      (error: unknown) => {
        full = error;
      },
    );
  }
  assert.equal(full instanceof Error && "code" in full ? full.code : full, "DL_ERR_DISK_FULL");
  const last = db.state(A)?.last ?? 0;
  assert.equal(last, index - 1);
  assert.equal((await db.read(A, 1, last, 1)).length, 1);
  // What makes room still fits; then the oldest segment is used again, on the same full disk.
  const room = [A, B, C].map((key) => {
    const to = db.state(key)?.last ?? 0;
    const meta = makeSnapshot(key.shardId, to, 1);
    return { ...key, hardState: hard(1, to), snapshot: { meta, reset: false }, compactTo: to };
  });
  await db.append(room);
  host.clock.advance(1001);
  for (let i = 0; i < 10; i++) await settle();
  await db.append([entry(A, index, 8000)]);
  assert.equal(db.state(A)?.last, index);
  assert.deepEqual(host.fatal, []);
  const text = await logText(db);
  host.kill();
  assert.equal(await logText(await host.open()), text);
});

test("P45: cleaning up on a full disk that hangs stops the log", async () => {
  const host = new Host(new SimDisk({ capacityBytes: SEGMENT_BYTES }));
  const { db } = await sixFrames(host);
  host.disk.fault = ({ kind }) => (kind === "names" ? "stuck" : undefined);
  const refused: unknown[] = [];
  for (let index = 3; index < 30; index++) {
    db.append([entry(A, index, 8000)]).catch((error: unknown) => refused.push(error));
  }
  for (let i = 0; i < 100; i++) await settle();
  assert.deepEqual(refused, []);
  host.clock.advance(20_001);
  await settle();
  assert.equal(host.fatal.length, 1);
  assert.ok(refused.length > 0 && refused.every((error) => error === host.fatal[0]));
});

test("segments are used again under a new generation, and bytes of the old one never parse", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  let generations = 0;
  let removed = false;
  for (let i = 3; i <= 60; i++) {
    await db.append([entry(A, i, 8000)]);
    if (i === 10) {
      for (const key of [B, C]) await db.append([{ ...key, remove: true }]);
      removed = true;
    }
    const meta = makeSnapshot(A.shardId, i - 2, 1);
    await db.append([{ ...A, hardState: hard(1, i - 2), snapshot: { meta, reset: false }, compactTo: i - 2 }]);
    for (let k = 0; k < 3; k++) await settle();
    generations = Math.max(generations, ...host.used().map(({ generation }) => generation));
    if (i % 7 === 0) {
      const random = generator(i);
      const copy = await snapshotOf(host, random);
      assert.equal(copy, await logText(db), `after entry ${i}`);
    }
  }
  assert.ok(removed && generations >= 2, `generation ${generations}`);
  assert.ok(db.metrics().segments <= 4, `${db.metrics().segments} segments`);
  // The frames that said so are long gone.
  host.kill();
  const again = await host.open();
  assert.deepEqual(again.list().removed, [B, C]);
  await assert.rejects(again.append([create(B)]), { code: "DL_ERR_REPLICA_REMOVED" });
});

/** What a host would find that opens copies of all files and rows. */
async function snapshotOf(host: Host, random: () => number): Promise<string> {
  const other = new Host();
  await other.disk.makeDirectory("/wal");
  for (const name of await host.disk.list("/wal")) {
    const handle = await other.disk.open(`/wal/${name}`, { create: true, durable: true });
    await handle.write(await readWhole(host.disk, `/wal/${name}`), 0);
  }
  await other.disk.syncDirectory("/wal");
  const store = await other.checkpoints.factory("");
  await store.commit([...host.checkpoints.rows].map(([key, value]) => ({ key, value })));
  other.disk.crash(random);
  return logText(await other.open());
}

test("pinning names the replicas that hold the oldest segment", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  assert.deepEqual(db.pinning(), []);
  for (let i = 3; i <= 12; i++) await db.append([entry(A, i, 8000)]);
  assert.deepEqual(db.pinning(), [A, B, C]);
  const meta = makeSnapshot(A.shardId, 11, 1);
  await db.append([{ ...A, hardState: hard(1, 11), snapshot: { meta, reset: false }, compactTo: 11 }]);
  assert.deepEqual(db.pinning(), [B, C]);
  assert.ok(db.metrics().durableWrites > db.metrics().appends);
});

test("a frame larger than a segment gets a segment of its own size", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  await db.append([{ ...A, blocks: [makeBlock(1, 3, 1, { count: 20, bytes: 10_000 })], hardState: hard(1, 2) }]);
  await db.append([entry(B, 3)]);
  const text = await logText(db);
  host.kill();
  const again = await host.open();
  assert.equal(await logText(again), text);
  assert.ok(host.used().some(({ length }) => length > 200_000));
});
