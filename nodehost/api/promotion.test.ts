/** Hosts in one process, real log and sockets: non-voting members become voters when, and only when, they keep up. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Hosts, KV, SHARD } from "../../test/kit/hosts.js";
import { eventually } from "../../test/kit/wait.js";
import { type NodeHost, OpError, type PromotionStats, type ReplicaConfig } from "../index.js";

const LONG = { timeoutMs: 60_000 };
/** Long enough that a busy machine does not start elections of its own. */
const CONFIG = { electionTicks: 50, promotionMaxLagEntries: 20 };
const POLICY = { maxLagEntries: 10, rounds: 3, timeoutMs: 60_000 };

/** A shard over hosts 0 … 2; host 3 is open and runs nothing. */
async function started(t: TestContext, config: Partial<ReplicaConfig> = {}): Promise<[Hosts, NodeHost]> {
  const cluster = await Hosts.open(t, 4);
  await cluster.startKv(3, { ...CONFIG, ...config });
  const leader = cluster.host(await cluster.leader());
  await cluster.put(0, "warm", "up");
  return [cluster, leader];
}

function join(cluster: Hosts): Promise<void> {
  return cluster.host(3).startApp(new Map(), true, KV, { shardId: SHARD, replicaId: 4, ...CONFIG });
}

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === expected;
}

function promotion(host: NodeHost): PromotionStats | undefined {
  return host.stats(SHARD).promotions[0];
}

test("a member added with a policy becomes a voter by itself once it runs and keeps up", async (t) => {
  const [cluster, leader] = await started(t);
  const target = cluster.host(3).raftAddress;
  await leader.syncRequestAddNonVoting(SHARD, 4, target, 0, { ...LONG, autoPromote: POLICY });
  await eventually("the promotion begins", () => promotion(leader));
  assert.deepEqual(
    { ...promotion(leader), lagEntries: 0, remainingMs: 0 },
    { replicaId: 4, state: "catchingUp", goodRounds: 0, rounds: 3, maxLagEntries: 10, lagEntries: 0, remainingMs: 0 },
    "it does not run: nothing happens",
  );
  await join(cluster);
  await eventually("it is a voter", () => leader.stats(SHARD).voters === 4 || undefined);
  assert.deepEqual(leader.stats(SHARD).promotions, []);
  const { voters } = await cluster.host(3).syncGetShardMembership(SHARD, LONG);
  assert.equal(voters.get(4), target);
});

test("with a policy in the configuration a member is promoted by whoever leads", async (t) => {
  const [cluster, leader] = await started(t, { autoPromote: POLICY });
  await leader.syncRequestAddNonVoting(SHARD, 4, cluster.host(3).raftAddress, 0, LONG);
  const { leaderId } = await leader.syncRequestLeaderTransfer(SHARD, (leader.stats(SHARD).replicaId % 3) + 1, LONG);
  await join(cluster);
  await eventually("it is a voter", () => cluster.host(leaderId - 1).stats(SHARD).voters === 4 || undefined);
});

test("P21: a promotion asked for completes with its index, or says why not", async (t) => {
  const [cluster, leader] = await started(t);
  const other = cluster.host(leader.stats(SHARD).replicaId % 3);
  await leader.syncRequestAddNonVoting(SHARD, 4, cluster.host(3).raftAddress, 0, LONG);
  const refusal = async (host: NodeHost, replicaId: number): Promise<string | undefined> =>
    (await host.requestPromotion(SHARD, replicaId, POLICY, LONG).completed).error?.code;
  assert.equal(await refusal(other, 4), "DL_ERR_NOT_LEADER");
  assert.equal(await refusal(leader, 1), "DL_ERR_INVALID_TARGET");
  assert.throws(() => leader.requestPromotion(SHARD, 4, { rounds: 0 }), code("DL_ERR_INVALID_CONFIG"));
  const tooFar = leader.requestPromotion(SHARD, 4, { maxLagEntries: 21 });
  assert.equal((await tooFar.completed).error?.code, "DL_ERR_INVALID_CONFIG");
  const autoPromote = { ...POLICY, maxLagEntries: 21 };
  assert.throws(
    () => leader.requestAddNonVoting(SHARD, 5, "127.0.0.1:1", 0, { autoPromote }),
    code("DL_ERR_INVALID_CONFIG"),
  );
  assert.throws(
    () => other.requestAddNonVoting(SHARD, 5, "127.0.0.1:1", 0, { autoPromote: POLICY }),
    code("DL_ERR_NOT_LEADER"),
  );
  // It does not run: by hand it is refused, by policy it is given up after its time.
  for (const host of [leader, other]) {
    await assert.rejects(host.syncRequestAddReplica(SHARD, 4, "", 0, LONG), code("DL_ERR_INVALID_TARGET"));
    const target = cluster.host(3).raftAddress;
    await assert.rejects(host.syncRequestAddReplica(SHARD, 4, target, 0, LONG), code("DL_ERR_NOT_CAUGHT_UP"));
  }
  const short = leader.requestPromotion(SHARD, 4, { ...POLICY, timeoutMs: 100 }, LONG);
  const second = leader.requestPromotion(SHARD, 4, POLICY, LONG);
  assert.equal((await second.completed).error?.code, "DL_ERR_SYSTEM_BUSY");
  const given = await short.completed;
  assert.deepEqual(
    [given.code, given.error?.code, given.error?.outcome],
    ["aborted", "DL_ERR_NOT_CAUGHT_UP", "rejected"],
  );
  assert.equal(promotion(leader)?.state, "gaveUp");
  await join(cluster);
  const done = await leader.requestPromotion(SHARD, 4, POLICY, LONG).completed;
  assert.equal(done.code, "completed");
  assert.equal(done.index, leader.stats(SHARD).configChangeIndex);
});

test("a shard that a master manages is not promoted by the engine", async (t) => {
  const [cluster, leader] = await started(t, { managed: true });
  await leader.syncRequestAddNonVoting(SHARD, 4, cluster.host(3).raftAddress, 0, LONG);
  const refused = await leader.requestPromotion(SHARD, 4, POLICY, LONG).completed;
  assert.equal(refused.error?.code, "DL_ERR_INVALID_OPERATION");
  assert.throws(
    () => leader.requestAddNonVoting(SHARD, 5, "127.0.0.1:1", 0, { autoPromote: POLICY }),
    code("DL_ERR_INVALID_OPERATION"),
  );
});
