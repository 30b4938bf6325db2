/** What `inspectData` tells of a whole directory and of damaged ones, and that it changes nothing. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Hosts, SHARD } from "../../test/kit/hosts.js";
import { inspectData } from "./index.js";

/** Every file but LMDB's table of readers. */
function contents(dir: string): string {
  const hash = createHash("sha256");
  const walk = (path: string): void => {
    for (const name of readdirSync(path).sort()) {
      const at = join(path, name);
      if (statSync(at).isDirectory()) walk(at);
      else if (name !== "lock.mdb" && name !== "LOCK")
        hash.update(`${at.slice(dir.length)}\n`).update(readFileSync(at));
    }
  };
  walk(dir);
  return hash.digest("hex");
}

async function directory(cluster: Hosts): Promise<string> {
  await cluster.startKv(1, { snapshotEntries: 0, compactionOverhead: 5 });
  for (let i = 0; i < 50; i++) await cluster.put(0, `key-${i}`, "x".repeat(500));
  await cluster.host(0).syncRequestSnapshot(SHARD);
  for (let i = 0; i < 3; i++) await cluster.put(0, `after-${i}`, "y");
  await cluster.close();
  return cluster.dataDir(0);
}

function onlySegment(dataDir: string): string {
  const [name, more] = readdirSync(join(dataDir, "wal"));
  assert.ok(name !== undefined && more === undefined);
  return join(dataDir, "wal", name);
}

function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(offset) ^ 0x10, offset);
  writeFileSync(path, bytes);
}

test("a whole directory: who lived there, what it holds, nothing changed", async (t) => {
  const cluster = await Hosts.open(t, 1);
  const dataDir = await directory(cluster);
  const before = contents(dataDir);
  const found = await inspectData({ dataDir });
  assert.equal(contents(dataDir), before);
  assert.deepEqual(found.problems, []);
  assert.equal(found.starts, 1);
  const [replica, more] = found.replicas;
  assert.ok(replica !== undefined && more === undefined);
  const { shardId, replicaId, app, kind, snapshotFile, damage } = replica;
  const told = { shardId: SHARD, replicaId: 1, app: "kv", kind: "concurrent", snapshotFile: "ok", damage: undefined };
  assert.deepEqual({ shardId, replicaId, app, kind, snapshotFile, damage }, told);
  assert.ok(replica.snapshotIndex > 0 && replica.commit >= replica.snapshotIndex && replica.last >= replica.commit);
  assert.deepEqual([...replica.membership.voters], [[1, cluster.addresses[0]]]);
  const [segment] = found.log?.segments ?? [];
  assert.ok(segment !== undefined && segment.frames > 50 && segment.lastSequence === found.log?.lastSequence);
  // A start finds the same.
  const host = await cluster.openHost(0);
  assert.equal(host.hostId, found.hostId);
});

test("damage is told by name, and a running host is left alone", async (t) => {
  const cluster = await Hosts.open(t, 1);
  const dataDir = await directory(cluster);
  const copy = `${dataDir}-copy`;
  const damaged = async (harm: () => void): Promise<string> => {
    rmSync(copy, { recursive: true, force: true });
    cpSync(dataDir, copy, { recursive: true });
    harm();
    const before = contents(copy);
    const { problems } = await inspectData({ dataDir: copy });
    assert.equal(contents(copy), before);
    return problems.join("\n");
  };
  const segment = onlySegment(dataDir).replace(dataDir, copy);
  assert.match(await damaged(() => flip(segment, 40 * 4096 + 300)), /shard 1 replica 1 is damaged: its record is lost/);
  assert.match(await damaged(() => rmSync(segment)), /wal-0000000001\.seg is missing/);
  assert.match(
    await damaged(() => writeFileSync(segment, readFileSync(segment).subarray(0, 40 * 4096))),
    /wal-0000000001\.seg has 163840 of \d+ bytes/,
  );
  const snapshots = join(copy, "snapshots", "1-1");
  assert.match(
    await damaged(() => flip(join(snapshots, readdirSync(snapshots).sort().at(-1) ?? "", "snapshot.dls"), 700)),
    /shard 1 replica 1: .*snapshot\.dls/,
  );
  assert.match(await damaged(() => rmSync(join(copy, "logdb"), { recursive: true })), /the log cannot be read/);
  await cluster.openHost(0);
  await assert.rejects(inspectData({ dataDir }), { code: "DL_ERR_DIRECTORY_LOCKED" });
});
