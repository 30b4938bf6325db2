/** Clients over real gRPC: what may be tried elsewhere is, what may have had an effect is not. */
import assert from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { type ErrorCode, OpError } from "../../shared/errors.js";
import { NODE_HOST_SERVICE, serve } from "../../shared/wire/index.js";
import { Hosts, kvPut, SHARD } from "../../test/kit/hosts.js";
import { eventually } from "../../test/kit/wait.js";
import { decodeKvAnswer, encodeKvQuery, kvApp, kvBytes } from "../apps/index.js";
import { HostClient, ShardClient } from "./index.js";

function code(expected: ErrorCode, outcome?: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof OpError, String(error));
    assert.equal(error.code, expected);
    if (outcome !== undefined) assert.equal(error.outcome, outcome);
    return true;
  };
}

/** An address where nobody listens. */
async function deadAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

interface FakeHost {
  readonly address: string;
  readonly calls: string[];
}

/** A host whose answers the test makes. */
async function fakeHost(t: TestContext, answer: (call: string) => Promise<Uint8Array>): Promise<FakeHost> {
  const calls: string[] = [];
  const server = new Server();
  const reply = async (call: string): Promise<Uint8Array> => {
    calls.push(call);
    return answer(call);
  };
  const refuse = (): Promise<never> => Promise.reject(new OpError("DL_ERR_NOT_IMPLEMENTED"));
  const none = Object.fromEntries(Object.keys(NODE_HOST_SERVICE).map((name) => [name, refuse]));
  const handlers = {
    ...none,
    propose: async () => ({ value: 0, data: await reply("propose"), index: 1 }),
    read: async () => ({ data: await reply("read"), applied: 1, found: true }),
  } as unknown as Parameters<typeof serve<typeof NODE_HOST_SERVICE>>[1];
  server.addService(
    NODE_HOST_SERVICE,
    serve(NODE_HOST_SERVICE, handlers, () => {}),
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  t.after(() => server.forceShutdown());
  return { address: `127.0.0.1:${port}`, calls };
}

function shardClient(t: TestContext, addresses: readonly string[]): ShardClient {
  const client = new ShardClient(async () => addresses);
  t.after(() => client.close());
  return client;
}

const refusal =
  (name: ErrorCode): (() => Promise<never>) =>
  () =>
    Promise.reject(new OpError(name));

test("HostClient: write, batch, read, membership and info of a real host", async (t) => {
  const cluster = await Hosts.open(t, 1, { apiAddress: "127.0.0.1:0", apps: [kvApp()] });
  await cluster.startKv(1);
  await cluster.put(0, "a", "1");
  const client = new HostClient(cluster.host(0).apiAddress);
  t.after(() => client.close());
  const answer = await client.propose(SHARD, kvPut("a", "2"));
  assert.equal(answer.value, 0);
  assert.ok(answer.index > 0);
  assert.equal((await client.proposeBatch(SHARD, [kvPut("b", "1"), kvPut("c", "1")])).length, 2);
  const query = encodeKvQuery({ op: "get", key: kvBytes("a") });
  for (const stale of [false, true]) {
    const bytes = await client.read(SHARD, query, { stale });
    assert.ok(bytes !== undefined);
    assert.equal(Buffer.from(decodeKvAnswer(bytes).bytes).toString(), "2");
  }
  assert.deepEqual([...(await client.membership(SHARD)).voters.keys()], [1]);
  assert.equal((await client.info()).hostId, cluster.host(0).hostId);
  await assert.rejects(client.propose(99, kvPut("a", "3")), code("DL_ERR_SHARD_NOT_FOUND", "rejected"));
  await assert.rejects(client.propose(SHARD, kvPut("a", "3"), { timeoutMs: 0 }), code("DL_ERR_INVALID_ARGUMENT"));
});

test("HostClient: a host that is not there certainly did nothing; one that comes back is found again", async (t) => {
  const address = await deadAddress();
  const client = new HostClient(address);
  t.after(() => client.close());
  await assert.rejects(client.propose(SHARD, kvPut("a", "1")), code("DL_ERR_UNREACHABLE", "rejected"));
  const server = new Server();
  const port = Number(address.split(":")[1]);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  t.after(() => server.forceShutdown());
  await eventually("an answer of the server", async () => {
    const error = await client.info().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    return error instanceof OpError && error.code !== "DL_ERR_UNREACHABLE" ? true : undefined;
  });
});

test("HostClient: after close nothing is sent", async () => {
  const client = new HostClient(await deadAddress());
  client.close();
  await assert.rejects(client.propose(SHARD, kvPut("a", "1")), code("DL_ERR_CLOSED", "rejected"));
});

test("ShardClient goes on to the next host when one certainly did nothing, and stays with who answered", async (t) => {
  const busy = await fakeHost(t, refusal("DL_ERR_SHARD_NOT_READY"));
  const away = await fakeHost(t, refusal("DL_ERR_SHARD_NOT_FOUND"));
  const good = await fakeHost(t, async () => kvBytes("yes"));
  const client = shardClient(t, [await deadAddress(), busy.address, away.address, good.address]);
  assert.equal(Buffer.from((await client.propose(SHARD, kvPut("a", "1"))).data).toString(), "yes");
  assert.deepEqual([busy.calls.length, away.calls.length, good.calls.length], [1, 1, 1]);
  await client.propose(SHARD, kvPut("a", "2"));
  assert.deepEqual([busy.calls.length, away.calls.length, good.calls.length], [1, 1, 2]);
});

test("ShardClient never sends a write again whose outcome is unknown; a read it does (P38)", async (t) => {
  const unsure = await fakeHost(t, refusal("DL_ERR_SHARD_CLOSED"));
  const good = await fakeHost(t, async () => kvBytes("yes"));
  const client = shardClient(t, [unsure.address, good.address]);
  await assert.rejects(client.propose(SHARD, kvPut("a", "1")), code("DL_ERR_SHARD_CLOSED", "unknown"));
  assert.equal(good.calls.length, 0);
  assert.equal(Buffer.from((await client.read(SHARD, kvBytes("q"))) ?? []).toString(), "yes");
  assert.deepEqual([unsure.calls.length, good.calls.length], [2, 1]);
});

test("ShardClient gives up at its deadline with the last error, and at once on a final refusal", async (t) => {
  const busy = await fakeHost(t, refusal("DL_ERR_SYSTEM_BUSY"));
  const client = shardClient(t, [busy.address]);
  await assert.rejects(client.propose(SHARD, kvPut("a", "1"), { timeoutMs: 200 }), code("DL_ERR_SYSTEM_BUSY"));
  assert.ok(busy.calls.length > 1);
  const final = await fakeHost(t, refusal("DL_ERR_PAYLOAD_TOO_BIG"));
  const other = shardClient(t, [final.address]);
  await assert.rejects(other.propose(SHARD, kvPut("a", "1")), code("DL_ERR_PAYLOAD_TOO_BIG"));
  assert.equal(final.calls.length, 1);
  const nobody = shardClient(t, []);
  await assert.rejects(nobody.read(SHARD, kvBytes("q"), { timeoutMs: 50 }), code("DL_ERR_UNREACHABLE", "rejected"));
});

test("ShardClient: an abort before anything was sent is said to be one", async (t) => {
  const good = await fakeHost(t, async () => kvBytes("yes"));
  const client = shardClient(t, [good.address]);
  const signal = AbortSignal.abort();
  await assert.rejects(client.propose(SHARD, kvPut("a", "1"), { signal }), code("DL_ERR_ABORTED", "rejected"));
  const stop = new AbortController();
  const empty = shardClient(t, []);
  const waiting = empty.read(SHARD, kvBytes("q"), { signal: stop.signal });
  stop.abort();
  await assert.rejects(waiting, code("DL_ERR_ABORTED"));
  assert.equal(good.calls.length, 0);
});
