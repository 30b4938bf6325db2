/** The gRPC tables and helpers against a real server on loopback, and against the .proto files alone. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { test } from "node:test";
import { Client, credentials, loadPackageDefinition, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { MalformedError } from "../codec/bytes.js";
import { ERROR_CODES, type ErrorCode, OpError } from "../errors.js";
import {
  callStream,
  callUnary,
  type Handlers,
  MASTER_SERVICE,
  NODE_HOST_SERVICE,
  opErrorOf,
  serve,
  statusOf,
} from "./grpc.js";

const { propose, leaderUpdates } = NODE_HOST_SERVICE;
const SERVICE = { propose, leaderUpdates };

/** Starts a server with the two calls, runs `body`, closes everything. */
async function withServer(
  handlers: Handlers<typeof SERVICE>,
  body: (client: Client, address: string) => Promise<void>,
): Promise<unknown[]> {
  const bugs: unknown[] = [];
  const server = new Server();
  server.addService(
    SERVICE,
    serve(SERVICE, handlers, (_method, error) => bugs.push(error)),
  );
  const port = await new Promise<number>((done, fail) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? fail(error) : done(bound),
    );
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  try {
    await body(client, `127.0.0.1:${port}`);
  } finally {
    client.close();
    server.forceShutdown();
  }
  return bugs;
}

async function* noUpdates() {}

test("a unary call carries numbers as numbers, absent ones as 0", async () => {
  const handlers: Handlers<typeof SERVICE> = {
    propose: async (request) => {
      assert.equal(request.shardId, Number.MAX_SAFE_INTEGER);
      assert.equal(request.timeoutMs, 0);
      return { value: 7, data: request.command };
    },
    leaderUpdates: noUpdates,
  };
  await withServer(handlers, async (client) => {
    const request = { shardId: Number.MAX_SAFE_INTEGER, command: Buffer.from("abc") };
    const reply = await callUnary(client, propose, request, { timeoutMs: 10_000 });
    assert.deepEqual([reply.value, reply.index, Buffer.from(reply.data).toString()], [7, 0, "abc"]);
  });
});

test("an OpError arrives with code, outcome and detail", async () => {
  const propose = async () => {
    throw new OpError("DL_ERR_TIMEOUT", "shard 7, 5000 ms", { outcome: "applied" });
  };
  await withServer({ propose, leaderUpdates: noUpdates }, async (client) => {
    await assert.rejects(callUnary(client, SERVICE.propose, {}, { timeoutMs: 10_000 }), (error) => {
      assert.ok(error instanceof OpError);
      assert.equal(error.code, "DL_ERR_TIMEOUT");
      assert.equal(error.outcome, "applied");
      assert.equal(error.message, `${ERROR_CODES.DL_ERR_TIMEOUT.text}: shard 7, 5000 ms`);
      return true;
    });
  });
});

test("every code survives the trip", () => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const sent = new OpError(code, "detail");
    const { metadata, details, code: grpcCode } = statusOf(sent);
    assert.notEqual(grpcCode, status.OK);
    const got = opErrorOf(Object.assign(new Error(details), { code: grpcCode, details, metadata }));
    assert.deepEqual([got.code, got.outcome, got.message], [sent.code, sent.outcome, sent.message]);
  }
});

test("a bug is answered without its text and shown to its own process", async () => {
  const propose = async () => {
    throw new TypeError("secret of this process");
  };
  const bugs = await withServer({ propose, leaderUpdates: noUpdates }, async (client) => {
    await assert.rejects(callUnary(client, SERVICE.propose, {}, { timeoutMs: 10_000 }), (error) => {
      assert.ok(error instanceof OpError);
      assert.equal(error.code, "DL_ERR_INTERNAL");
      assert.equal(error.outcome, "unknown");
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });
  assert.match(String(bugs[0]), /secret/);
});

test("malformed input found by a handler is the caller's fault, not a bug", () => {
  assert.equal(opErrorOf(failure(statusOf(new MalformedError("x")))).code, "DL_ERR_MALFORMED");
});

test("a garbled error trailer gives an unknown outcome, never a throw", () => {
  const { metadata, ...rest } = statusOf(new OpError("DL_ERR_REJECTED"));
  metadata.set("drumline-error-bin", Buffer.from([0xff, 0xff]));
  const error = opErrorOf(failure({ ...rest, metadata }));
  assert.deepEqual([error.code, error.outcome], ["DL_ERR_MALFORMED", "unknown"]);
});

test("a canceled call rejects here and aborts the handler there", async () => {
  const { promise: entered, resolve: enter } = withResolvers();
  const { promise: left, resolve: leave } = withResolvers();
  const propose = async (_request: unknown, context: { signal: AbortSignal }) => {
    context.signal.addEventListener("abort", () => leave());
    enter();
    await left;
    return {};
  };
  await withServer({ propose, leaderUpdates: noUpdates }, async (client) => {
    const abort = new AbortController();
    const call = callUnary(client, SERVICE.propose, {}, { timeoutMs: 30_000, signal: abort.signal });
    await entered;
    abort.abort();
    await assert.rejects(call, { code: "DL_ERR_CANCELED", outcome: "unknown" });
    await left;
  });
});

test("nobody there is DL_ERR_UNREACHABLE with an unknown outcome", async () => {
  let address = "";
  await withServer({ propose: async () => ({}), leaderUpdates: noUpdates }, async (_client, at) => {
    address = at;
  });
  const client = new Client(address, credentials.createInsecure());
  await assert.rejects(callUnary(client, propose, {}, { timeoutMs: 10_000 }), { code: "DL_ERR_UNREACHABLE" });
  client.close();
});

test("a stream delivers all, ends, and fails with OpError", async () => {
  async function* updates(request: { shardId: number }) {
    for (let term = 1; term <= 500; term++) yield { shardId: request.shardId, term };
    if (request.shardId === 2) throw new OpError("DL_ERR_SHARD_NOT_FOUND", "shard 2");
  }
  await withServer({ propose: async () => ({}), leaderUpdates: updates }, async (client) => {
    const terms: number[] = [];
    for await (const update of callStream(client, leaderUpdates, { shardId: 1 })) terms.push(update.term);
    assert.equal(terms.length, 500);
    assert.equal(terms.at(-1), 500);
    const failing = async () => {
      for await (const update of callStream(client, leaderUpdates, { shardId: 2 })) assert.ok(update.term > 0);
    };
    await assert.rejects(failing, { code: "DL_ERR_SHARD_NOT_FOUND", outcome: "rejected" });
  });
});

test("leaving a stream ends the handler", async () => {
  const { promise: ended, resolve: end } = withResolvers();
  async function* updates(_request: unknown, context: { signal: AbortSignal }) {
    try {
      for (let term = 1; !context.signal.aborted; term++) {
        yield { term };
        await new Promise((done) => setImmediate(done));
      }
    } finally {
      end();
    }
  }
  await withServer({ propose: async () => ({}), leaderUpdates: updates }, async (client) => {
    for await (const update of callStream(client, leaderUpdates, {})) if (update.term >= 3) break;
    await ended;
  });
});

test("the tables name exactly the methods of the .proto files", () => {
  const folder = dirname(createRequire(import.meta.url).resolve("drumline/proto/nodehost.proto"));
  const files = ["nodehost.proto", "master.proto"];
  const loaded = loadPackageDefinition(loadSync(files, { includeDirs: [folder] }));
  assert.ok("drumline" in loaded);
  const definition = loadSync(files, { includeDirs: [folder] });
  for (const [name, table] of [["NodeHost", NODE_HOST_SERVICE] as const, ["Master", MASTER_SERVICE] as const]) {
    const service = definition[`drumline.v1.${name}`];
    assert.ok(service !== undefined && !("format" in service));
    const wanted = Object.values(service).map((method) => `${method.path} ${method.responseStream}`);
    const ours = Object.values(table).map((method) => `${method.path} ${method.responseStream}`);
    assert.deepEqual(ours.sort(), wanted.sort());
  }
});

function failure(from: ReturnType<typeof statusOf>) {
  return Object.assign(new Error(from.details), from);
}

function withResolvers() {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
