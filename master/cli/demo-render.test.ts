/** The live status as text, and the order in which writers try hosts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { leaderFirst } from "./demo-leaders.js";
import { parseReadyLine } from "./demo-process.js";
import { grouped, painter, renderPhase, renderStatus } from "./demo-render.js";

const plain = painter(false);

test("phases show a tick, a cross, or that they go on", () => {
  assert.equal(renderPhase({ text: "x", tookMs: 1_234, failed: false }, plain), "✔ x  1.2 s");
  assert.equal(renderPhase({ text: "x", tookMs: 1_234, failed: true }, plain), "✗ x  1.2 s");
  assert.equal(renderPhase({ text: "x", tookMs: undefined, failed: false }, plain), "… x");
});

test("the status names hosts, shards and writes", () => {
  const lines = renderStatus(
    {
      hosts: [{ name: "host-1", state: "killed", replicas: 10, leaders: 3 }],
      shards: [
        {
          shardId: 4,
          state: "degraded",
          members: [
            { host: "1", is: "missing" },
            { host: "2", is: "leader" },
            { host: "3", is: "running" },
          ],
        },
      ],
      operationsOpen: 2,
      acked: 12_345,
      unknown: 3,
      writesPerSecond: 850.4,
      maxGapMs: 640,
    },
    plain,
    120,
  ).join("\n");
  assert.match(lines, /host-1 +killed +10 replicas, leads 3/);
  assert.match(lines, /4 degraded +✗1 ●2 ○3/);
  assert.match(lines, /12,345 writes acknowledged \(850\/s\), 3 unknown, largest gap 640 ms, 2 operations open/);
});

test("numbers are grouped by thousands", () => {
  assert.deepEqual([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
});

test("the host of the leader of the newest term comes first", () => {
  const rows = new Map([
    ["old", { replicaId: 1, leaderId: 1, term: 3 }],
    ["follower", { replicaId: 2, leaderId: 3, term: 4 }],
    ["leader", { replicaId: 3, leaderId: 3, term: 4 }],
    ["lost", { replicaId: 4, leaderId: 0, term: 5 }],
  ]);
  assert.equal(leaderFirst(rows)[0], "leader");
  assert.deepEqual(leaderFirst(rows).sort(), ["follower", "leader", "lost", "old"]);
  assert.deepEqual(leaderFirst(new Map()), []);
});

test("only a ready line is a ready line", () => {
  const line = '{"event":"ready","raftAddress":"127.0.0.1:1","apiAddress":"127.0.0.1:2","httpAddress":""}';
  assert.equal(parseReadyLine(line)?.apiAddress, "127.0.0.1:2");
  assert.equal(parseReadyLine('{"event":"started"}'), undefined);
  assert.equal(parseReadyLine("ready"), undefined);
  assert.equal(parseReadyLine("[1]"), undefined);
  assert.equal(parseReadyLine("null"), undefined);
});
