/**
 * On-disk machines in the replicated state machine manager: entries they hold are not given to them again, checkpoints
 * wait for a sync, sessions know what was applied and not what was answered, machines of another life are refused.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryBlock } from "../../shared/codec/block.js";
import { OpError } from "../../shared/errors.js";
import type { SimDisk } from "../../shared/files/sim-files.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { SERIES_REGISTER } from "../../shared/types/session.js";
import { type DiskLogMachine, diskRig } from "./testing/disk-machine.js";
import { block, change, commands, drain, hasCode, key, latch, NEVER, type Rig, settle, textOf } from "./testing/kit.js";
import { MachineFailure } from "./types.js";

const CLIENT = "00112233445566aa";
const DURABLE = (): number => 0.9;

type DiskRig = Rig & { readonly machine: DiskLogMachine };

/** Opens on what the disk holds after a power loss that keeps only what was synced. */
async function reopened(disk: SimDisk, snapshot: SnapshotMeta | undefined, last: number): Promise<DiskRig> {
  disk.crash(DURABLE);
  const rig = diskRig(disk);
  await rig.rsm.start({ snapshot, last }, NEVER);
  return rig;
}

async function started(): Promise<DiskRig> {
  const rig = diskRig();
  await rig.rsm.start({ snapshot: undefined, last: 0 }, NEVER);
  return rig;
}

async function apply(rig: Rig, blocks: readonly EntryBlock[]): Promise<void> {
  rig.rsm.enqueue(blocks);
  await drain(rig.rsm);
}

/** One command under a session, with the key of this replica unless another is given. */
function under(index: number, seriesId: number, cmd: string, owner = key(index)): EntryBlock {
  return block(index, [{ cmd, key: owner, session: { clientId: CLIENT, seriesId, respondedTo: 1 } }]);
}

function register(index: number): EntryBlock {
  return block(index, [{ cmd: "", session: { clientId: CLIENT, seriesId: SERIES_REGISTER, respondedTo: 0 } }]);
}

test("P31 machine at 120, snapshot at 100, log 90 to 130: from 121 on, nothing twice", async () => {
  const first = await started();
  await apply(first, commands(1, 100));
  const snapshot = await first.rsm.saveSnapshot(NEVER);
  await apply(first, commands(101, 120));
  await first.machine.persist();
  await apply(first, commands(121, 130));
  const again = await reopened(first.disk, snapshot, 131);
  assert.equal(again.rsm.applied, 100);
  assert.equal(again.rsm.hash(), undefined, "its state is that of 120");
  await apply(again, [
    ...commands(101, 119),
    ...commands(120, 130),
    block(131, [{ change: change("addVoter", 2, "b") }]),
  ]);
  assert.deepEqual(
    again.machine.given,
    Array.from({ length: 10 }, (_, i) => 121 + i),
  );
  assert.equal(again.machine.lookup(), first.machine.lookup());
  assert.equal(again.rsm.hash(), first.rsm.hash());
  assert.equal(again.rsm.membership.voters.get(2), "b");
});

test("a snapshot is a small record, written after a sync that covers its index", async () => {
  const { machine, rsm, store } = await started();
  const gate = latch();
  machine.syncGate = gate.wait;
  rsm.enqueue([...commands(1, 5), block(6, [{ noop: true }])]);
  await drain(rsm);
  const saving = rsm.saveSnapshot(NEVER);
  await settle();
  assert.equal(machine.syncs, 0);
  // Updates go on meanwhile; what they change is not part of it.
  rsm.enqueue(commands(7, 200));
  await drain(rsm);
  assert.equal(rsm.applied, 200);
  gate.open();
  const meta = await saving;
  assert.equal(meta.index, 6);
  assert.deepEqual(await store.describe(meta), { machineIndex: 5, shrunk: true });
  assert.equal(await textOf(store.load(meta)), "");
  assert.ok(meta.sizeBytes < 400, `${meta.sizeBytes} bytes`);
  await assert.rejects(
    store.receive({ replicaId: 2, onDisk: true }, meta, store.readFile(meta)),
    hasCode("DL_ERR_MALFORMED"),
    "nobody can be given it",
  );
});

test("what is durable already is not synced again", async () => {
  const rig = await started();
  const { machine, rsm } = rig;
  await apply(rig, commands(1, 3));
  await rsm.saveSnapshot(NEVER);
  await apply(rig, [block(4, [{ noop: true }])]);
  await rsm.saveSnapshot(NEVER);
  await rsm.sync();
  assert.equal(machine.syncs, 1);
  await apply(rig, commands(5, 5));
  await Promise.all([rsm.sync(), rsm.sync()]);
  assert.equal(machine.syncs, 2);
});

test("updates made during a sync are not taken as durable", async () => {
  const rig = await started();
  const { machine, rsm, disk } = rig;
  await apply(rig, commands(1, 3));
  const gate = latch();
  machine.syncGate = gate.wait;
  const first = rsm.sync();
  await settle();
  await apply(rig, commands(4, 8));
  machine.syncGate = undefined;
  gate.open();
  await first;
  const meta = await rsm.saveSnapshot(NEVER);
  assert.equal(machine.syncs, 2);
  const again = await reopened(disk, meta, 8);
  assert.equal(again.machine.index, 8);
});

test("a machine ahead of its log, behind its checkpoint or between the two is refused, with a code", async () => {
  const first = await started();
  await apply(first, [...commands(1, 5), block(6, [{ noop: true }, { noop: true }])]);
  const { applied } = first.machine;
  const snapshot = await first.rsm.saveSnapshot(NEVER);
  const opened = async (index: number, last: number): Promise<unknown> => {
    await first.machine.persist({ index, applied });
    return reopened(first.disk, snapshot, last);
  };
  await assert.rejects(opened(9, 8), hasCode("DL_ERR_MACHINE_AHEAD"));
  await assert.rejects(opened(6, 9), hasCode("DL_ERR_MACHINE_AHEAD"), "6 and 7 were nothing for it");
  await assert.rejects(opened(4, 9), hasCode("DL_ERR_MACHINE_BEHIND"));
  await assert.rejects(opened(0, 9), hasCode("DL_ERR_MACHINE_BEHIND"));
  await opened(5, 9);
  const fresh = diskRig();
  await fresh.machine.open();
  await fresh.machine.persist({ index: 3, applied: [] });
  await assert.rejects(
    diskRig(fresh.disk).rsm.start({ snapshot: undefined, last: 0 }, NEVER),
    hasCode("DL_ERR_MACHINE_AHEAD"),
    "a new replica on an old directory",
  );
});

test("a machine whose index is no entry that a machine was given is found out when the log is walked", async () => {
  const first = await started();
  await first.machine.persist({ index: 2, applied: [] });
  const again = await reopened(first.disk, undefined, 3);
  again.rsm.enqueue([...commands(1, 1), block(2, [{ noop: true }]), ...commands(3, 3)]);
  await assert.rejects(drain(again.rsm), (error) => error instanceof MachineFailure && error.index === 2);
  assert.deepEqual(again.machine.given, []);
});

test("an open that fails fences the replica with what the machine said", async () => {
  const rig = diskRig();
  rig.machine.open = () => Promise.reject(new Error("no such volume"));
  await assert.rejects(rig.rsm.start({ snapshot: undefined, last: 0 }, NEVER), /cannot be opened: no such volume/);
  assert.throws(() => rig.rsm.run(1), MachineFailure);
});

test("a sync that fails fences the replica; one that found the disk full may be tried again", async () => {
  const rig = await started();
  const { machine, rsm } = rig;
  await apply(rig, commands(1, 2));
  const real = machine.sync.bind(machine);
  machine.sync = () => Promise.reject(new OpError("DL_ERR_DISK_FULL"));
  await assert.rejects(rsm.saveSnapshot(NEVER), hasCode("DL_ERR_DISK_FULL"));
  machine.sync = real;
  assert.equal((await rsm.saveSnapshot(NEVER)).index, 2);
  await apply(rig, commands(3, 3));
  machine.sync = () => Promise.reject(new Error("EIO"));
  await assert.rejects(rsm.saveSnapshot(NEVER), /cannot be synced: EIO/);
  assert.throws(() => rsm.run(1), MachineFailure);
});

test("P36 a result lost in a crash answers so, is applied once, and differs from stale and unknown", async () => {
  const first = await started();
  await apply(first, [register(1), under(2, 2, "a"), under(3, 3, "b")]);
  await first.machine.persist();
  const again = await reopened(first.disk, undefined, 3);
  const before = [register(1), under(2, 2, "a", key(2, 9)), under(3, 3, "b", key(3, 9))];
  await apply(again, [...before, under(4, 3, "b"), under(5, 4, "c"), under(6, 4, "c"), under(7, 1, "x")]);
  const unknown = { clientId: "ffffffffffffffff", seriesId: 5, respondedTo: 4 };
  await apply(again, [block(8, [{ cmd: "y", session: unknown }])]);
  assert.equal(again.machine.lookup(), "a b c");
  assert.deepEqual(again.sink.refused, [
    { sequence: 4, index: 4, code: "DL_ERR_SESSION_RESULT_LOST" },
    { sequence: 7, index: 7, code: "DL_ERR_SESSION_STALE" },
    { sequence: 8, index: 8, code: "DL_ERR_SESSION_NOT_FOUND" },
  ]);
  assert.deepEqual(
    again.sink.results.filter(({ index }) => index > 3).map(({ index, value }) => [index, value]),
    [
      [5, 5],
      [6, 5],
    ],
  );
  // A replica that did not crash knows the answers; the sessions are equal all the same.
  const other = await started();
  await apply(other, [...before, under(4, 3, "b"), under(5, 4, "c"), under(6, 4, "c"), under(7, 1, "x")]);
  await apply(other, [block(8, [{ cmd: "y", session: unknown }])]);
  assert.equal(other.sink.results.find(({ index }) => index === 4)?.value, 3);
  assert.equal(again.rsm.sessionHash(), other.rsm.sessionHash());
});

test("lost results stay lost over a snapshot and a stream, and are told apart from kept ones", async () => {
  const first = await started();
  await apply(first, [register(1), under(2, 2, "a")]);
  await first.machine.persist();
  const again = await reopened(first.disk, undefined, 2);
  await apply(again, [register(1), under(2, 2, "a", key(2, 9)), under(3, 3, "b")]);
  const stream = await again.rsm.streamSnapshot(NEVER);
  const receiver = await started();
  const stored = await receiver.store.receive({ replicaId: 1, onDisk: true }, stream.meta, stream.chunks);
  await stream.close();
  await receiver.rsm.restore(stored, NEVER);
  const saved = await again.rsm.saveSnapshot(NEVER);
  const third = await reopened(again.disk, saved, 3);
  for (const rig of [receiver, third]) {
    await apply(rig, [under(4, 2, "a"), under(5, 3, "b")]);
    assert.deepEqual(rig.sink.refused, [{ sequence: 4, index: 4, code: "DL_ERR_SESSION_RESULT_LOST" }]);
    assert.deepEqual(rig.sink.results, [{ sequence: 5, index: 5, value: 3 }]);
    assert.equal(rig.machine.lookup(), "a b");
  }
});
