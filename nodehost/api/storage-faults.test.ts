/** Disks that fail, hang, fill up or slow down, beneath real hosts on virtual time: what stops, what goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../shared/limits.js";
import { APPS, KV, kvPut, SHARD, SimCluster } from "../../test/hosts/sim-cluster.js";
import { type NodeHost, noOpSession, OpError, type RequestResult } from "../index.js";
import { createMemoryLogDb } from "../logdb/memory-logdb.js";
import type { LogDb, Recovery } from "../logdb/port.js";
import type { PortFactories } from "./compose.js";

type Fault = "full" | "broken" | "stuck" | undefined;

/** Three hosts with a log in memory, whose faults the test sets. */
async function faulty(kv = 3) {
  const faults: Fault[] = [];
  const latency: number[] = [];
  const cluster = await SimCluster.open(
    { memoryLog: (host) => ({ fault: () => faults[host], latencyMs: () => latency[host] ?? 0.1 }) },
    kv,
  );
  return { cluster, faults, latency };
}

function settledCounts(results: readonly Promise<RequestResult>[]): { readonly codes: string[]; count: number } {
  const seen = { codes: [] as string[], count: 0 };
  for (const result of results) {
    void result.then(({ code }) => {
      seen.codes.push(code);
      seen.count += 1;
    });
  }
  return seen;
}

test("a failed write stops the host: sockets closed at once, open requests unknown, told once (P45)", async () => {
  const { cluster, faults } = await faulty();
  const { world, network } = cluster;
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  const host = cluster.host(at);
  const machine = cluster.machine(at);
  const session = noOpSession(SHARD);
  faults[at] = "broken";
  const requests = [host.propose(session, kvPut("a", "2")), host.propose(session, kvPut("a", "3"))];
  const read = host.readIndex(SHARD);
  const snapshot = host.requestSnapshot(SHARD);
  const seen = settledCounts([...requests, read, snapshot].map((request) => request.completed));
  await world.when("the host has failed", () => machine.fatal.length > 0);
  assert.equal(network.at(machine.address), undefined, "nobody answers there any more");
  const before = machine.transport?.stats().messagesReceived;
  await world.run(1_000);
  assert.equal(machine.transport?.stats().messagesReceived, before, "nothing reaches a host that has failed");
  assert.equal(machine.fatal.length, 1);
  assert.equal(seen.count, 4);
  for (const request of requests) assert.equal(request.outcome?.error?.outcome, "unknown");
  assert.equal((await host.propose(session, kvPut("a", "4")).completed).error?.outcome, "rejected");
  assert.throws(() => host.staleRead(SHARD, new Uint8Array(0)), { code: "DL_ERR_SHARD_CLOSED" });
  await assert.rejects(host.startApp(new Map(), true, KV, { shardId: 2, replicaId: 1 }), { code: "DL_ERR_CLOSED" });
  await world.until(host.close());
  await world.until(host.close());
  assert.equal(machine.fatal.length, 1);
  const others = [0, 1, 2].filter((i) => i !== at);
  machine.host = undefined;
  await world.when("another leader", () => others.includes(cluster.leaderNow()));
  await cluster.put(cluster.leaderNow(), "a", "5");
});

test("a write that never settles stops the host at its deadline (P46)", async () => {
  const { cluster, faults } = await faulty();
  const { world } = cluster;
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  faults[at] = "stuck";
  const startedMs = world.nowMs;
  const request = cluster.host(at).propose(noOpSession(SHARD), kvPut("a", "2"), { timeoutMs: 60_000 });
  const machine = cluster.machine(at);
  await world.when("the host has failed", () => machine.fatal.length > 0);
  const tookMs = world.nowMs - startedMs;
  assert.ok(tookMs >= LIMITS.walWriteDeadlineMs && tookMs < LIMITS.walWriteDeadlineMs + 500, `${tookMs} ms`);
  assert.equal(request.outcome?.error?.outcome, "unknown");
  await world.until(cluster.host(at).close());
});

test("close while a write hangs ends when the write is given up, and loses nothing it had promised", async () => {
  const { cluster, faults } = await faulty();
  const { world } = cluster;
  const at = await cluster.leader();
  faults[at] = "stuck";
  const request = cluster.host(at).propose(noOpSession(SHARD), kvPut("a", "2"), { timeoutMs: 60_000 });
  await world.run(20);
  await world.until(cluster.host(at).close());
  assert.equal(request.outcome?.error?.outcome, "unknown");
});

test("a start that is under way when the log fails is answered", async () => {
  const { cluster, faults } = await faulty(0);
  const { world } = cluster;
  faults[0] = "broken";
  const starting = cluster.host(0).startApp(cluster.members(1), false, KV, { shardId: 1, replicaId: 1 });
  await assert.rejects(world.until(starting));
  assert.equal(cluster.machine(0).fatal.length, 1);
  await world.until(cluster.host(0).close());
});

test("a full disk: writes are refused, reads go on, writes resume when there is space (P44)", async () => {
  const { cluster, faults } = await faulty();
  const { world } = cluster;
  const at = await cluster.leader();
  const host = cluster.host(at);
  await cluster.put(at, "a", "1");
  for (let i = 0; i < 3; i++) faults[i] = "full";
  const first = host.propose(noOpSession(SHARD), kvPut("a", "2"), { timeoutMs: 60_000 });
  await world.run(100);
  assert.equal(first.settled, false, "it waits: it may still become durable");
  for (let i = 0; i < 20; i++) {
    await world.run(7);
    const { error } = await host.propose(noOpSession(SHARD), kvPut("a", "3")).completed;
    assert.deepEqual([error?.code, error?.outcome], ["DL_ERR_DISK_FULL", "rejected"]);
  }
  assert.equal(await cluster.get(at, "a"), "1");
  await assert.rejects(host.startApp(new Map(), true, KV, { shardId: 9, replicaId: 1 }), { code: "DL_ERR_DISK_FULL" });
  assert.deepEqual(cluster.machine(at).fatal, []);
  for (let i = 0; i < 3; i++) faults[i] = undefined;
  assert.equal((await world.until(first.completed)).code, "completed");
  await cluster.put(at, "a", "4");
  assert.equal(await cluster.get((at + 1) % 3, "a"), "4");
  await cluster.close();
});

test("a host whose log is slow gives its leadership away, and serves on as a follower", async () => {
  const { cluster, latency } = await faulty();
  const { world } = cluster;
  const slow = await cluster.leader();
  await cluster.put(slow, "a", "1");
  // Election timeout is 10 ticks of 20 ms; half of it is 100 ms.
  latency[slow] = 150;
  void cluster.host(slow).propose(noOpSession(SHARD), kvPut("b", "1"), { timeoutMs: 5_000 }).completed;
  await world.when("another host leads", () => ![-1, slow].includes(cluster.leaderNow()));
  await cluster.put(cluster.leaderNow(), "a", "2");
  await world.run(2_000);
  assert.notEqual(cluster.leaderNow(), slow);
  assert.equal(await cluster.get(slow, "a"), "2");
  await cluster.close();
});

test("a host that failed comes back on its disk with everything it had acknowledged", async () => {
  const { cluster, faults } = await faulty();
  const { world } = cluster;
  const at = await cluster.leader();
  for (let i = 0; i < 10; i++) await cluster.put(at, `k${i}`, `v${i}`);
  for (let i = 0; i < 3; i++) faults[i] = "broken";
  void cluster.host(at).propose(noOpSession(SHARD), kvPut("x", "y"), { timeoutMs: 100 }).completed;
  await world.when("the leader has failed", () => cluster.machine(at).fatal.length > 0);
  for (let i = 0; i < 3; i++) {
    faults[i] = undefined;
    cluster.crash(i);
  }
  for (let i = 0; i < 3; i++) {
    const host: NodeHost = await world.until(cluster.openHost(i));
    await world.until(host.restartReplica(SHARD, i + 1, APPS));
  }
  for (let i = 0; i < 10; i++) assert.equal(await cluster.get(i % 3, `k${i}`), `v${i}`);
  await cluster.close();
});

test("errors of refused starts are OpErrors that name what is wrong", async () => {
  const { cluster } = await faulty(0);
  const bad = new Map([[1, "no address"]]);
  await assert.rejects(cluster.host(0).startApp(bad, false, KV, { shardId: 1, replicaId: 1 }), (error) => {
    assert.ok(error instanceof OpError && error.code === "DL_ERR_INVALID_TARGET");
    return true;
  });
  await cluster.close();
});

test("where the log lost records, no replica is taken for one that never ran there (P49)", async () => {
  const cluster = await SimCluster.open({ hosts: 1 });
  const { world } = cluster;
  await cluster.startKv(1);
  await world.until(cluster.host(0).close());
  const memory = createMemoryLogDb();
  const recovery = (): Recovery => ({ ...memory.recovery(), incomplete: "segment 3 is gone" });
  const lossy: LogDb = Object.create(memory, {
    recovery: { value: recovery },
    state: { value: memory.state.bind(memory) },
    list: { value: memory.list.bind(memory) },
    close: { value: memory.close.bind(memory) },
    durableSequence: { value: () => 0 },
  });
  const machine = cluster.machine(0);
  const factories: PortFactories = {
    lock: async () => ({ release: async () => {} }),
    transport: (setup) => cluster.network.createTransport(setup),
    logDb: async () => lossy,
  };
  const host = await world.until(cluster.openHost(0, { factories }));
  for (const join of [false, true]) {
    const members = join ? new Map<number, string>() : cluster.members(1);
    const starting = host.startApp(members, join, KV, { shardId: SHARD, replicaId: 1 });
    await assert.rejects(world.until(starting), { code: "DL_ERR_DATA_LOST" });
  }
  assert.deepEqual(machine.fatal, []);
  await world.until(host.close());
});
