/** The replicated state machine manager, what holds for both kinds of machines: order, results, failures, snapshots. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionError } from "../../shared/assert.js";
import {
  BatchMachine,
  block,
  change,
  commands,
  concurrentRig,
  drain,
  hasCode,
  key,
  LogMachine,
  latch,
  memoryRig,
  NEVER,
  rig,
  SHARD,
  settle,
} from "./testing/kit.js";
import { MachineFailure } from "./types.js";

for (const kind of ["memory", "concurrent"] as const) {
  const make = () => (kind === "memory" ? memoryRig() : concurrentRig());

  test(`${kind}: applies in order, answers only keys of this replica and incarnation, in log order`, () => {
    const { rsm, sink, machine } = make();
    const entries = [
      { cmd: "a", key: key(10) },
      { cmd: "b", key: key(11, 2) },
      { cmd: "c", key: key(12, 1, 4) },
      { noop: true } as const,
      { cmd: "d", key: key(13) },
    ];
    rsm.enqueue([block(1, entries, 3)]);
    assert.equal(rsm.backlog, 5);
    assert.equal(rsm.run(100), "idle");
    assert.deepEqual(machine.applied, ["a", "b", "c", "d"]);
    assert.deepEqual(sink.results, [
      { sequence: 10, index: 1, value: 1 },
      { sequence: 13, index: 5, value: 5 },
    ]);
    assert.equal(rsm.applied, 5);
    assert.equal(rsm.appliedTerm, 3);
    assert.equal(rsm.backlog, 0);
    assert.equal(rsm.run(100), "idle");
  });

  test(`${kind}: entries handed over before are skipped, clipped blocks too; a gap is an assertion`, () => {
    const { rsm, machine } = make();
    const whole = block(1, [{ cmd: "x1" }, { cmd: "x2" }, { cmd: "x3" }, { cmd: "x4" }]);
    rsm.enqueue([whole.clip(1, 2)]);
    assert.equal(rsm.run(100), "idle");
    rsm.enqueue([whole, whole.clip(2, 3)]);
    assert.equal(rsm.run(100), "idle");
    assert.deepEqual(machine.applied, ["x1", "x2", "x3", "x4"]);
    assert.throws(() => rsm.enqueue(commands(6, 6)), AssertionError);
    rsm.enqueue(commands(5, 5));
    assert.equal(rsm.run(100), "idle");
    assert.equal(rsm.applied, 5);
  });

  test(`${kind}: config changes move the membership with applied, refused ones do not`, () => {
    const { rsm, sink } = make();
    rsm.enqueue([
      block(1, [{ cmd: "a" }, { change: change("addNonVoting", 2, "b") }, { cmd: "c" }]),
      block(4, [
        { change: change("addVoter", 2, "", 2) },
        { change: change("addVoter", 3, "c", 2) },
        { badChange: true },
      ]),
    ]);
    assert.equal(rsm.run(100), "idle");
    assert.deepEqual(
      sink.changes.map(({ index, refusal }) => [index, refusal?.slice(0, 24)]),
      [
        [2, undefined],
        [4, undefined],
        [5, "config change index is 4"],
        [6, "the change cannot be rea"],
      ],
    );
    assert.equal(sink.changes[0]?.membership.nonVotings.get(2), "b");
    assert.deepEqual(
      [...rsm.membership.voters],
      [
        [1, "a"],
        [2, "b"],
      ],
    );
    assert.equal(rsm.membership.configChangeIndex, 4);
    assert.equal(rsm.applied, 6);
  });

  test(`${kind}: a block whose checksum is wrong fails the replica before any of its entries`, () => {
    const { rsm, machine } = make();
    const bad = block(3, [{ cmd: "x3" }, { cmd: "x4" }]);
    const bytes = bad.bytes;
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    rsm.enqueue([...commands(1, 2), bad]);
    const failed = (error: unknown) =>
      error instanceof MachineFailure && error.index === 3 && /checksum/.test(error.message);
    assert.throws(() => {
      while (rsm.run(100) !== "idle");
    }, failed);
    assert.deepEqual(machine.applied, ["x1", "x2"]);
    assert.equal(rsm.applied, 2);
    assert.throws(() => rsm.run(100), failed);
  });

  test(`${kind}: a throw of update fences: same hash on two replicas, nothing runs any more`, async () => {
    const failures: MachineFailure[] = [];
    for (const replica of [make(), make()]) {
      const { rsm } = replica;
      rsm.enqueue([block(1, [{ cmd: "a" }]), block(2, [{ change: change("addVoter", 2, "b") }, { cmd: "boom" }])]);
      assert.throws(
        () => rsm.run(100),
        (error) => error instanceof MachineFailure && failures.push(error) > 0,
      );
      assert.equal(rsm.applied, 2);
      assert.throws(() => rsm.run(100), MachineFailure);
      assert.throws(() => rsm.enqueue(commands(4, 4)), MachineFailure);
      assert.throws(() => rsm.lookup("all"), MachineFailure);
      await assert.rejects(rsm.saveSnapshot(NEVER), MachineFailure);
      assert.equal(rsm.hash(), undefined);
      await rsm.close();
    }
    assert.equal(failures[0]?.errorHash, failures[1]?.errorHash);
    assert.equal(failures[0]?.index, 3);
    assert.match(failures[0]?.message ?? "", /TypeError: boom/);
  });

  test(`${kind}: promises: one update outstanding, run answers the same promise, results follow it`, async () => {
    const { rsm, machine, sink } = make();
    const gate = latch();
    machine.gate = gate.wait;
    rsm.enqueue([...commands(1, 2), block(3, [{ noop: true }]), ...commands(4, 4)]);
    const first = rsm.run(100);
    assert.ok(first instanceof Promise);
    assert.equal(rsm.run(100), first);
    await settle();
    assert.equal(gate.waiting, 1);
    assert.equal(rsm.applied, 0);
    gate.open();
    await first;
    assert.equal(rsm.applied, kind === "memory" ? 1 : 2);
    const opener = setInterval(() => gate.open(), 1);
    await drain(rsm);
    clearInterval(opener);
    assert.deepEqual(machine.applied, ["x1", "x2", "x4"]);
    assert.deepEqual(
      sink.results.map((r) => r.index),
      [1, 2, 4],
    );
  });

  test(`${kind}: nonsense answers fail the replica`, () => {
    const { rsm, machine } = make();
    if (machine instanceof BatchMachine) machine.short = true;
    rsm.enqueue([block(1, [{ cmd: "bad" }])]);
    assert.throws(() => rsm.run(100), MachineFailure);
  });

  test(`${kind}: snapshot and restore carry state, index, term and membership of the index (P33)`, async () => {
    const a = make();
    const entries = [{ cmd: "x1" }, { cmd: "x2" }, { change: change("addVoter", 2, "b") }];
    a.rsm.enqueue([block(1, entries, 2)]);
    await drain(a.rsm);
    const meta = await a.rsm.saveSnapshot(NEVER);
    assert.equal(meta.index, 3);
    assert.equal(meta.term, 2);
    assert.equal(meta.membership.voters.get(2), "b");
    await assert.rejects(a.rsm.saveSnapshot(NEVER), hasCode("DL_ERR_NO_SNAPSHOT"));

    const b = kind === "memory" ? memoryRig(a.disk) : concurrentRig(a.disk);
    b.rsm.enqueue([block(1, entries, 2), ...commands(4, 5)]);
    await b.rsm.restore(meta, NEVER);
    assert.equal(b.rsm.applied, 3);
    assert.equal(b.rsm.appliedTerm, 2);
    assert.equal(b.rsm.membershipHash(), a.rsm.membershipHash());
    assert.equal(b.rsm.hash(), a.rsm.hash());
    assert.equal(b.rsm.backlog, 2);
    await drain(b.rsm);
    assert.deepEqual(b.machine.applied, ["x1", "x2", "x4", "x5"]);
    await assert.rejects(
      b.rsm.restore(meta, NEVER),
      AssertionError,
      "P32 an older snapshot never replaces newer state",
    );
    await assert.rejects(make().rsm.saveSnapshot(NEVER), hasCode("DL_ERR_NO_SNAPSHOT"));
  });

  test(`${kind}: a damaged snapshot fails the restore, names the file, and nothing runs afterwards`, async () => {
    const a = make();
    a.rsm.enqueue(commands(1, 3));
    await drain(a.rsm);
    const meta = await a.rsm.saveSnapshot(NEVER);
    a.disk.flip(`/snapshots/${SHARD}-1/${meta.directory}/snapshot.dls`, meta.sizeBytes - 40);
    const b = rig({ kind: "memory", machine: new LogMachine() }, a.disk);
    await assert.rejects(b.rsm.restore(meta, NEVER), hasCode("DL_ERR_LOGDB_CORRUPT"));
    assert.throws(() => b.rsm.run(100), MachineFailure);
    assert.equal(b.rsm.applied, 0);
  });

  test(`${kind}: close aborts a save, waits for it, closes the machine once; nothing is applied after it`, async () => {
    const { rsm, machine, sink } = make();
    rsm.enqueue(commands(1, 3));
    await drain(rsm);
    const gate = latch();
    machine.saveGate = gate.wait;
    const saving = rsm.saveSnapshot(NEVER);
    const outcome = assert.rejects(saving, { name: "AbortError" });
    await settle();
    rsm.enqueue(commands(4, 4));
    const closing = rsm.close();
    assert.equal(rsm.close(), closing);
    gate.open();
    await Promise.all([outcome, closing]);
    assert.equal(rsm.run(100), "idle");
    assert.equal(sink.results.length, 3);
    if (machine instanceof LogMachine) assert.equal(machine.closed, 1);
    assert.throws(() => rsm.lookup("all"), hasCode("DL_ERR_SHARD_CLOSED"));
    await assert.rejects(rsm.saveSnapshot(NEVER), hasCode("DL_ERR_SHARD_CLOSED"));
  });
}
