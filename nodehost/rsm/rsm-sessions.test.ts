/** Client sessions in the replicated state machine manager, for both kinds of machines: apply, snapshots, restores. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryBlock } from "../../shared/codec/block.js";
import { SERIES_REGISTER, SERIES_UNREGISTER } from "../../shared/types/session.js";
import { block, concurrentRig, drain, hasCode, key, latch, memoryRig, NEVER, type Rig, settle } from "./testing/kit.js";
import { MachineFailure } from "./types.js";

const CLIENT = "00112233445566aa";

function register(index: number, clientId = CLIENT): EntryBlock {
  return block(index, [{ cmd: "", session: { clientId, seriesId: SERIES_REGISTER, respondedTo: 0 } }]);
}

/** One command under a session, with the key of this replica unless another is given. */
function under(index: number, seriesId: number, cmd: string, owner = key(index)): EntryBlock {
  return block(index, [{ cmd, key: owner, session: { clientId: CLIENT, seriesId, respondedTo: seriesId - 1 } }]);
}

async function applied(rig: Rig, ...blocks: EntryBlock[]): Promise<void> {
  rig.rsm.enqueue(blocks);
  await drain(rig.rsm);
}

for (const kind of ["memory", "concurrent"] as const) {
  const make = (disk?: Rig["disk"]) => (kind === "memory" ? memoryRig(disk) : concurrentRig(disk));

  test(`${kind}: a repeated series is answered from what is kept and not applied again`, async () => {
    const rig = make();
    await applied(rig, register(1), under(2, 2, "a"), under(3, 2, "a"), under(4, 3, "b"), under(5, 2, "a"));
    assert.deepEqual(rig.machine.applied, ["a", "b"]);
    assert.deepEqual(
      rig.sink.results.map(({ index, value }) => [index, value]),
      [
        [1, 1],
        [2, 2],
        [3, 2],
        [4, 4],
      ],
    );
    assert.deepEqual(rig.sink.refused, [{ sequence: 5, index: 5, code: "DL_ERR_SESSION_STALE" }]);
    assert.equal(rig.rsm.applied, 5);
  });

  test(`${kind}: who retries through another replica is answered there, everyone else is not told`, async () => {
    const rig = make();
    const other = key(9, 2);
    await applied(rig, register(1), under(2, 2, "a", other), under(3, 2, "a"), under(4, 1, "x", other));
    assert.deepEqual(rig.machine.applied, ["a"]);
    assert.deepEqual(
      rig.sink.results.map(({ index, value }) => [index, value]),
      [
        [1, 1],
        [3, 2],
      ],
    );
    assert.deepEqual(rig.sink.refused, []);
  });

  test(`${kind}: commands under an unknown or closed session are refused and not applied`, async () => {
    const rig = make();
    const close = { clientId: CLIENT, seriesId: SERIES_UNREGISTER, respondedTo: 1 };
    await applied(rig, under(1, 1, "a"), register(2), block(3, [{ cmd: "", session: close }]), under(4, 3, "b"));
    assert.deepEqual(rig.machine.applied, []);
    assert.deepEqual(
      rig.sink.refused.map(({ index, code }) => [index, code]),
      [
        [1, "DL_ERR_SESSION_NOT_FOUND"],
        [4, "DL_ERR_SESSION_NOT_FOUND"],
      ],
    );
  });

  test(`${kind}: a retry after a restore gets the kept answer, and the machine is not touched (P36)`, async () => {
    const a = make();
    await applied(a, register(1), ...[2, 3, 4, 5, 6, 7].map((series) => under(series, series, `s${series}`)));
    const meta = await a.rsm.saveSnapshot(NEVER);
    const b = make(a.disk);
    await b.rsm.restore(meta, NEVER);
    assert.equal(b.rsm.sessionHash(), a.rsm.sessionHash());
    const before = b.rsm.hash();
    await applied(b, under(8, 7, "s7"));
    assert.equal(b.rsm.hash(), before);
    assert.deepEqual(b.sink.results, [{ sequence: 8, index: 8, value: 7 }]);
    await applied(b, under(9, 8, "s8"));
    assert.equal(b.machine.applied.at(-1), "s8");
    await applied(a, under(8, 7, "s7"), under(9, 8, "s8"));
    assert.equal(a.rsm.sessionHash(), b.rsm.sessionHash());
    assert.equal(a.rsm.hash(), b.rsm.hash());
  });

  test(`${kind}: evictions are equal on a replica that restored a snapshot and one that replayed (P37)`, async () => {
    const max = 4096;
    const a = make();
    const ids = Array.from({ length: max + 3 }, (_, i) => (i + 1).toString(16).padStart(16, "0"));
    const first = ids.slice(0, max).map((id, i) => register(i + 1, id));
    await applied(a, ...first);
    const [oldest = "", second = ""] = ids;
    const use = { clientId: oldest, seriesId: max + 5, respondedTo: max + 4 };
    await applied(a, block(max + 1, [{ cmd: "keep", session: use }]));
    const meta = await a.rsm.saveSnapshot(NEVER);
    const b = make(a.disk);
    await b.rsm.restore(meta, NEVER);
    const again = { clientId: second, seriesId: max + 9, respondedTo: max + 8 };
    const rest = [
      ...ids.slice(max).map((id, i) => register(max + 2 + i, id)),
      block(max + 5, [{ cmd: "kept", session: { ...use, seriesId: use.seriesId + 1 } }]),
      block(max + 6, [{ cmd: "gone", session: again }]),
    ];
    for (const rig of [a, b]) {
      await applied(rig, ...rest);
      assert.deepEqual(
        rig.sink.refused.map(({ code }) => code),
        ["DL_ERR_SESSION_NOT_FOUND"],
      );
      assert.deepEqual(rig.machine.applied, ["keep", "kept"]);
    }
    assert.equal(a.rsm.sessionHash(), b.rsm.sessionHash());
  });

  test(`${kind}: a restore replaces the sessions, also by none`, async () => {
    const a = make();
    await applied(a, block(1, [{ cmd: "a" }, { cmd: "b" }]));
    const meta = await a.rsm.saveSnapshot(NEVER);
    const b = make(a.disk);
    await applied(b, register(1));
    await b.rsm.restore(meta, NEVER);
    assert.equal(b.rsm.sessionHash(), a.rsm.sessionHash());
    await applied(b, under(3, 2, "c"));
    assert.deepEqual(b.sink.refused, [{ sequence: 3, index: 3, code: "DL_ERR_SESSION_NOT_FOUND" }]);
  });

  test(`${kind}: a machine that answers later: the repeat behind it waits and gets the same answer`, async () => {
    const rig = make();
    await applied(rig, register(1));
    const gate = latch();
    rig.machine.gate = gate.wait;
    rig.rsm.enqueue([under(2, 2, "a"), under(3, 2, "a")]);
    const running = rig.rsm.run(100);
    assert.ok(running instanceof Promise);
    assert.equal(rig.rsm.sessionHash(), undefined);
    await settle();
    gate.open();
    await running;
    await drain(rig.rsm);
    assert.deepEqual(rig.machine.applied, ["a"]);
    assert.deepEqual(
      rig.sink.results.slice(1).map(({ index, value }) => [index, value]),
      [
        [2, 2],
        [3, 2],
      ],
    );
  });

  test(`${kind}: a damaged session area fails the restore, and nothing runs afterwards`, async () => {
    const a = make();
    await applied(a, register(1), under(2, 2, "a"));
    const meta = await a.rsm.saveSnapshot(NEVER);
    const path = `/snapshots/7-1/${meta.directory}/snapshot.dls`;
    const handle = await a.disk.open(path, { readOnly: true });
    const prefix = new Uint8Array(16);
    await handle.read(prefix, 0);
    await handle.close();
    a.disk.flip(path, new DataView(prefix.buffer).getUint32(12, true) + 5);
    const b = make(a.disk);
    await assert.rejects(b.rsm.restore(meta, NEVER), hasCode("DL_ERR_LOGDB_CORRUPT"));
    assert.throws(() => b.rsm.run(100), MachineFailure);
    assert.equal(b.rsm.sessionHash(), undefined);
  });
}

test("concurrent: entries of sessions go alone, the others around them in batches", async () => {
  const rig = concurrentRig();
  const session = { clientId: CLIENT, seriesId: 2, respondedTo: 1 };
  await applied(rig, register(1));
  await applied(
    rig,
    block(2, [{ cmd: "a" }, { cmd: "b" }, { cmd: "c", session }, { cmd: "c", session }, { cmd: "d" }, { cmd: "e" }]),
  );
  assert.deepEqual(rig.machine.applied, ["a", "b", "c", "d", "e"]);
  assert.deepEqual(rig.machine.batches, [2, 1, 2]);
});

test("concurrent: the sessions of a snapshot are those of its index, whatever is applied meanwhile (P36)", async () => {
  const a = concurrentRig();
  await applied(a, register(1), under(2, 2, "a"));
  const hash = a.rsm.sessionHash();
  const gate = latch();
  a.machine.saveGate = gate.wait;
  const saving = a.rsm.saveSnapshot(NEVER);
  await settle();
  while (gate.waiting === 0) await settle();
  await applied(a, under(3, 3, "b"), register(4, "00000000000000bb"));
  gate.open();
  const meta = await saving;
  assert.equal(meta.index, 2);
  const b = concurrentRig(a.disk);
  await b.rsm.restore(meta, NEVER);
  assert.equal(b.rsm.sessionHash(), hash);
});
