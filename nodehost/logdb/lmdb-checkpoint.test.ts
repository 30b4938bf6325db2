/** The LMDB store: rows come back, a commit is whole, a row without its checksum is refused. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { crc32 } from "../../shared/codec/crc32.js";
import { lmdbCheckpointFactory } from "./lmdb-checkpoint.js";

test("rows are kept over a restart, replaced and removed", async () => {
  const root = await mkdtemp(join(tmpdir(), "drumline-lmdb-"));
  try {
    const open = lmdbCheckpointFactory(crc32);
    let store = await open(root);
    assert.equal((await store.load()).size, 0);
    const long = new Uint8Array(100_000).fill(7);
    await store.commit([
      { key: "a", value: Uint8Array.of(1) },
      { key: "b/1", value: long },
      { key: "empty", value: new Uint8Array(0) },
    ]);
    await store.commit([
      { key: "a", value: Uint8Array.of(2, 3) },
      { key: "empty", value: undefined },
      { key: "never", value: undefined },
    ]);
    await store.close();
    store = await open(root);
    assert.deepEqual(
      [...(await store.load())].map(([key, value]) => [key, value.length, value[0]]),
      [
        ["a", 2, 2],
        ["b/1", 100_000, 7],
      ],
    );
    assert.ok(store.diskBytes() > 100_000);
    await store.close();
  } finally {
    await rm(root, { recursive: true });
  }
});

test("a row whose checksum does not match is refused", async () => {
  const root = await mkdtemp(join(tmpdir(), "drumline-lmdb-"));
  try {
    const store = await lmdbCheckpointFactory(crc32)(root);
    await store.commit([{ key: "a", value: Uint8Array.of(1) }]);
    await store.close();
    const other = await lmdbCheckpointFactory((bytes, seed) => crc32(bytes, seed) ^ 1)(root);
    await assert.rejects(other.load(), { code: "DL_ERR_LOGDB_CORRUPT", message: /row a/ });
    await other.close();
  } finally {
    await rm(root, { recursive: true });
  }
});
