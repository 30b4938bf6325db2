/** The replicated state machine manager, what differs by kind: budget, batches, and what excludes what. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryBlock } from "../../shared/codec/block.js";
import {
  block,
  commands,
  concurrentRig,
  drain,
  hasCode,
  key,
  latch,
  memoryRig,
  NEVER,
  rig,
  settle,
} from "./testing/kit.js";
import { MachineFailure } from "./types.js";

test("memory: entry by entry within the budget", () => {
  const { rsm, clock, machine } = memoryRig();
  rsm.enqueue(commands(1, 10));
  const update = machine.update.bind(machine);
  machine.update = (entry) => {
    clock.ms += 1;
    return update(entry);
  };
  assert.equal(rsm.run(3), "more");
  assert.equal(rsm.applied, 3);
  assert.equal(rsm.run(0), "more");
  assert.equal(rsm.applied, 4, "each call makes progress");
  assert.equal(rsm.run(100), "idle");
  assert.equal(rsm.applied, 10);
});

test("concurrent: batches of consecutive application entries, at most 256 or 1 MiB", () => {
  const { rsm, machine } = concurrentRig();
  const many = Array.from({ length: 300 }, (_, i) => ({ cmd: `c${i}` }));
  rsm.enqueue([block(1, many), block(301, [{ cmd: "y" }, { noop: true }, { cmd: "z" }])]);
  assert.equal(rsm.run(1000), "idle");
  assert.deepEqual(machine.batches, [256, 45, 1]);
  const big = "b".repeat(600 * 1024);
  rsm.enqueue([block(304, [{ cmd: big }, { cmd: big }, { cmd: "s" }])]);
  assert.equal(rsm.run(1000), "idle");
  assert.deepEqual(machine.batches.slice(3), [1, 2]);
});

test("concurrent: batches shrink to the time budget", () => {
  const { rsm, machine, clock } = concurrentRig();
  machine.onEntry = () => {
    clock.ms += 0.5;
  };
  const entries = (n: number) => Array.from({ length: n }, (_, i) => ({ cmd: `c${i}` }));
  rsm.enqueue([block(1, entries(4096))]);
  for (let i = 0; i < 12; i++) assert.equal(rsm.run(2), "more");
  const last = machine.batches[machine.batches.length - 1] ?? 0;
  assert.ok(last >= 1 && last <= 5, `the last batch had ${last} entries, 0.5 ms each, with 2 ms to spend`);
});

test("barrier: a no-op of this start answers its owner when all before it is applied, others answer nobody", () => {
  const { rsm, sink } = memoryRig();
  rsm.enqueue([block(1, [{ cmd: "x" }, { noop: true, key: key(2) }])]);
  assert.equal(rsm.run(100), "idle");
  assert.deepEqual(sink.results.at(-1), { sequence: 2, index: 2, value: 2 });
  rsm.enqueue([
    block(3, [
      { noop: true, key: key(3, 2) },
      { noop: true, key: key(4, 1, 4) },
    ]),
  ]);
  assert.equal(rsm.run(100), "idle");
  assert.equal(rsm.applied, 4);
  assert.equal(sink.results.length, 2);
});

test("memory: update is held back while a snapshot is saved, reads are not", async () => {
  const { rsm, machine } = memoryRig();
  rsm.enqueue(commands(1, 2));
  await drain(rsm);
  const gate = latch();
  machine.saveGate = gate.wait;
  const saving = rsm.saveSnapshot(NEVER);
  await settle();
  rsm.enqueue(commands(3, 3));
  const held = rsm.run(100);
  assert.ok(held instanceof Promise);
  assert.equal(rsm.lookup("all"), "x1 x2");
  await assert.rejects(rsm.saveSnapshot(NEVER), hasCode("DL_ERR_SYSTEM_BUSY"));
  await settle();
  assert.equal(rsm.applied, 2);
  gate.open();
  assert.equal((await saving).index, 2);
  await held;
  await drain(rsm);
  assert.equal(rsm.applied, 3);
});

test("concurrent: updates go on while a snapshot is saved, and it holds the state as prepared", async () => {
  const { rsm, machine, store } = concurrentRig();
  rsm.enqueue(commands(1, 2));
  await drain(rsm);
  const gate = latch();
  machine.saveGate = gate.wait;
  const saving = rsm.saveSnapshot(NEVER);
  await settle();
  rsm.enqueue(commands(3, 4));
  assert.equal(rsm.run(100), "idle");
  assert.equal(rsm.applied, 4);
  gate.open();
  const meta = await saving;
  assert.equal(meta.index, 2);
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.load(meta)) chunks.push(chunk);
  assert.equal(Buffer.concat(chunks).toString(), "x1 x2");
});

test("concurrent: a snapshot waits for the update in flight and is prepared between updates", async () => {
  const { rsm, machine } = concurrentRig();
  const gate = latch();
  machine.gate = gate.wait;
  rsm.enqueue(commands(1, 2));
  const updating = rsm.run(100);
  const saving = rsm.saveSnapshot(NEVER);
  await settle();
  assert.equal(machine.prepared, 0);
  gate.open();
  await updating;
  assert.equal((await saving).index, 2);
});

test("concurrent: what was prepared is released when the store fails before asking for it", async () => {
  const { rsm, machine, disk } = concurrentRig();
  rsm.enqueue(commands(1, 2));
  await drain(rsm);
  disk.fault = (operation) => (operation.kind === "open" ? "ENOSPC" : undefined);
  await assert.rejects(rsm.saveSnapshot(NEVER), hasCode("DL_ERR_DISK_FULL"));
  assert.equal(machine.prepared, 1);
  assert.equal(machine.savesEnded, 1);
  disk.fault = undefined;
  assert.equal((await rsm.saveSnapshot(NEVER)).index, 2, "a failed snapshot can be tried again");
});

test("restore aborts a save, excludes updates and reads, and an abort leaves the replica fenced", async () => {
  const { rsm, machine } = memoryRig();
  const other = memoryRig();
  other.rsm.enqueue(commands(1, 9));
  await drain(other.rsm);
  const meta = await other.rsm.saveSnapshot(NEVER);
  const target = rig({ kind: "memory", machine }, other.disk);
  target.rsm.enqueue(commands(1, 2));
  await drain(target.rsm);
  const gate = latch();
  machine.saveGate = gate.wait;
  const saving = assert.rejects(target.rsm.saveSnapshot(NEVER), { name: "AbortError" });
  await settle();
  const restoring = target.rsm.restore(meta, NEVER);
  const held = target.rsm.run(100);
  assert.ok(held instanceof Promise);
  assert.throws(() => target.rsm.lookup("all"), hasCode("DL_ERR_SHARD_NOT_READY"));
  gate.open();
  await Promise.all([saving, restoring, held]);
  assert.equal(target.rsm.applied, 9);
  assert.equal(machine.applied.length, 9);

  await assert.rejects(rsm.restore(meta, AbortSignal.abort()), MachineFailure);
  assert.throws(() => rsm.run(100), MachineFailure);
});

test("memory: a rejected promise of update is a MachineFailure of that entry; reads wait for updates", async () => {
  const { rsm, machine } = memoryRig();
  const gate = latch();
  machine.gate = gate.wait;
  rsm.enqueue([...commands(1, 1), block(2, [{ cmd: "reject" }])]);
  const first = rsm.run(100);
  const read = rsm.lookup("all");
  gate.open();
  await first;
  assert.equal(await read, "x1");
  const second = rsm.run(100);
  assert.ok(second instanceof Promise);
  await assert.rejects(second, (error) => error instanceof MachineFailure && error.index === 2);
  assert.throws(() => rsm.run(100), MachineFailure);
});

test("a long queue of blocks stays in order across many short runs", () => {
  const { rsm, clock, machine } = memoryRig();
  const all: EntryBlock[] = commands(1, 500);
  let next = 0;
  while (rsm.applied < 500) {
    rsm.enqueue(all.slice(next, next + 7));
    next += 7;
    assert.match(String(rsm.run(-1)), /more|idle/);
    clock.ms += 1;
  }
  assert.deepEqual(
    machine.applied,
    all.map((b) => `x${b.first}`),
  );
});

test("an update that ends after close was called is not answered", async () => {
  const { rsm, machine, sink } = memoryRig();
  const gate = latch();
  machine.gate = gate.wait;
  rsm.enqueue(commands(1, 2));
  const updating = rsm.run(100);
  assert.ok(updating instanceof Promise);
  const closing = rsm.close();
  await settle();
  assert.equal(machine.closed, 0, "the machine is not closed below its own update");
  gate.open();
  await Promise.all([updating, closing]);
  assert.equal(machine.closed, 1);
  assert.deepEqual(sink.results, []);
  assert.equal(rsm.applied, 0);
});
