/** Promotion of non-voting members: only the caught-up, by policy or by request (P21). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, type NetOptions, T, type TestNode } from "./test-net.js";
import type { PromotionEnd } from "./types.js";

const POLICY = { maxLagEntries: 3, rounds: 3, timeoutMs: 20 * T };

/** Leader 1 of three voters, and member 4 without a vote. */
function withLearner(config: NetOptions["config"] = {}): { net: Net; leader: TestNode; ends: () => PromotionEnd[] } {
  const net = new Net({ voters: [1, 2, 3], config });
  const leader = net.elect(1);
  net.add(4, membershipOf([]));
  net.change(1, "addNonVoting", 4);
  net.run();
  return { net, leader, ends: () => leader.promotions };
}

function lose(net: Net, type: MessageType): void {
  net.passes = (m: Message) => !(m.to === 4 && m.type === type);
}

test("a member that keeps up for the rounds asked for is promoted, and not before", () => {
  const { net, leader, ends } = withLearner();
  assert.equal(leader.raft.promote(4, POLICY, net.nowMs), undefined);
  net.elapse(2 * HEARTBEAT);
  assert.ok(leader.membership.nonVotings.has(4));
  assert.equal(leader.raft.status().promotions[0]?.goodRounds, 2);
  const before = leader.raft.last;
  net.elapse(2 * HEARTBEAT);
  assert.ok(leader.membership.voters.has(4));
  assert.deepEqual(ends(), [{ replicaId: 4, reason: undefined, index: before + 1 }]);
  assert.deepEqual(leader.raft.status().promotions, []);
});

test("P21: a learner that lags is not promoted, and given up when time is over", () => {
  const { net, leader, ends } = withLearner();
  for (let i = 0; i < 50; i++) net.propose(1, `a${i}`);
  lose(net, MessageType.Replicate);
  assert.equal(leader.raft.promote(4, POLICY, net.nowMs), undefined);
  for (let i = 0; i < 19; i++) {
    net.propose(1, `b${i}`);
    net.elapse(T);
    assert.equal(leader.raft.status().promotions[0]?.state, "catchingUp");
  }
  assert.ok((leader.raft.status().promotions[0]?.lagEntries ?? 0) > 50);
  net.elapse(2 * T);
  assert.deepEqual(ends(), [{ replicaId: 4, reason: "timeout", index: 0 }]);
  assert.equal(leader.raft.status().promotions[0]?.state, "gaveUp");
  net.passes = () => true;
  net.elapse(10 * HEARTBEAT);
  assert.ok(leader.membership.nonVotings.has(4), "a given-up promotion does not come back");
  assert.equal(leader.raft.promote(4, POLICY, net.nowMs), undefined);
  net.elapse(5 * HEARTBEAT);
  assert.ok(leader.membership.voters.has(4), "asked for again it does");
});

test("rounds must be good in a row: one that ends too far behind begins the count anew", () => {
  const { net, leader } = withLearner();
  assert.equal(leader.raft.promote(4, POLICY, net.nowMs), undefined);
  net.elapse(2 * HEARTBEAT);
  assert.equal(leader.raft.status().promotions[0]?.goodRounds, 2);
  // While member 4 acknowledges the round's end, ten entries more are in the log.
  const held: Message[] = [];
  net.passes = (m) => {
    if (m.from === 4) held.push(m);
    return m.from !== 4;
  };
  net.elapse(HEARTBEAT);
  net.propose(1, "x");
  net.run();
  net.passes = (m) => m.to !== 4 && m.from !== 4;
  for (let i = 0; i < 10; i++) net.propose(1, `x${i}`);
  net.run();
  const beat = held.find((m) => m.type === MessageType.HeartbeatResp);
  assert.ok(beat !== undefined);
  net.deliver(beat);
  assert.equal(leader.raft.status().promotions[0]?.goodRounds, 0);
  net.passes = () => true;
  net.elapse(5 * HEARTBEAT);
  assert.ok(leader.membership.voters.has(4));
});

test("a round that takes longer than an election timeout does not count", () => {
  const { net, leader } = withLearner();
  assert.equal(leader.raft.promote(4, { ...POLICY, rounds: 2 }, net.nowMs), undefined);
  for (let i = 0; i < 5; i++) {
    net.isolate(4);
    net.elapse(T + HEARTBEAT);
    net.isolate();
    net.elapse(HEARTBEAT);
    assert.equal(leader.raft.status().promotions[0]?.goodRounds, 0);
  }
});

test("leadership lost ends it; the next leader promotes only by its own policy", () => {
  const { net, leader, ends } = withLearner();
  assert.equal(leader.raft.promote(4, POLICY, net.nowMs), undefined);
  net.elapse(HEARTBEAT);
  leader.raft.stepDown(net.nowMs);
  net.run();
  assert.deepEqual(ends(), [{ replicaId: 4, reason: "leaderChanged", index: 0 }]);
  assert.deepEqual(leader.raft.status().promotions, []);
  net.elapse(6 * T);
  assert.ok(net.leader()?.membership.nonVotings.has(4));
});

test("an appended change that outlives its leader is reported with its index", () => {
  const { net, leader, ends } = withLearner();
  assert.equal(leader.raft.promote(4, { ...POLICY, rounds: 1 }, net.nowMs), undefined);
  net.passes = (m) => m.type !== MessageType.Replicate;
  net.elapse(HEARTBEAT);
  const index = leader.raft.last;
  assert.equal(leader.raft.status().promotions[0]?.state, "appended");
  leader.raft.stepDown(net.nowMs);
  net.run();
  assert.deepEqual(ends(), [{ replicaId: 4, reason: "leaderChanged", index }]);
});

test("a removed member ends its promotion; others go on", () => {
  const { net, leader, ends } = withLearner();
  net.add(5, membershipOf([]));
  net.change(1, "addNonVoting", 5);
  net.run();
  for (const id of [4, 5]) assert.equal(leader.raft.promote(id, POLICY, net.nowMs), undefined);
  net.change(1, "remove", 4);
  net.run();
  assert.deepEqual(ends(), [{ replicaId: 4, reason: "memberChanged", index: 0 }]);
  net.elapse(5 * HEARTBEAT);
  assert.ok(leader.membership.voters.has(5));
});

test("a change that the state machine refuses ends it as refused", () => {
  const { net, leader, ends } = withLearner();
  assert.equal(leader.raft.promote(4, { ...POLICY, rounds: 1 }, net.nowMs), undefined);
  leader.slowApply = true;
  net.elapse(2 * HEARTBEAT);
  const index = leader.raft.last;
  assert.equal(leader.raft.status().promotions[0]?.state, "appended");
  leader.raft.configChangeApplied(index, leader.membership);
  net.step(leader);
  assert.deepEqual(ends(), [{ replicaId: 4, reason: "refused", index }]);
});

test("with a policy for all, whoever leads promotes whoever has caught up", () => {
  const { net, leader } = withLearner({ autoPromote: POLICY });
  net.elapse(HEARTBEAT);
  leader.raft.stepDown(net.nowMs);
  net.elapse(8 * T);
  assert.ok(net.leader()?.membership.voters.has(4));
});

test("it waits while another change or a transfer is under way", () => {
  const { net, leader } = withLearner();
  assert.equal(leader.raft.promote(4, { ...POLICY, rounds: 1 }, net.nowMs), undefined);
  leader.slowApply = true;
  net.change(1, "addNonVoting", 5);
  net.elapse(3 * HEARTBEAT);
  assert.equal(leader.raft.status().promotions[0]?.state, "catchingUp");
  leader.slowApply = false;
  net.apply(1);
  net.elapse(2 * HEARTBEAT);
  assert.ok(leader.membership.voters.has(4));
});

test("refused: not the leader, not a non-voting member, already under way", () => {
  const { net, leader } = withLearner();
  assert.equal(net.node(2).raft.promote(4, POLICY, net.nowMs), "notLeader");
  assert.equal(leader.raft.promote(2, POLICY, net.nowMs), "notNonVoting");
  assert.equal(leader.raft.promote(9, POLICY, net.nowMs), "notNonVoting");
  assert.equal(leader.raft.promote(4, POLICY, net.nowMs), undefined);
  assert.equal(leader.raft.promote(4, POLICY, net.nowMs), "busy");
});

test("P21: a request to promote is refused while the learner lags, is silent, or never answered", () => {
  const { net, leader } = withLearner({ promotionLagEntriesMax: 10 });
  const reasons = (): string[] => leader.dropped.splice(0).map((d) => d.reason);
  lose(net, MessageType.Replicate);
  for (let i = 0; i < 12; i++) net.propose(1, `a${i}`);
  net.run();
  const { last } = leader.raft;
  net.change(1, "addVoter", 4);
  net.run();
  assert.deepEqual(reasons(), ["notCaughtUp"], "11 behind");
  assert.equal(leader.raft.last, last, "nothing is appended");
  net.change(2, "addVoter", 4);
  net.run();
  assert.deepEqual(
    net.node(2).dropped.map((d) => d.reason),
    ["notCaughtUp"],
    "the reason reaches who forwarded it",
  );
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  net.isolate(4);
  net.elapse(T + 2 * HEARTBEAT);
  net.change(1, "addVoter", 4);
  net.run();
  assert.deepEqual(reasons(), ["notCaughtUp"], "silent");
  net.isolate();
  net.elapse(2 * HEARTBEAT);
  net.isolate(4);
  leader.raft.stepDown(net.nowMs);
  net.elect(2);
  net.change(2, "addVoter", 4);
  net.run();
  assert.equal(net.node(2).dropped.at(-1)?.reason, "notCaughtUp", "the new leader has not heard of it");
  net.isolate();
  net.elapse(2 * HEARTBEAT);
  net.change(2, "addVoter", 4);
  net.run();
  assert.ok(net.node(2).membership.voters.has(4));
});

test("P21: after a promotion the loss of one old voter stops nothing", () => {
  const { net, leader } = withLearner({ autoPromote: POLICY });
  net.elapse(5 * HEARTBEAT);
  assert.ok(leader.membership.voters.has(4));
  net.crash(2);
  net.propose(1, "x");
  net.run();
  assert.equal(leader.raft.commit, leader.raft.last);
});
