/**
 * Directories that are lost, old or used twice, beneath real hosts on virtual time, started by hand without a master:
 * whoever comes back on one is refused by its peers, says so itself, and takes no part under its old replica ids.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KV, SHARD, SimCluster, type SimMachine } from "../../test/hosts/sim-cluster.js";
import type { EngineListeners, NodeHost, OpError } from "../index.js";

/** Time in which hosts tell each other how far their logs are, and write down what they heard. */
const SPREAD_MS = 2_500;

interface Watched {
  readonly cluster: SimCluster;
  /** Faults of replicas and directories, per host. */
  readonly faults: string[][];
}

async function watched(hosts: number, kv = 0): Promise<Watched> {
  const faults: string[][] = Array.from({ length: hosts }, () => []);
  const listeners = (machine: SimMachine): EngineListeners => ({
    replicaFaulted: (shardId, replicaId, fault) => faults[machine.number]?.push(`${shardId}/${replicaId} ${fault}`),
    directoryRefused: ({ code }) => faults[machine.number]?.push(code),
  });
  const cluster = await SimCluster.open({ hosts, hostOptions: (machine) => ({ listeners: listeners(machine) }) }, kv);
  return { cluster, faults };
}

function startFirst(cluster: SimCluster, number: number, assumeNew = false): Promise<void> {
  const config = { shardId: SHARD, replicaId: number + 1, assumeNew };
  return cluster.world.until(cluster.host(number).startApp(cluster.members(3), false, KV, config));
}

function infoOf(host: NodeHost) {
  return host.getShardInfo(SHARD);
}

/** Follower that is not the leader; both others go on without it. */
async function someFollower(cluster: SimCluster): Promise<number> {
  return ((await cluster.leader()) + 1) % 3;
}

/** The replica on `number` neither works nor has said anything that counts; the others serve on. */
async function assertRefused({ cluster, faults }: Watched, number: number, code: string): Promise<void> {
  const host = cluster.host(number);
  const { fault, term, leaderId } = infoOf(host);
  assert.match(fault, new RegExp(`^refused: ${code}`));
  assert.deepEqual([leaderId, faults[number]?.length], [0, code === "DL_ERR_DATA_LOST" ? 1 : 2], `${term}`);
  const { error } = await cluster.world.until(host.readIndex(SHARD).completed);
  assert.equal(error?.code, code);
  const others = [0, 1, 2].filter((i) => i !== number);
  await cluster.put(others[0] ?? 0, "after", code);
  assert.equal(await cluster.get(others[1] ?? 0, "after"), code);
}

/** The careful operator: the lost member out, a new one with a new id on the same host. */
async function replace(cluster: SimCluster, number: number): Promise<void> {
  const { world } = cluster;
  const leader = cluster.host(await cluster.leader());
  await world.until(leader.syncRequestDeleteReplica(SHARD, number + 1, 0));
  await world.until(leader.syncRequestAddNonVoting(SHARD, 9, cluster.machine(number).address, 0));
  const host = cluster.host(number);
  await world.until(host.stopShard(SHARD));
  await world.until(host.removeData(SHARD, number + 1));
  await world.until(host.startApp(new Map(), true, KV, { shardId: SHARD, replicaId: 9 }));
  const caughtUp = (): boolean => infoOf(host).applied > 0 && infoOf(host).applied === infoOf(leader).applied;
  await world.when("the new member has caught up", caughtUp);
  await world.run(200);
  await world.until(leader.syncRequestAddReplica(SHARD, 9, cluster.machine(number).address, 0));
  await cluster.put(number, "replaced", "yes");
}

for (const sameHostId of [true, false]) {
  const who = sameHostId ? "under its old host id" : "as another host at the same address";
  test(`a wiped replica that comes back is fenced and reported, ${who} (P49, P68)`, async () => {
    const all = await watched(3, 3);
    const { cluster } = all;
    const { world } = cluster;
    const number = await someFollower(cluster);
    await cluster.put(number, "a", "1");
    const { hostId } = cluster.host(number);
    cluster.crash(number);
    cluster.machine(number).restore();
    await world.until(cluster.openHost(number, sameHostId ? { hostId } : {}));
    await startFirst(cluster, number);
    assert.match(infoOf(cluster.host(number)).waiting, /waits for answers of replica/);
    await world.when("it is refused", () => infoOf(cluster.host(number)).fault !== "");
    await assertRefused(all, number, "DL_ERR_DATA_LOST");
    assert.match(infoOf(cluster.host(number)).fault, /new replica id/);
    // A restart changes nothing: it is refused again, before it has said anything.
    cluster.crash(number);
    await world.until(cluster.openHost(number));
    await startFirst(cluster, number);
    await world.when("it is refused again", () => infoOf(cluster.host(number)).fault !== "");
    await replace(cluster, number);
    await cluster.close();
  });
}

test("a wiped replica that is started as one that joins, or as certainly new, is refused all the same", async () => {
  for (const how of ["join", "assumeNew"]) {
    const all = await watched(3, 3);
    const { cluster } = all;
    const { world } = cluster;
    const number = await someFollower(cluster);
    await cluster.put(number, "a", "1");
    cluster.crash(number);
    cluster.machine(number).restore();
    await world.until(cluster.openHost(number));
    if (how === "assumeNew") await startFirst(cluster, number, true);
    else {
      const config = { shardId: SHARD, replicaId: number + 1 };
      await world.until(cluster.host(number).startApp(new Map(), true, KV, config));
    }
    await world.when(`refused, ${how}`, () => infoOf(cluster.host(number)).fault !== "");
    await assertRefused(all, number, "DL_ERR_DATA_LOST");
    await cluster.close();
  }
});

test("what peers know of a replica outlives them: after all have restarted a wiped one is still refused", async () => {
  const all = await watched(3, 3);
  const { cluster } = all;
  const { world } = cluster;
  await cluster.put(0, "a", "1");
  await world.run(SPREAD_MS);
  for (const { number } of cluster.machines) cluster.crash(number);
  cluster.machine(2).restore();
  for (const { number } of cluster.machines) await world.until(cluster.openHost(number));
  await startFirst(cluster, 2);
  for (const number of [0, 1]) await startFirst(cluster, number);
  await world.when("it is refused", () => infoOf(cluster.host(2)).fault !== "");
  await assertRefused(all, 2, "DL_ERR_DATA_LOST");
  await cluster.close();
});

test("a stale replica that comes back is fenced and reported: an older copy of its directory (P49)", async () => {
  // Older by some writes; by a start, which then seems to run twice; by two starts.
  for (const [restarts, code] of ["DL_ERR_DATA_STALE", "DL_ERR_HOST_CLONED", "DL_ERR_DATA_STALE"].entries()) {
    const all = await watched(3, 3);
    const { cluster } = all;
    const { world } = cluster;
    const number = await someFollower(cluster);
    await cluster.put(number, "a", "1");
    const machine = cluster.machine(number);
    const image = machine.image();
    for (let i = 0; i < restarts; i++) {
      cluster.crash(number);
      await world.until(cluster.openHost(number));
      await startFirst(cluster, number);
    }
    await cluster.put(number, "a", "2");
    await world.run(SPREAD_MS);
    const before = all.faults[number]?.length;
    assert.equal(before, 0);
    cluster.crash(number);
    machine.restore(image);
    await world.until(cluster.openHost(number));
    await startFirst(cluster, number);
    await world.when("it is refused", () => infoOf(cluster.host(number)).fault !== "");
    await assertRefused(all, number, code);
    assert.equal(cluster.host(number).getNodeHostInfo().directoryFault.split(":")[0], code);
    // For ever, whether or not somebody who knows can be asked.
    for (let i = 0; i < 3; i++) {
      cluster.crash(number);
      const others = cluster.machines.map((m) => m.address).filter((a) => a !== machine.address);
      cluster.network.partition([machine.address], others);
      const host = await world.until(cluster.openHost(number));
      await assert.rejects(startFirst(cluster, number), { code });
      const [reported] = host.getNodeHostInfo().clusterInfo;
      assert.match(reported?.fault ?? "", new RegExp(`^refused: ${code}`));
      cluster.network.heal();
    }
    await cluster.close();
  }
});

test("an older copy is refused by a follower too, which hears it only by its beat", async () => {
  const all = await watched(3, 3);
  const { cluster } = all;
  const { world, network } = cluster;
  const leader = await cluster.leader();
  const number = (leader + 1) % 3;
  for (let i = 0; i < 20; i++) await cluster.put(leader, "a", `${i}`);
  await world.run(SPREAD_MS);
  const image = cluster.machine(number).image();
  for (let i = 0; i < 20; i++) await cluster.put(leader, "a", `${i}`);
  await world.run(SPREAD_MS);
  const { address } = cluster.machine(leader);
  network.partition(
    [address],
    cluster.machines.map((m) => m.address).filter((a) => a !== address),
  );
  cluster.crash(number);
  cluster.machine(number).restore(image);
  await world.until(cluster.openHost(number));
  await startFirst(cluster, number);
  await world.when("it is refused", () => infoOf(cluster.host(number)).fault !== "");
  network.heal();
  await world.run(2_000);
  await cluster.leader();
  await assertRefused(all, number, "DL_ERR_DATA_STALE");
  await cluster.close();
});

test("a cloned directory: the second process is fenced and reported, the first one serves on (P50)", async () => {
  const all = await watched(4, 3);
  const { cluster, faults } = all;
  const { world } = cluster;
  const number = await someFollower(cluster);
  await cluster.put(number, "a", "1");
  const image = cluster.machine(number).image();
  await cluster.put(number, "a", "2");
  await world.run(SPREAD_MS);
  cluster.crash(3);
  cluster.machine(3).restore(image);
  const host = await world.until(cluster.openHost(3));
  assert.equal(host.hostId, cluster.host(number).hostId);
  const members = cluster.members(3);
  await world.until(host.startApp(members, false, KV, { shardId: SHARD, replicaId: number + 1 }));
  await world.when("it is refused", () => infoOf(host).fault !== "");
  assert.match(infoOf(host).fault, /^refused: DL_ERR_(DATA_STALE|HOST_CLONED): .*empty directory/);
  await world.run(2_000);
  for (const other of [0, 1, 2]) assert.deepEqual(faults[other], [], `host ${other}`);
  await cluster.put(number, "after", "yes");
  assert.equal(await cluster.get(number, "after"), "yes");
  await cluster.close();
});

test("of two processes that count the same start, only the one that came first is heard (P50)", async () => {
  const all = await watched(4, 3);
  const { cluster, faults } = all;
  const { world } = cluster;
  const number = await someFollower(cluster);
  await cluster.put(number, "a", "1");
  await world.run(SPREAD_MS);
  cluster.crash(number);
  cluster.crash(3);
  cluster.machine(3).restore(cluster.machine(number).image());
  await world.until(cluster.openHost(number));
  await startFirst(cluster, number);
  await cluster.put(number, "a", "2");
  const host = await world.until(cluster.openHost(3));
  assert.equal(host.identity.incarnation.counter, cluster.host(number).identity.incarnation.counter);
  await world.until(host.startApp(cluster.members(3), false, KV, { shardId: SHARD, replicaId: number + 1 }));
  await world.when("it is refused", () => infoOf(host).fault !== "");
  assert.match(infoOf(host).fault, /^refused: DL_ERR_HOST_CLONED/);
  await world.run(2_000);
  assert.deepEqual(faults[number], []);
  assert.equal(await cluster.get(number, "a"), "2");
  await cluster.close();
});

test("members of a new shard start in any order and at different times, over restarts too", async () => {
  const { cluster } = await watched(3);
  const { world } = cluster;
  cluster.crash(2);
  await startFirst(cluster, 1);
  await world.run(3_000);
  assert.match(infoOf(cluster.host(1)).waiting, /replica 3 at host-2.sim:7500/);
  assert.doesNotMatch(
    infoOf(cluster.host(1)).waiting,
    /replica 1 /,
    "a host answers before its own replica is started",
  );
  const { error } = await world.until(cluster.host(1).readIndex(SHARD).completed);
  assert.deepEqual([error?.code, error?.retryable], ["DL_ERR_SHARD_NOT_READY", true]);
  cluster.crash(1);
  await world.until(cluster.openHost(1));
  await startFirst(cluster, 1);
  await startFirst(cluster, 0);
  await world.run(3_000);
  assert.equal(cluster.leaderNow(), -1, "two of three do not begin: the third may be one that forgot");
  await world.until(cluster.openHost(2));
  const leaderMs = world.nowMs;
  assert.notEqual(await cluster.leader(), 2);
  assert.ok(world.nowMs - leaderMs < 15_000, `${world.nowMs - leaderMs} ms`);
  await startFirst(cluster, 2);
  await cluster.put(2, "a", "1");
  assert.deepEqual(
    cluster.machines.map(({ host }) => host?.getShardInfo(SHARD).waiting),
    ["", "", ""],
  );
  await cluster.close();
});

test("assumeNew and a sole member wait for nobody", async () => {
  const { cluster } = await watched(3);
  const { world } = cluster;
  cluster.crash(2);
  await startFirst(cluster, 0);
  await startFirst(cluster, 1, true);
  await world.run(1_000);
  assert.equal(cluster.leaderNow(), -1);
  // The operator knows better, and says so at another start.
  await world.until(cluster.host(0).stopShard(SHARD));
  await startFirst(cluster, 0, true);
  await cluster.put(0, "a", "1");
  const alone = new Map([[1, cluster.machine(0).address]]);
  await world.until(cluster.host(0).startApp(alone, false, KV, { shardId: 2, replicaId: 1 }));
  await cluster.put(0, "a", "1", 2);
  await cluster.close();
});

test("a second start with other members is refused and changes nothing (P68)", async () => {
  const { cluster } = await watched(3, 3);
  const { world } = cluster;
  await cluster.put(0, "a", "1");
  await world.until(cluster.host(0).stopShard(SHARD));
  const two = cluster.members(2);
  await assert.rejects(
    world.until(cluster.host(0).startApp(two, false, KV, { shardId: SHARD, replicaId: 1 })),
    (error: OpError) => error.code === "DL_ERR_BOOTSTRAP_MISMATCH",
  );
  await startFirst(cluster, 0);
  assert.equal(await cluster.get(0, "a"), "1");
  await cluster.close();
});
