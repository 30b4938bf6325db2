/** The machine of kv-disk: it answers as kv does, keeps what it synced, and holds a moment while it goes on. */
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import * as path from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { open } from "lmdb";
import { tempDir } from "../../../test/kit/temp.js";
import { kitDirectories } from "../../api/index.js";
import { checkStateMachine, type Result } from "../../rsm/index.js";
import { KvMachine } from "../kv/kv.js";
import {
  decodeKvAnswer,
  decodeKvNumber,
  encodeKvCommand,
  encodeKvQuery,
  type KvCommand,
  KvStatus,
  kvBytes,
} from "../kv/kv-codec.js";
import { KV_DISK_KEY_BYTES_MAX, KvDisk, kvDiskApp } from "./kv-disk.js";

const NEVER = new AbortController().signal;

interface Opened {
  readonly machine: KvDisk;
  readonly index: number;
  readonly directory: string;
}

async function opened(t: TestContext, at?: string): Promise<Opened> {
  const directory = at ?? (await tempDir(t));
  const machine = new KvDisk(directory);
  const index = await machine.open();
  t.after(() => machine.close());
  return { machine, index, directory };
}

function put(key: string, value: string): Uint8Array {
  return encodeKvCommand({ op: "put", key: kvBytes(key), value: kvBytes(value) });
}

async function apply(
  machine: KvDisk | KvMachine,
  from: number,
  cmds: readonly Uint8Array[],
): Promise<readonly Result[]> {
  return machine.update(cmds.map((cmd, i) => ({ index: from + i, cmd })));
}

/** Puts so many keys that several layers are flushed. */
async function fill(machine: KvDisk, from: number, count: number, value: string): Promise<void> {
  for (let at = 0; at < count; at += 100) {
    const cmds = Array.from({ length: Math.min(100, count - at) }, (_, i) => put(`key${at + i}`, `${value}${at + i}`));
    await apply(machine, from + at, cmds);
  }
}

function get(machine: KvDisk, key: string): string | undefined {
  const { found, bytes } = decodeKvAnswer(machine.lookup(encodeKvQuery({ op: "get", key: kvBytes(key) })));
  return found ? Buffer.from(bytes).toString() : undefined;
}

function count(machine: KvDisk, prefix: string): number {
  return decodeKvNumber(decodeKvAnswer(machine.lookup(encodeKvQuery({ op: "count", prefix: kvBytes(prefix) }))).bytes);
}

async function saved(machine: KvDisk, prepared = machine.prepareSnapshot()): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  await machine.saveSnapshot(prepared, { write: async (bytes) => void chunks.push(new Uint8Array(bytes)) }, NEVER);
  return Buffer.concat(chunks);
}

async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const text = fc.constantFrom("a", "b", "ab", "", "long key", "\u00ff");
const command: fc.Arbitrary<KvCommand> = fc
  .oneof(
    fc.record({ op: fc.constantFrom("put" as const, "append" as const), key: text, value: text }),
    fc.record({ op: fc.constant("delete" as const), key: text }),
    fc.record({ op: fc.constant("compareAndSet" as const), key: text, expected: fc.option(text), value: text }),
  )
  .map((c) => {
    const key = kvBytes(c.key);
    if (c.op === "delete") return { op: c.op, key };
    if (c.op !== "compareAndSet") return { op: c.op, key, value: kvBytes(c.value) };
    return { op: c.op, key, expected: c.expected === null ? undefined : kvBytes(c.expected), value: kvBytes(c.value) };
  });

test("answers as kv does, with the same hash, whatever is in memory or on disk already", async (t) => {
  const steps = fc.array(
    fc.oneof(command.map(encodeKvCommand), fc.uint8Array({ maxLength: 6 }), fc.constant("sync" as const)),
  );
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      const { machine } = await opened(t);
      const model = new KvMachine();
      let index = 0;
      for (const step of list) {
        if (step === "sync") {
          await machine.sync();
          continue;
        }
        index += 1;
        assert.deepEqual(await apply(machine, index, [step]), await apply(model, index, [step]));
        assert.equal(machine.getHash(), model.getHash());
      }
      for (const key of ["a", "b", "", "zz"]) {
        const query = encodeKvQuery({ op: "get", key: kvBytes(key) });
        assert.deepEqual(machine.lookup(query), model.lookup(query));
      }
      for (const prefix of ["", "a", "zz"]) {
        const query = encodeKvQuery({ op: "count", prefix: kvBytes(prefix) });
        assert.deepEqual(machine.lookup(query), model.lookup(query));
      }
      await machine.close();
    }),
    { numRuns: 40 },
  );
});

test("a key that LMDB could not hold is answered as too big and changes nothing", async (t) => {
  const { machine } = await opened(t);
  const key = "k".repeat(KV_DISK_KEY_BYTES_MAX);
  const results = await apply(machine, 1, [put(key, "1"), put(`${key}k`, "2")]);
  assert.deepEqual(
    results.map(({ value }) => value),
    [KvStatus.Ok, KvStatus.TooBig],
  );
  await machine.sync();
  assert.equal(get(machine, key), "1");
  assert.equal(count(machine, ""), 1);
});

test("what was synced is there after a restart, with its index; the rest may be", async (t) => {
  const first = await opened(t);
  await fill(first.machine, 1, 3000, "a");
  await first.machine.sync();
  const hash = first.machine.getHash();
  await first.machine.close();
  const second = await opened(t, first.directory);
  assert.equal(second.index, 3000);
  assert.equal(second.machine.getHash(), hash);
  assert.equal(get(second.machine, "key2999"), "a2999");
  // Commands that change nothing move the index as well.
  await apply(second.machine, 3001, [Uint8Array.of(99), encodeKvCommand({ op: "delete", key: kvBytes("none") })]);
  await second.machine.sync();
  await second.machine.close();
  assert.equal((await opened(t, first.directory)).index, 3002);
});

test("a crash at any moment leaves the state of the index that is answered", async (t) => {
  const { machine, directory } = await opened(t);
  const hashes = new Map<number, string>([[0, machine.getHash()]]);
  for (let at = 0; at < 4000; at += 100) {
    const cmds = Array.from({ length: 100 }, (_, i) => put(`key${(at + i) % 700}`, `${at + i}`));
    for (const [i, cmd] of cmds.entries()) {
      await apply(machine, at + i + 1, [cmd]);
      hashes.set(at + i + 1, machine.getHash());
    }
    if (at % 1000 === 500) await machine.sync();
  }
  await machine.sync();
  await fill(machine, 4001, 500, "later");
  // Nothing is being written now: the copy is what a killed process leaves.
  const image = path.join(await tempDir(t), "image");
  await cp(directory, image, { recursive: true });
  const after = await opened(t, image);
  assert.equal(after.index, 4000);
  assert.equal(after.machine.getHash(), hashes.get(4000));
});

test("a snapshot holds the moment it was prepared, whatever is updated and flushed meanwhile", async (t) => {
  const { machine } = await opened(t);
  await fill(machine, 1, 2500, "old");
  await machine.sync();
  await apply(machine, 2501, [put("key0", "not flushed"), encodeKvCommand({ op: "delete", key: kvBytes("key1") })]);
  const hash = machine.getHash();
  const [one, two] = [machine.prepareSnapshot(), machine.prepareSnapshot()];
  await fill(machine, 2503, 2500, "new");
  await machine.sync();
  const bytes = await saved(machine, one);
  await fill(machine, 5003, 2500, "newer");
  for (const size of [7, 100_000]) {
    const other = await opened(t);
    await fill(other.machine, 1, 100, "replaced");
    await other.machine.recoverFromSnapshot(chunksOf(bytes, size), NEVER);
    await other.machine.sync();
    assert.equal(other.machine.getHash(), hash);
    assert.equal(get(other.machine, "key0"), "not flushed");
    await other.machine.close();
    const again = await opened(t, other.directory);
    assert.deepEqual([again.index, again.machine.getHash()], [2502, hash]);
  }
  assert.deepEqual(await saved(machine, two), bytes);
  assert.equal(get(machine, "key0"), "newer0");
});

test("what is frozen for a view while a flush is under way is not lost with that flush", async (t) => {
  const { machine } = await opened(t);
  await fill(machine, 1, 200, "a");
  const flushing = machine.sync();
  await apply(machine, 201, [put("key0", "b")]);
  const view = machine.prepareSnapshot();
  await apply(machine, 202, [put("key1", "c")]);
  await flushing;
  assert.deepEqual(
    ["key0", "key1", "key2"].map((key) => get(machine, key)),
    ["b", "c", "a2"],
  );
  view.close();
  await machine.sync();
  assert.deepEqual(
    ["key0", "key1", "key2"].map((key) => get(machine, key)),
    ["b", "c", "a2"],
  );
});

test("what was flushed is read at once, also by who has just read before", async (t) => {
  const { machine } = await opened(t);
  let reading = true;
  const reader = async (): Promise<void> => {
    while (reading) {
      get(machine, "key");
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const done = reader();
  for (let i = 1; i <= 100; i++) {
    await apply(machine, i, [put("key", `${i}`)]);
    await machine.sync();
    assert.equal(get(machine, "key"), `${i}`);
  }
  reading = false;
  await done;
});

test("a save that is stopped lets go of its view; a stream that is not whole is refused", async (t) => {
  const { machine } = await opened(t);
  await fill(machine, 1, 2500, "a");
  const prepared = machine.prepareSnapshot();
  const stopped = machine.saveSnapshot(prepared, { write: async () => {} }, AbortSignal.abort(new Error("stop")));
  await assert.rejects(stopped, /stop/);
  const bytes = await saved(machine);
  const other = await opened(t);
  const changed = Buffer.from(bytes);
  changed[bytes.length - 1] = (changed[bytes.length - 1] ?? 0) ^ 1;
  await assert.rejects(other.machine.recoverFromSnapshot(chunksOf(changed, 1000), NEVER), /hash is/);
  await assert.rejects(other.machine.recoverFromSnapshot(chunksOf(bytes.subarray(1), 1000), NEVER), /not a kv-disk/);
  const short = chunksOf(bytes.subarray(0, bytes.length - 1), 1000);
  await assert.rejects(other.machine.recoverFromSnapshot(short, NEVER), /ends within/);
  // None of that counts after a restart.
  await other.machine.close();
  const again = await opened(t, other.directory);
  assert.equal(again.index, 0);
  assert.deepEqual([count(again.machine, ""), count(again.machine, "k")], [0, 0]);
  await again.machine.recoverFromSnapshot(chunksOf(bytes, 1000), NEVER);
  assert.equal(again.machine.getHash(), machine.getHash());
});

test("passes the conformance check", async (t) => {
  const commands = Array.from({ length: 40 }, (_, i) => {
    const key = kvBytes(`k${i % 7}`);
    if (i % 5 === 3) return encodeKvCommand({ op: "delete", key });
    if (i % 5 === 4) return encodeKvCommand({ op: "compareAndSet", key, expected: undefined, value: kvBytes("c") });
    return encodeKvCommand({ op: i % 2 === 0 ? "put" : "append", key, value: kvBytes(`v${i}`) });
  });
  const problems = await checkStateMachine(kvDiskApp(), commands, kitDirectories(await tempDir(t)));
  assert.deepEqual(problems, []);
});

test("a directory of a later version, or with a damaged row, is refused", async (t) => {
  const rows = [
    { row: Buffer.from([9]), error: { code: "DL_ERR_VERSION" } },
    { row: Buffer.from([1, 0, 0]), error: /row of kv-disk is damaged/ },
  ];
  for (const { row, error } of rows) {
    const directory = await tempDir(t);
    const db = open<Buffer, Buffer>({ path: directory, noSubdir: false, encoding: "binary", keyEncoding: "binary" });
    await db.put(Buffer.from([0]), row);
    await db.close();
    await assert.rejects(new KvDisk(directory).open(), error);
  }
});
