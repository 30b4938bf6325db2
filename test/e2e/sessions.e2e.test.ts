/**
 * Exactly once over real processes: clients append under sessions while the leading host is killed with SIGKILL, each
 * retrying through whoever lives until it is answered. Every append is there exactly once and in order.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HostViews } from "../../master/cli/demo-verify.js";
import { decodeKvAnswer, encodeKvCommand, encodeKvQuery, kvBytes } from "../../nodehost/apps/index.js";
import { ShardClient } from "../../nodehost/client/index.js";
import { awaitStrength, limitOf } from "./kit.js";
import { ThreeHosts } from "./kit-three.js";

const SHARD = 1;
const CLIENTS = 4;
/** Of each client; at half of them the leader is killed. */
const APPENDS = 200;
const TIMEOUT_MS = 40_000;

test("clients with sessions append exactly once through the death of the leader (P36, P38)", async (t) => {
  const limit = limitOf(t);
  const hosts = await ThreeHosts.start(t);
  await hosts.startReplicas([SHARD], 100);
  const views = new HostViews();
  t.after(() => views.close());
  await awaitStrength([SHARD], { views, limit, voters: 3, addresses: () => hosts.addresses() });

  const killLeader = async (): Promise<void> => {
    const infos = await views.infos(hosts.addresses());
    const victim = infos.findIndex((info) => info.clusterInfo.some((replica) => replica.isLeader));
    assert.ok(victim >= 0, "no host leads");
    await hosts.processes[victim]?.kill();
  };
  let done = 0;
  let killing: Promise<void> | undefined;
  const append = async (id: number): Promise<void> => {
    const client = new ShardClient(async () => hosts.addresses());
    t.after(() => client.close());
    const session = await client.withSession(SHARD, { timeoutMs: TIMEOUT_MS });
    for (let i = 0; i < APPENDS; i++) {
      const value = kvBytes(`${i};`);
      const command = encodeKvCommand({ op: "append", key: kvBytes(`client-${id}`), value });
      await session.propose(command, { timeoutMs: TIMEOUT_MS });
      done += 1;
      if (done === (CLIENTS * APPENDS) / 2) killing = killLeader();
    }
    await session.close({ timeoutMs: TIMEOUT_MS });
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, id) => append(id)));
  await killing;
  assert.equal(hosts.addresses().length, 2);

  const reader = new ShardClient(async () => hosts.addresses());
  t.after(() => reader.close());
  const expected = Array.from({ length: APPENDS }, (_, i) => `${i};`).join("");
  for (let id = 0; id < CLIENTS; id++) {
    const query = encodeKvQuery({ op: "get", key: kvBytes(`client-${id}`) });
    const answer = await reader.read(SHARD, query, { timeoutMs: TIMEOUT_MS });
    assert.equal(Buffer.from(decodeKvAnswer(answer ?? new Uint8Array(0)).bytes).toString(), expected);
  }
});
