/** Elections: who votes for whom and when, and what cannot disturb a shard that works. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T } from "./test-net.js";

const three = { voters: [1, 2, 3] };

test("a shard without a leader elects one within a few timeouts", () => {
  for (const preVote of [true, false]) {
    for (let seed = 1; seed <= 10; seed++) {
      const net = new Net({ voters: [1, 2, 3, 4, 5], seed, config: { preVote } });
      net.elapse(5 * T);
      const leader = net.leader();
      assert.ok(leader !== undefined);
      for (const node of net.nodes.values()) assert.equal(node.raft.leaderId, leader.id);
    }
  }
});

test("election timeouts are drawn from T … 2T in milliseconds", () => {
  const deadlines = new Set<number>();
  for (let seed = 1; seed <= 50; seed++) {
    const { deadlineMs } = new Net({ voters: [1, 2, 3], seed }).node(1).raft;
    assert.ok(deadlineMs >= T && deadlineMs < 2 * T);
    deadlines.add(deadlineMs);
  }
  assert.ok(deadlines.size > 45);
});

test("a vote goes only to a log at least as complete (R3, thesis §3.6.1)", () => {
  const net = new Net({ ...three, config: { preVote: false } });
  net.elect(1);
  net.isolate(3);
  net.propose(1, "a");
  net.run();
  net.isolate();
  net.elapse(0);
  net.node(1).raft.stepDown(net.nowMs);
  net.crash(1);
  net.node(3).raft.stepDown(net.nowMs);
  net.nowMs += 3 * T;
  net.node(3).raft.campaign(net.nowMs);
  net.run();
  assert.notEqual(net.node(3).raft.role, "leader");
  net.nowMs += 3 * T;
  net.node(2).raft.campaign(net.nowMs);
  net.run();
  assert.equal(net.node(2).raft.role, "leader");
});

test("one vote per term: the second candidate of a term is refused", () => {
  const net = new Net({ ...three });
  const node = net.node(1);
  const vote = (from: number): Message => ({
    type: MessageType.Vote,
    shardId: SHARD,
    from,
    to: 1,
    term: 5,
    lineage: 0,
    lastIndex: 9,
    lastTerm: 4,
    transfer: false,
  });
  net.deliver(vote(2));
  net.deliver(vote(3));
  net.step(node);
  net.step(node);
  const answers = net.sent.filter((m) => m.type === MessageType.VoteResp);
  assert.deepEqual(
    answers.map((m) => [m.to, m.granted]),
    [
      [3, false],
      [2, true],
    ],
  );
  net.deliver(vote(2));
  net.step(node);
  assert.equal(net.sent.filter((m) => m.type === MessageType.VoteResp && m.granted).length, 2);
});

test("P07: a vote is answered only when durable, and survives a crash", () => {
  const net = new Net({ ...three, config: { preVote: false } });
  const voter = net.node(3);
  voter.slowDisk = true;
  net.node(1).raft.campaign(0);
  net.run();
  const granted = () => net.sent.filter((m) => m.type === MessageType.VoteResp && m.from === 3 && m.granted);
  assert.equal(granted().length, 0);
  net.flush(3);
  net.run();
  assert.equal(granted().length, 1);
  net.restart(3);
  voter.slowDisk = false;
  net.deliver({
    type: MessageType.Vote,
    shardId: SHARD,
    from: 2,
    to: 3,
    term: 2,
    lineage: 0,
    lastIndex: 9,
    lastTerm: 2,
    transfer: false,
  });
  net.run();
  assert.ok(!net.sent.some((m) => m.type === MessageType.VoteResp && m.from === 3 && m.to === 2 && m.granted));
});

test("P07: a candidate neither asks for votes nor counts its own before its term and vote are durable", () => {
  const net = new Net({ ...three, config: { preVote: false } });
  net.node(1).slowDisk = true;
  net.node(1).raft.campaign(0);
  net.run();
  assert.equal(net.sent.length, 0);
  net.flush(1);
  net.run();
  assert.equal(net.node(1).raft.role, "leader");
});

test("a refusal that carries a term not yet durable waits", () => {
  const net = new Net(three);
  const node = net.node(1);
  node.slowDisk = true;
  const heartbeat = { type: MessageType.Heartbeat, shardId: SHARD, from: 2, to: 1, term: 4, lineage: 0 } as const;
  net.deliver({ ...heartbeat, commit: 0, round: 0 });
  net.step(node);
  net.deliver({ ...heartbeat, term: 3, commit: 0, round: 0 });
  net.step(node);
  assert.equal(net.sent.length, 0);
  net.flush(1);
  net.step(node);
  assert.equal(net.sent.length, 2);
  assert.ok(net.sent.every((m) => m.term === 4));
});

test("P15: a removed replica that missed its removal raises no term and is told", () => {
  const net = new Net({ ...three, config: { preVote: false } });
  net.elect(1);
  net.isolate(3);
  net.change(1, "remove", 3);
  net.run();
  const term = net.node(1).raft.term;
  net.isolate();
  for (let i = 0; i < 100; i++) {
    net.elapse(T, T / 4);
    net.node(3).raft.campaign(net.nowMs);
    net.run();
  }
  assert.equal(net.node(1).raft.term, term);
  assert.equal(net.node(2).raft.term, term);
  assert.equal(net.node(1).raft.role, "leader");
  assert.equal(net.node(3).removed, "removed");
  assert.equal(net.node(3).raft.deadlineMs, Number.POSITIVE_INFINITY);
});

test("P15: a partitioned voter that comes back does not disturb (pre-vote and stickiness)", () => {
  const net = new Net(three);
  net.elect(1);
  net.isolate(3);
  net.elapse(20 * T, 100);
  net.isolate();
  net.elapse(5 * T);
  assert.equal(net.node(1).raft.role, "leader");
  assert.equal(net.node(3).raft.term, net.node(1).raft.term);
});

test("P16: an isolated replica with a higher term rejoins within 3 timeouts", () => {
  for (const preVote of [true, false]) {
    const net = new Net({ ...three, config: { preVote } });
    net.elect(1);
    net.isolate(3);
    net.deliver({
      type: MessageType.HeartbeatResp,
      shardId: SHARD,
      from: 9,
      to: 3,
      term: 50,
      lineage: 0,
      round: 0,
    });
    net.elapse(2 * T);
    net.isolate();
    net.elapse(3 * T);
    const leader = net.leader();
    assert.ok(leader !== undefined);
    net.propose(leader.id, "x");
    net.run();
    net.elapse(2 * HEARTBEAT);
    assert.equal(net.node(3).raft.commit, leader.raft.commit);
    assert.equal(net.node(3).raft.leaderId, leader.id);
  }
});

test("P16: a candidate of a lower term is told the newer one, whoever the answering replica believes in", () => {
  const net = new Net({ ...three, config: { preVote: false, checkQuorum: false } });
  net.elect(1);
  const stale = { shardId: SHARD, to: 3, lineage: 0 } as const;
  net.deliver({ ...stale, type: MessageType.HeartbeatResp, from: 9, term: 50, round: 0 });
  net.deliver({ ...stale, type: MessageType.Vote, from: 2, term: 2, lastIndex: 99, lastTerm: 1, transfer: false });
  net.isolate(1);
  net.run();
  assert.equal(net.node(2).raft.term, 50);
});

test("P17: a short log at a high term does not deadlock pre-votes", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const net = new Net({ voters: [1, 2, 3], seed });
    net.elect(1);
    net.isolate(3);
    net.propose(1, "a", "b");
    net.run();
    net.crash(1);
    net.deliver({ type: MessageType.HeartbeatResp, shardId: SHARD, from: 9, to: 3, term: 9, lineage: 0, round: 0 });
    net.isolate();
    net.elapse(5 * T);
    assert.equal(net.leader()?.id, 2);
  }
});

test("P18: a campaign asked for by the leader passes stickiness; others are dropped", () => {
  const net = new Net(three);
  net.elect(1);
  const { term } = net.node(1).raft;
  net.node(2).raft.campaign(net.nowMs);
  net.run();
  assert.equal(net.node(1).raft.role, "leader");
  net.elapse(T);
  net.deliver({ type: MessageType.TimeoutNow, shardId: SHARD, from: 1, to: 2, term, lineage: 0 });
  net.run();
  assert.equal(net.node(2).raft.role, "leader");
  assert.equal(net.node(2).raft.term, term + 1);
});

test("P20: a leader that can send but not receive steps down, and another is elected", () => {
  const net = new Net(three);
  net.elect(1);
  net.passes = (m) => m.to !== 1;
  net.elapse(2 * T);
  assert.notEqual(net.node(1).raft.role, "leader");
  net.elapse(4 * T);
  assert.ok(net.leader() !== undefined && net.leader()?.id !== 1);
});

test("P13: nobody campaigns with a committed, unapplied membership change", () => {
  const net = new Net(three);
  net.elect(1);
  net.node(2).slowApply = true;
  net.change(1, "addNonVoting", 4);
  net.run();
  net.elapse(HEARTBEAT);
  net.crash(1);
  net.crash(3);
  net.elapse(5 * T);
  net.node(2).raft.campaign(net.nowMs);
  net.run();
  assert.equal(net.node(2).raft.role, "follower");
  net.apply(2);
  net.node(2).raft.campaign(net.nowMs);
  assert.equal(net.node(2).raft.role, "preCandidate");
});

test("P13: of two membership changes above applied, the earlier one counts as committed", () => {
  const net = new Net(three);
  net.elect(1);
  net.node(2).slowApply = true;
  net.change(1, "addNonVoting", 4);
  net.run();
  net.elapse(HEARTBEAT);
  net.change(1, "addNonVoting", 5);
  net.passes = (m) => m.type === MessageType.Replicate;
  net.run();
  const restarted = net.restart(2);
  restarted.slowApply = true;
  const { pendingConfigs, commit } = restarted.raft.inspect();
  assert.equal(pendingConfigs.length, 5);
  assert.ok(commit >= (pendingConfigs.at(-2) ?? 0) && commit < (pendingConfigs.at(-1) ?? 0));
  restarted.raft.campaign(net.nowMs);
  assert.equal(restarted.raft.role, "follower");
});

test("a higher-term vote that is refused does not put off the own election", () => {
  const net = new Net(three);
  const node = net.node(1);
  net.elect(2);
  net.propose(2, "a");
  net.run();
  net.nowMs += T;
  const before = node.raft.deadlineMs;
  net.deliver({
    type: MessageType.Vote,
    shardId: SHARD,
    from: 3,
    to: 1,
    term: 8,
    lineage: 0,
    lastIndex: 0,
    lastTerm: 0,
    transfer: false,
  });
  assert.equal(node.raft.term, 8);
  assert.equal(node.raft.deadlineMs, before);
});

test("stepping down lets somebody else win", () => {
  const net = new Net(three);
  net.elect(1);
  net.elapse(T);
  net.node(1).raft.stepDown(net.nowMs);
  assert.equal(net.node(1).raft.role, "follower");
  net.propose(1, "x");
  net.elapse(3 * T);
  assert.equal(net.node(1).dropped[0]?.reason, "noLeader");
  assert.notEqual(net.leader()?.id, 1);
  assert.ok(net.leader() !== undefined);
});

test("P22: non-voting members neither campaign nor count", () => {
  const net = new Net({ voters: [1, 2] });
  net.elect(1);
  net.add(3, membershipOf([]));
  net.change(1, "addNonVoting", 3);
  net.run();
  net.elapse(T);
  assert.equal(net.node(3).raft.deadlineMs, Number.POSITIVE_INFINITY);
  net.node(3).raft.campaign(net.nowMs);
  assert.equal(net.node(3).raft.role, "follower");
  net.crash(2);
  const { commit } = net.node(1).raft;
  net.propose(1, "x");
  net.run();
  assert.equal(net.node(1).raft.commit, commit);
});
