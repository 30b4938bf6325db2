/**
 * A killed host is replaced under load with a real nats-server between hosts and masters. (The demo's test shows the
 * same with the embedded broker, and kills the leading master as well.)
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { skipWithoutNatsServer, startNatsServer } from "../../shared/bus/testing/nats-server.js";
import { awaitStrength, awaitWrites, checkAll, limitOf } from "./kit.js";
import { LoadedCluster } from "./kit-cluster.js";

test("a killed host is replaced, on nats-server", { skip: skipWithoutNatsServer() }, async (t) => {
  const limit = limitOf(t, 120_000);
  const server = await startNatsServer();
  t.after(() => server.stop());
  const nats = `nats://127.0.0.1:${server.port}`;
  const loaded = await LoadedCluster.start(t, { limit, hosts: 4, shards: 6, downAfterMs: 4_000, nats });
  await awaitWrites(loaded.load, limit, 50);
  const victim = await loaded.leadingHost();
  const [before] = await loaded.views.infos([victim.apiAddress]);
  assert.ok(before !== undefined && before.clusterInfo.length > 0);
  await victim.process.kill();
  loaded.followHosts();
  await awaitWrites(loaded.load, limit, 50);
  await awaitStrength(loaded.shardIds, loaded);
  const operations = await loaded.cluster.control.operations(true);
  for (const { shardId } of before.clusterInfo) {
    assert.ok(
      operations.some((operation) => operation.kind === "replace" && operation.shardId === shardId),
      `shard ${shardId} was not repaired by an operation`,
    );
  }
  await awaitWrites(loaded.load, limit, 50);
  await checkAll(loaded);
  const { acked, unknown, maxGapMs } = loaded.load.totals();
  t.diagnostic(`${acked} writes acknowledged, ${unknown} unknown, largest gap ${maxGapMs} ms`);
});
