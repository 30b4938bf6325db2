/** Witnesses over whole hosts on virtual time: what they are good for, what they refuse, how they start and restart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EntryType, entriesOf } from "../../shared/codec/block.js";
import { KV, kvPut, SHARD, SimCluster } from "../../test/hosts/sim-cluster.js";
import { noOpSession, OpError, type ReplicaConfig } from "../index.js";

const WITNESS = 3;
const config: ReplicaConfig = { shardId: SHARD, replicaId: WITNESS, isWitness: true };

function code(expected: string, text = /./): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === expected && text.test(error.message);
}

/** Voters 1 and 2 on hosts 0 and 1, witness 3 on host 2. All restart by themselves when their host opens again. */
async function twoAndOne(
  voters: Partial<ReplicaConfig> = {},
  witness: Partial<ReplicaConfig> = {},
): Promise<SimCluster> {
  const cluster = await SimCluster.open({ hosts: 3, hostOptions: () => ({ apps: [KV] }) });
  await cluster.startKv(2, voters);
  const at = await cluster.leader();
  await cluster.put(at, "first", "1");
  const { address } = cluster.machine(2);
  await cluster.world.until(cluster.host(at).syncRequestAddWitness(SHARD, WITNESS, address, 0));
  await cluster.world.until(cluster.host(2).startReplica(new Map(), true, undefined, { ...config, ...witness }));
  await inSync(cluster);
  return cluster;
}

/** Every host that is open has the leader's last entry durable, committed and applied. */
async function inSync(cluster: SimCluster): Promise<void> {
  await cluster.world.when("all in sync", () => {
    const at = cluster.leaderNow();
    if (at === -1) return false;
    const { lastIndex } = cluster.host(at).stats(SHARD);
    return cluster.machines.every(({ host }) => {
      const stats = host?.stats(SHARD);
      return stats === undefined || (stats.appliedIndex === lastIndex && stats.durableIndex === lastIndex);
    });
  });
}

test("a two-voter-one-witness shard survives the loss of any one member while both voters are in sync", async () => {
  const cluster = await twoAndOne();
  for (const [round, lost] of [0, 1, 2].entries()) {
    await inSync(cluster);
    cluster.crash(lost);
    const through = await cluster.leader();
    for (let i = 0; i < 5; i++) await cluster.put(through, `k${round}-${i}`, `v${i}`);
    assert.equal(await cluster.get(through, `k${round}-4`), "v4");
    assert.equal(await cluster.get(through, "first"), "1");
    await cluster.world.until(cluster.openHost(lost));
  }
  await inSync(cluster);
  for (const through of [0, 1]) {
    for (const round of [0, 1, 2]) assert.equal(await cluster.get(through, `k${round}-0`), "v0");
  }
  await cluster.close();
});

test("with B lagging and A lost it refuses rather than loses, and says why", async () => {
  const cluster = await twoAndOne();
  const { world, network } = cluster;
  const a = await cluster.leader();
  const b = 1 - a;
  const at = (number: number): string => cluster.machine(number).address;
  network.partition([at(b)], [at(a), at(2)]);
  for (let i = 0; i < 5; i++) await cluster.put(a, `only${i}`, "on A");
  const { lastIndex } = cluster.host(a).stats(SHARD);
  cluster.crash(a);
  network.heal();
  for (let i = 0; i < 20; i++) {
    await world.run(500);
    assert.equal(cluster.leaderNow(), -1);
  }
  const why = `replica 3 refuses its vote, its log ends at index ${lastIndex} of term`;
  const stats = cluster.host(b).stats(SHARD);
  assert.ok(stats.waiting.startsWith(why), stats.waiting);
  assert.match(stats.waiting, new RegExp(`this one at ${stats.lastIndex} of term`));
  assert.equal(cluster.host(b).getNodeHostInfo().clusterInfo[0]?.waiting, stats.waiting);
  const refused = code("DL_ERR_SHARD_NOT_READY");
  await assert.rejects(world.until(cluster.host(b).syncPropose(noOpSession(SHARD), kvPut("x", "y"))), refused);
  await world.until(cluster.openHost(a));
  await cluster.leader();
  for (const number of [a, b]) assert.equal(await cluster.get(number, "only4"), "on A");
  assert.equal(cluster.host(b).stats(SHARD).waiting, "");
  await cluster.close();
});

test("P23: a witness host refuses data, and passes membership changes on", async () => {
  const cluster = await twoAndOne();
  const { world } = cluster;
  const witness = cluster.host(2);
  const refused = code("DL_ERR_WITNESS");
  await assert.rejects(world.until(witness.syncPropose(noOpSession(SHARD), kvPut("a", "b"))), refused);
  await assert.rejects(world.until(witness.syncRead(SHARD, new Uint8Array(0))), refused);
  await assert.rejects(world.until(witness.syncGetSession(SHARD)), refused);
  await assert.rejects(world.until(witness.barrier(SHARD)), refused);
  await assert.rejects(world.until(witness.syncGetShardMembership(SHARD)), refused);
  assert.throws(() => witness.staleRead(SHARD, new Uint8Array(0)), refused);
  await assert.rejects(world.until(witness.syncRequestLeaderTransfer(SHARD, 1)), code("DL_ERR_NOT_LEADER"));
  const leader = cluster.host(await cluster.leader());
  await assert.rejects(world.until(leader.syncRequestLeaderTransfer(SHARD, WITNESS)), code("DL_ERR_INVALID_TARGET"));
  await world.until(witness.syncRequestAddNonVoting(SHARD, 9, "host-9.sim:7500", 0));
  assert.ok(leader.getShardInfo(SHARD).membership?.nonVotings.has(9));
  await world.until(witness.syncRequestDeleteReplica(SHARD, 9, 0));
  await cluster.close();
});

test("nobody becomes a witness and no witness anything else: refused when asked for, and when applied", async () => {
  const cluster = await twoAndOne();
  const { world } = cluster;
  const { address } = cluster.machine(2);
  for (const through of [0, 1, 2]) {
    const host = cluster.host(through);
    const add = host.syncRequestAddReplica(SHARD, WITNESS, address, 0);
    await assert.rejects(world.until(add), code("DL_ERR_REJECTED", /replica 3 is a witness member already/));
    const demote = host.syncRequestAddWitness(SHARD, 1, cluster.machine(0).address, 0);
    await assert.rejects(world.until(demote), code("DL_ERR_REJECTED", /replica 1 is a voter member already/));
  }
  const { membership } = cluster.host(0).getShardInfo(SHARD);
  assert.deepEqual([...(membership?.witnesses.keys() ?? [])], [WITNESS]);
  await cluster.close();
});

test("P23: what a witness stores has no command, session or state; it knows its role", async () => {
  const cluster = await twoAndOne();
  const session = await cluster.world.until(cluster.host(0).syncGetSession(SHARD));
  await cluster.world.until(cluster.host(0).syncPropose(session, kvPut("secret", "secret")));
  await inSync(cluster);
  const types = new Set<number>();
  const { logDb } = cluster.machine(2);
  const found = logDb?.state({ shardId: SHARD, replicaId: WITNESS });
  assert.ok(logDb !== undefined && found !== undefined);
  assert.deepEqual([found.bootstrap.kind, found.bootstrap.app, found.bootstrap.join], ["witness", "", true]);
  for (const block of await cluster.world.until(logDb.read(found, found.first, found.last, 1 << 20))) {
    assert.ok(!Buffer.from(block.bytes).includes("secret"));
    for (const entry of entriesOf(block)) types.add(entry.type);
  }
  assert.deepEqual(types, new Set([EntryType.ConfigChange, EntryType.Metadata]));
  const info = cluster.host(2).getNodeHostInfo().clusterInfo[0];
  assert.deepEqual([info?.role, info?.isLeader, info?.app, info?.stateHash], ["witness", false, "", ""]);
  const stats = cluster.host(0).stats(SHARD);
  assert.deepEqual([stats.voters, stats.witnesses], [2, 1]);
  await cluster.close();
});

test("P23: a witness behind the log gets a snapshot without state, makes its own, restarts from it", async () => {
  const often = { snapshotEntries: 20, compactionOverhead: 0 };
  const cluster = await twoAndOne(often, { snapshotEntries: 20 });
  const { world } = cluster;
  cluster.crash(2);
  for (let i = 0; i < 120; i++) await cluster.put(0, `k${i}`, "v");
  const sent = cluster.machine(2);
  await world.until(cluster.openHost(2));
  await inSync(cluster);
  const snapshotOf = () => sent.logDb?.state({ shardId: SHARD, replicaId: WITNESS })?.snapshot;
  const installed = snapshotOf();
  assert.ok(installed !== undefined && installed.index > 60, `snapshot ${installed?.index}`);
  assert.deepEqual([installed.sizeBytes, installed.directory], [0, ""]);
  for (let i = 0; i < 60; i++) await cluster.put(1, `m${i}`, "v");
  await inSync(cluster);
  const { firstIndex, lastIndex } = cluster.host(2).stats(SHARD);
  assert.ok(lastIndex - firstIndex < 40, `its log is ${firstIndex} to ${lastIndex}`);
  assert.equal(await world.until(cluster.host(2).syncRequestSnapshot(SHARD)), lastIndex);
  cluster.crash(2);
  await world.until(cluster.openHost(2));
  await inSync(cluster);
  assert.equal(snapshotOf()?.index, lastIndex);
  const leader = await cluster.leader();
  cluster.crash(1 - leader);
  await cluster.put(leader, "after", "1");
  await cluster.close();
});

test("a witness starts by joining or again, without a machine; anything else is a typed error", async () => {
  const cluster = await SimCluster.open({ hosts: 3 });
  const { world } = cluster;
  await cluster.startKv(2);
  const host = cluster.host(2);
  const none = new Map<number, string>();
  const start = (...args: Parameters<typeof host.startReplica>) => world.until(host.startReplica(...args));
  await assert.rejects(
    world.until(host.startApp(none, true, KV, config)),
    code("DL_ERR_INVALID_CONFIG", /isWitness is true, a machine of kind \w+ is given, expected none/),
  );
  await assert.rejects(
    start(none, true, undefined, { shardId: SHARD, replicaId: WITNESS }),
    code("DL_ERR_INVALID_CONFIG", /isWitness is false, no machine is given/),
  );
  await assert.rejects(
    start(none, true, undefined, { ...config, isNonVoting: true }),
    code("DL_ERR_INVALID_CONFIG", /isWitness and isNonVoting/),
  );
  await assert.rejects(
    start(new Map([[WITNESS, cluster.machine(2).address]]), false, undefined, config),
    code("DL_ERR_INVALID_ARGUMENT", /a witness is no initial member/),
  );
  await assert.rejects(start(none, false, undefined, config), code("DL_ERR_SHARD_NOT_BOOTSTRAPPED"));
  await start(none, true, undefined, config);
  await world.until(host.stopReplica(SHARD, WITNESS));
  await assert.rejects(
    world.until(host.startApp(none, true, KV, { shardId: SHARD, replicaId: WITNESS })),
    code("DL_ERR_BOOTSTRAP_MISMATCH", /first started as witness/),
  );
  await start(none, false, undefined, config);
  assert.equal(host.getNodeHostInfo().clusterInfo[0]?.role, "witness");
  await cluster.close();
});
