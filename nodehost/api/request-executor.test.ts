/** Requests of masters: the fence comes first, each is done once, in order per shard, and nothing stale is obeyed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostAction, HostRequest, HostResult, RequestFence } from "../../shared/types/control.js";
import { APPS, KV, SHARD, SimCluster } from "../../test/hosts/sim-cluster.js";
import { RequestExecutor } from "./request-executor.js";

const SETTINGS = { electionTicks: 10, heartbeatTicks: 1, snapshotEntries: 0, compactionOverhead: 10 };

interface Rig {
  readonly cluster: SimCluster;
  readonly executor: RequestExecutor;
  /** Times that a request was carried out. */
  readonly done: { count: number };
  request(action: HostAction, change?: Partial<HostRequest>, fence?: Partial<RequestFence>): HostRequest;
  run(action: HostAction, change?: Partial<HostRequest>, fence?: Partial<RequestFence>): Promise<HostResult>;
  reopened(): Promise<RequestExecutor>;
}

async function rig(): Promise<Rig> {
  const cluster = await SimCluster.open({ hosts: 1 });
  const done = { count: 0 };
  const make = (): RequestExecutor => {
    const host = cluster.host(0);
    const files = cluster.machine(0).disk;
    const onDone = (): void => {
      done.count += 1;
    };
    return new RequestExecutor({
      host,
      identity: host.identity,
      apps: APPS,
      files,
      dataDir: "/data",
      env: cluster.env,
      onDone,
    });
  };
  const executor = make();
  await cluster.world.until(executor.open());
  let number = 0;
  const request: Rig["request"] = (action, change = {}, fence = {}) => {
    number += 1;
    const { hostId, dataSetId, deploymentId, incarnation } = cluster.host(0).identity;
    const good = {
      deploymentId,
      masterLineage: 1,
      masterTerm: 5,
      hostId,
      incarnation: incarnation.counter,
      dataSetId,
      ttlMs: 10_000,
    };
    const requestId = `request-${number}`;
    return { requestId, operationId: 1, shardId: SHARD, fence: { ...good, ...fence }, action, ...change };
  };
  return {
    cluster,
    executor,
    done,
    request,
    run: (...args) => cluster.world.until(executor.execute(request(...args))),
    reopened: async () => {
      const again = make();
      await cluster.world.until(again.open());
      return again;
    },
  };
}

function create(cluster: SimCluster, replicaId = 1): HostAction {
  const initial = new Map([[replicaId, cluster.machine(0).address]]);
  return { kind: "create", replicaId, app: KV.name, settings: SETTINGS, initial };
}

function replicaIds(cluster: SimCluster): number[] {
  return cluster
    .host(0)
    .getNodeHostInfo()
    .clusterInfo.map((info) => info.replicaId);
}

test("a life under a master: create, write, stop, restart, remove the data", async () => {
  const { cluster, run, done } = await rig();
  assert.deepEqual((await run(create(cluster))).code, "");
  await cluster.put(0, "a", "1");
  assert.equal((await run({ kind: "stop", replicaId: 1 })).ok, true);
  assert.deepEqual(replicaIds(cluster), []);
  assert.equal((await run({ kind: "restart", replicaId: 1 })).ok, true);
  assert.equal(await cluster.get(0, "a"), "1");
  assert.equal((await run({ kind: "removeData", replicaId: 1 })).ok, true);
  assert.equal(cluster.host(0).hasNodeInfo(SHARD, 1), false);
  assert.equal(done.count, 4);
  await cluster.close();
});

test("what is wanted twice is done once: the second create, restart, stop, removal changes nothing", async () => {
  const { cluster, run } = await rig();
  for (let i = 0; i < 2; i++) assert.equal((await run(create(cluster))).ok, true);
  await cluster.put(0, "a", "1");
  for (let i = 0; i < 2; i++) assert.equal((await run({ kind: "restart", replicaId: 1 })).ok, true);
  assert.equal(await cluster.get(0, "a"), "1");
  for (let i = 0; i < 2; i++) assert.equal((await run({ kind: "stop", replicaId: 1 })).ok, true);
  for (let i = 0; i < 2; i++) assert.equal((await run({ kind: "removeData", replicaId: 1 })).ok, true);
  await cluster.close();
});

test("the same request id is carried out once, also while it is under way, and answered the same (P57)", async () => {
  const { cluster, executor, request, done } = await rig();
  const order = request(create(cluster));
  const [first, second] = await cluster.world.until(Promise.all([executor.execute(order), executor.execute(order)]));
  assert.deepEqual(first, second);
  assert.equal(done.count, 1);
  await cluster.world.until(cluster.host(0).stopReplica(SHARD, 1));
  assert.deepEqual(await cluster.world.until(executor.execute(order)), first);
  assert.deepEqual(replicaIds(cluster), [], "answered, not done again");
  await cluster.close();
});

const FENCES: readonly (readonly [string, Partial<RequestFence>])[] = [
  ["another deployment", { deploymentId: 99 }],
  ["another host", { hostId: "00000000-0000-4000-8000-000000000009" }],
  ["another data set (a wiped disk)", { dataSetId: "00000000-0000-4000-8000-000000000009" }],
  ["an earlier start of this host", { incarnation: 0 }],
  ["a later start of this host", { incarnation: 2 }],
];

test("a request for another deployment, host, data set or start is refused and changes nothing", async () => {
  const { cluster, run, executor } = await rig();
  for (const [name, fence] of FENCES) {
    const result = await run(create(cluster), {}, { ...fence, masterTerm: 77 });
    assert.deepEqual([result.ok, result.code], [false, "DL_ERR_FENCED"], name);
  }
  assert.deepEqual(replicaIds(cluster), []);
  assert.equal(executor.highestMasterTerm, 0, "nor is its term believed");
  await cluster.close();
});

test("an older master is refused for ever, by term and by lineage, also after a restart (P63)", async () => {
  const { cluster, run, reopened, request } = await rig();
  assert.equal((await run({ kind: "stop", replicaId: 1 }, {}, { masterTerm: 8 })).ok, true);
  assert.equal((await run(create(cluster), {}, { masterTerm: 7 })).code, "DL_ERR_FENCED");
  assert.equal((await run({ kind: "stop", replicaId: 1 }, {}, { masterTerm: 8 })).ok, true);
  assert.equal((await run({ kind: "stop", replicaId: 1 }, {}, { masterLineage: 2, masterTerm: 1 })).ok, true);
  assert.equal((await run(create(cluster), {}, { masterLineage: 1, masterTerm: 99 })).code, "DL_ERR_FENCED");
  cluster.machine(0).disk.crash(() => 0.99);
  const again = await reopened();
  assert.equal(again.highestMasterTerm, 1);
  const late = await cluster.world.until(
    again.execute(request(create(cluster), {}, { masterLineage: 1, masterTerm: 99 })),
  );
  assert.equal(late.code, "DL_ERR_FENCED");
});

test("a request is not begun when its time has passed while it waited for an earlier one", async () => {
  const { cluster, executor, request } = await rig();
  const blocked = executor.execute(
    request({ kind: "addNonVoting", replicaId: 9, target: "h:1", configChangeIndex: 0 }),
  );
  const late = executor.execute(request(create(cluster), {}, { ttlMs: 0 }));
  const other = executor.execute(request(create(cluster), { shardId: 2 }, { ttlMs: 0 }));
  const [, second, third] = await cluster.world.until(Promise.all([blocked, late, other]));
  assert.equal(second?.code, "DL_ERR_FENCED");
  assert.equal(third?.ok, true, "another shard does not wait");
  await cluster.close();
});

test("requests of one shard are carried out in order", async () => {
  const { cluster, executor, request } = await rig();
  const orders = [create(cluster), { kind: "stop", replicaId: 1 }, { kind: "removeData", replicaId: 1 }] as const;
  const results = await cluster.world.until(Promise.all(orders.map((action) => executor.execute(request(action)))));
  assert.deepEqual(
    results.map((result) => result.code),
    ["", "", ""],
  );
  assert.equal(cluster.host(0).hasNodeInfo(SHARD, 1), false);
  await cluster.close();
});

test("a create that arrives after the removal does not bring the replica back (P62)", async () => {
  const { cluster, run } = await rig();
  assert.equal((await run(create(cluster))).ok, true);
  assert.equal((await run({ kind: "removeData", replicaId: 1 })).ok, true);
  assert.equal((await run(create(cluster))).code, "DL_ERR_REPLICA_REMOVED");
  assert.deepEqual(replicaIds(cluster), []);
  await cluster.close();
});

test("no such app, no such replica, another replica of the shard: each refusal has its code", async () => {
  const { cluster, run } = await rig();
  const unknown = { ...create(cluster), app: "nothing" } as HostAction;
  assert.equal((await run(unknown)).code, "DL_ERR_APP_UNKNOWN");
  assert.equal((await run({ kind: "restart", replicaId: 1 })).code, "DL_ERR_SHARD_NOT_BOOTSTRAPPED");
  assert.equal((await run({ kind: "remove", replicaId: 1, configChangeIndex: 0 })).code, "DL_ERR_SHARD_NOT_FOUND");
  assert.equal((await run(create(cluster))).ok, true);
  assert.equal((await run(create(cluster, 2))).code, "DL_ERR_SHARD_ALREADY_EXISTS");
  assert.deepEqual(replicaIds(cluster), [1]);
  await cluster.close();
});

test("a membership step with an old config change index is refused, with the right one it is done (P65)", async () => {
  const { cluster, run } = await rig();
  assert.equal((await run(create(cluster))).ok, true);
  await cluster.put(0, "a", "1");
  const target = "00000000-0000-4000-8000-00000000000c";
  const { configChangeIndex } = cluster.host(0).getShardInfo(SHARD);
  const step = { kind: "addNonVoting", replicaId: 2, target } as const;
  assert.equal((await run({ ...step, configChangeIndex: configChangeIndex + 5 })).code, "DL_ERR_REJECTED");
  assert.equal((await run({ ...step, configChangeIndex })).ok, true);
  const membership = await cluster.world.until(cluster.host(0).syncGetShardMembership(SHARD));
  assert.deepEqual([...membership.nonVotings], [[2, target]]);
  await cluster.close();
});

test("what may succeed later is tried again under the same request id, what cannot is remembered", async () => {
  const { cluster, executor, request, done } = await rig();
  const disk = cluster.machine(0).disk;
  const order = request(create(cluster));
  disk.fault = ({ kind, path }) => (kind === "write" && path.includes("fence") ? "ENOSPC" : undefined);
  assert.equal((await cluster.world.until(executor.execute(order))).code, "DL_ERR_DISK_FULL");
  assert.deepEqual(replicaIds(cluster), [], "nothing is done for a master whose term is not durable");
  disk.fault = undefined;
  assert.equal((await cluster.world.until(executor.execute(order))).ok, true);
  assert.equal(done.count, 1);
  await cluster.close();
});

test("a fence file that cannot be read stops the start: an older master could be obeyed otherwise", async () => {
  const { cluster, reopened } = await rig();
  const { disk } = cluster.machine(0);
  for (const text of ["{", "null", '{"lineage":1}', '{"lineage":1,"term":-2}']) {
    const write = async (): Promise<void> => {
      await disk.remove("/data/fence.json");
      const handle = await disk.open("/data/fence.json", { create: true });
      await handle.write(Buffer.from(text), 0);
      await handle.close();
    };
    await cluster.world.until(write());
    await assert.rejects(reopened(), { code: "DL_ERR_LOGDB_CORRUPT" }, text);
  }
  await cluster.close();
});
