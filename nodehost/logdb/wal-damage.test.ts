/** Rot, missing files and wrong directories: what is cut, what is damage, and whose; nothing is ever made up (P48). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { A, B, C, damages, entry, Host, sixFrames } from "./test-host.js";
import { hard, makeSnapshot, settle } from "./test-support.js";
import { FrameKind, frameLayout, WAL_BLOCK_BYTES } from "./wal-format.js";
import { segmentFileName } from "./wal-segments.js";

test("P48: a bad last frame that nothing follows is torn: cut, and its sequence used again", async () => {
  for (const parts of [["head"], ["body"], ["head", "body", "trailer"], ["body", "trailer"]] as const) {
    const host = new Host();
    const { last } = await sixFrames(host);
    host.kill();
    await host.damage(last, parts);
    const db = await host.open();
    assert.deepEqual(damages(db), [], parts.join());
    assert.deepEqual([db.state(B)?.last, db.state(C)?.last], [2, 1]);
    assert.equal(db.recovery().walSequence, last - 1);
    assert.equal(await db.append([entry(C, 2)]), last);
    host.kill();
    assert.equal((await host.open()).state(C)?.last, 2);
  }
});

test("what is left of a torn frame never speaks for a later one", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  const torn = await db.append([entry(A, 3, 30_000)]);
  host.kill();
  await host.damage(torn, ["body"]);
  const next = await host.open();
  assert.equal(await next.append([entry(B, 3)]), torn);
  // Too large for what is left of the segment: the next frame is the next segment's checkpoint.
  await next.append([entry(C, 3, 100_000)]);
  host.kill();
  await host.damage(torn, ["head", "trailer"]);
  // The torn frame's trailer, which names A, lay behind: it must not stand in for the lost one, which was B's.
  assert.deepEqual(damages(await host.open()), ["2"]);
});

test("a rotten trailer alone does no harm and is written again", async () => {
  const host = new Host();
  const { last } = await sixFrames(host);
  host.kill();
  await host.damage(last, ["trailer"]);
  const db = await host.open();
  assert.equal(db.state(C)?.last, 2);
  host.kill();
  await host.damage(last, ["head"]);
  const again = await host.open();
  assert.equal(again.recovery().walSequence, last - 1, "only the trailer was left of it, so it was whole");
});

test("P48: a bad frame in the middle damages the replicas it names, the others run on", async () => {
  for (const parts of [["body"], ["head"], ["head", "body"], ["body", "trailer"]] as const) {
    const host = new Host();
    const { last } = await sixFrames(host);
    host.kill();
    await host.damage(last - 2, parts);
    for (let life = 0; life < 3; life++) {
      const db = await host.open();
      assert.deepEqual(damages(db), ["1"], `${parts.join()} in life ${life}`);
      assert.match(db.state(A)?.damage ?? "", /lost in frames/);
      await assert.rejects(db.read(A, 1, 1, 100), { code: "DL_ERR_LOGDB_CORRUPT" });
      await assert.rejects(db.append([entry(A, 3)]), { code: "DL_ERR_LOGDB_CORRUPT" });
      await db.append([entry(B, 3 + life), entry(C, 3 + life)]);
      if (life < 2) host.kill(life);
      else await db.append([{ ...A, remove: true }]);
    }
    host.kill();
    const db = await host.open();
    assert.deepEqual(damages(db), []);
    assert.deepEqual(db.list(), { present: [B, C], removed: [A] });
    assert.equal(db.state(B)?.last, 5);
  }
});

test("P48: a seal makes rot of the last frame recognisable", async () => {
  for (const how of ["idle", "close"]) {
    const host = new Host();
    const { db, last } = await sixFrames(host);
    if (how === "idle") {
      host.clock.advance(9);
      await settle();
      assert.equal(db.durableSequence(), last);
      host.clock.advance(2);
      await settle();
      host.clock.advance(1000);
      await settle();
    } else await db.close();
    assert.equal(db.durableSequence(), last + 1, "sealed once");
    host.kill();
    await host.damage(last, ["body"]);
    assert.deepEqual(damages(await host.open()), ["3"], how);
  }
});

test("P48: wherever in a segment the last frame ends, idle time seals it", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  for (let index = 3; index < 40; index++) {
    await db.append([entry(A, index, 6000 + index * 10)]);
    // More than once: live entries of old segments are moved meanwhile, which are appends of their own.
    for (let i = 0; i < 10; i++) {
      await settle();
      host.clock.advance(11);
    }
    await settle();
    assert.equal((await host.frames()).at(-1)?.header.kind, FrameKind.Seal, `after entry ${index}`);
  }
  assert.ok((host.used().at(-1)?.id ?? 0) >= 3);
});

test("P48: a last frame that a crash left without a seal gets one after the next start", async () => {
  const host = new Host();
  const { last } = await sixFrames(host);
  host.kill();
  await host.open();
  host.clock.advance(11);
  await settle();
  host.kill();
  await host.damage(last, ["head", "body", "trailer"]);
  const db = await host.open();
  assert.equal(db.recovery().walSequence, last + 1);
  assert.notEqual(db.recovery().incomplete, undefined);
});

test("P48: an unreadable frame of unknown replicas: proven whole are those with a later record", async () => {
  const host = new Host();
  const { last } = await sixFrames(host);
  host.kill();
  await host.damage(last - 1, ["head", "trailer"]);
  const db = await host.open();
  // Lost is B's second record. C has a later one that names its first; A and B have none.
  assert.deepEqual(damages(db), ["1", "2"]);
  assert.match(db.recovery().incomplete ?? "", /frames/);
  host.kill();
  assert.match((await host.open()).recovery().incomplete ?? "", /frames/, "not forgotten");
});

test("a lost record is found by the chain, even if its frame left no trace and no entry is missing", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  const lost = await db.append([{ ...B, hardState: hard(5, 1, 3) }]);
  await db.append([entry(B, 3)]);
  await db.append([entry(A, 3), entry(C, 3)]);
  host.kill();
  await host.damage(lost, ["head", "trailer"]);
  const again = await host.open();
  assert.deepEqual(damages(again), ["2"], "a vote may be lost");
  assert.equal(again.state(A)?.last, 3);
});

test("damage in an old segment does not matter to a replica that lives wholly behind it", async () => {
  const host = new Host();
  const { db, last } = await sixFrames(host);
  // Cross a segment with entries of A, then let B and C leave everything before it behind.
  for (let i = 3; i <= 7; i++) await db.append([entry(A, i, 8000)]);
  assert.equal(host.used().length >= 2, true);
  const meta = makeSnapshot(B.shardId, 2, 1);
  await db.append([{ ...B, hardState: hard(1, 2), snapshot: { meta, reset: false }, compactTo: 2 }]);
  await db.append([entry(B, 3)]);
  host.kill();
  await host.damage(last - 1, ["body"]);
  const again = await host.open();
  assert.deepEqual(damages(again), []);
  assert.equal(again.state(B)?.first, 3);
});

test("rot found by a read is an answer, not a crash, and concerns that range only", async () => {
  const host = new Host();
  const { db, last } = await sixFrames(host);
  await host.damage(last, ["body"]);
  const frame = (await host.frames()).find(({ header }) => header.sequence === last);
  const bodyAt = frameLayout(1, 0).bodyOffset + (frame?.header.startBlock ?? 0) * WAL_BLOCK_BYTES;
  host.disk.flip(frame?.path ?? "", bodyAt + (frame?.header.bodyBytes ?? 0) - 1);
  await assert.rejects(db.read(C, 2, 2, 100), { code: "DL_ERR_LOGDB_CORRUPT" });
  assert.equal((await db.read(C, 1, 1, 100)).length, 1);
  assert.deepEqual(host.fatal, []);
});

test("missing, short and older segments are damage", async () => {
  const long = async (host: Host) => {
    const { db } = await sixFrames(host);
    for (let i = 3; i <= 20; i++) await db.append([entry(A, i, 8000)]);
    await db.close();
    host.kill();
    return host.used();
  };
  const missing = new Host();
  const first = (await long(missing))[0];
  await missing.disk.remove(`/wal/${segmentFileName(first?.id ?? 0)}`);
  const db = await missing.open();
  assert.deepEqual(damages(db), ["1", "2", "3"], "their entries were in it");

  const short = new Host();
  const middle = (await long(short))[1];
  const handle = await short.disk.open(`/wal/${segmentFileName(middle?.id ?? 0)}`, {});
  await handle.truncate(20_000);
  assert.deepEqual(damages(await short.open()), ["1"], "B and C are in the first segment, and checkpoints prove it");

  const older = new Host();
  const last = (await long(older)).at(-1);
  const stale = await older.disk.open(`/wal/${segmentFileName(last?.id ?? 0)}`, { durable: true });
  await stale.write(new Uint8Array(last?.length ?? 0), 0);
  const found = await older.open();
  assert.ok(found.recovery().incomplete !== undefined, "the end of the log is gone, and the floor says so");
});

test("directories that do not belong together are refused", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  await db.close();
  await assert.rejects(host.open({ dataSetId: "set-2" }), { code: "DL_ERR_DATA_LOST" });
  await assert.rejects(host.open({ walDir: "/elsewhere" }), { code: "DL_ERR_DATA_LOST" });
  host.checkpoints.wipe();
  await assert.rejects(host.open(), { code: "DL_ERR_LOGDB_CORRUPT" });
});

test("a replica whose commit is above its log is damaged", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  await db.append([{ ...A, hardState: hard(1, 3) }]);
  await db.close();
  host.kill();
  assert.deepEqual(damages(await host.open()), ["1"]);
});

test("frames are only sealed, checkpointed and data; every frame begins where the last one ended", async () => {
  const host = new Host();
  const { db } = await sixFrames(host);
  await db.close();
  const frames = await host.frames();
  assert.equal(frames[0]?.header.kind, FrameKind.Checkpoint);
  assert.equal(frames.at(-1)?.header.kind, FrameKind.Seal);
  let next = 0;
  for (const { header } of frames) {
    assert.equal(header.startBlock, next);
    next += header.frameBlocks;
  }
  assert.deepEqual(
    frames.map(({ header }) => header.sequence),
    frames.map((_, i) => i + 1),
  );
});
