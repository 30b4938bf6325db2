/**
 * Idle shards of whole hosts on virtual time: they come to rest and cost nothing, wake when asked, and the hosts notice
 * for them when a host dies, stands still, is started again, or stops a replica. Of many shards: idle-shards.test.ts.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { noOpSession, type ReplicaConfig } from "../../nodehost/index.js";
import { APPS, kvPut, SHARD, SimCluster, type SimClusterOptions } from "./sim-cluster.js";

const RTT_MS = 20;
const ELECTION_MS = 10 * RTT_MS;
const CONFIG: Partial<ReplicaConfig> = { quiesceTicks: 20 };
const HOSTS = [0, 1, 2];

async function restingCluster(shards: number, options: SimClusterOptions = {}): Promise<SimCluster> {
  const cluster = await SimCluster.open({ rttMs: RTT_MS, ...options });
  for (let shardId = 1; shardId <= shards; shardId++) await cluster.startKv(3, CONFIG, shardId);
  await cluster.world.when("all rest", () => HOSTS.every((host) => restingOf(cluster, host) === shards));
  return cluster;
}

function restingOf(cluster: SimCluster, host: number): number {
  return cluster.machine(host).host?.engineStats().resting ?? 0;
}

function termOf(cluster: SimCluster, host: number, shardId: number): number {
  return cluster.host(host).stats(shardId).term;
}

function terms(cluster: SimCluster, shards: number): number[] {
  return Array.from({ length: shards }, (_, i) => termOf(cluster, cluster.leaderNow(i + 1), i + 1));
}

test("idle shards come to rest: no Raft message, no step, no timer; and their members still look alive", async () => {
  const shards = 12;
  const cluster = await restingCluster(shards);
  const { world } = cluster;
  await world.run(ELECTION_MS);
  const before = HOSTS.map((host) => cluster.host(host).engineStats());
  const terms0 = terms(cluster, shards);
  const timers = world.pendingTimers;
  await world.run(60_000);
  const after = HOSTS.map((host) => cluster.host(host).engineStats());
  for (const host of HOSTS) {
    assert.equal(after[host]?.resting, shards);
    assert.equal(after[host]?.steps, before[host]?.steps, "no replica takes part in any turn");
  }
  assert.deepEqual(terms(cluster, shards), terms0);
  assert.ok(world.pendingTimers <= timers + 10, `${timers} timers, then ${world.pendingTimers}`);
  const leader = cluster.leaderNow();
  for (const peer of cluster.host(leader).stats(SHARD).peers) {
    assert.ok(peer.active && peer.silentMs < ELECTION_MS, `${peer.replicaId} silent for ${peer.silentMs} ms`);
  }
  assert.deepEqual(cluster.host(leader).silentPeers(ELECTION_MS), []);
  await cluster.close();
});

test("writes, reads, membership and transfers wake a shard, and it rests again", async () => {
  const cluster = await restingCluster(2);
  const { world } = cluster;
  const before = terms(cluster, 2);
  await cluster.put(0, "a", "1");
  for (const host of HOSTS) assert.equal(await cluster.get(host, "a"), "1");
  assert.equal(restingOf(cluster, 0), 1, "the other shard sleeps on");
  await world.when("it rests again", () => HOSTS.every((host) => restingOf(cluster, host) === 2));
  assert.deepEqual(terms(cluster, 2), before, "without an election");
  const leader = cluster.leaderNow();
  const target = (leader + 1) % 3;
  const moved = cluster.host(leader).syncRequestLeaderTransfer(SHARD, target + 1, { timeoutMs: 5_000 });
  assert.equal((await world.until(moved)).leaderId, target + 1);
  await world.when("it rests again", () => HOSTS.every((host) => restingOf(cluster, host) === 2));
  assert.equal(cluster.leaderNow(), target);
  const { moved: count, steppedDown } = await world.until(cluster.host(target).drain({ timeoutMs: 5_000 }));
  assert.ok(count >= 1 && steppedDown === 0, `${count} moved, ${steppedDown} given up`);
  await cluster.close();
});

test("kill the leader of a quiesced group: the next proposal elects within 3 timeouts (P66)", async () => {
  for (let seed = 1; seed <= 8; seed++) {
    const cluster = await restingCluster(1, { seed });
    const { world } = cluster;
    await world.run(1_000 + seed * 37);
    const leader = cluster.leaderNow();
    cluster.crash(leader);
    const began = world.nowMs;
    const asked = cluster.host((leader + 1) % 3);
    // Sent on to the dead leader, as nobody knows yet: what becomes of it is not known.
    asked.propose(noOpSession(SHARD), kvPut("a", "0"));
    await world.when("a leader", () => cluster.leaderNow() !== -1);
    await cluster.put((leader + 1) % 3, "a", "1");
    const tookMs = world.nowMs - began;
    assert.ok(tookMs <= 3 * ELECTION_MS, `seed ${seed}: ${tookMs} ms`);
    await cluster.close();
  }
});

test("a dead host's shards are led again without being asked, and it is taken back when it returns", async () => {
  const shards = 9;
  const cluster = await restingCluster(shards);
  const { world } = cluster;
  const led = shardsLedBy(cluster, 0, shards);
  const kept = Array.from({ length: shards }, (_, i) => i + 1).filter((shardId) => !led.includes(shardId));
  assert.ok(led.length > 0 && kept.length > 0);
  const before = new Map(kept.map((shardId) => [shardId, cluster.leaderNow(shardId)]));
  cluster.crash(0);
  await world.when("new leaders", () => led.every((shardId) => cluster.leaderNow(shardId) > 0), 5 * ELECTION_MS);
  await world.when("the two rest", () => [1, 2].every((host) => restingOf(cluster, host) === shards));
  for (const [shardId, leader] of before) assert.equal(cluster.leaderNow(shardId), leader, "the others keep theirs");
  const silent = cluster
    .host(cluster.leaderNow())
    .stats(SHARD)
    .peers.find((peer) => peer.replicaId === 1);
  assert.ok(silent !== undefined && !silent.active, "the dead member is not taken for alive");
  const terms0 = terms(cluster, shards);
  const back = await world.until(cluster.openHost(0));
  for (let shardId = 1; shardId <= shards; shardId++) await world.until(back.restartReplica(shardId, 1, APPS));
  await world.when("all three rest", () => HOSTS.every((host) => restingOf(cluster, host) === shards));
  assert.deepEqual(terms(cluster, shards), terms0, "its return disturbs nobody");
  for (let shardId = 1; shardId <= shards; shardId++) {
    assert.equal(back.stats(shardId).commitIndex, cluster.host(1).stats(shardId).commitIndex);
  }
  await cluster.close();
});

function shardsLedBy(cluster: SimCluster, host: number, shards: number): number[] {
  const all = Array.from({ length: shards }, (_, i) => i + 1);
  return all.filter((shardId) => cluster.leaderNow(shardId) === host);
}

test("a digest mismatch wakes only the shards concerned: a leader is stopped, a follower is stopped", async () => {
  const shards = 30;
  const cluster = await restingCluster(shards);
  const { world } = cluster;
  const before = terms(cluster, shards);
  const [stopped = 0] = shardsLedBy(cluster, 0, shards);
  const [followed = 0] = shardsLedBy(cluster, 1, shards);
  assert.ok(stopped > 0 && followed > 0);
  await world.until(cluster.host(0).stopReplica(stopped, 1));
  await world.when("another leader", () => cluster.leaderNow(stopped) > 0, 4 * ELECTION_MS);
  await world.until(cluster.host(2).stopReplica(followed, 3));
  await world.when("its leader is awake", () => !cluster.host(1).stats(followed).resting, 2 * ELECTION_MS);
  await world.run(ELECTION_MS);
  assert.equal(restingOf(cluster, 0), shards - 2, "host 0: the stopped one, and the one whose member was stopped");
  await world.run(20 * ELECTION_MS);
  const after = terms(cluster, shards);
  for (let shardId = 1; shardId <= shards; shardId++) {
    if (shardId === stopped) continue;
    assert.equal(after[shardId - 1], before[shardId - 1], `shard ${shardId} was not disturbed`);
    const rests = cluster.host(1).stats(shardId).resting;
    assert.equal(rests, shardId !== followed, `shard ${shardId}: a member on a live host does not run`);
  }
  await cluster.close();
});

test("a follower that is started again alone is caught up", async () => {
  const cluster = await restingCluster(3);
  const { world } = cluster;
  const [shardId = 0] = shardsLedBy(cluster, cluster.leaderNow(1), 3);
  const leader = cluster.leaderNow(shardId);
  const other = (leader + 1) % 3;
  const { term } = cluster.host(leader).stats(shardId);
  await world.until(cluster.host(other).stopReplica(shardId, other + 1));
  await cluster.put(leader, "a", "1", shardId);
  await world.until(cluster.host(other).restartReplica(shardId, other + 1, APPS));
  await world.when("all rest", () => HOSTS.every((host) => restingOf(cluster, host) === 3));
  assert.equal(cluster.host(other).stats(shardId).appliedIndex, cluster.host(leader).stats(shardId).appliedIndex);
  assert.equal(cluster.host(leader).stats(shardId).term, term);
  await cluster.close();
});

test("a host that is cut off is taken for dead by the others, and what it led itself it gives up", async () => {
  const shards = 6;
  const cluster = await restingCluster(shards);
  const { world, network, machines } = cluster;
  const led = shardsLedBy(cluster, 0, shards);
  assert.ok(led.length > 0);
  const addresses = machines.map((machine) => machine.address);
  network.partition(addresses.slice(0, 1), addresses.slice(1));
  const leads = (shardId: number): boolean => cluster.host(0).stats(shardId).state === "leader";
  await world.when("it gave up", () => !led.some(leads), 5 * ELECTION_MS);
  await world.when("others lead", () => led.every((shardId) => cluster.leaderNow(shardId) > 0), 5 * ELECTION_MS);
  network.heal();
  await world.when("all rest", () => HOSTS.every((host) => restingOf(cluster, host) === shards));
  await cluster.close();
});

test("a host that stood still disturbs no shard that it did not lead", async () => {
  const shards = 9;
  const cluster = await restingCluster(shards);
  const { world } = cluster;
  const followed = [1, 2].flatMap((host) => shardsLedBy(cluster, host, shards));
  const before = terms(cluster, shards);
  cluster.machine(0).stall(5_000);
  await world.run(5_000 + 20 * ELECTION_MS);
  await world.when("all rest", () => HOSTS.every((host) => restingOf(cluster, host) === shards));
  const after = terms(cluster, shards);
  for (const shardId of followed) assert.equal(after[shardId - 1], before[shardId - 1], `shard ${shardId}`);
  await cluster.close();
});

test("with quiesce off on one host, or off everywhere, no shard rests", async () => {
  for (const off of [[0], [0, 1, 2]]) {
    const cluster = await SimCluster.open({ rttMs: RTT_MS });
    const members = cluster.members(3);
    const [app] = APPS.values();
    assert.ok(app !== undefined);
    for (const host of HOSTS) {
      const config = { ...CONFIG, shardId: SHARD, replicaId: host + 1, quiesce: !off.includes(host) };
      await cluster.world.until(cluster.host(host).startApp(members, false, app, config));
    }
    await cluster.world.run(60 * ELECTION_MS);
    assert.deepEqual(
      HOSTS.map((host) => restingOf(cluster, host)),
      [0, 0, 0],
    );
    await cluster.close();
  }
});
