/** Three hosts in one process, real log and sockets: leadership moves under writes; drain, verifyLeader, barrier. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Hosts, kvPut, SHARD } from "../../test/kit/hosts.js";
import { eventually } from "../../test/kit/wait.js";
import { HostClient } from "../client/index.js";
import { type NodeHostOptions, noOpSession, OpError, type ReplicaConfig, type RequestResult } from "../index.js";

/** Long enough that a busy machine does not start elections of its own. */
const ELECTION_TICKS = 50;
const TRANSFERS = 6;
const LONG = { timeoutMs: 60_000 };

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === expected;
}

/** A shard over three hosts with a leader that has committed. Index of its host. */
async function started(
  t: TestContext,
  extra: Partial<NodeHostOptions> = {},
  config: Partial<ReplicaConfig> = {},
): Promise<[Hosts, number]> {
  const cluster = await Hosts.open(t, 3, extra);
  await cluster.startKv(3, { electionTicks: ELECTION_TICKS, ...config });
  const first = await cluster.leader();
  await cluster.put(first, "warm", "up");
  for (const i of [0, 1, 2]) await cluster.get(i, "warm");
  return [cluster, first];
}

interface Written {
  readonly key: string;
  readonly outcome: RequestResult;
  readonly atMs: number;
}

/** Writes one key after the other through host `i` until told to stop. */
async function writer(cluster: Hosts, i: number, run: { written: Written[]; done: boolean }): Promise<void> {
  for (let n = 0; !run.done; n++) {
    const key = `w${i}-${n}`;
    const outcome = await cluster.host(i).propose(noOpSession(SHARD), kvPut(key, "x"), LONG).completed;
    run.written.push({ key, outcome, atMs: performance.now() });
    if (outcome.code !== "completed") await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function answered(written: readonly Written[]): number {
  return written.filter(({ outcome }) => outcome.code === "completed").length;
}

function gapMs(written: readonly Written[]): number {
  const times = written.filter((w) => w.outcome.code === "completed").map((w) => w.atMs);
  times.sort((a, b) => a - b);
  return Math.max(...times.slice(1).map((at, i) => at - (times[i] ?? at)));
}

test("leadership moves under writes through all hosts: each is applied, or rejected and retryable (P18)", async (t) => {
  const [cluster, first] = await started(t, {}, { electionTicks: 2 * ELECTION_TICKS });
  const written: Written[] = [];
  const run = { written, done: false };
  const writers = [0, 1, 2].map((i) => writer(cluster, i, run));
  const tookMs: number[] = [];
  let at = first;
  for (let n = 0; n < TRANSFERS; n++) {
    const before = answered(written);
    await eventually("writes go on", () => answered(written) >= before + 30 || undefined);
    const { term } = cluster.host(at).stats(SHARD);
    const target = (at + 1) % 3;
    const startMs = performance.now();
    const reply = await cluster.host(at).syncRequestLeaderTransfer(SHARD, target + 1, LONG);
    tookMs.push(performance.now() - startMs);
    assert.deepEqual(reply, { leaderId: target + 1, term: term + 1 });
    assert.equal(await cluster.host(target).verifyLeader(SHARD, LONG), term + 1);
    at = target;
  }
  const before = answered(written);
  await eventually("writes after", () => answered(written) >= before + 30 || undefined);
  run.done = true;
  await Promise.all(writers);
  t.diagnostic(`transfers took ${tookMs.map((ms) => ms.toFixed(1)).join(", ")} ms`);
  t.diagnostic(`longest time without an answered write: ${gapMs(written).toFixed(1)} ms`);
  t.diagnostic(`${written.length} writes, ${written.length - answered(written)} refused`);
  const check = async ({ key, outcome }: Written): Promise<void> => {
    const value = await cluster.get(at, key);
    if (outcome.code === "completed") assert.equal(value, "x", key);
    else {
      assert.equal(outcome.error?.outcome, "rejected", `${key}: ${outcome.code} ${outcome.error?.message}`);
      assert.equal(outcome.error?.retryable, true, `${key}: ${outcome.error?.message}`);
      assert.equal(value, undefined, `${key} was refused`);
    }
  };
  await Promise.all(written.map(check));
});

test("P19: wrong targets and wrong hosts are refused with their code and nothing moves", async (t) => {
  const [cluster, first] = await started(t);
  const leader = cluster.host(first);
  const { term } = leader.stats(SHARD);
  for (const target of [first + 1, 9, 0, Number.NaN]) {
    await assert.rejects(leader.syncRequestLeaderTransfer(SHARD, target), code("DL_ERR_INVALID_TARGET"));
  }
  const other = cluster.host((first + 1) % 3);
  await assert.rejects(other.syncRequestLeaderTransfer(SHARD, 1), code("DL_ERR_NOT_LEADER"));
  await assert.rejects(other.verifyLeader(SHARD), code("DL_ERR_NOT_LEADER"));
  await assert.rejects(leader.syncRequestLeaderTransfer(77, 1), code("DL_ERR_SHARD_NOT_FOUND"));
  assert.equal(await leader.verifyLeader(SHARD, LONG), term);
});

test("P19: a dead target: the second request is busy, the first is aborted, then writes go on", async (t) => {
  const [cluster, first] = await started(t);
  const leader = cluster.host(first);
  const dead = (first + 1) % 3;
  await cluster.host(dead).close();
  cluster.hosts[dead] = undefined;
  const state = leader.requestLeaderTransfer(SHARD, dead + 1, LONG);
  const second = leader.requestLeaderTransfer(SHARD, ((first + 2) % 3) + 1, LONG);
  assert.equal((await second.completed).error?.code, "DL_ERR_SYSTEM_BUSY");
  await eventually("the transfer is under way", () => leader.stats(SHARD).transferTarget === dead + 1 || undefined);
  const refused = await leader.propose(noOpSession(SHARD), kvPut("a", "0"), LONG).completed;
  assert.equal(refused.code, "dropped");
  assert.equal(refused.error?.code, "DL_ERR_SHARD_NOT_READY");
  const outcome = await state.completed;
  assert.equal(outcome.code, "aborted");
  assert.equal(outcome.error?.code, "DL_ERR_TIMEOUT");
  await cluster.put(first, "a", "1");
  assert.equal(leader.stats(SHARD).transferTarget, 0);
});

test("drain moves leadership to another host; one that is alone keeps it", async (t) => {
  const [cluster, first] = await started(t);
  const leader = cluster.host(first);
  assert.deepEqual(await leader.drain(LONG), { moved: 1, steppedDown: 0 });
  const next = leader.getLeaderId(SHARD)?.leaderId;
  assert.ok(next !== undefined && next !== first + 1);
  assert.deepEqual(await leader.drain(LONG), { moved: 0, steppedDown: 0 });
  await cluster.put(first, "a", "1");
  assert.equal(await cluster.get(next - 1, "a"), "1");

  const single = await Hosts.open(t, 1);
  await single.startKv(1);
  await single.put(0, "a", "1");
  assert.deepEqual(await single.host(0).drain(LONG), { moved: 0, steppedDown: 0 });
  await single.put(0, "a", "2");
});

test("drain gives up what nobody can take over", async (t) => {
  const [cluster, first] = await started(t, {}, { checkQuorum: false });
  for (const i of [0, 1, 2]) if (i !== first) await cluster.host(i).close();
  const leader = cluster.host(first);
  assert.deepEqual(await leader.drain({ timeoutMs: 1_000 }), { moved: 0, steppedDown: 1 });
  assert.equal(leader.stats(SHARD).state, "follower");
});

test("verifyLeader needs a quorum", async (t) => {
  const [cluster, first] = await started(t);
  const leader = cluster.host(first);
  for (const i of [0, 1, 2]) if (i !== first) await cluster.host(i).close();
  await assert.rejects(leader.verifyLeader(SHARD, { timeoutMs: 300 }), OpError);
});

test("after a barrier everything proposed here before is applied here", async (t) => {
  const [cluster, first] = await started(t);
  const host = cluster.host((first + 1) % 3);
  const states = Array.from({ length: 50 }, (_, i) => host.propose(noOpSession(SHARD), kvPut(`b${i}`, "1"), LONG));
  const index = await host.barrier(SHARD, LONG);
  for (const state of states) assert.equal(state.outcome?.code, "completed");
  assert.ok(host.stats(SHARD).appliedIndex >= index);
  await assert.rejects(host.barrier(77), code("DL_ERR_SHARD_NOT_FOUND"));
});

test("stats name the leader, its peers and their progress", async (t) => {
  const [cluster, first] = await started(t);
  const stats = cluster.host(first).stats(SHARD);
  assert.equal(stats.state, "leader");
  assert.equal(stats.role, "voter");
  assert.equal(stats.leaderId, first + 1);
  assert.equal(stats.voters, 3);
  assert.equal(stats.fault, "");
  assert.ok(stats.firstIndex <= stats.appliedIndex && stats.appliedIndex <= stats.commitIndex);
  assert.ok(stats.commitIndex <= stats.lastIndex && stats.durableIndex <= stats.lastIndex);
  const ids = stats.peers.map((peer) => peer.replicaId).sort();
  assert.deepEqual(
    ids,
    [1, 2, 3].filter((id) => id !== first + 1),
  );
  for (const peer of stats.peers) assert.ok(peer.matchIndex < peer.nextIndex && peer.silentMs >= 0);
  assert.deepEqual(JSON.parse(JSON.stringify(stats)), stats, "plain data");
  assert.deepEqual(cluster.host((first + 1) % 3).stats(SHARD).peers, []);
});

test("the gRPC API transfers leadership, and says why not", async (t) => {
  const [cluster, first] = await started(t, { apiAddress: "127.0.0.1:0" });
  const client = new HostClient(cluster.host(first).apiAddress);
  t.after(() => client.close());
  const target = ((first + 1) % 3) + 1;
  const { term } = cluster.host(first).stats(SHARD);
  assert.deepEqual(await client.transferLeader(SHARD, target, LONG), { leaderId: target, term: term + 1 });
  await assert.rejects(client.transferLeader(SHARD, first + 1, LONG), code("DL_ERR_NOT_LEADER"));
});
