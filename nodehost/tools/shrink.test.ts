/** A shard that lost its quorum goes on from one survivor; members that come back are told that they are superseded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { APPS, Hosts, KV, SHARD } from "../../test/kit/hosts.js";
import { eventually } from "../../test/kit/wait.js";
import { shrinkToSurvivors } from "./index.js";

async function lossOfQuorum(cluster: Hosts, snapshotEntries = 0): Promise<void> {
  await cluster.startKv(3, { snapshotEntries, compactionOverhead: 0 });
  for (let i = 0; i < 10; i++) await cluster.put(0, `key-${i}`, `value-${i}`);
  // The survivor has everything that was acknowledged.
  await cluster.get(1, "key-9");
  await cluster.close();
}

test("two of three lost for ever: the survivor goes on with all that it has, and takes new members", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await lossOfQuorum(cluster);
  const place = { dataDir: cluster.dataDir(1), shardId: SHARD };
  const planned = await shrinkToSurvivors({ ...place, dryRun: true });
  assert.equal(planned.done, false);
  assert.deepEqual([...planned.before.voters.keys()], [1, 2, 3]);
  const report = await shrinkToSurvivors(place);
  assert.deepEqual({ ...report, done: false }, planned);
  assert.deepEqual([...report.after.voters], [[2, cluster.addresses[1]]]);
  assert.deepEqual([...report.after.removed].sort(), [1, 3]);
  assert.equal(report.after.lineage, 1);
  assert.equal(report.after.configChangeIndex, report.before.configChangeIndex);
  await assert.rejects(shrinkToSurvivors(place), { code: "DL_ERR_REJECTED" });

  const survivor = await cluster.openHost(1);
  await survivor.restartReplica(SHARD, 2, APPS);
  for (let i = 0; i < 10; i++) assert.equal(await cluster.get(1, `key-${i}`), `value-${i}`);
  await cluster.put(1, "after", "1");
  assert.equal((await survivor.syncGetShardMembership(SHARD)).lineage, 1);

  await cluster.openHost(3);
  await survivor.syncRequestAddNonVoting(SHARD, 4, cluster.addresses[3] ?? "", 0);
  await cluster.host(3).startApp(new Map(), true, KV, { shardId: SHARD, replicaId: 4 });
  await eventually("the new member has all", () => cluster.staleGet(3, "after"));
  await survivor.syncRequestAddReplica(SHARD, 4, cluster.addresses[3] ?? "", 0);
  await cluster.put(3, "both", "2");
  assert.equal((await survivor.syncGetShardMembership(SHARD)).voters.size, 2);
});

test("a survivor with a snapshot: the forced membership holds over restarts and snapshots", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await lossOfQuorum(cluster, 4);
  await shrinkToSurvivors({ dataDir: cluster.dataDir(2), shardId: SHARD, target: "127.0.0.1:1" });
  for (let round = 0; round < 3; round++) {
    const host = await cluster.openHost(2);
    await host.restartReplica(SHARD, 3, APPS);
    await cluster.put(2, `round-${round}`, "x");
    await host.syncRequestSnapshot(SHARD);
    const { lineage, voters } = await host.syncGetShardMembership(SHARD);
    assert.deepEqual([lineage, [...voters]], [1, [[3, "127.0.0.1:1"]]]);
    await cluster.close();
  }
});

test("members of before that come back fence themselves and take no part", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await lossOfQuorum(cluster);
  await shrinkToSurvivors({ dataDir: cluster.dataDir(1), shardId: SHARD });
  const survivor = await cluster.openHost(1);
  await survivor.restartReplica(SHARD, 2, APPS);
  await cluster.put(1, "after", "1");
  const old = await cluster.openHost(0);
  await old.restartReplica(SHARD, 1, APPS);
  // Alone it cannot lead; what it says to the survivor is answered.
  await eventually("the old member learns its fate", () => {
    const [info] = old.getNodeHostInfo().clusterInfo;
    return info?.fault === "superseded" || info?.fault === "removed";
  });
  await cluster.put(1, "later", "2");
  assert.equal(await cluster.get(1, "later"), "2");
  assert.deepEqual([...(await survivor.syncGetShardMembership(SHARD)).voters.keys()], [2]);
});

test("refusals: a host that runs, a shard that is not here, a directory without a host", async (t) => {
  const cluster = await Hosts.open(t, 1);
  await cluster.startKv(1);
  const dataDir = cluster.dataDir(0);
  await assert.rejects(shrinkToSurvivors({ dataDir, shardId: SHARD }), { code: "DL_ERR_DIRECTORY_LOCKED" });
  await cluster.close();
  await assert.rejects(shrinkToSurvivors({ dataDir, shardId: 99 }), { code: "DL_ERR_SHARD_NOT_FOUND" });
  await assert.rejects(shrinkToSurvivors({ dataDir, shardId: SHARD, replicaId: 7 }), {
    code: "DL_ERR_SHARD_NOT_FOUND",
  });
  await assert.rejects(shrinkToSurvivors({ dataDir, shardId: SHARD }), { code: "DL_ERR_REJECTED" });
  await assert.rejects(shrinkToSurvivors({ dataDir: `${dataDir}-none`, shardId: 1 }), {
    code: "DL_ERR_INVALID_ARGUMENT",
  });
});
