/**
 * On-disk machines in whole hosts, on virtual time: the forms of starting, restarts and power loss, catching up by a
 * stream, streams that are cut or late, limits, refusals, removal.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OpError } from "../../shared/errors.js";
import { readWhole } from "../../shared/files/port.js";
import { DiskKv, diskKvApp } from "../../test/hosts/disk-kv.js";
import { KV, kvPut, SHARD, SimCluster, type SimClusterOptions, type SimMachine } from "../../test/hosts/sim-cluster.js";
import type { EngineListeners } from "../engine/index.js";
import { type NodeHostOptions, noOpSession, Session } from "../index.js";
import type { App, OnDiskStateMachineFactory } from "../rsm/index.js";

const MACHINE = `/data/machines/${SHARD}-`;

interface Rig {
  readonly cluster: SimCluster;
  /** By host, the newest first. */
  readonly machines: DiskKv[][];
  readonly events: string[];
  app(number: number): App;
}

function listenersOf(number: number, events: string[]): EngineListeners {
  const note = (what: string, ...rest: readonly unknown[]): void =>
    void events.push(`${number}:${what} ${rest.join(" ")}`);
  return {
    snapshotSendStarted: (_s, _r, to) => note("start", to),
    snapshotSendCompleted: (_s, _r, to) => note("sent", to),
    snapshotSendAborted: (_s, _r, to) => note("aborted", to),
    snapshotReceived: () => note("received"),
    snapshotRecovered: () => note("recovered"),
    replicaFaulted: (_s, _r, fault) => note("fault", fault),
  };
}

/** Hosts whose app is on their own disk; a shard over the first `replicas` of them. */
async function opened(
  replicas: number,
  options: SimClusterOptions & { readonly host?: (machine: SimMachine) => Partial<NodeHostOptions> } = {},
): Promise<Rig> {
  const events: string[] = [];
  const machines: DiskKv[][] = [];
  const apps = new Map<number, App>();
  const app = (number: number): App => {
    const known = apps.get(number);
    if (known === undefined) throw new Error(`no host ${number}`);
    return known;
  };
  const cluster = await SimCluster.open({
    ...options,
    hostOptions: (machine) => {
      const made: DiskKv[] = [];
      machines[machine.number] ??= made;
      const list = machines[machine.number] ?? made;
      const own = apps.get(machine.number) ?? diskKvApp(machine.disk, (m) => list.unshift(m));
      apps.set(machine.number, own);
      return { apps: [own], listeners: listenersOf(machine.number, events), ...options.host?.(machine) };
    },
  });
  const rig = { cluster, machines, events, app };
  const members = cluster.members(replicas);
  for (let i = 0; i < replicas; i++) await start(rig, i, members);
  return rig;
}

function start({ cluster, app }: Rig, number: number, members: ReadonlyMap<number, string>, join = false) {
  const config = { shardId: SHARD, replicaId: number + 1, snapshotEntries: 0 };
  return cluster.world.until(cluster.host(number).startApp(members, join, app(number), config));
}

/** Puts k0 … k<count - 1>, each of about `bytes`. */
async function fill({ cluster }: Rig, count: number, bytes = 10): Promise<void> {
  const at = await cluster.leader();
  for (let i = 0; i < count; i++) await cluster.put(at, `k${i}`, `${i}:${"x".repeat(bytes)}`);
}

async function equalStates({ cluster }: Rig, numbers: readonly number[]): Promise<void> {
  const hashes = (): Set<string> => new Set(numbers.map((n) => cluster.host(n).getShardInfo(SHARD).stateHash));
  await cluster.world.when("equal states", () => hashes().size === 1 && !hashes().has(""), 20_000);
}

/** Makes the leader forget its log, so that who lacks entries needs a snapshot. */
async function compact({ cluster }: Rig, number: number): Promise<void> {
  await cluster.world.until(cluster.host(number).syncRequestSnapshot(SHARD, { compactionOverhead: 0 }));
}

test("power loss: a replica goes on from what its machine holds, and nothing is applied twice", async () => {
  const rig = await opened(3);
  const { cluster, machines } = rig;
  const { world } = cluster;
  await fill(rig, 10);
  for (const number of [0, 1, 2]) await compact(rig, number);
  await fill(rig, 20);
  // One machine is ahead of its snapshot, the others are not.
  await world.until(machines[1]?.[0]?.sync() ?? Promise.reject(new Error("no machine")));
  for (const number of [0, 1, 2]) cluster.crash(number);
  // Each host finds its replica by itself: the app is registered.
  await Promise.all([0, 1, 2].map((number) => world.until(cluster.openHost(number))));
  await equalStates(rig, [0, 1, 2]);
  assert.equal(await cluster.get(await cluster.leader(), "k19"), `19:${"x".repeat(10)}`);
  for (const [machine] of machines) {
    assert.ok(machine !== undefined && machine.openedAt > 10);
    assert.ok(machine.updates.every((index) => index > machine.openedAt));
  }
  await cluster.close();
});

test("the three forms of starting; another kind or no record is refused as for other machines", async () => {
  const rig = await opened(1);
  const { cluster } = rig;
  const { world } = cluster;
  const host = cluster.host(0);
  await fill(rig, 3);
  await world.until(host.stopReplica(SHARD, 1));
  const places: string[] = [];
  const create: OnDiskStateMachineFactory = (_shard, _replica, { dataDir }) => {
    places.push(dataDir);
    return new DiskKv(cluster.machine(0).disk, dataDir);
  };
  const config = { shardId: SHARD, replicaId: 1 };
  const other = host.startApp(new Map(), false, KV, config);
  await assert.rejects(world.until(other), { code: "DL_ERR_BOOTSTRAP_MISMATCH" });
  await world.until(host.startOnDiskReplica(new Map(), false, create, config));
  assert.equal(await cluster.get(0, "k2"), `2:${"x".repeat(10)}`);
  const unknown = host.startOnDiskReplica(new Map(), false, create, { shardId: 9, replicaId: 1 });
  await assert.rejects(world.until(unknown), { code: "DL_ERR_SHARD_NOT_BOOTSTRAPPED" });
  assert.deepEqual(places, [`${MACHINE}1`, "/data/machines/9-1"]);
  await cluster.close();
});

test("a new replica is brought up by a stream; no side keeps a big file", async () => {
  const rig = await opened(3, { hosts: 4 });
  const { cluster, events } = rig;
  const { world } = cluster;
  await fill(rig, 30, 30_000);
  const at = await cluster.leader();
  await compact(rig, at);
  await world.until(cluster.host(at).syncRequestAddNonVoting(SHARD, 4, cluster.machine(3).address, 0));
  await start(rig, 3, new Map(), true);
  await equalStates(rig, [0, 1, 2, 3]);
  assert.deepEqual(
    events.filter((event) => !event.includes("fault")),
    [`${at}:start 4`, "3:received ", `${at}:sent 4`, "3:recovered "],
  );
  for (const number of [at, 3]) {
    const directory = `/data/snapshots/${SHARD}-${number + 1}`;
    const { disk } = cluster.machine(number);
    for (const name of await world.until(disk.list(directory))) {
      const file = await world.until(readWhole(disk, `${directory}/${name}/snapshot.dls`));
      assert.ok(file.length < 1_000, `${name} of host ${number} has ${file.length} bytes`);
    }
  }
  // And it restarts from its own machine.
  cluster.crash(3);
  await world.until(cluster.openHost(3));
  await equalStates(rig, [0, 1, 2, 3]);
  assert.ok((rig.machines[3]?.[0]?.openedAt ?? 0) > 30);
  await cluster.close();
});

test("a stream that is cut is tried again, also while writes go on", async () => {
  const limits = { snapshotSendBytesPerSecond: 1_000_000 };
  const rig = await opened(3, { hosts: 4, host: () => ({ limits }) });
  const { cluster, events } = rig;
  const { world } = cluster;
  await fill(rig, 30, 60_000);
  const at = await cluster.leader();
  await compact(rig, at);
  await world.until(cluster.host(at).syncRequestAddNonVoting(SHARD, 4, cluster.machine(3).address, 0));
  await start(rig, 3, new Map(), true);
  await world.when("the stream runs", () => events.includes(`${at}:start 4`));
  await world.run(500);
  const others = [0, 1, 2].map((number) => cluster.machine(number).address);
  cluster.network.partition([cluster.machine(3).address], others);
  await world.when("it was cut", () => events.includes(`${at}:aborted 4`), 60_000);
  await fill(rig, 10);
  cluster.network.heal();
  await world.when("it arrived", () => events.includes("3:recovered "), 60_000);
  await equalStates(rig, [0, 1, 2, 3]);
  const names = await world.until(cluster.machine(3).disk.list(`/data/snapshots/${SHARD}-4`));
  assert.deepEqual(
    names.filter((name) => name.includes(".")),
    [],
  );
  await cluster.close();
});

test("P67 a stream of a deposed leader is refused in the middle, and leaves nothing behind", async () => {
  const limits = { snapshotSendBytesPerSecond: 100_000 };
  const rig = await opened(3, { hosts: 4, host: () => ({ limits }) });
  const { cluster, events } = rig;
  const { world } = cluster;
  await fill(rig, 30, 60_000);
  const at = await cluster.leader();
  for (const number of [0, 1, 2]) await compact(rig, number);
  await world.until(cluster.host(at).syncRequestAddNonVoting(SHARD, 4, cluster.machine(3).address, 0));
  await start(rig, 3, new Map(), true);
  await world.when("the stream runs", () => events.includes(`${at}:start 4`));
  await world.run(2_000);
  const next = (at + 1) % 3;
  await world.until(cluster.host(at).syncRequestLeaderTransfer(SHARD, next + 1));
  await world.when("it was refused", () => events.includes(`${at}:aborted 4`), 10_000);
  assert.equal(events.includes("3:received "), false);
  await world.when("the new leader's arrived", () => events.includes("3:recovered "), 120_000);
  assert.ok(events.includes(`${next}:sent 4`));
  await equalStates(rig, [0, 1, 2, 3]);
  await cluster.close();
});

test("no snapshot is needed twice because the log was compacted while the first was on its way", async () => {
  const limits = { snapshotReceiveBytesPerSecond: 200_000 };
  const rig = await opened(3, { hosts: 4, host: () => ({ limits }) });
  const { cluster, events } = rig;
  const { world } = cluster;
  await fill(rig, 20, 60_000);
  const at = await cluster.leader();
  await compact(rig, at);
  await world.until(cluster.host(at).syncRequestAddNonVoting(SHARD, 4, cluster.machine(3).address, 0));
  await start(rig, 3, new Map(), true);
  await world.when("the stream runs", () => events.includes(`${at}:start 4`));
  for (let i = 0; i < 3; i++) {
    await fill(rig, 5);
    await compact(rig, at);
  }
  await equalStates(rig, [0, 1, 2, 3]);
  assert.equal(events.filter((event) => event === `${at}:start 4`).length, 1);
  await cluster.close();
});

for (const side of ["snapshotSendBytesPerSecond", "snapshotReceiveBytesPerSecond"] as const) {
  test(`${side} keeps a stream to its rate on virtual time`, async () => {
    const rate = 500_000;
    const rig = await opened(3, { hosts: 4, host: () => ({ limits: { [side]: rate } }) });
    const { cluster, events } = rig;
    const { world } = cluster;
    await fill(rig, 40, 60_000);
    const at = await cluster.leader();
    await compact(rig, at);
    await world.until(cluster.host(at).syncRequestAddNonVoting(SHARD, 4, cluster.machine(3).address, 0));
    await start(rig, 3, new Map(), true);
    await world.when("the stream began", () => events.includes(`${at}:start 4`));
    const startMs = world.nowMs;
    await world.when("it arrived", () => events.includes("3:received "), 60_000);
    const seconds = (world.nowMs - startMs) / 1000;
    const expected = (40 * 60_000 - 262_144) / rate;
    assert.ok(seconds >= expected * 0.95 && seconds < expected * 1.5, `${seconds} s, expected about ${expected}`);
    await cluster.close();
  });
}

test("a rate that would stall a stream is refused, 0 means no limit", async () => {
  const cluster = new SimCluster({ hosts: 1 });
  const wrong = cluster.openHost(0, { limits: { snapshotSendBytesPerSecond: 1000 } });
  await assert.rejects(cluster.world.until(wrong), { code: "DL_ERR_INVALID_CONFIG" });
  await cluster.world.until(cluster.openHost(0, { limits: { snapshotReceiveBytesPerSecond: 0 } }));
  await cluster.close();
});

test("a machine of another life does not run and is reported as damaged; others go on", async () => {
  const rig = await opened(3);
  const { cluster } = rig;
  const { world } = cluster;
  await fill(rig, 10);
  for (const number of [0, 1, 2]) await compact(rig, number);
  await fill(rig, 5);
  const [behind, ahead, other] = [0, 1, 2];
  for (const number of [behind, ahead]) cluster.crash(number);
  await world.until(cluster.machine(behind).disk.remove(`${MACHINE}1`));
  const machine = new DiskKv(cluster.machine(ahead).disk, `${MACHINE}2`);
  await world.until(machine.open());
  machine.update([{ index: 1_000, cmd: kvPut("k", "not of this log") }]);
  await world.until(machine.sync());
  for (const number of [behind, ahead]) await world.until(cluster.openHost(number));
  const faultOf = (number: number): string | undefined =>
    cluster
      .host(number)
      .getNodeHostInfo()
      .clusterInfo.find((info) => info.shardId === SHARD)?.fault;
  assert.match(faultOf(behind) ?? "", /^damaged: .*lost entries.*it is at 0/);
  assert.match(faultOf(ahead) ?? "", /^damaged: .*does not fit.*it is at 1000/);
  assert.equal(faultOf(other), "");
  const again = cluster.host(behind).startApp(new Map(), false, rig.app(behind), { shardId: SHARD, replicaId: 1 });
  await assert.rejects(world.until(again), { code: "DL_ERR_MACHINE_BEHIND" });
  await cluster.close();
});

test("removal of the data takes the machine's directory along, also over a crash in the middle", async () => {
  const rig = await opened(1);
  const { cluster } = rig;
  const { world } = cluster;
  const { disk } = cluster.machine(0);
  await fill(rig, 3);
  await world.until(cluster.host(0).stopReplica(SHARD, 1));
  assert.equal(await world.until(disk.exists(`${MACHINE}1`)), true);
  disk.fault = ({ path }) => (path.startsWith(`${MACHINE}1`) ? "stuck" : undefined);
  const removing = cluster.host(0).removeData(SHARD, 1);
  removing.catch(() => {});
  await world.run(1_000);
  cluster.crash(0);
  assert.equal(await world.until(disk.exists(`${MACHINE}1`)), true);
  await world.until(cluster.openHost(0));
  assert.equal(await world.until(disk.exists(`${MACHINE}1`)), false);
  assert.equal(cluster.host(0).hasNodeInfo(SHARD, 1), false);
  await cluster.close();
});

test("a busy machine is synced from time to time without any snapshot, an idle one is not", async () => {
  const rig = await opened(1);
  const { cluster, machines } = rig;
  await fill(rig, 3);
  await cluster.world.run(200_000);
  assert.equal(machines[0]?.[0]?.syncs, 1);
  await cluster.world.run(1_000_000);
  assert.equal(machines[0]?.[0]?.syncs, 1);
  await cluster.close();
});

test("P36 a retry whose answer was lost in a crash is told so: applied, and not again", async () => {
  const rig = await opened(1);
  const { cluster } = rig;
  const { world } = cluster;
  await cluster.leader();
  const session = await world.until(cluster.host(0).syncGetSession(SHARD));
  await world.until(cluster.host(0).syncPropose(session, kvPut("a", "1")));
  await world.until(cluster.host(0).syncRequestSnapshot(SHARD));
  const { shardId, clientId, seriesId, respondedTo } = session;
  const copy = (): Session => Session.resume({ shardId, clientId, seriesId, respondedTo });
  // The snapshot has the answer, as long as it is the newest thing that has it.
  const kept = await world.until(cluster.host(0).syncPropose(copy(), kvPut("a", "1")));
  assert.equal(kept.value, 0);
  session.proposalCompleted();
  await world.until(cluster.host(0).syncPropose(session, kvPut("a", "2")));
  const [machine] = rig.machines[0] ?? [];
  await world.until(machine?.sync() ?? Promise.reject(new Error("no machine")));
  cluster.crash(0);
  await world.until(cluster.openHost(0));
  await cluster.leader();
  const late = Session.resume({ shardId, clientId, seriesId: seriesId + 1, respondedTo: seriesId });
  const lost = cluster.host(0).syncPropose(late, kvPut("a", "2"));
  await assert.rejects(world.until(lost), (error) => {
    return error instanceof OpError && error.code === "DL_ERR_SESSION_RESULT_LOST" && error.outcome === "applied";
  });
  assert.deepEqual(rig.machines[0]?.[0]?.updates, []);
  late.proposalCompleted();
  await world.until(cluster.host(0).syncPropose(late, kvPut("b", "3")));
  assert.equal(await cluster.get(0, "a"), "2");
  assert.equal(
    (await world.until(cluster.host(0).propose(noOpSession(SHARD), kvPut("c", "4")).completed)).code,
    "completed",
  );
  await cluster.close();
});
