/** The kv machine: what commands do, hashes, and snapshots of a moment while updates go on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkStateMachine, type SnapshotSink } from "../../rsm/index.js";
import { KvMachine, kvApp } from "./kv.js";
import {
  decodeKvAnswer,
  decodeKvNumber,
  encodeKvCommand,
  encodeKvNumber,
  encodeKvQuery,
  KV_VALUE_BYTES_MAX,
  KvStatus,
  kvBytes,
} from "./kv-codec.js";
import { KV_SLICE_STEPS } from "./kv-snapshot.js";
import { KvStore } from "./kv-store.js";

const NEVER = new AbortController().signal;

class Client {
  readonly machine: KvMachine;
  #index = 0;

  constructor(machine = new KvMachine()) {
    this.machine = machine;
  }

  run(cmd: Uint8Array): { value: number; data: string | undefined } {
    this.#index += 1;
    const [result] = this.machine.update([{ index: this.#index, cmd }]);
    assert.ok(result !== undefined);
    return {
      value: result.value,
      data: result.data === undefined ? undefined : Buffer.from(result.data).toString("latin1"),
    };
  }

  put(key: string, value: string): number {
    return this.run(encodeKvCommand({ op: "put", key: kvBytes(key), value: kvBytes(value) })).value;
  }

  delete(key: string): number {
    return this.run(encodeKvCommand({ op: "delete", key: kvBytes(key) })).value;
  }

  append(key: string, value: string): { value: number; data: string | undefined } {
    return this.run(encodeKvCommand({ op: "append", key: kvBytes(key), value: kvBytes(value) }));
  }

  cas(key: string, expected: string | undefined, value: string): { value: number; data: string | undefined } {
    const wanted = expected === undefined ? undefined : kvBytes(expected);
    return this.run(
      encodeKvCommand({ op: "compareAndSet", key: kvBytes(key), expected: wanted, value: kvBytes(value) }),
    );
  }

  get(key: string): string | undefined {
    const answer = decodeKvAnswer(this.machine.lookup(encodeKvQuery({ op: "get", key: kvBytes(key) })));
    return answer.found ? Buffer.from(answer.bytes).toString() : undefined;
  }

  count(prefix = ""): number {
    return decodeKvNumber(
      decodeKvAnswer(this.machine.lookup(encodeKvQuery({ op: "count", prefix: kvBytes(prefix) }))).bytes,
    );
  }
}

async function save(machine: KvMachine, prepared: unknown = machine.prepareSnapshot()): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const sink: SnapshotSink = {
    write: async (bytes) => {
      chunks.push(new Uint8Array(bytes));
    },
  };
  await machine.saveSnapshot(prepared, sink, NEVER);
  return Buffer.concat(chunks);
}

async function* chunked(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function restored(bytes: Uint8Array, chunkBytes = 65_536): Promise<Client> {
  const machine = new KvMachine();
  await machine.recoverFromSnapshot(chunked(bytes, chunkBytes), NEVER);
  return new Client(machine);
}

test("put, get, delete, append, compare-and-set", () => {
  const kv = new Client();
  assert.equal(kv.get("a"), undefined);
  assert.equal(kv.put("a", "1"), KvStatus.Ok);
  assert.equal(kv.get("a"), "1");
  assert.equal(kv.put("ключ", "значение"), KvStatus.Ok);
  assert.equal(kv.get("ключ"), "значение");
  assert.equal(kv.delete("a"), KvStatus.Ok);
  assert.equal(kv.delete("a"), KvStatus.NotFound);
  assert.equal(kv.get("a"), undefined);
  assert.deepEqual(kv.append("log", "x"), {
    value: KvStatus.Ok,
    data: Buffer.from(encodeKvNumber(1)).toString("latin1"),
  });
  assert.deepEqual(kv.append("log", "yz").data, Buffer.from(encodeKvNumber(3)).toString("latin1"));
  assert.equal(kv.get("log"), "xyz");
  assert.equal(kv.cas("c", "old", "new").value, KvStatus.CompareFailed);
  assert.equal(kv.cas("c", undefined, "1").value, KvStatus.Ok);
  assert.deepEqual(kv.cas("c", undefined, "2"), { value: KvStatus.CompareFailed, data: "1" });
  assert.deepEqual(kv.cas("c", "0", "2"), { value: KvStatus.CompareFailed, data: "1" });
  assert.equal(kv.cas("c", "1", "").value, KvStatus.Ok);
  assert.equal(kv.cas("c", "", "3").value, KvStatus.Ok);
  assert.equal(kv.get("c"), "3");
  assert.equal(kv.count(), 3);
  assert.equal(kv.count("l"), 1);
  assert.equal(kv.count("zz"), 0);
});

test("malformed commands and queries are answered, never thrown, and change nothing", () => {
  const kv = new Client();
  kv.put("a", "1");
  const hash = kv.machine.getHash();
  for (const bytes of [[], [0], [9, 0, 0], [1, 5, 0, 65], [2, 1, 0, 65, 66], [3, 0, 0, 1, 9, 0, 0, 0]]) {
    assert.equal(kv.run(Uint8Array.from(bytes)).value, KvStatus.Malformed);
  }
  assert.equal(kv.machine.getHash(), hash);
  for (const query of [undefined, "a", 7, Uint8Array.of(0), Uint8Array.of(3, 3), new Uint8Array(0)]) {
    assert.equal(decodeKvAnswer(kv.machine.lookup(query)).found, false);
  }
});

test("append never grows a value beyond the limit", () => {
  const kv = new Client();
  const big = new Uint8Array(KV_VALUE_BYTES_MAX - 1).fill(65);
  const key = kvBytes("big");
  assert.equal(kv.run(encodeKvCommand({ op: "put", key, value: big })).value, KvStatus.Ok);
  assert.equal(kv.append("big", "ab").value, KvStatus.TooBig);
  assert.equal(kv.append("big", "a").value, KvStatus.Ok);
  assert.equal(kv.append("big", "a").value, KvStatus.TooBig);
  assert.equal(kv.cas("big", "no", "").data, undefined, "a refusal does not carry a big value");
});

test("P39 the hash depends on the pairs only, not on the way to them", () => {
  const action = fc.record({
    op: fc.nat(3),
    key: fc.constantFrom("a", "b", "ab", ""),
    value: fc.constantFrom("", "x", "xy", "y"),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
      const kv = new Client();
      const model = new Map<string, string>();
      for (const { op, key, value } of actions) {
        const old = model.get(key);
        if (op === 0) kv.put(key, value);
        else if (op === 1) kv.delete(key);
        else if (op === 2) kv.append(key, value);
        else kv.cas(key, old, value);
        if (op === 1) model.delete(key);
        else model.set(key, op === 2 ? (old ?? "") + value : value);
      }
      const direct = new Client();
      for (const [key, value] of [...model].reverse()) direct.put(key, value);
      assert.equal(kv.machine.getHash(), direct.machine.getHash());
      for (const key of ["a", "b", "ab", ""]) assert.equal(kv.get(key), model.get(key));
    }),
  );
  const different = new Set<string>();
  const pairs: [string, string][][] = [
    [],
    [["a", ""]],
    [["", "a"]],
    [["a", "b"]],
    [["b", "a"]],
    [["ab", ""]],
    [
      ["a", "b"],
      ["b", "a"],
    ],
    [
      ["a", "a"],
      ["b", "b"],
    ],
  ];
  for (const state of pairs) {
    const kv = new Client();
    for (const [key, value] of state) kv.put(key, value);
    different.add(kv.machine.getHash());
  }
  assert.equal(different.size, pairs.length);
});

test("passes the state machine conformance check", async () => {
  const commands: Uint8Array[] = [Uint8Array.of(77)];
  for (let i = 0; i < 120; i++) {
    const key = kvBytes(`k${i % 13}`);
    const value = kvBytes(`v${i}`.repeat(i % 7));
    if (i % 4 === 0) commands.push(encodeKvCommand({ op: "put", key, value }));
    else if (i % 4 === 1) commands.push(encodeKvCommand({ op: "append", key, value }));
    else if (i % 4 === 2) commands.push(encodeKvCommand({ op: "compareAndSet", key, expected: undefined, value }));
    else commands.push(encodeKvCommand({ op: "delete", key }));
  }
  assert.deepEqual(await checkStateMachine(kvApp(), commands), []);
});

test("a snapshot is the state as prepared, whatever happens between any two slices", async () => {
  const step = fc.record({ op: fc.nat(2), key: fc.nat(11), value: fc.nat(99) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(11), { maxLength: 12 }),
      fc.array(step, { maxLength: 60 }),
      async (initial, steps) => {
        const store = new KvStore();
        const change = ({ op, key, value }: { op: number; key: number; value: number }): void => {
          if (op === 0) store.set(`k${key}`, `v${value}`, kvBytes(`v${value}`));
          else if (op === 1) store.delete(`k${key}`);
          else store.append(`k${key}`, "+", kvBytes("+"));
        };
        for (const key of initial) change({ op: 0, key, value: 0 });
        const before = new Map([...store.keys()].map((key) => [key, store.get(key)?.value]));
        const view = store.openView();
        assert.equal(view.hash, store.hash());
        const seen = new Map<string, string>();
        let next = 0;
        const some = (): void => {
          for (const end = Math.min(steps.length, next + 3); next < end; next++)
            change(steps[next] ?? { op: 0, key: 0, value: 0 });
        };
        some();
        for (const pair of view.pairs()) {
          if (pair !== undefined) {
            assert.ok(!seen.has(pair.key), `${pair.key} twice`);
            seen.set(pair.key, pair.value);
          }
          some();
        }
        assert.deepEqual(seen, before);
        store.closeView(view);
      },
    ),
    { numRuns: 500 },
  );
});

test("a snapshot restores in chunks of any size to the same hash, with long and empty values", async () => {
  const kv = new Client();
  for (let i = 0; i < 300; i++) kv.put(`key-${i}`, "x".repeat((i * i) % 500));
  kv.put("", "");
  kv.put("long", "L".repeat(300_000));
  kv.put("longer", "M".repeat(64 * 1024));
  const bytes = await save(kv.machine);
  for (const chunkBytes of [1, 5, 1000, 65_536, 10_000_000]) {
    const copy = await restored(bytes, chunkBytes);
    assert.equal(copy.machine.getHash(), kv.machine.getHash());
    assert.equal(copy.get("long")?.length, 300_000);
  }
  const empty = new KvMachine();
  assert.equal((await restored(await save(empty))).machine.getHash(), empty.getHash());
});

test("a snapshot that is cut, longer or changed is refused", async () => {
  const kv = new Client();
  for (let i = 0; i < 20; i++) kv.put(`key-${i}`, `value-${i}`);
  const bytes = await save(kv.machine);
  for (const bad of [
    bytes.subarray(0, bytes.length - 1),
    Buffer.concat([bytes, Uint8Array.of(1)]),
    new Uint8Array(0),
  ]) {
    await assert.rejects(restored(bad), /kv snapshot/);
  }
  for (const at of [0, 5, bytes.length - 1]) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assert.rejects(restored(changed), /kv snapshot/);
  }
});

test("200,000 keys: slices are bounded, updates go on, only what changed is kept aside", async () => {
  const kv = new Client();
  const entries = [];
  for (let i = 0; i < 200_000; i++) {
    entries.push({ index: i, cmd: encodeKvCommand({ op: "put", key: kvBytes(`key-${i}`), value: kvBytes(`v${i}`) }) });
  }
  kv.machine.update(entries);
  const hash = kv.machine.getHash();
  const view = kv.machine.prepareSnapshot();
  const chunks: Uint8Array[] = [];
  let updates = 0;
  const sink: SnapshotSink = {
    write: async (bytes) => {
      chunks.push(new Uint8Array(bytes));
      await Promise.resolve();
      kv.put(`key-${199_999 - updates}`, "changed");
      kv.put(`new-${updates}`, "new");
      kv.delete(`key-${updates}`);
      updates += 1;
    },
  };
  let turns = 0;
  const giveWay = new KvMachine({
    giveWay: async () => {
      turns += 1;
    },
  });
  await kv.machine.saveSnapshot(view, sink, NEVER);
  const pairs = chunks.slice(1);
  const pairBytesMax = 6 + "key-199999".length + "v199999".length;
  for (const chunk of pairs)
    assert.ok(chunk.length <= KV_SLICE_STEPS * pairBytesMax, `${chunk.length} bytes in a slice`);
  assert.ok(pairs.length >= 200_000 / KV_SLICE_STEPS, `${pairs.length} slices`);
  assert.ok(updates >= 190);
  assert.ok(view.keptCount <= 3 * updates, `${view.keptCount} old forms for ${updates} rounds of updates`);
  const copy = await restored(Buffer.concat(chunks));
  assert.equal(copy.machine.getHash(), hash);
  assert.notEqual(kv.machine.getHash(), hash);

  await giveWay.recoverFromSnapshot(chunked(Buffer.concat(chunks), 65_536), NEVER);
  const whole = pairs.reduce((sum, chunk) => sum + chunk.length, 0);
  assert.ok(turns >= Math.floor(whole / 65_536), `the event loop had ${turns} turns in a restore`);
  turns = 0;
  await save(giveWay);
  assert.ok(turns >= 20, `the event loop had ${turns} turns in a save`);
});

test("a save ends at an abort, a failing sink, and when a newer snapshot is prepared; the next is right", async () => {
  const kv = new Client();
  for (let i = 0; i < 5000; i++) kv.put(`key-${i}`, `${i}`);
  const controller = new AbortController();
  const aborting: SnapshotSink = { write: async () => controller.abort() };
  const aborted = kv.machine.saveSnapshot(kv.machine.prepareSnapshot(), aborting, controller.signal);
  await assert.rejects(aborted, { name: "AbortError" });
  const failing: SnapshotSink = { write: () => Promise.reject(new Error("sink")) };
  await assert.rejects(kv.machine.saveSnapshot(kv.machine.prepareSnapshot(), failing, NEVER), /sink/);
  const superseding: SnapshotSink = {
    write: async () => {
      kv.machine.prepareSnapshot();
    },
  };
  await assert.rejects(kv.machine.saveSnapshot(kv.machine.prepareSnapshot(), superseding, NEVER), /newer snapshot/);
  await assert.rejects(kv.machine.saveSnapshot({}, failing, NEVER), TypeError);
  kv.put("key-1", "later");
  assert.equal((await restored(await save(kv.machine))).machine.getHash(), kv.machine.getHash());
});
