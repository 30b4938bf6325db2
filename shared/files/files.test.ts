/** Real files and SimDisk pass one suite; SimDisk loses what was not durable and nothing else. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readWhole } from "./port.js";
import { createRealFiles } from "./real-files.js";
import { SimDisk } from "./sim-files.js";
import { filesSuite } from "./suite.js";

filesSuite("real files", async () => {
  const root = await mkdtemp(join(tmpdir(), "drumline-files-"));
  return { files: createRealFiles(), root, cleanup: () => rm(root, { recursive: true }) };
});

filesSuite("SimDisk", async () => {
  const files = new SimDisk();
  await files.makeDirectory("/root");
  return { files, root: "/root", cleanup: () => Promise.resolve() };
});

/** Small deterministic generator (xorshift). */
function generator(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4294967296;
  };
}

async function fill(disk: SimDisk, durable: boolean): Promise<void> {
  await disk.makeDirectory("/d");
  const handle = await disk.open("/d/f", { create: true, durable });
  await handle.write(new Uint8Array(8192).fill(1), 0);
  await handle.sync();
  await disk.syncDirectory("/d");
  await handle.write(new Uint8Array(8192).fill(2), 0);
}

test("SimDisk: a durable write survives every crash", async () => {
  for (let seed = 1; seed <= 50; seed++) {
    const disk = new SimDisk();
    await fill(disk, true);
    disk.crash(generator(seed));
    assert.deepEqual(await readWhole(disk, "/d/f"), new Uint8Array(8192).fill(2));
  }
});

test("SimDisk: an unsynced write leaves old blocks, new blocks and torn blocks", async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 200; seed++) {
    const disk = new SimDisk();
    await fill(disk, false);
    disk.crash(generator(seed));
    const bytes = await readWhole(disk, "/d/f");
    assert.equal(bytes.length, 8192);
    const kinds = [bytes.subarray(0, 4096), bytes.subarray(4096)].map((block) => {
      const values = new Set(block);
      return values.size > 1 ? "torn" : String(block[0]);
    });
    seen.add(kinds.join());
  }
  for (const kinds of ["1,1", "1,2", "2,1", "2,2", "torn,1", "torn,2"])
    assert.ok(seen.has(kinds), `never saw ${kinds}`);
});

test("SimDisk: a torn write of identical bytes changes nothing", async () => {
  for (let seed = 1; seed <= 50; seed++) {
    const disk = new SimDisk();
    await fill(disk, true);
    const handle = await disk.open("/d/f", {});
    await handle.write(new Uint8Array(8192).fill(2), 0);
    disk.crash(generator(seed));
    assert.deepEqual(await readWhole(disk, "/d/f"), new Uint8Array(8192).fill(2));
  }
});

test("SimDisk: names not synced are kept in any subset, a rename as a whole", async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 200; seed++) {
    const disk = new SimDisk();
    await disk.makeDirectory("/d");
    await (await disk.open("/d/old", { create: true })).close();
    await disk.syncDirectory("/d");
    await (await disk.open("/d/made", { create: true })).close();
    await disk.rename("/d/old", "/d/new");
    disk.crash(generator(seed));
    seen.add((await disk.list("/d")).join());
  }
  assert.deepEqual([...seen].sort(), ["made,new", "made,old", "new", "old"]);
});

test("SimDisk: synced names survive every crash", async () => {
  for (let seed = 1; seed <= 50; seed++) {
    const disk = new SimDisk();
    await disk.makeDirectory("/d");
    await (await disk.open("/d/a", { create: true })).close();
    await disk.rename("/d/a", "/d/b");
    await disk.syncDirectory("/d");
    disk.crash(generator(seed));
    assert.deepEqual(await disk.list("/d"), ["b"]);
  }
});

test("SimDisk: operations begun before a crash never settle", async () => {
  const disk = new SimDisk();
  await fill(disk, false);
  const handle = await disk.open("/d/f", {});
  let settled = false;
  void handle.write(new Uint8Array(10), 0).finally(() => {
    settled = true;
  });
  disk.crash(generator(1));
  void handle.write(new Uint8Array(10), 0).finally(() => {
    settled = true;
  });
  await disk.exists("/d");
  await disk.exists("/d");
  assert.equal(settled, false);
});

test("SimDisk: EIO, ENOSPC by fault and by budget, stop", async () => {
  const disk = new SimDisk({ capacityBytes: 3 * 4096 });
  await disk.makeDirectory("/d");
  const handle = await disk.open("/d/f", { create: true });
  disk.fault = (operation) => (operation.kind === "write" ? "EIO" : undefined);
  await assert.rejects(handle.write(new Uint8Array(10), 0), { code: "EIO" });
  disk.fault = undefined;
  await handle.write(new Uint8Array(2 * 4096), 0);
  await assert.rejects(handle.write(new Uint8Array(2 * 4096), 2 * 4096), { code: "ENOSPC" });
  assert.equal(disk.usedBytes, 2 * 4096);
  await disk.remove("/d/f");
  assert.equal(disk.usedBytes, 0);
  disk.fault = () => "stop";
  void disk.makeDirectory("/e");
  await disk.whenStopped();
});

test("SimDisk: the end of a process loses nothing, a power loss after it may", async () => {
  const disk = new SimDisk();
  const handle = await disk.open("/a", { create: true });
  await handle.write(new Uint8Array(100).fill(7), 0);
  disk.kill();
  assert.deepEqual(disk.peek("/a"), new Uint8Array(100).fill(7));
  disk.crash(() => 0.7);
  assert.equal(disk.peek("/a"), undefined);
});

test("SimDisk: an image is a whole older disk; what is lost stays lost", async () => {
  const disk = new SimDisk();
  await disk.makeDirectory("/d");
  const handle = await disk.open("/d/a", { create: true });
  await handle.write(new Uint8Array(100).fill(7), 0);
  const image = disk.image();
  await handle.write(new Uint8Array(5000).fill(8), 0);
  disk.restore(image);
  disk.crash(() => 0.7);
  assert.deepEqual(disk.peek("/d/a"), new Uint8Array(100).fill(7));
  assert.equal(disk.usedBytes, 4096);
  disk.lose("/d");
  disk.crash(() => 0.1);
  assert.equal(await disk.exists("/d"), false);
  assert.equal(disk.usedBytes, 0);
});
