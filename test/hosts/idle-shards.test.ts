/**
 * Ten thousand shards on each of three hosts, on virtual time with the real engine: what they cost at rest is a matter
 * of hosts and not of shards, and a dead host's shards are led again within seconds. The log is in memory: it is not
 * what is looked at here, and the simulated disks of 30,000 replicas would take most of the time.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { EngineStats, ReplicaConfig } from "../../nodehost/index.js";
import type { App, StateMachine } from "../../nodehost/rsm/index.js";
import { SimCluster } from "./sim-cluster.js";

const SHARDS = 10_000;
const HOSTS = [0, 1, 2];
const RTT_MS = 50;
/** Few heartbeats and an early rest, so that the way there is short. */
const CONFIG: Partial<ReplicaConfig> = { electionTicks: 20, heartbeatTicks: 8, quiesceTicks: 24 };
const PULSES_PER_SECOND = 5;

/** Holds nothing: what is measured is the engine. */
const EMPTY: App = {
  name: "empty",
  kind: "memory",
  create: (): StateMachine => ({
    update: () => ({ value: 0 }),
    lookup: () => 0,
    saveSnapshot: async () => {},
    recoverFromSnapshot: async () => {},
    close: async () => {},
  }),
};

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

async function start(cluster: SimCluster): Promise<void> {
  const members = cluster.members(3);
  const starts: Promise<void>[] = [];
  for (let shardId = 1; shardId <= SHARDS; shardId++) {
    for (const host of HOSTS) {
      starts.push(cluster.host(host).startApp(members, false, EMPTY, { ...CONFIG, shardId, replicaId: host + 1 }));
    }
  }
  await cluster.world.until(Promise.all(starts));
}

/** Shards of which one of `hosts` follows, or is, the leader on one of them. */
function ledBy(cluster: SimCluster, hosts: readonly number[]): Map<number, number> {
  const leaders = new Map<number, number>();
  for (const host of hosts) {
    for (let shardId = 1; shardId <= SHARDS; shardId++) {
      if (cluster.host(host).getLeaderId(shardId)?.leaderId === host + 1) leaders.set(shardId, host);
    }
  }
  return leaders;
}

function statsOf(cluster: SimCluster): EngineStats[] {
  return HOSTS.map((host) => cluster.host(host).engineStats());
}

test("10,000 idle shards cost nothing; a dead host's are led again in under 5 s", { timeout: 300_000 }, async (t) => {
  const cluster = await SimCluster.open({ rttMs: RTT_MS, memoryLog: () => ({}) });
  const { world } = cluster;
  const emptyBytes = heapBytes();
  await start(cluster);
  await world.when("all rest", () => statsOf(cluster).every(({ resting }) => resting === SHARDS), 20_000);
  await world.run(1_000);
  t.diagnostic(`${Math.round((heapBytes() - emptyBytes) / 3 / SHARDS)} bytes of heap per idle replica`);

  const seconds = 60;
  const before = statsOf(cluster);
  const cpu = process.cpuUsage();
  await world.run(seconds * 1_000);
  const { user, system } = process.cpuUsage(cpu);
  t.diagnostic(`${((user + system) / seconds / 1_000 / 3).toFixed(2)} ms of CPU per host and second at rest`);
  for (const [host, after] of statsOf(cluster).entries()) {
    assert.equal(after.resting, SHARDS);
    assert.equal(after.steps, before[host]?.steps, "no replica had a part in any turn");
    const turns = after.turns - (before[host]?.turns ?? 0);
    assert.ok(turns <= 2 * PULSES_PER_SECOND * seconds + 5, `${turns} turns: one per pulse of each of two hosts`);
    assert.equal(after.ticks - (before[host]?.ticks ?? 0), (seconds * 1_000) / RTT_MS);
  }

  const led = ledBy(cluster, HOSTS);
  const lost = [...led].filter(([, host]) => host === 0).map(([shardId]) => shardId);
  assert.equal(led.size, SHARDS);
  assert.ok(lost.length > SHARDS / 4, `host 0 leads ${lost.length}`);
  cluster.crash(0);
  const diedMs = world.nowMs;
  let now = ledBy(cluster, [1, 2]);
  while (now.size < SHARDS && world.nowMs - diedMs < 5_000) {
    await world.run(100);
    now = ledBy(cluster, [1, 2]);
  }
  t.diagnostic(`${lost.length} shards led again ${world.nowMs - diedMs} ms after the death of their leader's host`);
  assert.equal(now.size, SHARDS, "in under 5 s");
  for (const [shardId, host] of led) if (host !== 0) assert.equal(now.get(shardId), host, "nobody else is disturbed");
  const taken = lost.filter((shardId) => now.get(shardId) === 1).length;
  assert.ok(taken > lost.length / 4 && taken < (3 * lost.length) / 4, `host 1 takes ${taken} of ${lost.length}`);
  await cluster.close();
  const { user: all, system: kernel } = process.cpuUsage();
  t.diagnostic(`${((all + kernel) / 1e6).toFixed(1)} s of CPU in all`);
});
