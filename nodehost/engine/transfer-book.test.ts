/** The open transfer of a replica, the choice of a target, and what a slow disk does with leaderships. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import { emptyMembership } from "../../shared/types/membership.js";
import type { PeerStatus, RaftStatus, TransferRefusal } from "../raft/types.js";
import { RequestState } from "./requests.js";
import { type LedReplica, SlowDisk } from "./slow-disk.js";
import { bestTarget, TransferBook } from "./transfer-book.js";

const T = 100;

function peer(replicaId: number, rest: Partial<PeerStatus> = {}): PeerStatus {
  return { replicaId, match: 5_000, next: 5_001, state: "replicate", active: true, lastContactMs: 0, ...rest };
}

function status(peers: readonly PeerStatus[]): RaftStatus {
  const voters = new Map([1, 2, 3, 4].map((id) => [id, `h${id}`]));
  const nonVotings = new Map([[9, "h9"]]);
  return {
    ...{ shardId: 1, replicaId: 1, role: "leader", term: 2, vote: 1, leaderId: 1, quiesced: false, transferTarget: 0 },
    ...{ commit: 5_000, applied: 5_000, first: 1, last: 5_000, lastTerm: 2, durable: 5_000, hindrance: undefined },
    membership: { ...emptyMembership(), voters, nonVotings },
    peers,
    promotions: [],
    ...{ memoryBytes: 0, memoryLimited: false },
  };
}

test("the best target is an active, caught-up voter; equals share what is given away", () => {
  assert.equal(bestTarget(status([])), undefined);
  assert.equal(bestTarget(status([peer(9)])), undefined, "a learner");
  assert.equal(bestTarget(status([peer(2, { active: false }), peer(3, { state: "snapshot" })])), undefined);
  assert.equal(bestTarget(status([peer(2, { match: 100 }), peer(3, { match: 4_990 })])), 3);
  assert.equal(bestTarget(status([peer(2, { match: 100 }), peer(3, { match: 200 })])), 3, "the nearer one");
  assert.equal(bestTarget(status([peer(3), peer(2, { match: 4_500 })])), 2, "both are near enough");
  assert.equal(bestTarget(status([peer(2), peer(3)]), { given: new Map([["h2", 1]]) }), 3);
  assert.equal(bestTarget(status([peer(2), peer(3)]), { tried: new Set([2]) }), 3);
});

interface FakeRaft {
  readonly role: "leader";
  readonly calls: string[];
  status(): RaftStatus;
  transferLeadership(target: number): TransferRefusal | undefined;
  stepDown(): void;
}

function fakeReplica(peers: readonly PeerStatus[], answer?: TransferRefusal): LedReplica & { raft: FakeRaft } {
  const calls: string[] = [];
  const raft: FakeRaft = {
    role: "leader",
    calls,
    status: () => status(peers),
    transferLeadership(target) {
      calls.push(`transfer ${target}`);
      return answer;
    },
    stepDown: () => void calls.push("stepDown"),
  };
  return { shardId: 1, working: true, config: { electionTicks: 10 }, raft };
}

const logger: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => logger };

test("a slow disk: transfer first, step down when it did not succeed within an election timeout", () => {
  let ageMs = T / 2;
  const slow = new SlowDisk({ rttMs: T / 10, logger, appendAgeMs: () => ageMs });
  const replica = fakeReplica([peer(2)]);
  slow.expect(replica);
  assert.deepEqual(slow.check([replica], 0), []);
  ageMs = T / 2 + 1;
  assert.deepEqual(slow.check([replica], 0), [replica]);
  assert.deepEqual(slow.check([replica], T - 1), []);
  assert.deepEqual(replica.raft.calls, ["transfer 2"]);
  assert.deepEqual(slow.check([replica], T), [replica]);
  assert.deepEqual(replica.raft.calls, ["transfer 2", "stepDown"]);
});

test("a slow disk that recovers in between starts over; without a target, or refused, it steps down at once", () => {
  let ageMs = T;
  const slow = new SlowDisk({ rttMs: T / 10, logger, appendAgeMs: () => ageMs });
  const replica = fakeReplica([peer(2)]);
  slow.expect(replica);
  slow.check([replica], 0);
  ageMs = 0;
  const untouched = (function* (): Iterable<LedReplica> {
    yield assert.fail("no replica is looked at while the log is quick");
  })();
  slow.check(untouched, T / 2);
  ageMs = T;
  slow.check([replica], T);
  assert.deepEqual(replica.raft.calls, ["transfer 2", "transfer 2"]);
  const alone = fakeReplica([peer(2, { active: false })]);
  const once = (led: LedReplica): void => {
    const disk = new SlowDisk({ rttMs: T / 10, logger, appendAgeMs: () => T });
    disk.expect(led);
    disk.check([led], 0);
  };
  once(alone);
  assert.deepEqual(alone.raft.calls, ["stepDown"]);
  const refused = fakeReplica([peer(2)], "invalidTarget");
  once(refused);
  assert.deepEqual(refused.raft.calls, ["transfer 2", "stepDown"]);
  const busy = fakeReplica([peer(2)], "busy");
  once(busy);
  assert.deepEqual(busy.raft.calls, ["transfer 2"], "one is under way: it gets its time");
});

test("an aborted transfer says whether the target may still take over", () => {
  const end = (asked: boolean): RequestState => {
    const book = new TransferBook();
    const request = new RequestState("transfer", 1, 1_000);
    assert.equal(book.add(request, 2), undefined);
    const second = book.add(new RequestState("transfer", 1, 1_000), 3);
    assert.equal(second?.code, "DL_ERR_SYSTEM_BUSY");
    book.ended({ target: 2, outcome: "done", reason: undefined, asked, leaderId: 3, term: 9 });
    assert.equal(request.settled, false, "the end of one that was begun by somebody else");
    book.begin({ ...fakeReplica([]).raft, leaderId: 1 } as never, 0);
    assert.equal(request.handedOver, true);
    book.ended({ target: 2, outcome: "aborted", reason: "timeout", asked, leaderId: 1, term: 2 });
    return request;
  };
  for (const asked of [false, true]) {
    const outcome = end(asked).outcome;
    assert.equal(outcome?.code, "aborted");
    assert.ok(outcome.error instanceof OpError);
    assert.equal(outcome.error.code, "DL_ERR_TIMEOUT");
    assert.equal(outcome.error.outcome, asked ? "unknown" : "rejected");
  }
});
