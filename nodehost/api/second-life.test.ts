/**
 * A replica that is stopped and started again while its host runs: entries of its earlier life are still in the log and
 * must not answer requests of the new one.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { APPS, SHARD, SimCluster } from "../../test/hosts/sim-cluster.js";
import { decodeKvNumber, encodeKvCommand, kvBytes } from "../apps/index.js";
import { noOpSession } from "../index.js";

const EARLIER = 300;

const append = (key: string): Uint8Array => encodeKvCommand({ op: "append", key: kvBytes(key), value: kvBytes("x") });

test("P57: after a restart of its replica a proposal is not answered with an entry of before", async () => {
  const cluster = await SimCluster.open({}, 3);
  const { world, network, machines } = cluster;
  const at = ((await cluster.leader()) + 1) % 3;
  const host = cluster.host(at);
  const { address } = cluster.machine(at);
  const others = machines.map((machine) => machine.address).filter((other) => other !== address);
  await cluster.put(at, "known", "1");
  // Forwarded, appended and committed elsewhere; nothing of it comes back here.
  for (const other of others) network.block(other, address);
  const before = Array.from({ length: EARLIER }, () => host.propose(noOpSession(SHARD), append("old")));
  await world.run(50);
  await world.until(host.stopReplica(SHARD, at + 1));
  for (const { completed } of before) assert.equal((await completed).code, "terminated");
  await world.until(host.restartReplica(SHARD, at + 1, APPS));
  const old = await cluster.get((at + 1) % 3, "old");
  assert.equal(old?.length, EARLIER, "they were committed without this host");

  network.heal();
  // One after the other until a leader is known: the first that is taken meets the entries of before.
  for (let attempt = 0; ; attempt++) {
    assert.ok(attempt < 2_000, "no proposal was taken");
    const request = host.propose(noOpSession(SHARD), append(`new-${attempt}`));
    let settled = false;
    request.onSettled(() => {
      settled = true;
    });
    await world.run(1);
    if (settled && (await request.completed).error?.outcome === "rejected") continue;
    const { code, result } = await world.until(request.completed);
    assert.equal(code, "completed");
    assert.equal(result?.data === undefined ? 0 : decodeKvNumber(result.data), 1, "the length of another key");
    break;
  }
  await cluster.close();
});
