/**
 * Three hosts, no master: one is killed while clients write, writes go on; it returns on its old data after the log
 * it lacks was compacted, catches up by snapshot, and every acknowledged write is on every replica exactly once.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Load } from "../../master/cli/demo-load.js";
import { HostViews } from "../../master/cli/demo-verify.js";
import { awaitStrength, awaitWrites, checkAll, limitOf } from "./kit.js";
import { ThreeHosts } from "./kit-three.js";

const SHARDS = [1, 2];
const SNAPSHOT_ENTRIES = 100;

test("a killed host returns, catches up by snapshot, and nothing acknowledged is lost", async (t) => {
  const limit = limitOf(t);
  const hosts = await ThreeHosts.start(t);
  await hosts.startReplicas(SHARDS, SNAPSHOT_ENTRIES);
  const views = new HostViews();
  const load = new Load();
  t.after(() => {
    load.close();
    views.close();
  });
  const checked = { load, views, limit, voters: 3, addresses: () => hosts.addresses() };
  await awaitStrength(SHARDS, checked);
  load.setHosts(hosts.addresses());
  load.start(SHARDS);
  await awaitWrites(load, limit, 50);

  const infos = await views.infos(hosts.addresses());
  const victim = infos.findIndex((info) => info.clusterInfo.some((replica) => replica.isLeader));
  assert.ok(victim >= 0, "no host leads");
  await hosts.processes[victim]?.kill();
  load.setHosts(hosts.addresses());
  hosts.snapshots.length = 0;
  await awaitWrites(load, limit, 3 * SNAPSHOT_ENTRIES);

  await hosts.startHost(victim);
  load.setHosts(hosts.addresses());
  await limit.until("a snapshot arrived", () => hosts.snapshots.some((text) => text.startsWith(`host-${victim}:`)));
  await awaitWrites(load, limit, 50);
  await checkAll(checked);
  const { acked, maxGapMs, unknown } = load.totals();
  t.diagnostic(`${acked} writes acknowledged, ${unknown} unknown, largest gap ${maxGapMs} ms`);
});
