/**
 * The data plane does not need the control plane: with the broker cut, and then with broker and masters gone, shards
 * accept writes, elect after the kill of a leader, and take the killed host back. A cut link is no death: when broker
 * and masters are back, nothing was or is repaired.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pause } from "../../master/cli/demo-wait.js";
import { awaitStrength, awaitWrites, checkAll, limitOf } from "./kit.js";
import { LoadedCluster } from "./kit-cluster.js";

const DOWN_AFTER_MS = 4_000;
/** Every host is silent for longer than what makes it Down. */
const CUT_MS = 1.5 * DOWN_AFTER_MS;

test("writes, elections and restarts go on without broker and masters; a cut link causes no repair", async (t) => {
  const limit = limitOf(t, 150_000);
  const plan = { limit, hosts: 4, shards: 6, downAfterMs: DOWN_AFTER_MS };
  const loaded = await LoadedCluster.start(t, plan);
  const { cluster, load } = loaded;
  await loaded.awaitCalm();
  const known = new Set((await cluster.control.operations(true)).map((row) => row.operationId));
  const repairs = async (): Promise<unknown[]> =>
    (await cluster.control.operations(true)).filter((row) => !known.has(row.operationId));

  // The link is cut: masters hear nobody for longer than downAfter, and must know that it is the link.
  await cluster.killBroker();
  const cutMs = performance.now();
  await awaitWrites(load, limit, 50);
  await pause(CUT_MS - (performance.now() - cutMs));
  await cluster.startBroker();
  await loaded.awaitCalm();
  assert.deepEqual(await repairs(), []);

  // Everything but the hosts is gone.
  await cluster.killBroker();
  await cluster.killMasters();
  await awaitWrites(load, limit, 50);
  const victim = await loaded.leadingHost();
  await victim.process.kill();
  loaded.followHosts();
  await awaitWrites(load, limit, 50);
  await cluster.restartHost(victim);
  loaded.followHosts();
  await awaitStrength(loaded.shardIds, loaded);
  await awaitWrites(load, limit, 50);

  await cluster.startBroker();
  await Promise.all(cluster.masters.map((master) => cluster.restartMaster(master)));
  await loaded.awaitCalm();
  await pause(DOWN_AFTER_MS);
  await loaded.awaitCalm();
  assert.deepEqual(await repairs(), []);
  await checkAll(loaded);
  const { acked, unknown, maxGapMs } = load.totals();
  t.diagnostic(`${acked} writes acknowledged, ${unknown} unknown, largest gap ${maxGapMs} ms`);
});
