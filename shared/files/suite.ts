/**
 * What any implementation of Files must do. Registered with node:test by the tests of the real files and of SimDisk.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Files, readWhole } from "./port.js";

export interface FilesUnderTest {
  readonly files: Files;
  /** An existing, empty directory. */
  readonly root: string;
  cleanup(): Promise<void>;
}

export function filesSuite(name: string, make: () => Promise<FilesUnderTest>): void {
  const each = (title: string, body: (files: Files, root: string) => Promise<void>) => {
    test(`${name}: ${title}`, async () => {
      const { files, root, cleanup } = await make();
      try {
        await body(files, root);
      } finally {
        await cleanup();
      }
    });
  };
  contents(each);
  names(each);
}

type Each = (title: string, body: (files: Files, root: string) => Promise<void>) => void;

function contents(each: Each): void {
  each("writes at positions and reads them back, durable or not", async (files, root) => {
    for (const durable of [false, true]) {
      const path = `${root}/data-${durable}`;
      const handle = await files.open(path, { create: true, durable });
      await handle.write(pattern(10_000, 1), 0);
      await handle.write(pattern(5000, 2), 6000);
      await handle.sync();
      assert.equal(await handle.size(), 11_000);
      const expected = new Uint8Array(11_000);
      expected.set(pattern(10_000, 1), 0);
      expected.set(pattern(5000, 2), 6000);
      assert.deepEqual(await readWhole(files, path), expected);
      await handle.close();
    }
  });

  each("a read is short only at the end, and gaps read as zeros", async (files, root) => {
    const handle = await files.open(`${root}/gap`, { create: true });
    await handle.write(pattern(10, 3), 9000);
    const target = new Uint8Array(20).fill(7);
    assert.equal(await handle.read(target, 8995), 15);
    assert.deepEqual([...target.subarray(0, 5)], [0, 0, 0, 0, 0]);
    assert.deepEqual(target.subarray(5, 15), pattern(10, 3));
    assert.equal(await handle.read(target, 9010), 0);
    assert.equal(await handle.read(target, 50_000), 0);
    await handle.close();
  });

  each("truncates and grows with zeros", async (files, root) => {
    const handle = await files.open(`${root}/cut`, { create: true });
    await handle.write(pattern(9000, 4), 0);
    await handle.truncate(5000);
    assert.equal(await handle.size(), 5000);
    await handle.truncate(9000);
    const bytes = new Uint8Array(9000);
    assert.equal(await handle.read(bytes, 0), 9000);
    assert.deepEqual(bytes.subarray(0, 5000), pattern(9000, 4).subarray(0, 5000));
    assert.ok(bytes.subarray(5000).every((byte) => byte === 0));
    await handle.close();
  });

  each("refuses operations on a closed handle, close is idempotent", async (files, root) => {
    const handle = await files.open(`${root}/closed`, { create: true });
    await handle.close();
    await handle.close();
    await assert.rejects(handle.write(pattern(1, 1), 0), { code: "EBADF" });
    await assert.rejects(handle.read(new Uint8Array(1), 0), { code: "EBADF" });
  });

  each("refuses writes through a read-only handle", async (files, root) => {
    await (await files.open(`${root}/ro`, { create: true })).close();
    const handle = await files.open(`${root}/ro`, { readOnly: true });
    await assert.rejects(handle.write(pattern(1, 1), 0), { code: "EBADF" });
    await handle.close();
  });
}

function names(each: Each): void {
  each("opens, creates, refuses as asked", async (files, root) => {
    await assert.rejects(files.open(`${root}/none`, {}), { code: "ENOENT" });
    await (await files.open(`${root}/one`, { create: true, exclusive: true })).close();
    await assert.rejects(files.open(`${root}/one`, { create: true, exclusive: true }), { code: "EEXIST" });
    await (await files.open(`${root}/one`, { create: true })).close();
    assert.equal(await files.exists(`${root}/one`), true);
    assert.equal(await files.exists(`${root}/none`), false);
    assert.equal(await files.exists(`${root}/one/below`), false);
  });

  each("lists sorted, a missing directory is empty", async (files, root) => {
    for (const name of ["b", "a", "c"]) await (await files.open(`${root}/${name}`, { create: true })).close();
    assert.deepEqual(await files.list(root), ["a", "b", "c"]);
    assert.deepEqual(await files.list(`${root}/missing`), []);
  });

  each("makes directories with parents, twice", async (files, root) => {
    await files.makeDirectory(`${root}/x/y/z`);
    await files.makeDirectory(`${root}/x/y/z`);
    await (await files.open(`${root}/x/y/z/file`, { create: true })).close();
    await files.syncDirectory(`${root}/x/y/z`);
    assert.deepEqual(await files.list(`${root}/x/y`), ["z"]);
  });

  each("renames over an existing file; open handles stay with their file", async (files, root) => {
    const handle = await files.open(`${root}/from`, { create: true });
    await handle.write(pattern(10, 5), 0);
    await (await files.open(`${root}/to`, { create: true })).close();
    await files.rename(`${root}/from`, `${root}/to`);
    await files.syncDirectory(root);
    assert.deepEqual(await files.list(root), ["to"]);
    assert.deepEqual(await readWhole(files, `${root}/to`), pattern(10, 5));
    await handle.write(pattern(10, 6), 0);
    assert.deepEqual(await readWhole(files, `${root}/to`), pattern(10, 6));
    await handle.close();
    await assert.rejects(files.rename(`${root}/from`, `${root}/else`), { code: "ENOENT" });
  });

  each("removes files and whole directories, missing ones without error", async (files, root) => {
    await files.makeDirectory(`${root}/tree/deep`);
    await (await files.open(`${root}/tree/deep/file`, { create: true })).close();
    await files.remove(`${root}/tree`);
    await files.remove(`${root}/tree`);
    assert.deepEqual(await files.list(root), []);
  });
}

/** Bytes that differ by position and seed. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 97 + (i >> 8)) & 0xff);
}
