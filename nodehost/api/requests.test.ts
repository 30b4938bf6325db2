/** Requests on real hosts and virtual time: every one is answered exactly once, and its outcome is true. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KV, kvPut, SHARD, SimCluster } from "../../test/hosts/sim-cluster.js";
import { decodeKvAnswer, encodeKvCommand, encodeKvQuery, kvBytes } from "../apps/index.js";
import { type NodeHost, noOpSession, type RequestState } from "../index.js";

function append(value: string): Uint8Array {
  return encodeKvCommand({ op: "append", key: kvBytes("log"), value: kvBytes(value) });
}

function contentOf(host: NodeHost): string {
  const answer = host.staleRead(SHARD, encodeKvQuery({ op: "get", key: kvBytes("log") }));
  assert.ok(answer instanceof Uint8Array);
  return Buffer.from(decodeKvAnswer(answer).bytes).toString("utf8");
}

/** A follower that knows its leader. */
async function follower(cluster: SimCluster): Promise<number> {
  const at = await cluster.leader();
  const number = (at + 1) % 3;
  await cluster.put(number, "warm", "up");
  return number;
}

test("followers and non-voting members forward proposals and reads, and answer when they have applied", async () => {
  const cluster = await SimCluster.open({ hosts: 4 }, 3);
  const { world } = cluster;
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  await world.until(cluster.host(at).syncRequestAddNonVoting(SHARD, 4, cluster.machine(3).address, 0));
  await world.until(cluster.host(3).startApp(new Map(), true, KV, { shardId: SHARD, replicaId: 4 }));
  for (const number of [3, (at + 1) % 3]) {
    await cluster.put(number, "b", `through ${number}`);
    assert.equal(await cluster.get(number, "b"), `through ${number}`);
    assert.equal(await cluster.get(at, "b"), `through ${number}`);
  }
  assert.equal(cluster.host(3).getShardInfo(SHARD).role, "nonVoting");
  await cluster.close();
});

test("forwarded proposals that the network repeats and reorders are applied at most once", async () => {
  const cluster = await SimCluster.open({}, 3);
  const { world, network } = cluster;
  const number = await follower(cluster);
  network.setKnobs({ duplicateRate: 0.7, reorderRate: 0.3, splitRate: 0.5 });
  const requests: RequestState[] = [];
  for (let i = 0; i < 60; i++) {
    const command = append(`${i};`);
    requests.push(cluster.host(number).propose(noOpSession(SHARD), command, { timeoutMs: 2_000 }));
    await world.run(5);
  }
  const results = await world.until(Promise.all(requests.map((request) => request.completed)));
  network.setKnobs({ duplicateRate: 0, reorderRate: 0, splitRate: 0 });
  await cluster.put(number, "end", "1");
  const counts = new Map<string, number>();
  for (const value of contentOf(cluster.host(number)).split(";").slice(0, -1)) {
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  results.forEach(({ code, error }, i) => {
    const count = counts.get(`${i}`) ?? 0;
    assert.ok(count <= 1, `${i} is there ${count} times`);
    if (code === "completed") assert.equal(count, 1, `${i}`);
    if (error?.outcome === "rejected") assert.equal(count, 0, `${i}`);
  });
  assert.ok(results.filter(({ code }) => code === "completed").length > 30);
  await cluster.close();
});

test("without a quorum a proposal times out as unknown, a read as without effect, each in time", async () => {
  const cluster = await SimCluster.open({}, 3);
  const { world, network } = cluster;
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  const addresses = cluster.machines.map(({ address }) => address);
  const own = cluster.machine(at).address;
  network.partition(
    [own],
    addresses.filter((address) => address !== own),
  );
  const host = cluster.host(at);
  const startedMs = world.nowMs;
  const proposal = host.propose(noOpSession(SHARD), append("late"), { timeoutMs: 120 });
  const read = host.readIndex(SHARD, { timeoutMs: 60 });
  const readResult = await world.until(read.completed);
  assert.deepEqual([readResult.code, readResult.error?.outcome], ["timeout", "rejected"]);
  assert.ok(world.nowMs - startedMs <= 60 + 20 + 1, "a tick later at most");
  const result = await world.until(proposal.completed);
  assert.deepEqual([result.code, result.error?.code, result.error?.outcome], ["timeout", "DL_ERR_TIMEOUT", "unknown"]);
  assert.ok(world.nowMs - startedMs <= 120 + 20 + 1);
  await cluster.close();
});

test("an aborted request: without effect before it is handed over, unknown afterwards", async () => {
  const cluster = await SimCluster.open({}, 3);
  const { world } = cluster;
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  const host = cluster.host(at);
  const early = new AbortController();
  const first = host.propose(noOpSession(SHARD), append("first"), { signal: early.signal });
  early.abort();
  assert.deepEqual([first.outcome?.code, first.outcome?.error?.outcome], ["aborted", "rejected"]);
  const gone = host.propose(noOpSession(SHARD), append("gone"), { signal: AbortSignal.abort() });
  assert.equal(gone.outcome?.code, "aborted");
  const late = new AbortController();
  const second = host.propose(noOpSession(SHARD), append("second"), { signal: late.signal });
  // One turn: it is on its way into the log.
  await world.when("handed over", () => second.handedOver);
  late.abort();
  assert.deepEqual([second.outcome?.code, second.outcome?.error?.outcome], ["terminated", "unknown"]);
  const read = new AbortController();
  const reading = host.readIndex(SHARD, { signal: read.signal });
  await world.run(0);
  read.abort();
  assert.equal(reading.outcome?.error?.outcome, "rejected");
  await cluster.put(at, "end", "1");
  assert.equal(contentOf(host), "second");
  await cluster.close();
});

test("close, stop and crash of the leader: every request is settled exactly once (P57)", async () => {
  for (const end of ["close", "stop", "crashLeader"] as const) {
    const cluster = await SimCluster.open({}, 3);
    const { world } = cluster;
    const number = await follower(cluster);
    const host = cluster.host(number);
    const settled: number[] = [];
    const requests: RequestState[] = [];
    const add = (request: RequestState): void => {
      const at = requests.push(request) - 1;
      settled[at] = 0;
      request.onSettled(() => {
        settled[at] = (settled[at] ?? 0) + 1;
      });
    };
    for (let i = 0; i < 40; i++) {
      add(host.propose(noOpSession(SHARD), append(`${i};`), { timeoutMs: 300 }));
      add(host.proposeBatch(noOpSession(SHARD), [append("x;"), append("y;")], { timeoutMs: 300 }));
      add(host.readIndex(SHARD, { timeoutMs: 300 }));
      if (i % 10 === 0) add(host.requestSnapshot(SHARD, {}, { timeoutMs: 300 }));
      if (i % 10 === 5) add(host.requestAddNonVoting(SHARD, 50 + i, "h:1", 0, { timeoutMs: 300 }));
      if (i === 25) {
        if (end === "close") await world.until(host.close());
        else if (end === "stop") await world.until(host.stopReplica(SHARD, number + 1));
        else cluster.crash(cluster.leaderNow());
      }
      await world.run(2);
    }
    await world.run(2_000);
    assert.deepEqual(
      settled,
      requests.map(() => 1),
      end,
    );
    for (const { outcome } of requests) {
      const answered = outcome?.code === "completed" || outcome?.error !== undefined;
      assert.ok(answered, JSON.stringify(outcome));
    }
    if (end === "close") assert.equal(requests.at(-1)?.outcome?.error?.code, "DL_ERR_CLOSED");
    await cluster.close();
  }
});

test("bounds are refused before anything is queued: payload, batch, snapshot overhead, target", async () => {
  const cluster = await SimCluster.open({ hosts: 1 }, 1);
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  const host = cluster.host(at);
  const session = noOpSession(SHARD);
  const big = host.propose(session, new Uint8Array(5 * 1024 * 1024));
  assert.equal(big.outcome?.error?.code, "DL_ERR_PAYLOAD_TOO_BIG");
  const many = host.proposeBatch(session, new Array(300_000).fill(kvPut("a", "2")));
  assert.deepEqual([many.outcome?.error?.code, many.outcome?.error?.retryable], ["DL_ERR_SYSTEM_BUSY", true]);
  assert.throws(() => host.proposeBatch(session, []), { code: "DL_ERR_INVALID_ARGUMENT" });
  for (const compactionOverhead of [-1, 0.5, Number.NaN, 2 ** 60]) {
    assert.throws(() => host.requestSnapshot(SHARD, { compactionOverhead }), { code: "DL_ERR_INVALID_ARGUMENT" });
  }
  assert.throws(() => host.requestAddReplica(SHARD, 2, "somewhere", 0), { code: "DL_ERR_INVALID_TARGET" });
  assert.throws(() => host.requestAddReplica(SHARD, -2, "h:1", 0), { code: "DL_ERR_INVALID_ARGUMENT" });
  assert.throws(() => host.propose(session, kvPut("a", "3"), { timeoutMs: 0 }), { code: "DL_ERR_INVALID_CONFIG" });
  await cluster.put(at, "a", "4");
  assert.deepEqual(cluster.machine(at).fatal, []);
  await cluster.close();
});

test("a large batch is split over blocks and answered once, in order", async () => {
  const cluster = await SimCluster.open({}, 3);
  const at = await cluster.leader();
  await cluster.put(at, "a", "1");
  const commands = Array.from({ length: 9_000 }, (_, i) => append(`${i};`));
  const { completed } = cluster.host(at).proposeBatch(noOpSession(SHARD), commands);
  const { code, results } = await cluster.world.until(completed);
  assert.deepEqual([code, results?.length], ["completed", 9_000]);
  const expected = Array.from({ length: 9_000 }, (_, i) => `${i};`).join("");
  assert.equal(contentOf(cluster.host(at)), expected);
  await cluster.close();
});
