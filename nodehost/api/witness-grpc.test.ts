/** A witness over gRPC: added, started from a snapshot, shown, asked, inspected. Real log and sockets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { credentials, Client as GrpcClient } from "@grpc/grpc-js";
import { callUnary, NODE_HOST_SERVICE } from "../../shared/wire/index.js";
import { APPS, Hosts, kvPut, SHARD } from "../../test/kit/hosts.js";
import { eventually } from "../../test/kit/wait.js";
import { HostClient, ShardClient } from "../client/index.js";
import { OpError } from "../index.js";
import { inspectData, shrinkToSurvivors } from "../tools/index.js";

const LONG = { timeoutMs: 60_000 };
const NOBODY = new Uint8Array(0);

function code(expected: string, text = /./): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === expected && text.test(error.message);
}

test("a witness is added and started over gRPC, and refuses data", async (t) => {
  const cluster = await Hosts.open(t, 3, { apiAddress: "127.0.0.1:0", apps: [...APPS.values()] });
  await cluster.startKv(2, { electionTicks: 50 });
  const first = await cluster.leader();
  await cluster.put(first, "a", "1");
  const leader = new HostClient(cluster.host(first).apiAddress);
  const witness = new HostClient(cluster.host(2).apiAddress);
  const raw = new GrpcClient(cluster.host(2).apiAddress, credentials.createInsecure());
  for (const client of [leader, witness, raw]) t.after(() => client.close());

  const target = cluster.addresses[2] ?? "";
  const cci = await leader.addWitness(SHARD, 3, target, LONG);
  assert.equal((await leader.membership(SHARD, LONG)).configChangeIndex, cci);
  // Now the log alone does not reach back to the beginning.
  for (const i of [0, 1]) {
    await cluster.get(i, "a");
    await cluster.host(i).syncRequestSnapshot(SHARD, { compactionOverhead: 0 }, LONG);
  }
  await assert.rejects(leader.addWitness(SHARD, 2, "h:1", LONG), code("DL_ERR_REJECTED", /a voter member already/));

  const request = { shardId: SHARD, replicaId: 3, app: "", initial: [], join: true, witness: true, settings: null };
  const start = (app: string) => callUnary(raw, NODE_HOST_SERVICE.startReplica, { ...request, app }, LONG);
  await assert.rejects(start("kv"), code("DL_ERR_INVALID_CONFIG", /isWitness is true/));
  await start("");
  const role = await eventually("the witness applies its membership", async () => {
    const info = (await witness.info(LONG)).clusterInfo[0];
    return info?.configChangeIndex === cci ? info.role : undefined;
  });
  assert.equal(role, "witness");
  await assert.rejects(witness.propose(SHARD, NOBODY, LONG), code("DL_ERR_WITNESS"));
  await assert.rejects(witness.read(SHARD, NOBODY, LONG), code("DL_ERR_WITNESS"));
  await assert.rejects(witness.read(SHARD, NOBODY, { ...LONG, stale: true }), code("DL_ERR_WITNESS"));
  const apis = [cluster.host(2).apiAddress, cluster.host(first).apiAddress];
  const shard = new ShardClient(async () => apis);
  t.after(() => shard.close());
  await shard.propose(SHARD, kvPut("a", "2"), LONG);
  assert.equal(await cluster.get(first, "a"), "2", "a client goes on to another member");

  assert.ok(cluster.host(2).stats(SHARD).firstIndex > 1, "it began with a snapshot");
  await cluster.host(2).close();
  const found = await inspectData({ dataDir: cluster.dataDir(2) });
  const [replica] = found.replicas;
  assert.deepEqual([replica?.kind, replica?.app, replica?.snapshotFile], ["witness", "", "none"]);
  assert.deepEqual(found.problems, []);
  await assert.rejects(
    shrinkToSurvivors({ dataDir: cluster.dataDir(2), shardId: SHARD }),
    code("DL_ERR_REJECTED", /witness/),
  );
});
