/** The parts of the simulator against simple models: a harness with bugs proves nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BlockBuilder, type EntryBlock, EntryType, sealBlock } from "../../shared/codec/block.js";
import { SimLog } from "./log.js";
import { type DiskPort, ModelDisk } from "./model-disk.js";
import { drawOptions } from "./options.js";
import { Prng } from "./prng.js";
import { EventKind, EventQueue } from "./queue.js";

function block(first: number, count: number, term: number): EntryBlock {
  const builder = new BlockBuilder();
  for (let i = 0; i < count; i++) {
    const key = { replicaId: 1, incarnation: 1, sequence: first + i };
    builder.add(EntryType.Application, key, new Uint8Array(0));
  }
  return sealBlock(builder.finish(), { shardId: 1, firstIndex: first, term });
}

test("the queue gives events in (time, order of pushing)", () => {
  const random = new Prng(5, 1);
  const queue = new EventQueue();
  for (let i = 0; i < 2000; i++) {
    queue.push({
      time: random.int(50),
      kind: EventKind.Turn,
      nodeId: 0,
      epoch: 0,
      message: undefined,
      call: undefined,
    });
  }
  let before = { time: -1, sequence: -1 };
  for (let event = queue.pop(); event !== undefined; event = queue.pop()) {
    const later = event.time > before.time || (event.time === before.time && event.sequence > before.sequence);
    assert.ok(later);
    before = event;
  }
  assert.equal(queue.size, 0);
});

test("the log behaves as an array of terms under appends, truncations and compaction", () => {
  const random = new Prng(6, 1);
  const log = new SimLog();
  let terms: number[] = [];
  let first = 1;
  for (let round = 0; round < 3000; round++) {
    if (random.chance(0.1)) {
      const to = Math.min(first - 1 + terms.length, first + random.int(5));
      log.compactTo(to);
      terms = terms.slice(to - first + 1);
      first = to + 1;
    } else {
      const at = first + Math.max(0, terms.length - random.int(8));
      const count = 1 + random.int(6);
      log.append([block(at, count, round + 1)]);
      terms.length = at - first;
      for (let i = 0; i < count; i++) terms.push(round + 1);
    }
    assert.equal(log.first, first);
    assert.equal(log.last, first + terms.length - 1);
    const from = first + random.int(Math.max(1, terms.length));
    const seen: number[] = [];
    for (const part of log.slice(from, log.last, 1e9))
      for (let i = part.first; i <= part.last; i++) seen.push(part.term);
    assert.deepEqual(seen, terms.slice(from - first));
  }
});

test("a crash keeps a prefix of the appends in flight and nothing that was not handed over", () => {
  const calls: (() => void)[] = [];
  let survivors = 2;
  const port: DiskPort = {
    groupCommit: false,
    now: () => 0,
    latency: () => 5,
    schedule: (_delay, call) => calls.push(call),
    beforeDurable: () => undefined,
    survives: () => survivors-- > 0,
    reader: () => assert.fail("nobody reads"),
  };
  const update = (first: number) => {
    return { hardState: { term: 1, vote: 1, commit: 0 }, blocks: [block(first, 1, 1)], sequence: first };
  };
  const disk = new ModelDisk(port);
  let durable = 0;
  for (const first of [1, 2, 3, 4]) {
    disk.write({ update: update(first), ownSnapshot: undefined, done: () => (durable += 1) });
  }
  calls[0]?.();
  assert.equal(durable, 1);
  disk.crash();
  assert.equal(disk.log.last, 3);
  assert.equal(durable, 1, "nobody is told after a crash");

  const grouped = new ModelDisk({ ...port, groupCommit: true, survives: () => true });
  for (const first of [1, 2, 3])
    grouped.write({ update: update(first), ownSnapshot: undefined, done: () => undefined });
  grouped.crash();
  assert.equal(grouped.log.last, 1, "the group that waited was not on its way");
});

test("streams are independent and options depend on the seed alone", () => {
  assert.deepEqual(drawOptions(9, 100), drawOptions(9, 100));
  assert.notDeepEqual(drawOptions(9, 100), drawOptions(10, 100));
  const a = new Prng(1, 1);
  const b = new Prng(1, 2);
  const words = new Set(Array.from({ length: 100 }, () => [a.next32(), b.next32()]).flat());
  assert.equal(words.size, 200);
});
