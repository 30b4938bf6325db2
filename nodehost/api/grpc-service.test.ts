/**
 * The gRPC API as any gRPC tool meets it: this test knows the .proto files only, loaded by @grpc/proto-loader. Every
 * method works; every refusal carries its code, its outcome and the nearest gRPC status.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { after, before, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import * as loader from "@grpc/proto-loader";
import { encodeKvCommand, encodeKvQuery, kvApp, kvBytes } from "../apps/index.js";
import { type App, NodeHost } from "../index.js";

const PROTO = path.join(path.dirname(createRequire(import.meta.url).resolve("drumline/package.json")), "proto");
const loaded = loader.loadSync("nodehost.proto", {
  includeDirs: [PROTO],
  longs: Number,
  defaults: true,
  enums: String,
});

type Fields = Record<string, unknown>;
interface Failure {
  readonly status: number;
  readonly code: string;
  readonly outcome: string;
  readonly retryable: boolean;
  readonly detail: string;
  readonly hint: string;
}

/** Answers -1 to everything; its lookup answers what no bytes can say. */
const ODD: App = {
  name: "odd",
  kind: "memory",
  create: () => ({
    update: ({ cmd }) => ({ value: cmd.length === 0 ? -1 : cmd.length }),
    lookup: (query) => (query instanceof Uint8Array && query.length > 0 ? { not: "bytes" } : undefined),
    saveSnapshot: async () => {},
    recoverFromSnapshot: async () => {},
    close: () => {},
  }),
};

let directory = "";
let host: NodeHost;
let client: grpc.Client;

function service(): grpc.ServiceDefinition {
  const found = loaded["drumline.v1.NodeHost"];
  assert.ok(found !== undefined && !("format" in found));
  return found;
}

function method(name: string): grpc.MethodDefinition<object, object> {
  const found = service()[name];
  assert.ok(found !== undefined, name);
  return found;
}

function call(name: string, request: Fields, deadlineMs = 20_000): Promise<Fields> {
  const { path: at, requestSerialize, responseDeserialize } = method(name);
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + deadlineMs };
    const metadata = new grpc.Metadata();
    client.makeUnaryRequest(at, requestSerialize, responseDeserialize, request, metadata, options, (error, reply) => {
      if (error !== null) reject(error);
      else resolve({ ...reply });
    });
  });
}

async function failure(name: string, request: Fields): Promise<Failure> {
  try {
    await call(name, request);
  } catch (error) {
    assert.ok(error instanceof Error && "metadata" in error && error.metadata instanceof grpc.Metadata, String(error));
    assert.ok("code" in error && typeof error.code === "number");
    const [trailer] = error.metadata.get("drumline-error-bin");
    assert.ok(Buffer.isBuffer(trailer), `no trailer: ${error.message}`);
    return { ...detailOf(trailer), status: error.code };
  }
  return assert.fail(`${name} was expected to fail`);
}

function detailOf(bytes: Buffer): Omit<Failure, "status"> {
  const fields: string[] = [];
  let retryable = false;
  // ErrorDetail by hand: strings 1, 2, 4, 5 and the flag 3, all shorter than 128 bytes but the texts.
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0;
    if (tag === 0x18) {
      retryable = bytes[at + 1] === 1;
      at += 2;
      continue;
    }
    let length = bytes[at + 1] ?? 0;
    let begin = at + 2;
    if (length >= 128) {
      length = (length & 127) | ((bytes[at + 2] ?? 0) << 7);
      begin += 1;
    }
    fields[tag >> 3] = bytes.toString("utf8", begin, begin + length);
    at = begin + length;
  }
  return { code: fields[1] ?? "", outcome: fields[2] ?? "", retryable, detail: fields[4] ?? "", hint: fields[5] ?? "" };
}

const put = (key: string, value: string) => encodeKvCommand({ op: "put", key: kvBytes(key), value: kvBytes(value) });
const get = (key: string) => encodeKvQuery({ op: "get", key: kvBytes(key) });

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "drumline-"));
  host = await NodeHost.open({
    raftAddress: "127.0.0.1:0",
    apiAddress: "127.0.0.1:0",
    dataDir: directory,
    rttMs: 5,
    apps: [kvApp(), ODD],
    region: "north",
    labels: { zone: "a" },
  });
  client = new grpc.Client(host.apiAddress, grpc.credentials.createInsecure());
  for (const [shardId, app] of [
    [1, "kv"],
    [2, "odd"],
  ] as const) {
    const initial = [{ replicaId: 1, target: host.raftAddress, role: "ROLE_VOTER" }];
    await call("StartReplica", { shardId, replicaId: 1, app, initial });
  }
});

after(async () => {
  client?.close();
  await host?.close();
  await rm(directory, { recursive: true, force: true });
});

/** The first leader may not be there yet. */
async function ready(shardId: number): Promise<void> {
  for await (const { leaderId } of host.leaderUpdates(shardId)) if (leaderId !== 0) return;
}

test("Propose, ProposeBatch and Read, linearizable and stale", async () => {
  await ready(1);
  const first = await call("Propose", { shardId: 1, command: put("a", "1") });
  assert.equal(first["value"], 0);
  assert.ok(typeof first["index"] === "number" && first["index"] > 0);
  const batch = await call("ProposeBatch", { shardId: 1, commands: [put("b", "2"), put("c", "3"), put("d", "4")] });
  assert.ok(Array.isArray(batch["results"]));
  assert.equal(batch["results"].length, 3);
  assert.deepEqual(
    batch["results"].map((result: Fields) => result["index"] !== 0),
    [false, false, true],
  );
  const one = await call("ProposeBatch", { shardId: 1, commands: [put("e", "5")] });
  assert.ok(Array.isArray(one["results"]) && one["results"].length === 1);
  for (const consistency of ["CONSISTENCY_UNSPECIFIED", "CONSISTENCY_LINEARIZABLE", "CONSISTENCY_STALE"]) {
    const read = await call("Read", { shardId: 1, query: get("c"), consistency });
    assert.ok(Buffer.isBuffer(read["data"]));
    assert.equal(read["data"].subarray(1).toString("utf8"), "3");
    assert.equal(read["found"], true);
    assert.ok(typeof read["applied"] === "number" && read["applied"] >= Number(first["index"]));
  }
});

test("an app that answers nothing, and one that answers what is not bytes", async () => {
  await ready(2);
  const nothing = await call("Read", { shardId: 2, query: new Uint8Array(0) });
  assert.equal(nothing["found"], false);
  const odd = await failure("Read", { shardId: 2, query: new Uint8Array(1) });
  assert.equal(odd.code, "DL_ERR_INVALID_OPERATION");
  const negative = await failure("Propose", { shardId: 2, command: new Uint8Array(0) });
  assert.deepEqual([negative.code, negative.outcome], ["DL_ERR_INVALID_OPERATION", "applied"]);
});

test("GetNodeHostInfo says who the host is and what it runs", async () => {
  const info = await call("GetNodeHostInfo", {});
  assert.equal(info["hostId"], host.hostId);
  assert.equal(info["apiAddress"], host.apiAddress);
  assert.equal(info["raftAddress"], host.raftAddress);
  assert.equal(info["region"], "north");
  assert.deepEqual(info["labels"], { zone: "a" });
  assert.deepEqual(info["apps"], ["kv", "odd"]);
  assert.ok(Array.isArray(info["clusterInfo"]) && info["clusterInfo"].length === 2);
  assert.ok(Array.isArray(info["logInfo"]) && info["logInfo"].length === 2);
  const short = await call("GetNodeHostInfo", { skipLogInfo: true });
  assert.deepEqual(short["logInfo"], []);
});

test("membership: read, add, remove; a wrong config change index is refused", async () => {
  await ready(1);
  const before = await call("GetShardMembership", { shardId: 1 });
  const configChangeIndex = Number(before["configChangeIndex"]);
  const target = "00000000-0000-4000-8000-00000000000c";
  const stale = await failure("RequestAddNonVoting", {
    shardId: 1,
    replicaId: 2,
    target,
    configChangeIndex: configChangeIndex + 9,
  });
  assert.deepEqual([stale.code, stale.outcome], ["DL_ERR_REJECTED", "rejected"]);
  assert.equal(stale.status, grpc.status.FAILED_PRECONDITION);
  const added = await call("RequestAddNonVoting", { shardId: 1, replicaId: 2, target, configChangeIndex });
  assert.ok(Number(added["configChangeIndex"]) > configChangeIndex);
  const removed = await call("RequestDeleteReplica", { shardId: 1, replicaId: 2 });
  assert.ok(Number(removed["configChangeIndex"]) > Number(added["configChangeIndex"]));
  const bad = await failure("RequestAddReplica", { shardId: 1, replicaId: 3, target: "nowhere" });
  assert.deepEqual([bad.code, bad.status], ["DL_ERR_INVALID_TARGET", grpc.status.INVALID_ARGUMENT]);
});

test("RequestSnapshot answers its index; twice without a write in between there is nothing to save", async () => {
  await ready(1);
  await call("Propose", { shardId: 1, command: put("s", "1") });
  const snapshot = await call("RequestSnapshot", { shardId: 1 });
  assert.ok(Number(snapshot["index"]) > 0);
  const again = await failure("RequestSnapshot", { shardId: 1 });
  assert.equal(again.code, "DL_ERR_NO_SNAPSHOT");
});

test("StopReplica and StartReplica without members: a restart", async () => {
  await ready(1);
  await call("Propose", { shardId: 1, command: put("kept", "yes") });
  await call("StopReplica", { shardId: 1, replicaId: 1 });
  const stopped = await failure("Read", { shardId: 1, query: get("kept") });
  assert.deepEqual([stopped.code, stopped.status], ["DL_ERR_SHARD_NOT_FOUND", grpc.status.NOT_FOUND]);
  await call("StartReplica", { shardId: 1, replicaId: 1, app: "kv" });
  await ready(1);
  const read = await call("Read", { shardId: 1, query: get("kept") });
  assert.ok(Buffer.isBuffer(read["data"]) && read["data"].subarray(1).toString("utf8") === "yes");
});

test("LeaderUpdates: the current state first; leaving ends the call", async () => {
  await ready(1);
  const { path: at, requestSerialize, responseDeserialize } = method("LeaderUpdates");
  const stream = client.makeServerStreamRequest(at, requestSerialize, responseDeserialize, { shardId: 1 });
  stream.on("error", () => {});
  for await (const update of stream) {
    assert.deepEqual({ ...update, term: 0 }, { shardId: 1, replicaId: 1, leaderId: 1, term: 0 });
    break;
  }
  stream.cancel();
});

const REFUSALS: readonly (readonly [string, Fields, string, grpc.status])[] = [
  ["Propose", { shardId: 9, command: "" }, "DL_ERR_SHARD_NOT_FOUND", grpc.status.NOT_FOUND],
  ["ProposeBatch", { shardId: 1, commands: [] }, "DL_ERR_INVALID_ARGUMENT", grpc.status.INVALID_ARGUMENT],
  [
    "Propose",
    { shardId: 1, session: { shardId: 1, clientId: "0000000000000001", seriesId: 1 } },
    "DL_ERR_SESSION_NOT_FOUND",
    grpc.status.NOT_FOUND,
  ],
  ["OpenSession", { shardId: 9 }, "DL_ERR_SHARD_NOT_FOUND", grpc.status.NOT_FOUND],
  ["CloseSession", {}, "DL_ERR_INVALID_SESSION", grpc.status.INVALID_ARGUMENT],
  [
    "RequestAddWitness",
    { shardId: 1, replicaId: 1, target: "h:1" },
    "DL_ERR_REJECTED",
    grpc.status.FAILED_PRECONDITION,
  ],
  ["RequestLeaderTransfer", { shardId: 1, targetReplicaId: 9 }, "DL_ERR_INVALID_TARGET", grpc.status.INVALID_ARGUMENT],
  ["RequestSnapshot", { shardId: 1, exportPath: "x" }, "DL_ERR_INVALID_ARGUMENT", grpc.status.INVALID_ARGUMENT],
  ["GetShardMembership", { shardId: 9 }, "DL_ERR_SHARD_NOT_FOUND", grpc.status.NOT_FOUND],
  ["RequestDeleteReplica", { shardId: 1, replicaId: 0 }, "DL_ERR_INVALID_ARGUMENT", grpc.status.INVALID_ARGUMENT],
  ["StartReplica", { shardId: 5, replicaId: 1, app: "nothing" }, "DL_ERR_APP_UNKNOWN", grpc.status.NOT_FOUND],
  ["StartReplica", { shardId: 2, replicaId: 1, app: "odd" }, "DL_ERR_SHARD_ALREADY_EXISTS", grpc.status.ALREADY_EXISTS],
  [
    "StartReplica",
    { shardId: 5, replicaId: 1, app: "kv" },
    "DL_ERR_SHARD_NOT_BOOTSTRAPPED",
    grpc.status.FAILED_PRECONDITION,
  ],
  ["StopReplica", { shardId: 5, replicaId: 1 }, "DL_ERR_SHARD_NOT_FOUND", grpc.status.NOT_FOUND],
];

test("every refusal carries code, outcome and hint, and the nearest gRPC status", async () => {
  await ready(1);
  for (const [name, request, code, status] of REFUSALS) {
    const found = await failure(name, request);
    assert.deepEqual([found.code, found.status, found.outcome], [code, status, "rejected"], name);
    assert.notEqual(found.hint, "", name);
  }
});

test("a call that nobody can answer in time ends as unknown, and says so", async () => {
  const initial = [
    { replicaId: 1, target: host.raftAddress, role: "ROLE_VOTER" },
    { replicaId: 2, target: "127.0.0.1:1", role: "ROLE_VOTER" },
  ];
  const settings = { electionTicks: 1_000, heartbeatTicks: 1 };
  await call("StartReplica", { shardId: 7, replicaId: 1, app: "kv", initial, settings });
  const found = await failure("Propose", { shardId: 7, command: put("a", "1"), timeoutMs: 50 });
  assert.ok(["DL_ERR_TIMEOUT", "DL_ERR_SHARD_NOT_READY"].includes(found.code), found.code);
  assert.equal(found.retryable, true);
});

test("every method of the service was called here", () => {
  const called = new Set([...REFUSALS.map(([name]) => name), "Propose", "Read", "GetNodeHostInfo", "LeaderUpdates"]);
  for (const name of ["RequestAddReplica", "RequestAddNonVoting"]) called.add(name);
  assert.deepEqual([...called].sort(), Object.keys(service()).sort());
});
