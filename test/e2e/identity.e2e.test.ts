/**
 * Directories of real hosts under masters: copied, replaced by an older copy, and wiped. What comes up on such a
 * directory is refused and shown; lost replicas are replaced under new ids at once, long before the host could count as
 * dead; nothing acknowledged is lost.
 */
import assert from "node:assert/strict";
import { cp, rm } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import type { Member } from "../../master/cli/demo-cluster.js";
import { awaitStrength, awaitWrites, checkAll, limitOf } from "./kit.js";
import { LoadedCluster } from "./kit-cluster.js";

/** Longer than a test may take. */
const DOWN_AFTER_MS = 300_000;

async function start(t: TestContext): Promise<LoadedCluster> {
  const plan = { limit: limitOf(t, 200_000), hosts: 5, shards: 3, downAfterMs: DOWN_AFTER_MS };
  const loaded = await LoadedCluster.start(t, plan);
  await awaitWrites(loaded.load, loaded.limit, 30);
  return loaded;
}

/** Replica of each shard on a host. */
async function replicasOn(loaded: LoadedCluster, host: Member): Promise<Map<number, number>> {
  const [info] = await loaded.views.infos([host.apiAddress]);
  return new Map(info?.clusterInfo.map(({ shardId, replicaId }) => [shardId, replicaId]));
}

async function awaitState(loaded: LoadedCluster, host: Member, state: string): Promise<string> {
  return await loaded.limit.until(`${host.name} is ${state}`, async () => {
    const row = (await loaded.cluster.control.hosts()).find(({ hostId }) => hostId === host.hostId);
    if (row?.state !== state) throw new Error(`it is ${row?.state}: ${row?.reason}`);
    return row.reason ?? "";
  });
}

async function awaitEvent(loaded: LoadedCluster, kind: string, host: Member): Promise<void> {
  await loaded.limit.until(`event ${kind}`, async () => {
    const events = await loaded.cluster.control.events();
    return events.some((event) => event.kind === kind && event.hostId === host.hostId);
  });
}

async function directoryFault(loaded: LoadedCluster, host: Member): Promise<string> {
  const [info] = await loaded.views.infos([host.apiAddress]);
  return info?.directoryFault ?? "";
}

async function awaitRefused(loaded: LoadedCluster, host: Member): Promise<void> {
  const isRefused = async (): Promise<boolean> => (await directoryFault(loaded, host)) !== "";
  await loaded.limit.until(`${host.name} says that its directory is refused`, isRefused);
  const fault = await directoryFault(loaded, host);
  assert.match(fault, /^DL_ERR_(HOST_CLONED|DATA_STALE): .*empty directory/);
}

/** No replica of `lost` is a member any more, and each shard has its voters elsewhere or under a new id. */
async function awaitReplaced(loaded: LoadedCluster, lost: ReadonlyMap<number, number>): Promise<void> {
  await loaded.limit.until("the lost replicas are replaced", async () => {
    const infos = await loaded.views.infos(loaded.addresses());
    for (const [shardId, replicaId] of lost) {
      const leader = infos.flatMap((info) => info.clusterInfo).find((r) => r.shardId === shardId && r.isLeader);
      if (leader?.membership?.voters.has(replicaId) !== false) throw new Error(`shard ${shardId} replica ${replicaId}`);
    }
    return true;
  });
  await awaitStrength(loaded.shardIds, loaded);
  await awaitWrites(loaded.load, loaded.limit, 20);
}

test("lost, old and copied directories of hosts under masters", async (t) => {
  const loaded = await start(t);
  const { cluster, limit, load } = loaded;
  const victim = await loaded.leadingHost();
  const copies = [`${victim.dataDir}.1`, `${victim.dataDir}.2`] as const;
  await victim.process.kill();
  for (const copy of copies) await cp(victim.dataDir, copy, { recursive: true });
  await cluster.restartHost(victim);
  loaded.followHosts();
  await awaitStrength(loaded.shardIds, loaded);
  await awaitWrites(load, limit, 30);
  const lost = await replicasOn(loaded, victim);

  await t.test("a second process on a copy is refused and shown, the first one serves on (P50)", async () => {
    const twin = await cluster.startHostOn(copies[0]);
    assert.equal(twin.hostId, victim.hostId);
    await awaitRefused(loaded, twin);
    await awaitEvent(loaded, "host.cloned", victim);
    await awaitWrites(load, limit, 30);
    assert.equal(await directoryFault(loaded, victim), "");
    assert.deepEqual(await replicasOn(loaded, victim), lost);
    await twin.process.kill();
  });

  await t.test("a host on an older copy is refused and shown, its replicas are replaced (P49)", async () => {
    await victim.process.kill();
    await rm(victim.dataDir, { recursive: true });
    await cp(copies[1], victim.dataDir, { recursive: true });
    await cluster.restartHost(victim);
    await awaitRefused(loaded, victim);
    loaded.followHosts();
    await awaitReplaced(loaded, lost);
    assert.match(await awaitState(loaded, victim, "refused"), /old copy|empty directory/);
    await awaitEvent(loaded, "host.refused", victim);
  });

  await t.test("a wiped host comes back under its id: its replicas are replaced under new ids (P49)", async () => {
    const wiped = await loaded.leadingHost();
    const gone = await replicasOn(loaded, wiped);
    const { hostId } = wiped;
    await wiped.process.kill();
    await rm(wiped.dataDir, { recursive: true });
    await cluster.restartHost(wiped, ["--host-id", hostId]);
    assert.equal(wiped.hostId, hostId);
    loaded.followHosts();
    await awaitReplaced(loaded, gone);
    await awaitEvent(loaded, "host.wiped", wiped);
    for (const [shardId, replicaId] of await replicasOn(loaded, wiped)) assert.notEqual(replicaId, gone.get(shardId));
  });

  await checkAll(loaded);
});
