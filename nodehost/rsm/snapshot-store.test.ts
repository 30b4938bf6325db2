/** Snapshot files on the real and the simulated disk: create, load, receive, prune, orphans, and errors. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { crc32 } from "../../shared/codec/crc32.js";
import { type Files, readWhole } from "../../shared/files/port.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import { emptyMembership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { createSnapshotStore, replicaDirectoryName, snapshotDirectoryName } from "./snapshot-store.js";
import { hasCode, NEVER, textOf } from "./testing/kit.js";
import type { SnapshotStore } from "./types.js";

interface Place {
  readonly files: Files;
  readonly root: string;
  readonly store: SnapshotStore;
}

async function onReal(body: (place: Place) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "drumline-snapshots-"));
  try {
    const files = createRealFiles();
    await body({ files, root, store: createSnapshotStore({ files, directory: `${root}/snapshots`, crc32 }) });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function onSim(body: (place: Place & { readonly files: SimDisk }) => Promise<void>): Promise<void> {
  const files = new SimDisk();
  await body({ files, root: "", store: createSnapshotStore({ files, directory: "/snapshots", crc32 }) });
}

function header(index: number, replicaId = 1): Omit<SnapshotMeta, "sizeBytes" | "directory"> {
  const membership = { ...emptyMembership(), configChangeIndex: 1, voters: new Map([[1, "a"]]) };
  return { shardId: 7, replicaId, index, term: 2, membership };
}

function create(store: SnapshotStore, index: number, text = `state ${index}`, replicaId = 1): Promise<SnapshotMeta> {
  return store.create(header(index, replicaId), (sink) => sink.write(Buffer.from(text)), NEVER);
}

function pathOf(place: Place, meta: SnapshotMeta): string {
  const replica = replicaDirectoryName(meta.shardId, meta.replicaId);
  return `${place.root}/snapshots/${replica}/${meta.directory}/snapshot.dls`;
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collected(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

for (const [name, on] of [
  ["real files", onReal],
  ["SimDisk", onSim],
] as const) {
  test(`${name}: create, load, send, receive under another replica id`, () =>
    on(async (place) => {
      const { store, files } = place;
      const payload = Buffer.from(Array.from({ length: 700_000 }, (_, i) => (i * 13) & 0xff));
      const meta = await store.create(header(258), (sink) => sink.write(payload), NEVER);
      assert.equal(meta.directory, "snapshot-0000000000000102");
      assert.equal((await readWhole(files, pathOf(place, meta))).length, meta.sizeBytes);
      assert.equal(Buffer.compare(await collected(store.load(meta)), payload), 0);
      const sent = await collected(store.readFile(meta));
      assert.equal(sent.length, meta.sizeBytes);
      const landed = await store.receive({ replicaId: 2, onDisk: false }, meta, inChunks(sent, 100_001));
      assert.deepEqual(landed, { ...meta, replicaId: 2 });
      assert.equal(Buffer.compare(await collected(store.load(landed)), payload), 0);
      assert.deepEqual(await files.list(`${place.root}/snapshots/7-2`), [meta.directory]);
    }));

  test(`${name}: prune keeps the newest and what came after it; removeAll takes the replica only`, () =>
    on(async (place) => {
      const { store, files } = place;
      const metas: SnapshotMeta[] = [];
      for (const index of [10, 20, 300, 4000, 5000]) metas.push(await create(store, index));
      await create(store, 10, "other", 2);
      const newest = metas[3];
      assert.ok(newest !== undefined);
      await store.prune(7, 1, newest, 2);
      const left = async () => files.list(`${place.root}/snapshots/7-1`);
      assert.deepEqual(await left(), [300, 4000, 5000].map(snapshotDirectoryName));
      await store.prune(7, 1, newest, 0);
      assert.deepEqual(await left(), [4000, 5000].map(snapshotDirectoryName));
      assert.equal(await textOf(store.load(newest)), "state 4000");
      await store.removeAll(7, 1);
      await store.removeAll(7, 9);
      assert.deepEqual(await files.list(`${place.root}/snapshots`), ["7-2"]);
    }));

  test(`${name}: two calls of prune at once leave the newest`, () =>
    on(async (place) => {
      const { store, files } = place;
      const metas: SnapshotMeta[] = [];
      for (const index of [10, 20, 300, 4000]) metas.push(await create(store, index));
      const newest = metas[3];
      assert.ok(newest !== undefined);
      await Promise.all([store.prune(7, 1, newest, 1), store.prune(7, 1, newest, 1)]);
      assert.deepEqual(await files.list(`${place.root}/snapshots/7-1`), [newest.directory]);
    }));

  test(`${name}: removeOrphans leaves exactly what records name`, () =>
    on(async (place) => {
      const { store, files, root } = place;
      const kept = await create(store, 20);
      await create(store, 10);
      await create(store, 30);
      await create(store, 5, "replica without a record", 2);
      for (const leftover of [
        `${kept.directory}.generating-3`,
        "snapshot-00000000000000ff.receiving-1",
        "x.removing-2",
      ]) {
        await files.makeDirectory(`${root}/snapshots/7-1/${leftover}`);
      }
      await files.makeDirectory(`${root}/snapshots/not-ours`);
      await store.removeOrphans(new Map([[replicaDirectoryName(7, 1), kept]]));
      assert.deepEqual(await files.list(`${root}/snapshots`), ["7-1", "not-ours"]);
      assert.deepEqual(await files.list(`${root}/snapshots/7-1`), [kept.directory]);
      assert.equal(await textOf(store.load(kept)), "state 20");
    }));

  test(`${name}: a damaged, cut or missing file is told by file and offset`, () =>
    on(async (place) => {
      const { store, files } = place;
      const meta = await create(store, 20);
      const path = pathOf(place, meta);
      const whole = await readWhole(files, path);
      const rewrite = async (bytes: Uint8Array): Promise<void> => {
        const handle = await files.open(path, {});
        await handle.truncate(bytes.length);
        await handle.write(bytes, 0);
        await handle.close();
      };
      const damaged = Buffer.from(whole);
      damaged[whole.length - 36] = (damaged[whole.length - 36] ?? 0) ^ 4;
      await rewrite(damaged);
      await assert.rejects(collected(store.load(meta)), hasCode("DL_ERR_LOGDB_CORRUPT"));
      await assert.rejects(collected(store.load(meta)), /snapshot\.dls at offset \d+/);
      await rewrite(whole.subarray(0, whole.length - 1));
      await assert.rejects(collected(store.load(meta)), /offset \d+: the file ends within its trailer/);
      await rewrite(whole);
      await assert.rejects(collected(store.load({ ...meta, term: 3 })), /term is 2, expected 3/);
      await files.remove(path);
      await assert.rejects(collected(store.load(meta)), hasCode("DL_ERR_LOGDB_CORRUPT"));
    }));
}

test("receive refuses what does not match the announcement, and leaves nothing behind", () =>
  onSim(async ({ store, files }) => {
    const meta = await create(store, 20, "s".repeat(300_000));
    const sent = await collected(store.readFile(meta));
    const bad = Buffer.from(sent);
    bad[200_000] = (bad[200_000] ?? 0) ^ 1;
    const cases: [SnapshotMeta, Uint8Array, RegExp][] = [
      [{ ...meta, index: 21 }, sent, /index is 20, expected 21/],
      [{ ...meta, term: 9 }, sent, /term is 2, expected 9/],
      [{ ...meta, shardId: 8 }, sent, /shardId is 7, expected 8/],
      [meta, bad, /checksum of block 0/],
      [meta, sent.subarray(0, sent.length - 5), /ends within its trailer/],
      [{ ...meta, sizeBytes: meta.sizeBytes - 1 }, sent, /longer than/],
      [{ ...meta, sizeBytes: meta.sizeBytes + 1 }, sent, /announced were/],
      [meta, new Uint8Array(0), /ends within its prefix/],
    ];
    for (const [announced, bytes, message] of cases) {
      const receiving = store.receive({ replicaId: 2, onDisk: false }, announced, inChunks(bytes, 65_536));
      await assert.rejects(receiving, (error) => hasCode("DL_ERR_MALFORMED")(error) && message.test(String(error)));
    }
    assert.deepEqual(await files.list("/snapshots/7-2"), []);
    const cut = async function* (): AsyncGenerator<Uint8Array> {
      yield sent.subarray(0, 1000);
      throw new Error("connection lost");
    };
    await assert.rejects(store.receive({ replicaId: 2, onDisk: false }, meta, cut()), /connection lost/);
    assert.deepEqual(await files.list("/snapshots/7-2"), []);
  }));

test("a snapshot that is there already and whole stays; a damaged one is replaced", () =>
  onSim(async (place) => {
    const { store, files } = place;
    const meta = await create(store, 20);
    const sent = await collected(store.readFile(meta));
    const landed = await store.receive({ replicaId: 2, onDisk: false }, meta, inChunks(sent, 50));
    let renames = 0;
    files.fault = (operation) => {
      if (operation.kind === "names" && operation.path.includes("receiving")) renames += 1;
      return undefined;
    };
    assert.deepEqual(await store.receive({ replicaId: 2, onDisk: false }, meta, inChunks(sent, 50)), landed);
    files.fault = undefined;
    files.flip(pathOf(place, landed), 60);
    await assert.rejects(collected(store.load(landed)), hasCode("DL_ERR_LOGDB_CORRUPT"));
    assert.deepEqual(await store.receive({ replicaId: 2, onDisk: false }, meta, inChunks(sent, 50)), landed);
    assert.equal(await textOf(store.load(landed)), "state 20");
    assert.ok(renames > 0);
    assert.deepEqual(await files.list("/snapshots/7-2"), [landed.directory]);
  }));

test("an abort, an error of the machine and a full disk leave no trace and are told apart", () =>
  onSim(async ({ store, files }) => {
    const controller = new AbortController();
    const aborted = store.create(
      header(20),
      async (sink) => {
        await sink.write(Buffer.alloc(300_000));
        controller.abort();
        await sink.write(Buffer.alloc(300_000));
      },
      controller.signal,
    );
    await assert.rejects(aborted, { name: "AbortError" });
    const thrown = store.create(header(20), () => Promise.reject(new Error("machine")), NEVER);
    await assert.rejects(thrown, /machine/);
    files.fault = ({ kind }) => (kind === "write" ? "ENOSPC" : undefined);
    await assert.rejects(create(store, 20), hasCode("DL_ERR_DISK_FULL"));
    files.fault = ({ kind }) => (kind === "sync" ? "EIO" : undefined);
    await assert.rejects(create(store, 20), hasCode("DL_ERR_STORAGE_FAILED"));
    files.fault = undefined;
    assert.deepEqual(await files.list("/snapshots/7-1"), []);
    assert.equal(await textOf(store.load(await create(store, 20))), "state 20");
  }));

test("a big snapshot is synced as it is written, not at the end", () =>
  onSim(async ({ store, files }) => {
    let unsynced = 0;
    let worst = 0;
    files.fault = ({ kind }) => {
      if (kind === "write") unsynced += 1;
      if (kind === "sync") unsynced = 0;
      worst = Math.max(worst, unsynced);
      return undefined;
    };
    const piece = Buffer.alloc(64 * 1024);
    await store.create(
      header(20),
      async (sink) => {
        for (let i = 0; i < 100; i++) await sink.write(piece);
      },
      NEVER,
    );
    assert.ok(worst <= 3, `${worst} block writes without a sync`);
  }));

test("every call says with a code that the disk failed", () =>
  onSim(async ({ store, files }) => {
    const old = await create(store, 10);
    const meta = await create(store, 20);
    files.fault = ({ kind }) => (kind === "sync" || kind === "names" || kind === "read" ? "EIO" : undefined);
    const failed = hasCode("DL_ERR_STORAGE_FAILED");
    await assert.rejects(create(store, 30), failed);
    await assert.rejects(store.prune(7, 1, meta, 1), failed);
    await assert.rejects(store.removeOrphans(new Map()), failed);
    await assert.rejects(textOf(store.load(old)), failed);
    await assert.rejects(textOf(store.readFile(old)), failed);
  }));
