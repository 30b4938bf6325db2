/** A host whose process stands still for a while disturbs only the shards it led (P52). Real engine, virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimCluster } from "./sim-cluster.js";

const SHARDS = 12;
// Longer than the transport waits before it connects again.
const RTT_MS = 100;
const ELECTION_MS = 10 * RTT_MS;

function termOf(cluster: SimCluster, host: number, shardId: number): number {
  return cluster.host(host).getShardInfo(shardId).term;
}

/** Worst case: without pre-vote a campaign raises the term; nothing that was sent meanwhile arrives after it. */
test("after a stall of 5 s a host campaigns nowhere; the shards it led have elected once (P52)", async () => {
  const cluster = await SimCluster.open({ seed: 52, rttMs: RTT_MS });
  const { world, network, machines } = cluster;
  const shards = Array.from({ length: SHARDS }, (_, i) => i + 1);
  for (const shardId of shards) await cluster.startKv(3, { preVote: false }, shardId);
  for (const shardId of shards) await cluster.leader(shardId);
  await world.run(20 * ELECTION_MS);
  const leaders = new Map(shards.map((shardId) => [shardId, cluster.leaderNow(shardId)]));
  const terms = new Map(shards.map((shardId) => [shardId, termOf(cluster, 0, shardId)]));
  const led = shards.filter((shardId) => leaders.get(shardId) === 0);
  const followed = shards.filter((shardId) => leaders.get(shardId) !== 0);
  assert.ok(led.length > 0 && followed.length > 3, `host 0 leads ${led.length} of ${SHARDS}`);

  const addresses = machines.map((machine) => machine.address);
  network.partition(addresses.slice(0, 1), addresses.slice(1));
  machines[0]?.stall(5_000);
  await world.run(5_000 - 1);
  for (const shardId of led) assert.notEqual(cluster.leaderNow(shardId), 0, `shard ${shardId} elected`);
  network.heal();
  await world.run(10 * ELECTION_MS);
  for (const shardId of followed) {
    assert.equal(cluster.leaderNow(shardId), leaders.get(shardId), `leader of shard ${shardId}`);
    for (const host of [0, 1, 2]) assert.equal(termOf(cluster, host, shardId), terms.get(shardId), `shard ${shardId}`);
  }
  for (const shardId of led) {
    assert.notEqual(cluster.leaderNow(shardId), 0, `host 0 yields shard ${shardId}`);
    // Two candidates may meet; more than that would be a storm.
    assert.ok(termOf(cluster, 0, shardId) <= (terms.get(shardId) ?? 0) + 3, `shard ${shardId}`);
  }
  await cluster.close();
});
