/**
 * The app kv-disk on a whole deployment: shards are placed by the masters; a killed host is replaced under load, by
 * streams, because the logs were compacted; then every host is killed at once and goes on from what its machines hold.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HostClient } from "../../nodehost/client/index.js";
import { awaitStrength, awaitWrites, checkAll, limitOf } from "./kit.js";
import { LoadedCluster } from "./kit-cluster.js";

/** Every replica snapshots and forgets its log: whoever joins later needs the whole state. */
async function compactAll(loaded: LoadedCluster): Promise<void> {
  for (const address of loaded.addresses()) {
    const client = new HostClient(address);
    const [info] = await loaded.views.infos([address]);
    for (const { shardId } of info?.clusterInfo ?? []) {
      await client.requestSnapshot(shardId, { compactionOverhead: 1 }, { timeoutMs: 10_000 });
    }
    client.close();
  }
}

test("shards of kv-disk survive the death of a host, and of all hosts at once", async (t) => {
  const limit = limitOf(t, 150_000);
  const loaded = await LoadedCluster.start(t, { limit, hosts: 4, shards: 3, app: "kv-disk", downAfterMs: 4_000 });
  const { cluster, views } = loaded;
  await awaitWrites(loaded.load, limit, 50);
  await compactAll(loaded);
  const victim = await loaded.leadingHost();
  const [before] = await views.infos([victim.apiAddress]);
  assert.ok(before !== undefined && before.clusterInfo.length > 0);
  assert.ok(before.clusterInfo.every(({ app }) => app === "kv-disk"));
  await victim.process.kill();
  loaded.followHosts();
  await awaitWrites(loaded.load, limit, 50);
  await awaitStrength(loaded.shardIds, loaded);

  const hosts = cluster.liveHosts;
  await Promise.all(hosts.map((host) => host.process.kill()));
  for (const host of hosts) await cluster.restartHost(host);
  loaded.followHosts();
  await awaitWrites(loaded.load, limit, 50);
  await checkAll(loaded);
  const { acked, unknown, maxGapMs } = loaded.load.totals();
  t.diagnostic(`${acked} writes acknowledged, ${unknown} unknown, largest gap ${maxGapMs} ms`);
});
