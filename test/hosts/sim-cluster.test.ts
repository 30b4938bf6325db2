/** The simulated cluster itself: it works like a real one, and one seed gives one history. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { APPS, SHARD, SimCluster } from "./sim-cluster.js";

async function history(seed: number): Promise<string> {
  const cluster = await SimCluster.open({ seed }, 3);
  const { world } = cluster;
  const leader = await cluster.leader();
  await cluster.put(leader, "a", "1");
  const other = (leader + 1) % 3;
  await cluster.put(other, "b", "2");
  for (let i = 0; i < 3; i++) {
    assert.equal(await cluster.get(i, "a"), "1");
    assert.equal(await cluster.get(i, "b"), "2");
  }
  cluster.crash(leader);
  await world.when("another leader", () => cluster.leaderNow() !== -1);
  await cluster.put(other, "a", "3");
  const back = await world.until(cluster.openHost(leader));
  await world.until(back.restartReplica(SHARD, leader + 1, APPS));
  assert.equal(await cluster.get(leader, "a"), "3");
  await cluster.close();
  return world.trace;
}

test("hosts elect, serve, crash and come back on virtual time; one seed is one history", async () => {
  const first = await history(7);
  assert.equal(await history(7), first);
  assert.notEqual(await history(8), first);
});
