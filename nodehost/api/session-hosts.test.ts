/** Client sessions over three hosts, real log and sockets: retries through any host, fail-over, snapshots, gRPC. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { APPS, Hosts, KV, SHARD } from "../../test/kit/hosts.js";
import { eventually } from "../../test/kit/wait.js";
import { decodeKvNumber, encodeKvCommand, kvBytes } from "../apps/index.js";
import { HostClient, ShardClient, type ShardSession } from "../client/index.js";
import { type CallOptions, type NodeHost, noOpSession, OpError, type Result, Session } from "../index.js";

function append(key: string, value: string): Uint8Array {
  return encodeKvCommand({ op: "append", key: kvBytes(key), value: kvBytes(value) });
}

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === expected;
}

/** Opens a session through host `i`; what a lost leader leaves over is evicted some day. */
function getSession(cluster: Hosts, i: number): Promise<Session> {
  return eventually("a session", () => cluster.host(i).syncGetSession(SHARD, { timeoutMs: 2_000 }));
}

/** The same state, as another process would have it. */
function copy({ shardId, clientId, seriesId, respondedTo }: Session): Session {
  return Session.resume({ shardId, clientId, seriesId, respondedTo });
}

/** Proposes under the session through `hosts` in turn until it is answered. */
async function until(hosts: () => NodeHost[], session: Session, command: Uint8Array): Promise<Result> {
  const options: CallOptions = { timeoutMs: 1_000 };
  let turn = 0;
  return eventually("an answer", async () => {
    const live = hosts();
    turn += 1;
    return await live[turn % live.length]?.syncPropose(session, command, options);
  });
}

test("a retry under the same series through any host gets the same answer and applies nothing (P36)", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3);
  const session = await getSession(cluster, 0);
  const again = [1, 2].map(() => copy(session));
  const first = await until(() => [cluster.host(0)], session, append("k", "once;"));
  for (const [i, used] of again.entries()) {
    const repeated = await until(() => [cluster.host(i + 1)], used, append("k", "once;"));
    assert.deepEqual(decodeKvNumber(repeated.data ?? new Uint8Array(0)), 5);
    assert.equal(repeated.value, first.value);
  }
  assert.equal(await cluster.get(2, "k"), "once;");
  session.proposalCompleted();
  await until(() => [cluster.host(1)], session, append("k", "twice;"));
  const stale = cluster.host(2).syncPropose(again[0] ?? session, append("k", "once;"));
  await assert.rejects(stale, code("DL_ERR_INVALID_SESSION"), "it was answered here");
  const late = copy(again[1] ?? session);
  await assert.rejects(cluster.host(2).syncPropose(late, append("k", "once;")), code("DL_ERR_SESSION_STALE"));
  assert.equal(await cluster.get(0, "k"), "once;twice;");
});

test("clients retry through the loss of the leader: every append is there exactly once, in order (P38)", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3);
  const live = (): NodeHost[] => cluster.hosts.filter((host) => host !== undefined);
  const writes = 40;
  let closing: Promise<void> | undefined;
  const client = async (id: number): Promise<void> => {
    const session = await getSession(cluster, id);
    for (let i = 0; i < writes; i++) {
      if (id === 0 && i === writes / 4) closing = stopLeader();
      await until(live, session, append(`k${id}`, `${i};`));
      session.proposalCompleted();
    }
    await eventually("closed", async () => {
      await live()[0]?.syncCloseSession(session, { timeoutMs: 2_000 });
      return true;
    });
  };
  const stopLeader = async (): Promise<void> => {
    const victim = await cluster.leader();
    const host = cluster.host(victim);
    cluster.hosts[victim] = undefined;
    await host.close();
  };
  await Promise.all([0, 1, 2].map(client));
  await closing;
  const survivor = cluster.hosts.findIndex((host) => host !== undefined);
  const expected = Array.from({ length: writes }, (_, i) => `${i};`).join("");
  for (const id of [0, 1, 2]) assert.equal(await cluster.get(survivor, `k${id}`), expected);
});

test("sessions survive a restart of all hosts and a snapshot: the retry still gets its answer (P36)", async (t) => {
  const cluster = await Hosts.open(t, 3);
  await cluster.startKv(3, { snapshotEntries: 0 });
  const session = await getSession(cluster, 0);
  const again = copy(session);
  await until(() => [cluster.host(0)], session, append("k", "once;"));
  await cluster.put(1, "other", "1");
  for (const i of [0, 1, 2]) {
    await cluster.get(i, "k");
    await cluster.host(i).syncRequestSnapshot(SHARD, { compactionOverhead: 0 });
  }
  await cluster.close();
  for (let i = 0; i < 3; i++) await (await cluster.openHost(i)).restartReplica(SHARD, i + 1, APPS);
  const repeated = await until(() => [cluster.host(2)], again, append("k", "once;"));
  assert.equal(decodeKvNumber(repeated.data ?? new Uint8Array(0)), 5);
  assert.equal(await cluster.get(1, "k"), "once;");
});

test("misuse is refused before anything is sent; closed and unknown sessions are refused by the shard", async (t) => {
  const cluster = await Hosts.open(t, 1);
  await cluster.startKv(1);
  const host = cluster.host(0);
  const session = await getSession(cluster, 0);
  assert.throws(() => host.proposeBatch(session, [append("k", "x")]), code("DL_ERR_INVALID_SESSION"));
  assert.throws(() => host.proposeSession(session), code("DL_ERR_INVALID_SESSION"));
  assert.throws(() => host.proposeSession(noOpSession(SHARD)), code("DL_ERR_INVALID_SESSION"));
  assert.throws(() => host.propose(host.newSession(SHARD), append("k", "x")), code("DL_ERR_INVALID_SESSION"));
  assert.throws(() => host.propose(session, append("k", "x"), { timeoutMs: -1 }), code("DL_ERR_INVALID_CONFIG"));
  const running = host.propose(session, append("k", "1;"));
  assert.throws(() => host.propose(session, append("k", "1;")), code("DL_ERR_INVALID_SESSION"));
  assert.equal((await running.completed).code, "completed");
  assert.throws(() => host.propose(session, append("k", "2;")), code("DL_ERR_INVALID_SESSION"));
  session.proposalCompleted();
  const late = copy(session);
  await host.syncCloseSession(session);
  const refused = await host.propose(late, append("k", "2;")).completed;
  assert.equal(refused.code, "rejected");
  assert.equal(refused.error?.code, "DL_ERR_SESSION_NOT_FOUND");
  assert.equal(refused.error?.outcome, "rejected");
  await assert.rejects(host.syncCloseSession(late), code("DL_ERR_SESSION_NOT_FOUND"));
  const nowhere = Session.resume({ shardId: 99, clientId: "00112233445566aa", seriesId: 2, respondedTo: 1 });
  await assert.rejects(host.syncPropose(nowhere, append("k", "x")), code("DL_ERR_SHARD_NOT_FOUND"));
  await assert.rejects(host.syncPropose(nowhere, append("k", "y")), code("DL_ERR_SHARD_NOT_FOUND"));
  assert.equal(await cluster.get(0, "k"), "1;");
});

test("over gRPC: a client with a session goes on through a lost leader; a foreign session is refused", async (t) => {
  const cluster = await Hosts.open(t, 3, { apiAddress: "127.0.0.1:0", apps: [KV] });
  await cluster.startKv(3);
  const addresses = (): string[] => cluster.hosts.flatMap((host) => (host === undefined ? [] : [host.apiAddress]));
  const client = new ShardClient(async () => addresses());
  t.after(() => client.close());
  const session: ShardSession = await client.withSession(SHARD, { timeoutMs: 30_000 });
  for (let i = 0; i < 30; i++) {
    if (i === 10) {
      const victim = await cluster.leader();
      const host = cluster.host(victim);
      cluster.hosts[victim] = undefined;
      const going = session.propose(append("k", `${i};`), { timeoutMs: 30_000 });
      await Promise.all([host.close(), going]);
    } else await session.propose(append("k", `${i};`), { timeoutMs: 30_000 });
  }
  await session.close();
  const survivor = cluster.hosts.findIndex((host) => host !== undefined);
  const expected = Array.from({ length: 30 }, (_, i) => `${i};`).join("");
  assert.equal(await cluster.get(survivor, "k"), expected);
  const one = new HostClient(addresses()[0] ?? "");
  t.after(() => one.close());
  const state = await one.openSession(SHARD);
  assert.equal(state.respondedTo, state.seriesId - 1);
  const foreign = one.propose(SHARD, append("k", "x"), { session: { ...state, shardId: 2 } });
  await assert.rejects(foreign, code("DL_ERR_INVALID_SESSION"));
  const skipping = one.propose(SHARD, append("k", "x"), { session: { ...state, seriesId: state.seriesId + 2 } });
  await assert.rejects(skipping, code("DL_ERR_INVALID_SESSION"));
  await one.closeSession(state);
  await assert.rejects(one.closeSession(state), code("DL_ERR_SESSION_NOT_FOUND"));
});
