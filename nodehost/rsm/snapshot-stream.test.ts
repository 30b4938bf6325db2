/** Snapshots streamed from an on-disk machine: what they hold, backpressure, and every way in which they end early. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DiskLogMachine, diskRig } from "./testing/disk-machine.js";
import { block, change, commands, drain, hasCode, memoryRig, NEVER, type Rig, settle } from "./testing/kit.js";

/** Longer than several blocks of the file. */
async function started(last = 10): Promise<Rig & { readonly machine: DiskLogMachine }> {
  const rig = diskRig();
  await rig.rsm.start({ snapshot: undefined, last: 0 }, NEVER);
  rig.rsm.enqueue([block(1, [{ cmd: "long".repeat(300_000) }]), ...commands(2, last)]);
  await drain(rig.rsm);
  return rig;
}

test("a stream holds state, membership and index of one moment, whatever is applied meanwhile", async () => {
  const sender = await started();
  const stream = await sender.rsm.streamSnapshot(NEVER);
  const { index, sizeBytes, directory } = stream.meta;
  assert.deepEqual({ index, sizeBytes, directory }, { index: 10, sizeBytes: 0, directory: "" });
  const expected = sender.rsm.hash();
  sender.rsm.enqueue([...commands(11, 20), block(21, [{ change: change("addVoter", 2, "b") }])]);
  await drain(sender.rsm);
  const receiver = await started(4);
  const stored = await receiver.store.receive({ replicaId: 1, onDisk: true }, stream.meta, stream.chunks);
  await stream.close();
  assert.ok(stored.sizeBytes > 1_000_000);
  assert.equal(sender.machine.prepared, 0);
  await receiver.rsm.restore(stored, NEVER);
  assert.equal(receiver.rsm.hash(), expected);
  assert.equal(receiver.rsm.applied, 10);
  assert.equal(receiver.rsm.membership.voters.has(2), false);
  assert.deepEqual(await receiver.store.describe(stored), { machineIndex: 10, shrunk: true });
  receiver.rsm.enqueue(commands(11, 20));
  await drain(receiver.rsm);
  assert.equal(receiver.machine.lookup(), sender.machine.lookup());
});

test("the machine writes no further than it is read", async () => {
  const { rsm, machine } = await started();
  let written = 0;
  const save = machine.saveSnapshot.bind(machine);
  machine.saveSnapshot = (prepared, sink, signal) => {
    const counting = {
      write: async (bytes: Uint8Array) => {
        written += bytes.length;
        await sink.write(bytes);
      },
    };
    return save(prepared, counting, signal);
  };
  const stream = await rsm.streamSnapshot(NEVER);
  const reader = stream.chunks[Symbol.asyncIterator]();
  const blockBytes = 256 * 1024;
  let read = 0;
  for (;;) {
    const step = await reader.next();
    if (step.done === true) break;
    read += step.value.length;
    await settle();
    assert.ok(written <= read + 2 * blockBytes, `${written} written, ${read} read`);
  }
  assert.ok(read > written);
  await stream.close();
});

test("closed unread, in the middle, or after its end: what was prepared is let go of", async () => {
  const { rsm, machine } = await started();
  const unread = await rsm.streamSnapshot(NEVER);
  await assert.rejects(rsm.streamSnapshot(NEVER), hasCode("DL_ERR_SYSTEM_BUSY"));
  assert.equal(machine.prepared, 1);
  await unread.close();
  assert.equal(machine.prepared, 0);
  const half = await rsm.streamSnapshot(NEVER);
  const reader = half.chunks[Symbol.asyncIterator]();
  await reader.next();
  await reader.next();
  await half.close();
  assert.equal(machine.prepared, 0);
  await assert.rejects(reader.next(), hasCode("DL_ERR_CANCELED"), "never an end that is early");
  const left = await rsm.streamSnapshot(NEVER);
  for await (const chunk of left.chunks) if (chunk.length > 0) break;
  assert.equal(machine.prepared, 0);
  await left.close();
});

test("an error of the machine is the reader's; the replica goes on", async () => {
  const { rsm, machine } = await started();
  machine.saveSnapshot = async (_prepared, sink) => {
    await sink.write(new Uint8Array(10));
    throw new Error("disk gone");
  };
  const stream = await rsm.streamSnapshot(NEVER);
  await assert.rejects(async () => {
    for await (const _chunk of stream.chunks);
  }, /disk gone/);
  await stream.close();
  assert.equal(rsm.run(1), "idle");
  await (await rsm.streamSnapshot(NEVER)).close();
});

test("closing the replica, or restoring another state, ends a stream first", async () => {
  const sender = await started();
  const source = await sender.rsm.streamSnapshot(NEVER);
  const receiver = await started(4);
  const stored = await receiver.store.receive({ replicaId: 1, onDisk: true }, source.meta, source.chunks);
  await source.close();
  const stream = await receiver.rsm.streamSnapshot(NEVER);
  const reader = stream.chunks[Symbol.asyncIterator]();
  await reader.next();
  await receiver.rsm.restore(stored, NEVER);
  assert.equal(receiver.machine.prepared, 0);
  await assert.rejects(reader.next(), hasCode("DL_ERR_CANCELED"));
  const last = await receiver.rsm.streamSnapshot(NEVER);
  await receiver.rsm.close();
  assert.equal(receiver.machine.prepared, 0);
  assert.equal(receiver.machine.closed, 1);
  await last.close();
  await assert.rejects(receiver.rsm.streamSnapshot(NEVER), hasCode("DL_ERR_SHARD_CLOSED"));
});

test("nothing is streamed while the machine is ahead of what was walked through, nor from other machines", async () => {
  const first = await started();
  await first.machine.persist();
  first.disk.crash(() => 0.9);
  const again = diskRig(first.disk);
  await again.rsm.start({ snapshot: undefined, last: 10 }, NEVER);
  again.rsm.enqueue([block(1, [{ cmd: "x" }]), ...commands(2, 9)]);
  await drain(again.rsm);
  await assert.rejects(again.rsm.streamSnapshot(NEVER), hasCode("DL_ERR_SHARD_NOT_READY"));
  again.rsm.enqueue(commands(10, 10));
  await drain(again.rsm);
  await (await again.rsm.streamSnapshot(NEVER)).close();
  await assert.rejects(memoryRig().rsm.streamSnapshot(NEVER), hasCode("DL_ERR_INVALID_OPERATION"));
});

test("a snapshot of one kind of machine is not taken for another", async () => {
  const disk = await started();
  const memory = memoryRig();
  memory.rsm.enqueue(commands(1, 3));
  await drain(memory.rsm);
  const file = await memory.rsm.saveSnapshot(NEVER);
  const refused = hasCode("DL_ERR_MALFORMED");
  const onDisk = { replicaId: 2, onDisk: true };
  await assert.rejects(disk.store.receive(onDisk, file, memory.store.readFile(file)), refused);
  await assert.rejects(disk.store.receive(onDisk, { ...file, sizeBytes: 0 }, memory.store.readFile(file)), refused);
  const inMemory = { replicaId: 2, onDisk: false };
  const stream = await disk.rsm.streamSnapshot(NEVER);
  await assert.rejects(memory.store.receive(inMemory, { ...stream.meta, sizeBytes: 1e9 }, stream.chunks), refused);
  await stream.close();
  const unannounced = await disk.rsm.streamSnapshot(NEVER);
  await assert.rejects(memory.store.receive(inMemory, unannounced.meta, unannounced.chunks), refused);
  await unannounced.close();
});
