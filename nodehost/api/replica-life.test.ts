/** Replicas of real hosts on virtual time: faults stay where they are, stops wait, removed ones leave, many live. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Logger, silentLogger } from "../../shared/env/env.js";
import { KV, kvPut, SHARD, SimCluster } from "../../test/hosts/sim-cluster.js";
import { type App, type EngineListeners, noOpSession, type StateMachine } from "../index.js";

/** A memory machine of which a test replaces what it needs. */
function machineApp(name: string, make: () => Partial<StateMachine>): App {
  const create = (): StateMachine => ({
    update: () => ({ value: 1 }),
    lookup: () => undefined,
    saveSnapshot: async () => {},
    recoverFromSnapshot: async () => {},
    close: () => {},
    ...make(),
  });
  return { name, kind: "memory", create };
}

test("a machine that throws fences its replica, on every host alike; all else goes on (P40)", async () => {
  const faults: string[] = [];
  const listeners: EngineListeners = { replicaFaulted: (shard, _replica, fault) => faults.push(`${shard} ${fault}`) };
  const cluster = await SimCluster.open({ hostOptions: () => ({ listeners }) }, 3);
  const { world } = cluster;
  const update = (): never => {
    throw new Error("poisoned");
  };
  await cluster.startKv(
    3,
    {},
    2,
    machineApp("bad", () => ({ update })),
  );
  const at = await cluster.leader(2);
  const host = cluster.host(at);
  const request = host.propose(noOpSession(2), new Uint8Array([1]));
  const { code, error } = await world.until(request.completed);
  assert.deepEqual([code, error?.code, error?.outcome], ["terminated", "DL_ERR_REPLICA_FENCED", "unknown"]);
  await world.when("all have met the entry", () => faults.length === 3);
  assert.equal(new Set(faults).size, 1, "the same fault everywhere: a poisoned entry, not a broken host");
  assert.match(faults[0] ?? "", /poisoned/);
  assert.match(host.getShardInfo(2).fault, /poisoned/);
  assert.equal(
    (await host.propose(noOpSession(2), new Uint8Array([1])).completed).error?.code,
    "DL_ERR_REPLICA_FENCED",
  );
  assert.throws(() => host.staleRead(2, undefined), { code: "DL_ERR_REPLICA_FENCED" });
  await cluster.put(at, "a", "1");
  assert.equal(await cluster.get((at + 1) % 3, "a"), "1");
  await world.until(host.stopReplica(2, at + 1));
  await cluster.close();
});

test("an update that takes long does not keep another shard from working (P53)", async () => {
  const cluster = await SimCluster.open({}, 3);
  const { world, env } = cluster;
  const waits: (() => void)[] = [];
  const update = (): Promise<{ value: number }> =>
    new Promise((resolve) => {
      waits.push(() => resolve({ value: 7 }));
    });
  await cluster.startKv(
    3,
    {},
    2,
    machineApp("slow", () => ({ update })),
  );
  const at = await cluster.leader(2);
  const slow = cluster.host(at).propose(noOpSession(2), new Uint8Array([1]), { timeoutMs: 30_000 });
  await world.when("all update", () => waits.length === 3);
  for (let i = 0; i < 20; i++) await cluster.put(at, "a", `${i}`);
  assert.equal(await cluster.get(at, "a"), "19");
  assert.equal(slow.settled, false);
  env.timers.after(1, () => {
    for (const end of waits.splice(0)) end();
  });
  assert.equal((await world.until(slow.completed)).result?.value, 7);
  await cluster.close();
});

test("stopReplica waits for the update in flight, and the machine is closed after it", async () => {
  const cluster = await SimCluster.open({ hosts: 1 });
  const { world } = cluster;
  const order: string[] = [];
  let end = (): void => {};
  const make = (): Partial<StateMachine> => ({
    update: () =>
      new Promise((resolve) => {
        end = () => {
          order.push("updated");
          resolve({ value: 1 });
        };
      }),
    close: () => {
      order.push("closed");
    },
  });
  await cluster.startKv(1, {}, 2, machineApp("slow", make));
  await cluster.leader(2);
  const request = cluster.host(0).propose(noOpSession(2), new Uint8Array([1]));
  await world.run(100);
  const stopping = cluster
    .host(0)
    .stopReplica(2, 1)
    .then(() => order.push("stopped"));
  await world.run(100);
  assert.deepEqual(order, []);
  assert.equal(request.outcome?.code, "terminated", "its caller need not wait");
  assert.equal(request.outcome?.error?.outcome, "unknown");
  end();
  await world.until(stopping);
  assert.deepEqual(order, ["updated", "closed", "stopped"]);
  await cluster.close();
});

test("a start that fails closes the machine it was given, and leaves nothing behind", async () => {
  const cluster = await SimCluster.open({ hosts: 1 });
  let closed = 0;
  const close = (): void => {
    closed += 1;
  };
  const app = machineApp("app", () => ({ close }));
  const host = cluster.host(0);
  await assert.rejects(host.startApp(new Map(), false, app, { shardId: 3, replicaId: 1 }));
  assert.equal(closed, 1);
  const failing: App = {
    ...app,
    create: () => {
      throw new Error("cannot be made");
    },
  } as App;
  await assert.rejects(
    host.startApp(cluster.members(1), false, failing, { shardId: 3, replicaId: 1 }),
    /cannot be made/,
  );
  assert.equal(host.hasNodeInfo(3, 1), false);
  await cluster.close();
});

test("a removed replica stops serving, says so, and keeps telling its peers until they can elect", async () => {
  const faults: string[] = [];
  const listeners: EngineListeners = { replicaFaulted: (_shard, replica, fault) => faults.push(`${replica} ${fault}`) };
  const cluster = await SimCluster.open({ hostOptions: () => ({ listeners }) }, 3);
  const { world } = cluster;
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  const host = cluster.host(at);
  const open = host.readIndex(SHARD);
  await world.until(open.completed);
  // The leader removes itself: the hardest case (P14).
  await world.until(host.syncRequestDeleteReplica(SHARD, at + 1, 0));
  await world.when("it has left", () => faults.length === 1);
  assert.deepEqual(faults, [`${at + 1} removed`]);
  assert.throws(() => host.readLocalNode(open, new Uint8Array(0)), { code: "DL_ERR_REPLICA_REMOVED" });
  assert.throws(() => host.getLeaderId(SHARD), { code: "DL_ERR_REPLICA_REMOVED" });
  const refused = await host.propose(noOpSession(SHARD), kvPut("a", "2")).completed;
  assert.deepEqual([refused.error?.code, refused.error?.outcome], ["DL_ERR_REPLICA_REMOVED", "rejected"]);
  assert.equal(host.getShardInfo(SHARD).fault, "removed");
  await world.when("another leader", () => ![-1, at].includes(cluster.leaderNow()), 5_000);
  const other = cluster.leaderNow();
  await cluster.put(other, "a", "3");
  const membership = await world.until(cluster.host(other).syncGetShardMembership(SHARD));
  assert.deepEqual([...membership.removed], [at + 1]);
  await world.until(host.stopReplica(SHARD, at + 1));
  await world.until(host.removeData(SHARD, at + 1));
  assert.equal(host.hasNodeInfo(SHARD, at + 1), false);
  const again = host.startApp(new Map(), true, KV, { shardId: SHARD, replicaId: at + 1 });
  await assert.rejects(again, { code: "DL_ERR_REPLICA_REMOVED" });
  await cluster.close();
});

test("data is removed only of a stopped replica; a start meanwhile is refused, the host lives (P58)", async () => {
  const cluster = await SimCluster.open({ hosts: 1 }, 1);
  const { world } = cluster;
  const host = cluster.host(0);
  await assert.rejects(host.removeData(SHARD, 1), { code: "DL_ERR_SHARD_NOT_STOPPED" });
  await world.until(host.stopReplica(SHARD, 1));
  const removing = host.removeData(SHARD, 1);
  const starting = host.startApp(new Map(), false, KV, { shardId: SHARD, replicaId: 1 });
  const [first, second] = await world.until(Promise.allSettled([removing, starting]));
  assert.deepEqual([first?.status, second?.status], ["fulfilled", "rejected"]);
  assert.deepEqual(cluster.machine(0).fatal, []);
  await cluster.close();
});

test("leaderUpdates: the current state first, then every change of leader; it ends with the host", async () => {
  const cluster = await SimCluster.open({}, 3);
  const { world } = cluster;
  const at = await cluster.leader();
  const watcher = (at + 1) % 3;
  await cluster.put(watcher, "a", "1");
  const updates = cluster.host(watcher).leaderUpdates(SHARD)[Symbol.asyncIterator]();
  const first = await updates.next();
  assert.deepEqual([first.value.leaderId, first.value.replicaId], [at + 1, watcher + 1]);
  cluster.crash(at);
  const { term } = first.value;
  let last = first.value;
  while (last.leaderId === 0 || last.term === term) last = (await world.until(updates.next())).value;
  assert.ok(last.leaderId !== at + 1 && last.term > term);
  const pending = updates.next();
  await cluster.close();
  assert.equal((await pending).done, true);
});

test("a wrong replica id stops nothing, and the leader is still told to who asks", async () => {
  const cluster = await SimCluster.open({ hosts: 1 }, 1);
  await cluster.put(0, "a", "1");
  const host = cluster.host(0);
  await assert.rejects(host.stopReplica(SHARD, 2), { code: "DL_ERR_SHARD_NOT_FOUND" });
  const { value } = await host.leaderUpdates(SHARD)[Symbol.asyncIterator]().next();
  assert.equal(value.leaderId, 1);
  await cluster.close();
});

test("two shards with other members on the same hosts do not mix", async () => {
  const cluster = await SimCluster.open({}, 3);
  const { world } = cluster;
  const members = new Map([
    [11, cluster.machine(0).address],
    [12, cluster.machine(2).address],
  ]);
  for (const [replicaId, number] of [
    [11, 0],
    [12, 2],
  ] as const) {
    await world.until(cluster.host(number).startApp(members, false, KV, { shardId: 2, replicaId }));
  }
  await cluster.put(0, "a", "one");
  await cluster.put(0, "a", "two", 2);
  assert.equal(await cluster.get(2, "a"), "one");
  assert.equal(await cluster.get(2, "a", 2), "two");
  assert.equal(
    (await cluster.host(1).propose(noOpSession(2), kvPut("a", "x")).completed).error?.code,
    "DL_ERR_SHARD_NOT_FOUND",
  );
  await world.until(cluster.host(0).stopReplica(2, 11));
  await cluster.put(0, "a", "three");
  await cluster.close();
});

test("200 shards on three hosts elect, serve and stop, and leave no timer behind", async () => {
  const shards = 200;
  const cluster = await SimCluster.open({ memoryLog: () => ({}) });
  const { world } = cluster;
  for (let shardId = 1; shardId <= shards; shardId++) await cluster.startKv(3, {}, shardId);
  const leads = (): number => {
    const infos = cluster.machines.flatMap(
      ({ host }) => host?.getNodeHostInfo({ skipLogInfo: true }).clusterInfo ?? [],
    );
    return new Set(infos.filter((info) => info.isLeader).map((info) => info.shardId)).size;
  };
  await world.when("every shard has a leader", () => leads() === shards, 20_000);
  const requests = Array.from({ length: shards }, (_, i) =>
    cluster.host(cluster.leaderNow(i + 1)).propose(noOpSession(i + 1), kvPut("a", `${i}`)),
  );
  const results = await world.until(Promise.all(requests.map((request) => request.completed)));
  assert.deepEqual(new Set(results.map(({ code }) => code)), new Set(["completed"]));
  for (let shardId = 1; shardId <= shards; shardId += 2) await world.until(cluster.host(1).stopShard(shardId));
  await cluster.close();
  await world.run(60_000);
  assert.equal(world.pendingTimers, 0);
});

test("a listener that throws is logged and harms nothing", async () => {
  const messages: string[] = [];
  const error = (_fields: object, message: string): void => {
    messages.push(message);
  };
  const bad = (): never => {
    throw new Error("of the application");
  };
  const listeners: EngineListeners = { leaderUpdated: bad, membershipChanged: bad, snapshotCreated: bad };
  const logger = (): Logger => ({ ...silentLogger, error });
  const cluster = await SimCluster.open({ hostOptions: () => ({ listeners }), logger }, 3);
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  await cluster.world.until(cluster.host(at).syncRequestSnapshot(SHARD));
  await cluster.world.until(cluster.host(at).syncRequestAddNonVoting(SHARD, 9, "h:1", 0));
  await cluster.put((at + 1) % 3, "b", "1");
  assert.ok(messages.length > 0 && messages.every((message) => message === "a listener threw"));
  await cluster.close();
});
