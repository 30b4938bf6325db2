/** Three hosts in one process, real log and sockets: writes, reads, restarts, membership, snapshots, refusals. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { APPS, Hosts, KV, kvPut, SHARD } from "../../test/kit/hosts.js";
import { tempDir } from "../../test/kit/temp.js";
import { eventually } from "../../test/kit/wait.js";
import { NodeHost, noOpSession, OpError } from "../index.js";

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === expected;
}

test("three hosts elect, replicate, and read linearizably through every member", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3);
  await cluster.put(0, "a", "1");
  await cluster.put(1, "b", "2");
  for (const i of [0, 1, 2]) {
    assert.equal(await cluster.get(i, "a"), "1");
    assert.equal(await cluster.get(i, "b"), "2");
  }
});

test("proposeBatch answers once with one result per command", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3);
  await cluster.put(0, "warm", "up");
  const commands = Array.from({ length: 100 }, (_, i) => kvPut(`k${i}`, `v${i}`));
  const outcome = await cluster.host(await cluster.leader()).proposeBatch(noOpSession(SHARD), commands).completed;
  assert.equal(outcome.code, "completed");
  assert.equal(outcome.results?.length, 100);
  assert.equal(await cluster.get(2, "k99"), "v99");
});

test("all hosts stop and start again: nothing acknowledged is lost", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3);
  for (let i = 0; i < 20; i++) await cluster.put(i % 3, `k${i}`, `v${i}`);
  await cluster.close();
  for (let i = 0; i < 3; i++) await (await cluster.openHost(i)).restartReplica(SHARD, i + 1, APPS);
  for (let i = 0; i < 20; i++) assert.equal(await cluster.get(i % 3, `k${i}`), `v${i}`);
});

test("a host that was away catches up by snapshot when the log is compacted", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3, { snapshotEntries: 50, compactionOverhead: 5 });
  await cluster.put(0, "first", "1");
  await cluster.host(2).close();
  cluster.hosts[2] = undefined;
  for (let i = 0; i < 300; i++) await cluster.put(0, `k${i % 7}`, `v${i}`);
  await cluster
    .host(0)
    .syncRequestSnapshot(SHARD, { compactionOverhead: 0 })
    .catch(() => 0);
  await cluster
    .host(1)
    .syncRequestSnapshot(SHARD, { compactionOverhead: 0 })
    .catch(() => 0);
  const back = await cluster.openHost(2);
  await back.restartReplica(SHARD, 3, APPS);
  assert.equal(await cluster.get(2, "k5"), "v299");
  await eventually("equal state hashes", () => {
    const hashes = new Set([0, 1, 2].map((i) => cluster.host(i).getShardInfo(SHARD).stateHash));
    return hashes.size === 1 ? true : undefined;
  });
});

test("a member is added as non-voting, promoted, and an old one removed", async (t) => {
  const cluster = await Hosts.open(t, 4);
  await cluster.startKv(3);
  await cluster.put(0, "a", "1");
  const leader = cluster.host(await cluster.leader());
  const target = cluster.addresses[3] ?? "";
  await leader.syncRequestAddNonVoting(SHARD, 4, target, 0);
  await cluster.host(3).startApp(new Map(), true, KV, { shardId: SHARD, replicaId: 4 });
  await eventually("the learner has the data", async () => ((await cluster.get(3, "a")) === "1" ? true : undefined));
  await leader.syncRequestAddReplica(SHARD, 4, target, 0);
  const victim = (await cluster.leader()) === 0 ? 1 : 0;
  await leader.syncRequestDeleteReplica(SHARD, victim + 1, 0);
  const membership = await cluster.host(3).syncGetShardMembership(SHARD);
  assert.equal(membership.voters.size, 3);
  assert.ok(membership.removed.has(victim + 1));
  await cluster.put(3, "b", "2");
  assert.equal(await cluster.get(3, "b"), "2");
});

test("a membership change with an old config change index is refused (P65)", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3);
  await cluster.put(0, "a", "1");
  const leader = cluster.host(await cluster.leader());
  await assert.rejects(leader.syncRequestDeleteReplica(SHARD, 1, 999_999), code("DL_ERR_REJECTED"));
});

test("starts in an illegal form are refused and nothing stays", async (t) => {
  const cluster = await Hosts.open(t, 1);
  const host = cluster.host(0);
  const config = { shardId: SHARD, replicaId: 1 };
  await assert.rejects(host.startApp(new Map(), false, KV, config), code("DL_ERR_SHARD_NOT_BOOTSTRAPPED"));
  await assert.rejects(host.startApp(cluster.members(1), true, KV, config), code("DL_ERR_INVALID_ARGUMENT"));
  await assert.rejects(host.startApp(new Map([[2, "x:1"]]), false, KV, config), code("DL_ERR_INVALID_ARGUMENT"));
  assert.equal(host.hasNodeInfo(SHARD, 1), false);
  await cluster.startKv(1);
  await assert.rejects(cluster.startKv(1), code("DL_ERR_SHARD_ALREADY_EXISTS"));
  await host.stopReplica(SHARD, 1);
  const others = new Map([[1, "127.0.0.1:1"]]);
  await assert.rejects(host.startApp(others, false, KV, config), code("DL_ERR_BOOTSTRAP_MISMATCH"));
  await host.removeData(SHARD, 1);
  await assert.rejects(cluster.startKv(1), code("DL_ERR_REPLICA_REMOVED"));
});

test("one process per directory, one host and one deployment per directory (P50)", async (t) => {
  const dir = await tempDir(t);
  const options = { raftAddress: "127.0.0.1:0", dataDir: dir, deploymentId: 7 };
  const host = await NodeHost.open(options);
  const other = "11111111-2222-4333-8444-555555555555";
  try {
    await assert.rejects(NodeHost.open(options), code("DL_ERR_DIRECTORY_LOCKED"));
  } finally {
    await host.close();
  }
  await assert.rejects(NodeHost.open({ ...options, hostId: other }), code("DL_ERR_HOST_MISMATCH"));
  await assert.rejects(NodeHost.open({ ...options, deploymentId: 8 }), code("DL_ERR_DEPLOYMENT_MISMATCH"));
  const again = await NodeHost.open(options);
  assert.equal(again.hostId, host.hostId);
  assert.equal(again.identity.incarnation.counter, host.identity.incarnation.counter + 1);
  await again.close();
});

test("bad options and arguments name the field, the value and what would be valid", async (t) => {
  const dataDir = await tempDir(t);
  await assert.rejects(NodeHost.open({ raftAddress: "nowhere", dataDir }), code("DL_ERR_INVALID_ADDRESS"));
  await assert.rejects(NodeHost.open({ raftAddress: "127.0.0.1:0", dataDir, rttMs: 0 }), code("DL_ERR_INVALID_CONFIG"));
  const host = await NodeHost.open({ raftAddress: "127.0.0.1:0", dataDir });
  t.after(() => host.close());
  const config = { shardId: SHARD, replicaId: 1, electionTicks: 2 };
  await assert.rejects(host.startApp(new Map(), true, KV, config), code("DL_ERR_INVALID_CONFIG"));
  const outcome = await host.propose(noOpSession(9), kvPut("a", "b")).completed;
  assert.equal(outcome.error?.code, "DL_ERR_SHARD_NOT_FOUND");
});

test("close settles what is open as terminated, and is idempotent", async (t) => {
  const cluster = await Hosts.open(t, 1);
  const host = cluster.host(0);
  const two = new Map([
    [1, host.raftAddress],
    [2, "127.0.0.1:1"],
  ]);
  await host.startApp(two, false, KV, { shardId: SHARD, replicaId: 1, assumeNew: true });
  const read = host.readIndex(SHARD, { timeoutMs: 60_000 });
  const settled = read.completed;
  await host.close();
  await host.close();
  assert.ok(["terminated", "dropped"].includes((await settled).code));
});

test("an aborted request that was not handed to the log is certainly without effect", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3);
  await cluster.put(0, "a", "1");
  const abort = new AbortController();
  const state = cluster.host(0).propose(noOpSession(SHARD), kvPut("a", "2"), { signal: abort.signal });
  abort.abort();
  const outcome = await state.completed;
  assert.equal(outcome.code, "aborted");
  assert.equal(await cluster.get(1, "a"), "1");
});
