/** Who must have answered before a new replica takes part, and what its answers mean. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { noMetrics, silentLogger } from "../../shared/env/env.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { emptyMembership } from "../../shared/types/membership.js";
import {
  HostMessageType,
  type RecallMessage,
  type RecallVerdict,
  type WireMessage,
} from "../../shared/types/message.js";
import type { Hello } from "../transport/port.js";
import { type IntroductionKind, Introductions, type Newcomer } from "./introductions.js";

const SHARD = 4;
const T = 500;

function helloOf(replicaId: number, wireVersionMax = 2): Hello {
  return {
    wireVersionMin: 1,
    wireVersionMax,
    deploymentId: 1,
    hostId: `host-${replicaId}`,
    dataSetId: `set-${replicaId}`,
    incarnation: { counter: 1, nonce: "n" },
    recoveredWalSequence: 0,
    raftAddress: target(replicaId),
  };
}

function target(replicaId: number): string {
  return `h:${replicaId}`;
}

/** Replica 1 of a shard of `voters` members, about to start. */
class Start {
  nowMs = 1_000;
  readonly sent: { readonly to: string; readonly message: WireMessage }[] = [];
  readonly proven: boolean[] = [];
  admittedMs = -1;
  fault = "";
  readonly newcomer: Newcomer;
  readonly introductions: Introductions;
  removed = new Set<number>();

  constructor(voters: number, kind: IntroductionKind) {
    const members = new Map(Array.from({ length: voters }, (_, i) => [i + 1, target(i + 1)]));
    const env = { ...createRealEnv({ logger: silentLogger }), now: () => this.nowMs, metrics: noMetrics };
    const start = this;
    this.newcomer = {
      shardId: SHARD,
      replicaId: 1,
      electionTimeoutMs: T,
      hold: "",
      raft: {
        get membership() {
          return { ...emptyMembership(), voters: members, removed: start.removed };
        },
      },
      get working() {
        return start.fault === "";
      },
      admit: (nowMs) => {
        this.newcomer.hold = "";
        this.admittedMs = nowMs;
      },
      fence: (why, code) => {
        this.fault = `${code} ${why}`;
      },
    };
    this.introductions = new Introductions({
      ports: {
        env,
        logger: silentLogger,
        peers: {
          originOf: () => undefined,
          setOrigin: async () => {},
          isUnproven: () => false,
          setUnproven: async (_shard, _replica, unproven) => {
            this.proven.push(!unproven);
          },
        },
        send: (to, message) => this.sent.push({ to, message }),
      },
      replica: (shardId) => (shardId === SHARD ? this.newcomer : undefined),
      flush: () => {},
    });
    this.introductions.begin(this.newcomer, members, kind);
  }

  get nonce(): number {
    return this.recalls()[0]?.nonce ?? 0;
  }

  recalls(): RecallMessage[] {
    return this.sent.map(({ message }) => message).filter((m) => m.type === HostMessageType.Recall);
  }

  answer(from: number, verdict: RecallVerdict, nonce = this.nonce): void {
    const type = HostMessageType.RecallResp;
    const message = { type, shardId: SHARD, from, to: 1, term: 0, lineage: 0, nonce, verdict } as const;
    this.introductions.onAnswer(helloOf(from), message);
  }

  after(ms: number): void {
    this.nowMs += ms;
    this.introductions.tick(this.nowMs);
  }
}

/** Answers of "unknown" that a new member of a shard of n voters needs: n − quorum + 1, at most all others. */
const NEEDED: readonly (readonly [number, number])[] = [
  [2, 1],
  [3, 2],
  [4, 2],
  [5, 3],
  [7, 4],
];

for (const [voters, needed] of NEEDED) {
  test(`a new one of ${voters} voters waits for ${needed} others that never knew it (P49)`, () => {
    const start = new Start(voters, "unproven");
    for (let from = 2; from <= needed; from++) {
      start.answer(from, "unknown");
      assert.match(start.newcomer.hold, /^waits for answers of replica/);
    }
    assert.deepEqual([start.admittedMs, start.proven], [-1, []]);
    start.answer(needed + 1, "unknown");
    assert.deepEqual([start.newcomer.hold, start.admittedMs, start.proven], ["", 1_000, [true]]);
  });
}

test("once one that answered is active, all others must answer: one of them may have counted its vote", () => {
  const start = new Start(5, "unproven");
  start.answer(2, "unknown");
  start.answer(3, "unknown");
  start.answer(4, "unknownButActive");
  assert.match(start.newcomer.hold, /^waits for answers of replica 5 at h:5/);
  start.answer(5, "unknown");
  assert.equal(start.newcomer.hold, "");
});

test("one member is asked once, whatever it answers how often; others and earlier starts do not count", () => {
  const start = new Start(5, "unproven");
  for (let i = 0; i < 5; i++) start.answer(2, "unknown");
  start.answer(9, "unknown");
  start.answer(1, "unknown");
  start.answer(3, "unknown", start.nonce + 1);
  start.answer(4, "unknown", 0);
  start.answer(3, "known", start.nonce + 1);
  assert.notEqual(start.newcomer.hold, "");
  assert.equal(start.fault, "");
  start.answer(3, "unknown");
  start.answer(4, "unknown");
  assert.equal(start.newcomer.hold, "");
});

test("known ends it: as an answer, and unasked when a message of it was refused", () => {
  for (const kind of ["unproven", "again", "free"] as const) {
    for (const asked of [true, false]) {
      const start = new Start(3, kind);
      start.answer(2, "unknown");
      start.answer(3, "known", asked ? start.nonce : 0);
      assert.match(start.fault, /^DL_ERR_DATA_LOST host host-3 at h:3 knows it .* new replica id/, `${kind} ${asked}`);
    }
  }
});

test("removed ends a new one; one that has its data hears it from its shard", () => {
  const fresh = new Start(3, "unproven");
  fresh.answer(2, "removed");
  assert.match(fresh.fault, /^DL_ERR_DATA_LOST .*removed from the shard/);
  const again = new Start(3, "again");
  again.answer(2, "removed");
  assert.equal(again.fault, "");
});

test("a sole member needs nobody, and nobody is asked", () => {
  const start = new Start(1, "unproven");
  assert.deepEqual([start.newcomer.hold, start.proven, start.sent], ["", [true], []]);
});

test("one whose data is here waits until each was asked, and for an election timeout at most", () => {
  const start = new Start(3, "again");
  assert.match(start.newcomer.hold, /^asks replica 2 at h:2, replica 3 at h:3/);
  start.answer(2, "unknownButActive");
  assert.notEqual(start.newcomer.hold, "", "the other one may know that this directory is old");
  start.introductions.onUnreachable(target(3));
  assert.equal(start.newcomer.hold, "");
  const slow = new Start(3, "again");
  slow.after(T - 1);
  assert.notEqual(slow.newcomer.hold, "");
  slow.after(T);
  assert.equal(slow.newcomer.hold, "");
  slow.answer(2, "known");
  assert.match(slow.fault, /DATA_LOST/, "an answer that comes later counts as much");
});

test("a new one waits for as long as it takes", () => {
  const start = new Start(3, "unproven");
  start.introductions.onUnreachable(target(2));
  start.introductions.onUnreachable(target(3));
  for (let i = 0; i < 100; i++) start.after(60_000);
  assert.notEqual(start.newcomer.hold, "");
});

test("it asks again, ever more rarely, and at once who can be reached again", () => {
  const start = new Start(3, "unproven");
  assert.equal(start.recalls().length, 2);
  start.answer(2, "unknown");
  let before = start.recalls().length;
  for (let i = 0; i < 600; i++) start.after(100);
  const asked = start.recalls().length - before;
  assert.ok(asked >= 8 && asked <= 14, `${asked} times in a minute`);
  assert.ok(start.sent.slice(2).every(({ to }) => to === target(3)));
  before = start.recalls().length;
  start.introductions.onConnected(target(3), helloOf(3));
  assert.equal(start.recalls().length, before + 1);
});

test("a peer that cannot answer keeps nobody waiting who has been here before", () => {
  const again = new Start(2, "again");
  again.introductions.onConnected(target(2), helloOf(2, 1));
  assert.equal(again.newcomer.hold, "");
  const fresh = new Start(2, "unproven");
  fresh.introductions.onConnected(target(2), helloOf(2, 1));
  assert.notEqual(fresh.newcomer.hold, "");
});

test("members that come later are told, those that left are not waited for", () => {
  const start = new Start(3, "free");
  start.answer(2, "unknown");
  start.introductions.introduce(start.newcomer, 8, target(8));
  start.after(1_000);
  assert.equal(start.recalls().at(-1)?.to, 8);
  start.answer(8, "unknown");
  start.removed = new Set([3]);
  start.after(60_000);
  const before = start.recalls().length;
  for (let i = 0; i < 50; i++) start.after(60_000);
  assert.equal(start.recalls().length, before, "nothing runs when all have answered or left");
});
