/** A shard is exported, lost with all its hosts, and imported by new ones. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { APPS, Hosts, KV, SHARD } from "../../test/kit/hosts.js";
import { tempDir } from "../../test/kit/temp.js";
import { eventually } from "../../test/kit/wait.js";
import { importSnapshot } from "./index.js";

const OLD = 3;
const NEW_IDS = [11, 12, 13];

async function exported(cluster: Hosts, directory: string): Promise<number> {
  await cluster.startKv(OLD);
  for (let i = 0; i < 10; i++) await cluster.put(0, `key-${i}`, `value-${i}`);
  const index = await cluster.host(0).syncRequestSnapshot(SHARD, { exportPath: directory });
  await cluster.put(0, "too-late", "lost");
  return index;
}

/** Hosts OLD, OLD + 1, … that were opened once, so that they have an address and a directory. */
async function newHosts(cluster: Hosts, count: number): Promise<Map<number, string>> {
  const members = new Map<number, string>();
  for (let i = OLD; i < OLD + count; i++) {
    const host = await cluster.openHost(i);
    members.set(NEW_IDS[i - OLD] ?? 0, host.raftAddress);
    await host.close();
  }
  return members;
}

test("P34: all members lost: an export goes on with its config change index and a higher lineage", async (t) => {
  const cluster = await Hosts.open(t, OLD);
  const from = join(await tempDir(t), "export");
  const index = await exported(cluster, from);
  assert.deepEqual(readdirSync(from), ["export.json", "snapshot.dls"]);
  const before = await cluster.host(0).syncGetShardMembership(SHARD);
  await cluster.close();
  const members = await newHosts(cluster, 3);
  for (const [replicaId] of members) {
    const place = { dataDir: cluster.dataDir(OLD + replicaId - 11), from, replicaId, members };
    const planned = await importSnapshot({ ...place, dryRun: true });
    assert.equal(planned.done, false);
    const report = await importSnapshot(place);
    assert.deepEqual(report, { ...planned, done: true });
    assert.equal(report.index, index);
    assert.deepEqual(report.after.voters, members);
    assert.deepEqual([report.after.lineage, report.after.configChangeIndex], [1, before.configChangeIndex]);
    assert.deepEqual([...report.after.removed].sort(), [1, 2, 3]);
  }
  for (const [replicaId] of members) {
    const host = await cluster.openHost(OLD + replicaId - 11);
    await host.restartReplica(SHARD, replicaId, APPS);
  }
  for (let i = 0; i < 10; i++) assert.equal(await cluster.get(OLD + 1, `key-${i}`), `value-${i}`);
  assert.equal(await cluster.get(OLD, "too-late"), undefined);
  await cluster.put(OLD + 2, "after", "1");

  // One of before is not lost after all: alone it is no quorum, and nobody of the new ones listens to it.
  const old = await cluster.openHost(0);
  await old.restartReplica(SHARD, 1, APPS);
  await cluster.put(OLD, "later", "2");
  assert.notEqual(old.getLeaderId(SHARD)?.leaderId, 1);
  assert.equal((await cluster.host(OLD).syncGetShardMembership(SHARD)).voters.size, 3);
});

test("a single importer leads alone, and others join it", async (t) => {
  const cluster = await Hosts.open(t, OLD);
  const from = join(await tempDir(t), "export");
  await exported(cluster, from);
  await cluster.close();
  const members = await newHosts(cluster, 1);
  await importSnapshot({ dataDir: cluster.dataDir(OLD), from, replicaId: 11, members, lineage: 7 });
  const host = await cluster.openHost(OLD);
  await host.restartReplica(SHARD, 11, APPS);
  assert.equal(await cluster.get(OLD, "key-3"), "value-3");
  assert.equal((await host.syncGetShardMembership(SHARD)).lineage, 7);
  await cluster.openHost(OLD + 1);
  await host.syncRequestAddNonVoting(SHARD, 12, cluster.addresses[OLD + 1] ?? "", 0);
  await cluster.host(OLD + 1).startApp(new Map(), true, KV, { shardId: SHARD, replicaId: 12 });
  await eventually("the joiner has all", () => cluster.staleGet(OLD + 1, "key-9"));
});

test("refusals: ids of before, wrong members, a shard that is here, a damaged or foreign export", async (t) => {
  const cluster = await Hosts.open(t, OLD);
  const from = join(await tempDir(t), "export");
  await exported(cluster, from);
  await assert.rejects(cluster.host(0).syncRequestSnapshot(SHARD, { exportPath: from }), {
    code: "DL_ERR_INVALID_ARGUMENT",
  });
  await assert.rejects(cluster.host(0).syncRequestSnapshot(SHARD, { exportPath: "relative" }), {
    code: "DL_ERR_INVALID_ARGUMENT",
  });
  await cluster.close();
  const target = "127.0.0.1:9";
  const attempt = (dataDir: string, replicaId: number, members: ReadonlyMap<number, string>, more = {}) =>
    importSnapshot({ dataDir, from, replicaId, members, ...more });
  const invalid = { code: "DL_ERR_INVALID_ARGUMENT" };
  const fresh = cluster.dataDir(8);
  await assert.rejects(attempt(fresh, 2, new Map([[2, target]])), { ...invalid, message: /take ids above 3/ });
  await assert.rejects(attempt(fresh, 11, new Map([[12, target]])), invalid);
  await assert.rejects(
    attempt(
      fresh,
      11,
      new Map([
        [11, target],
        [12, ` ${target}`],
      ]),
    ),
    invalid,
  );
  await assert.rejects(attempt(fresh, 11, new Map([[11, ""]])), invalid);
  const members = new Map([[11, target]]);
  await assert.rejects(attempt(cluster.dataDir(1), 11, members), { code: "DL_ERR_SHARD_ALREADY_EXISTS" });
  const replaced = await attempt(cluster.dataDir(1), 11, members, { replace: true });
  assert.deepEqual(replaced.replaced, [2]);
  const elsewhere = "00000000-0000-4000-8000-000000000001";
  await assert.rejects(attempt(cluster.dataDir(2), 11, new Map([[11, elsewhere]])), { code: "DL_ERR_HOST_MISMATCH" });
  await assert.rejects(importSnapshot({ dataDir: fresh, from: fresh, replicaId: 11, members }), invalid);

  const file = join(from, "snapshot.dls");
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 60) ^ 1, bytes.length - 60);
  writeFileSync(file, bytes);
  const damaged = attempt(fresh, 11, members);
  await assert.rejects(damaged, { code: "DL_ERR_MALFORMED" });
  writeFileSync(join(from, "export.json"), "{}");
  await assert.rejects(attempt(fresh, 11, members), { code: "DL_ERR_VERSION" });
});
