/** Snapshots, views and the state machine around them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { create, facts, open, withShard } from "./fixtures.js";
import {
  applyCommand,
  type Command,
  decodeResult,
  encodeCommand,
  encodeSnapshot,
  MasterDb,
  SnapshotDecoder,
  stateHash,
} from "./index.js";
import { Table } from "./table.js";

test("a view does not change while commands go on; a snapshot of it is of that moment", () => {
  const state = withShard();
  const view = state.view();
  const hash = stateHash(view);
  const chunks = encodeSnapshot(view);
  const first = chunks.next();
  for (let i = 0; i < 200; i++) applyCommand(state, create());
  applyCommand(state, open());
  assert.equal(stateHash(view), hash);
  assert.equal(view.shards.size, 1);
  const decoder = new SnapshotDecoder();
  if (first.done !== true) decoder.push(first.value);
  for (const chunk of chunks) decoder.push(chunk);
  assert.equal(stateHash(decoder.finish().view()), hash);
  assert.notEqual(stateHash(state.view()), hash);
});

test("a snapshot that is cut, altered or prolonged is refused as malformed", () => {
  const [bytes] = [...encodeSnapshot(withShard().view())];
  assert.ok(bytes !== undefined);
  const load = (b: Uint8Array): void => {
    const decoder = new SnapshotDecoder();
    decoder.push(b);
    decoder.finish();
  };
  load(bytes);
  for (let length = 0; length < bytes.length; length++)
    assert.throws(() => load(bytes.subarray(0, length)), { name: "MalformedError" });
  assert.throws(() => load(new Uint8Array([...bytes, 1])), { name: "MalformedError" });
  for (let at = 0; at < bytes.length; at += 7) {
    const altered = bytes.slice();
    altered[at] = 0xff;
    try {
      load(altered);
    } catch (error) {
      assert.equal((error as Error).name, "MalformedError");
    }
  }
});

test("MasterDb: results by entry, lookups, save while updating, recover", async () => {
  let applied = 0;
  const db = new MasterDb(() => {
    applied += 1;
  });
  const commands: Command[] = [
    { kind: "initDeployment", deploymentId: 7, atMs: 1 },
    ...[1, 2, 3].map((i): Command => ({ kind: "registerHost", host: facts(i), atMs: 1 })),
    create(),
  ];
  const results = db.update(commands.map((c, i) => ({ index: i + 1, cmd: encodeCommand(c) })));
  assert.deepEqual(
    results.map((r) => decodeResult(r).code),
    ["ok", "ok", "ok", "ok", "ok"],
  );
  assert.equal(applied, 1);
  assert.equal(db.view(), db.lookup("view"));
  const prepared = db.prepareSnapshot();
  const hash = db.lookup("hash");
  const chunks: Uint8Array[] = [];
  const sink = {
    async write(bytes: Uint8Array): Promise<void> {
      chunks.push(bytes.slice());
      db.update([{ index: 9, cmd: encodeCommand(create()) }]);
    },
  };
  const signal = new AbortController().signal;
  await db.saveSnapshot(prepared, sink, signal);
  const other = new MasterDb();
  async function* source(): AsyncGenerator<Uint8Array> {
    yield* chunks;
  }
  await other.recoverFromSnapshot(source(), signal);
  assert.equal(other.getHash(), hash);
  const whole = other.getHash();
  async function* half(): AsyncGenerator<Uint8Array> {
    yield (chunks[0] ?? new Uint8Array()).subarray(0, 20);
  }
  await assert.rejects(other.recoverFromSnapshot(half(), signal), { name: "MalformedError" });
  assert.equal(other.getHash(), whole, "a broken snapshot leaves the state as it was");
});

test("Table: views are fixed, iteration order depends on keys only", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 3_000 }), fc.option(fc.nat())), { maxLength: 100 }),
      (writes) => {
        const table = new Table<number, number>();
        const model = new Map<number, number>();
        const views: (readonly [unknown, unknown])[] = [];
        const sorted = (): unknown => [...model].sort((a, b) => a[0] - b[0]);
        for (const [key, value] of writes) {
          if (value === null) assert.equal(table.delete(key), model.delete(key));
          else {
            table.set(key, value);
            model.set(key, value);
          }
          assert.equal(table.size, model.size);
          if (key % 3 === 0) views.push([table.freeze(), sorted()]);
        }
        const entries = (t: unknown): unknown =>
          [...(t as Table<number, number>).entries()].sort((a, b) => a[0] - b[0]);
        for (const [view, expected] of views) assert.deepEqual(entries(view), expected);
        const again = new Table<number, number>();
        for (const [key, value] of [...model].reverse()) again.set(key, value);
        assert.deepEqual([...again.entries()], [...table.entries()]);
      },
    ),
  );
});
