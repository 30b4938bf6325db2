/** ShardSession against scripted answers, and ShardClient with and without a session against scripted hosts. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Server } from "@grpc/grpc-js";
import { type ErrorCode, OpError, type Outcome } from "../../shared/errors.js";
import type { SessionState } from "../../shared/types/session.js";
import { type Handlers, NODE_HOST_SERVICE, serve } from "../../shared/wire/index.js";
import { bindServer, closeServer } from "../api/grpc-service.js";
import type { ProposeAnswer } from "./host-client.js";
import { ShardClient } from "./shard-client.js";
import { type SessionCalls, ShardSession } from "./shard-session.js";

const COMMAND = Buffer.from("append");
const UNKNOWN = new OpError("DL_ERR_TIMEOUT");
const BUSY = new OpError("DL_ERR_SYSTEM_BUSY");
const LOST = new OpError("DL_ERR_SESSION_NOT_FOUND");

function failsAs(code: ErrorCode, outcome: Outcome): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === code && error.outcome === outcome;
}

/** Answers proposals from a script; an attempt that may be repeated takes the next line. */
class Script implements SessionCalls {
  readonly attempts: string[] = [];
  readonly closed: number[] = [];
  opened = 0;
  readonly #lines: (OpError | "ok")[];

  constructor(...lines: (OpError | "ok")[]) {
    this.#lines = lines;
  }

  async open(): Promise<SessionState> {
    this.opened += 1;
    return { shardId: 1, clientId: `${this.opened}`, seriesId: 10, respondedTo: 9 };
  }

  async propose(...[{ session, command }, , again]: Parameters<SessionCalls["propose"]>): Promise<ProposeAnswer> {
    for (;;) {
      this.attempts.push(`${session.clientId}/${session.seriesId}/${session.respondedTo} ${command}`);
      const line = this.#lines.shift();
      if (line === undefined) throw new Error("the script is over");
      if (line === "ok") return { value: session.seriesId, data: new Uint8Array(0), index: 0 };
      if (!again(line)) throw line;
      if (this.#lines.length === 0) throw line; // no time left
      await Promise.resolve();
    }
  }

  async close(session: SessionState): Promise<void> {
    this.closed.push(session.seriesId);
    throw LOST;
  }
}

test("unknown outcomes are retried under the same series until answered, then the series advances (P38)", async () => {
  const script = new Script(UNKNOWN, BUSY, UNKNOWN, "ok", "ok");
  const session = await ShardSession.open(script, undefined);
  assert.equal((await session.propose(COMMAND)).value, 10);
  assert.equal((await session.propose(COMMAND)).value, 11);
  assert.deepEqual(script.attempts, [...Array(4).fill("1/10/9 append"), "1/11/10 append"]);
});

test("once an attempt ended unknown only an answer makes the outcome known (P38)", async () => {
  const session = await ShardSession.open(new Script(UNKNOWN, BUSY), undefined);
  await assert.rejects(session.propose(COMMAND), failsAs("DL_ERR_SYSTEM_BUSY", "unknown"));
  const evicted = await ShardSession.open(new Script(UNKNOWN, LOST), undefined);
  await assert.rejects(evicted.propose(COMMAND), failsAs("DL_ERR_SESSION_NOT_FOUND", "unknown"));
  await assert.rejects(evicted.retry(), failsAs("DL_ERR_INVALID_SESSION", "rejected"));
});

test("retry goes on with the same series; the next proposal gives it up and says so to the shard", async () => {
  const script = new Script(UNKNOWN);
  const session = await ShardSession.open(script, undefined);
  await assert.rejects(session.propose(COMMAND), failsAs("DL_ERR_TIMEOUT", "unknown"));
  script.attempts.length = 0;
  await assert.rejects(session.retry(), /the script is over/);
  const other = new Script(UNKNOWN);
  const left = await ShardSession.open(other, undefined);
  await assert.rejects(left.propose(COMMAND), failsAs("DL_ERR_TIMEOUT", "unknown"));
  await assert.rejects(left.propose(Buffer.from("other")), /the script is over/);
  assert.deepEqual(script.attempts, ["1/10/9 append"]);
  assert.deepEqual(other.attempts, ["1/10/9 append", "1/11/10 other"]);
});

test("a certain refusal uses no series up", async () => {
  const tooBig = new OpError("DL_ERR_PAYLOAD_TOO_BIG");
  const script = new Script(tooBig, "ok");
  const session = await ShardSession.open(script, undefined);
  await assert.rejects(session.propose(COMMAND), failsAs("DL_ERR_PAYLOAD_TOO_BIG", "rejected"));
  await session.propose(Buffer.from("small"));
  assert.deepEqual(script.attempts, ["1/10/9 append", "1/10/9 small"]);
});

test("a session that was evicted while idle is replaced, but not again and again", async () => {
  const script = new Script("ok", LOST, "ok");
  const session = await ShardSession.open(script, undefined);
  await session.propose(COMMAND);
  await session.propose(COMMAND);
  assert.deepEqual(script.attempts, ["1/10/9 append", "1/11/10 append", "2/10/9 append"]);
  const hopeless = await ShardSession.open(new Script(LOST, LOST), undefined);
  await assert.rejects(hopeless.propose(COMMAND), failsAs("DL_ERR_SESSION_NOT_FOUND", "rejected"));
});

test("proposals go one after the other; close comes last, and is content when the session is gone", async () => {
  const script = new Script(UNKNOWN, "ok", "ok");
  const session = await ShardSession.open(script, undefined);
  const values = await Promise.all([session.propose(COMMAND), session.propose(COMMAND), session.close()]);
  assert.deepEqual(values[1]?.value, 11);
  assert.deepEqual(script.attempts, ["1/10/9 append", "1/10/9 append", "1/11/10 append"]);
  assert.deepEqual(script.closed, [12]);
  await assert.rejects(session.propose(COMMAND), failsAs("DL_ERR_INVALID_SESSION", "rejected"));
});

interface ScriptedHost {
  readonly address: string;
  readonly seen: string[];
}

/** A gRPC server that answers proposals from a script. */
async function scriptedHost(t: TestContext, ...lines: (OpError | number)[]): Promise<ScriptedHost> {
  const seen: string[] = [];
  const handlers: Partial<Handlers<typeof NODE_HOST_SERVICE>> = {
    async propose({ session, command }) {
      seen.push(`${session?.seriesId ?? "-"} ${Buffer.from(command)}`);
      const line = lines.shift() ?? new OpError("DL_ERR_INTERNAL", "the script is over");
      if (line instanceof OpError) throw line;
      return { value: line };
    },
    async openSession({ shardId }) {
      return { shardId, clientId: "00112233445566aa", seriesId: 5, respondedTo: 4 };
    },
  };
  const unused = new Proxy(handlers, { get: (target, name) => Reflect.get(target, name) ?? (async () => ({})) });
  const server = new Server();
  server.addService(
    NODE_HOST_SERVICE,
    serve(NODE_HOST_SERVICE, unused as Handlers<typeof NODE_HOST_SERVICE>, () => {}),
  );
  const address = await bindServer(server, "127.0.0.1:0");
  t.after(() => closeServer(server));
  return { address, seen };
}

test("without a session a client surfaces an unknown outcome and retries nothing (P38)", async (t) => {
  const a = await scriptedHost(t, BUSY, UNKNOWN);
  const b = await scriptedHost(t, BUSY, 7);
  const client = new ShardClient(async () => [a.address, b.address]);
  t.after(() => client.close());
  await assert.rejects(client.propose(1, COMMAND), failsAs("DL_ERR_TIMEOUT", "unknown"));
  assert.deepEqual(a.seen, ["- append", "- append"]);
  assert.deepEqual(b.seen, ["- append"]);
});

test("with a session it goes on through the next host under the same series (P38)", async (t) => {
  const a = await scriptedHost(t, UNKNOWN);
  const b = await scriptedHost(t, UNKNOWN, 7);
  const client = new ShardClient(async () => [a.address, b.address]);
  t.after(() => client.close());
  const session = await client.withSession(1);
  const answer = await session.propose(COMMAND);
  assert.equal(answer.value, 7);
  assert.deepEqual([...new Set([...a.seen, ...b.seen])], ["5 append"]);
  assert.equal(b.seen.length, 2);
});
