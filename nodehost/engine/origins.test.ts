/** Whose messages count: those of a replica on the directory that it is known on, once that is durable. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { noMetrics, silentLogger } from "../../shared/env/env.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { LIMITS } from "../../shared/limits.js";
import { HostMessageType, type Message, MessageType, type WireMessage } from "../../shared/types/message.js";
import { settled } from "../../test/hosts/virtual-world.js";
import { createMemoryLogDb } from "../logdb/memory-logdb.js";
import type { LogDb } from "../logdb/port.js";
import type { Hello } from "../transport/port.js";
import { Origins, type Resident } from "./origins.js";

const SHARD = 4;

function helloOf(dataSetId: string): Hello {
  return {
    wireVersionMin: 1,
    wireVersionMax: 2,
    deploymentId: 1,
    hostId: "host",
    dataSetId,
    incarnation: { counter: 1, nonce: "n" },
    recoveredWalSequence: 0,
    raftAddress: "h:1",
  };
}

function vote(from: number, lineage = 0): Message {
  return { type: MessageType.VoteResp, shardId: SHARD, from, to: 1, term: 2, lineage, granted: true };
}

function recall(from: number, nonce = 5) {
  return { type: HostMessageType.Recall, shardId: SHARD, from, to: 1, term: 0, lineage: 0, nonce } as const;
}

interface Origin {
  readonly dataSetId: string;
  readonly lineage: number;
  saved: boolean;
}

/** Origins over a memory whose writes end when the test says. */
class World {
  nowMs = 0;
  readonly known = new Map<number, Origin>();
  readonly writes: { readonly done: () => void; readonly fail: () => void }[] = [];
  readonly delivered: Message[] = [];
  readonly sent: WireMessage[] = [];
  resident: Resident | undefined;
  readonly logDb: LogDb;
  readonly origins: Origins;

  constructor() {
    const env = { ...createRealEnv({ logger: silentLogger }), now: () => this.nowMs, metrics: noMetrics };
    this.logDb = createMemoryLogDb({ env, onFatal: () => {} });
    const peers = {
      originOf: (_shard: number, replicaId: number) => this.known.get(replicaId),
      setOrigin: (_shard: number, replicaId: number, dataSetId: string, lineage: number) =>
        new Promise<void>((resolve, reject) => {
          const origin: Origin = { dataSetId, lineage, saved: false };
          this.known.set(replicaId, origin);
          const done = (): void => {
            origin.saved = true;
            resolve();
          };
          this.writes.push({ done, fail: () => reject(new Error("disk")) });
        }),
      isUnproven: () => false,
      setUnproven: async () => {},
    };
    this.origins = new Origins({
      ports: { env, logger: silentLogger, logDb: this.logDb, peers, send: (_to, message) => this.sent.push(message) },
      replica: () => this.resident,
      deliver: (_from, message) => this.delivered.push(message),
      flush: () => {},
    });
  }

  verdicts(): string[] {
    return this.sent.map((m) => (m.type === HostMessageType.RecallResp ? `${m.to} ${m.nonce} ${m.verdict}` : "?"));
  }
}

test("the first message of a replica counts when it is durable where it lives, and in order", async () => {
  const world = new World();
  const from = helloOf("a");
  assert.equal(world.origins.admits(from, vote(2)), false);
  assert.equal(world.origins.admits(from, { ...vote(2), term: 3 }), false);
  await settled();
  assert.equal(world.delivered.length, 0, "not before");
  world.writes[0]?.done();
  await settled();
  assert.deepEqual(
    world.delivered.map((m) => m.term),
    [2, 3],
  );
  assert.equal(world.origins.admits(from, vote(2)), true);
  assert.equal(world.writes.length, 1);
});

test("what waits is bounded, and lost when the write fails; the next message tries again", async () => {
  const world = new World();
  for (let i = 0; i < LIMITS.heldMessagesMax + 9; i++) world.origins.admits(helloOf("a"), vote(2));
  world.writes[0]?.fail();
  await settled();
  assert.deepEqual(world.delivered, []);
  for (let i = 0; i < LIMITS.heldMessagesMax + 9; i++) world.origins.admits(helloOf("a"), vote(2));
  world.writes[1]?.done();
  await settled();
  assert.equal(world.delivered.length, LIMITS.heldMessagesMax);
});

test("from another directory it is refused and told so, once a second", () => {
  const world = new World();
  world.known.set(2, { dataSetId: "a", lineage: 0, saved: true });
  for (let i = 0; i < 5; i++) assert.equal(world.origins.admits(helloOf("b"), vote(2)), false);
  assert.deepEqual(world.verdicts(), ["2 0 known"]);
  world.nowMs += 1_000;
  world.origins.admits(helloOf("b"), vote(2));
  assert.equal(world.sent.length, 2);
  assert.deepEqual(world.delivered, []);
  assert.equal(world.writes.length, 0);
});

test("a membership that was forced since may name it anew, by its lineage; then the old one is refused", async () => {
  const world = new World();
  world.known.set(2, { dataSetId: "a", lineage: 1, saved: true });
  assert.equal(world.origins.admits(helloOf("b"), vote(2, 1)), false);
  assert.equal(world.sent.length, 1);
  assert.equal(world.origins.admits(helloOf("b"), vote(2, 2)), false);
  world.writes[0]?.done();
  await settled();
  assert.equal(world.delivered.length, 1);
  assert.equal(world.origins.admits(helloOf("b"), vote(2, 2)), true);
  assert.equal(world.origins.admits(helloOf("a"), vote(2, 2)), false);
});

test("a recall is answered when who asked is durable", async () => {
  const world = new World();
  world.origins.answer(helloOf("a"), recall(2));
  await settled();
  assert.deepEqual(world.verdicts(), []);
  world.writes[0]?.done();
  await settled();
  assert.deepEqual(world.verdicts(), ["2 5 unknown"]);
  world.origins.answer(helloOf("a"), recall(2, 6));
  world.origins.answer(helloOf("b"), recall(2, 7));
  assert.deepEqual(world.verdicts().slice(1), ["2 6 unknown", "2 7 known"]);
  assert.equal(world.writes.length, 1, "the one refused is not remembered");
});

test("a recall of one that was removed, and what makes a member active", async () => {
  const world = new World();
  const membership = { lineage: 0, removed: new Set([3]) };
  world.resident = { replicaId: 1, raft: { membership } };
  world.origins.answer(helloOf("a"), recall(3));
  assert.deepEqual(world.verdicts(), ["3 5 removed"]);
  const voters = new Map([
    [1, "h:1"],
    [2, "h:2"],
  ]);
  const initial = { ...membership, configChangeIndex: 0, voters, nonVotings: new Map(), witnesses: new Map() };
  const bootstrap = { join: false, kind: "memory", app: "", initial, config: "{}" } as const;
  const key = { shardId: SHARD, replicaId: 1 };
  const ask = async (): Promise<string> => {
    world.known.set(2, { dataSetId: "a", lineage: 0, saved: true });
    world.origins.answer(helloOf("a"), recall(2));
    return world.verdicts().at(-1) ?? "";
  };
  assert.equal(await ask(), "2 5 unknown", "nothing of the shard was ever here");
  world.origins.started(SHARD);
  await world.logDb.append([{ ...key, bootstrap, hardState: { term: 1, vote: 0, commit: 0 } }]);
  assert.equal(await ask(), "2 5 unknown", "just started");
  await world.logDb.append([{ ...key, hardState: { term: 2, vote: 0, commit: 0 } }]);
  assert.equal(await ask(), "2 5 unknownButActive", "it heard of an election");
  await world.logDb.append([{ ...key, remove: true }]);
  world.resident = undefined;
  assert.equal(await ask(), "2 5 unknownButActive", "it was here once");
});
