/** Leader transfer: who may be a target, what happens meanwhile, how it ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T, type TestNode } from "./test-net.js";

const three = { voters: [1, 2, 3] };

function asked(net: Net): Message[] {
  return net.sent.filter((m) => m.type === MessageType.TimeoutNow);
}

/** Outcomes of the transfers that `node` began. */
function ends(node: TestNode): string[] {
  return node.transfers.map((t) => (t.outcome === "done" ? `done ${t.leaderId}@${t.term}` : (t.reason ?? "?")));
}

test("P18: an up-to-date target leads at once, inside the lease, and nothing accepted before is lost", () => {
  for (const preVote of [true, false]) {
    const net = new Net({ ...three, config: { preVote } });
    const old = net.elect(1);
    const { term } = old.raft;
    net.elapse(T);
    net.propose(1, "before");
    assert.equal(old.raft.transferLeadership(2, net.nowMs), undefined);
    net.run();
    assert.equal(net.node(2).raft.role, "leader");
    assert.equal(old.raft.role, "follower");
    assert.deepEqual(ends(old), [`done 2@${term + 1}`]);
    assert.equal(old.raft.status().transferTarget, 0);
    net.propose(1, "after");
    net.run();
    net.elapse(HEARTBEAT);
    for (const id of [1, 2, 3]) assert.deepEqual(net.node(id).state.at(-1)?.split(":").at(-1), "after");
    assert.ok(old.state.some((line) => line.endsWith(":before")));
  }
});

test("P19: self, learners, removed and unknown replicas are no targets, and only the leader transfers", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.add(4, membershipOf([]));
  net.change(1, "addNonVoting", 4);
  net.run();
  net.change(1, "remove", 3);
  net.run();
  for (const target of [1, 3, 4, 9, 0, -1, Number.NaN]) {
    assert.equal(leader.raft.transferLeadership(target, net.nowMs), "invalidTarget", `target ${target}`);
  }
  assert.equal(net.node(2).raft.transferLeadership(1, net.nowMs), "notLeader");
  net.run();
  assert.equal(leader.raft.role, "leader");
  assert.deepEqual(asked(net), []);
  net.propose(1, "x");
  net.run();
  assert.deepEqual(leader.dropped, [], "nothing of this keeps proposals away");
});

test("one transfer at a time, also to the same target, also before the end of the last one is collected", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(2);
  assert.equal(leader.raft.transferLeadership(2, net.nowMs), undefined);
  assert.equal(leader.raft.transferLeadership(3, net.nowMs), "busy");
  assert.equal(leader.raft.transferLeadership(2, net.nowMs), "busy");
  leader.raft.tick(net.nowMs + T);
  assert.equal(leader.raft.transferLeadership(3, net.nowMs + T), "busy");
  net.run();
  net.nowMs += T;
  assert.deepEqual(ends(leader), ["timeout"]);
  assert.equal(leader.raft.transferLeadership(3, net.nowMs), undefined);
  net.run();
  assert.equal(net.node(3).raft.role, "leader");
});

test("P19: a lagging target is brought up to date before it is asked", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(3);
  for (let i = 0; i < 50; i++) net.propose(1, `a${i}`);
  net.run();
  net.passes = (m) => m.type !== MessageType.ReplicateResp || m.from !== 3;
  assert.equal(leader.raft.transferLeadership(3, net.nowMs), undefined);
  net.elapse(HEARTBEAT);
  assert.deepEqual(asked(net), [], "its match is not known to be the end of the log");
  net.isolate();
  net.elapse(3 * HEARTBEAT);
  assert.equal(net.node(3).raft.role, "leader");
  assert.equal(net.node(3).raft.last, leader.raft.last);
});

test("P19: a target that needs a snapshot first gets it", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(3);
  for (let i = 0; i < 30; i++) net.propose(1, `a${i}`);
  net.run();
  net.snapshot(1);
  net.isolate();
  leader.raft.transferLeadership(3, net.nowMs);
  for (let i = 0; i < 8; i++) {
    net.elapse(HEARTBEAT / 2);
    net.stream(1);
  }
  net.run();
  assert.equal(net.node(3).raft.role, "leader");
});

test("P19: a dead target: aborted after one election timeout, proposals dropped until then, then taken", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.crash(2);
  net.propose(1, "x");
  net.run();
  leader.raft.transferLeadership(2, net.nowMs);
  assert.ok(leader.raft.deadlineMs <= net.nowMs + T);
  net.propose(1, "refused");
  net.run();
  assert.deepEqual(
    leader.dropped.map((d) => d.reason),
    ["transferring"],
  );
  net.elapse(T - 10);
  assert.deepEqual(ends(leader), []);
  net.elapse(10);
  assert.deepEqual(ends(leader), ["timeout"]);
  assert.equal(leader.transfers[0]?.asked, false, "it certainly does not take over");
  const { commit } = leader.raft;
  net.propose(1, "taken");
  net.run();
  assert.equal(leader.raft.commit, commit + 1);
  assert.equal(leader.dropped.length, 1);
});

test("P19: a lost TimeoutNow is repeated with the next heartbeat; if all are lost the transfer is aborted", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  let lost = 0;
  net.passes = (m) => m.type !== MessageType.TimeoutNow || lost++ > 0;
  leader.raft.transferLeadership(2, net.nowMs);
  net.run();
  assert.equal(lost, 1);
  assert.equal(leader.raft.role, "leader");
  net.elapse(HEARTBEAT);
  assert.equal(net.node(2).raft.role, "leader");

  net.passes = (m) => m.type !== MessageType.TimeoutNow;
  const second = net.node(2);
  second.raft.transferLeadership(3, net.nowMs);
  net.elapse(T);
  assert.deepEqual(ends(second), ["timeout"]);
  assert.equal(second.transfers[0]?.asked, true, "a late copy may still reach it");
  net.propose(2, "x");
  net.run();
  assert.deepEqual(second.dropped, []);
  assert.equal(second.raft.role, "leader");
});

test("a TimeoutNow that was not collected before the transfer is given up does not leave after it", () => {
  const net = new Net(three);
  const { raft } = net.elect(1);
  net.run();
  raft.transferLeadership(2, net.nowMs);
  assert.ok(raft.takeOutput().messages.some((m) => m.type === MessageType.TimeoutNow));
  // The next heartbeat asks again, and in the same turn time is over and a proposal comes.
  raft.tick(net.nowMs + T - 1);
  raft.tick(net.nowMs + T);
  const { messages, transfer } = raft.takeOutput();
  assert.equal(transfer?.reason, "timeout");
  assert.deepEqual(
    messages.filter((m) => m.type === MessageType.TimeoutNow),
    [],
  );
});

test("P19: no TimeoutNow while a membership change is not applied; a target it removes ends the transfer", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  leader.slowApply = true;
  net.change(1, "remove", 2);
  net.run();
  assert.equal(leader.raft.transferLeadership(2, net.nowMs), undefined, "not applied: still a voter");
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(asked(net), []);
  net.apply(1);
  net.run();
  assert.deepEqual(ends(leader), ["targetRemoved"]);
  assert.deepEqual(asked(net), []);
  leader.slowApply = false;
  net.propose(1, "x");
  net.run();
  assert.deepEqual(leader.dropped, []);
});

test("a change that keeps the target only delays the transfer until it is applied", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  leader.slowApply = true;
  net.change(1, "addNonVoting", 4);
  net.run();
  leader.raft.transferLeadership(2, net.nowMs);
  net.run();
  assert.deepEqual(asked(net), []);
  net.apply(1);
  net.run();
  assert.equal(net.node(2).raft.role, "leader");
});

test("membership changes are refused while leadership is handed over", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(2);
  leader.raft.transferLeadership(2, net.nowMs);
  net.change(1, "remove", 2);
  net.run();
  assert.deepEqual(
    leader.dropped.map((d) => d.reason),
    ["transferring"],
  );
});

test("another replica wins the election: done, and the report names it", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(2);
  leader.raft.transferLeadership(2, net.nowMs);
  leader.raft.stepDown(net.nowMs);
  const now = net.elect(3);
  assert.deepEqual(ends(leader), [`done 3@${now.raft.term}`]);
});

test("a leader that loses its quorum while it hands over and is elected again reports that it leads", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.crash(2);
  leader.raft.transferLeadership(2, net.nowMs);
  leader.raft.stepDown(net.nowMs);
  net.run();
  assert.deepEqual(ends(leader), []);
  assert.equal(leader.raft.status().transferTarget, 2);
  net.elect(1);
  assert.deepEqual(ends(leader), ["leadsAgain"]);
  net.propose(1, "x");
  net.run();
  assert.deepEqual(leader.dropped, []);
});

test("a vote asked for by transfer still needs an up-to-date log", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(3);
  net.propose(1, "a", "b");
  net.run();
  net.isolate();
  const { term } = leader.raft;
  const lagging = net.node(3).raft.status();
  const header = { shardId: SHARD, from: 3, to: 2, term: term + 1, lineage: 0 } as const;
  const log = { lastIndex: lagging.last, lastTerm: term, transfer: true };
  net.deliver({ type: MessageType.Vote, ...header, ...log });
  net.run();
  const answer = net.sent.find((m) => m.type === MessageType.VoteResp && m.to === 3 && m.term === term + 1);
  assert.equal(answer?.type === MessageType.VoteResp && answer.granted, false);
});

test("TimeoutNow of an older term, or of somebody who does not lead, starts no election", () => {
  const net = new Net(three);
  net.elect(1);
  const { term } = net.node(1).raft;
  net.deliver({ type: MessageType.TimeoutNow, shardId: SHARD, from: 1, to: 2, term: term - 1, lineage: 0 });
  net.deliver({ type: MessageType.TimeoutNow, shardId: SHARD, from: 3, to: 2, term, lineage: 0 });
  net.run();
  assert.equal(net.node(2).raft.role, "follower");
  assert.equal(net.node(1).raft.role, "leader");
});

test("reads during a transfer are confirmed by a quorum or dropped, never answered by the deposed leader", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(2);
  leader.raft.transferLeadership(2, net.nowMs);
  net.read(1);
  net.run();
  assert.equal(leader.readStates.length, 1, "confirmed by 3");
  net.passes = (m) => m.type !== MessageType.HeartbeatResp;
  net.read(1);
  net.elapse(4 * HEARTBEAT);
  assert.equal(net.node(2).raft.role, "leader");
  assert.equal(leader.readStates.length, 1);
  assert.ok(leader.dropped.some((d) => d.kind === "readIndex" && d.reason === "leaderChanged"));
});

test("forwarded proposals are refused during a transfer, and after it: at most one answer each", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(2);
  leader.raft.transferLeadership(2, net.nowMs);
  net.propose(3, "meanwhile");
  net.run();
  assert.equal(net.node(3).dropped.length, 1, "it may retry at once");

  const held: Message[] = [];
  net.passes = (m) => {
    if (m.type === MessageType.Propose) held.push(m);
    return m.type !== MessageType.Propose;
  };
  net.propose(3, "late");
  net.elapse(3 * HEARTBEAT);
  assert.equal(net.node(2).raft.role, "leader");
  const [late] = held;
  assert.ok(late?.type === MessageType.Propose && late.to === 1);
  net.passes = () => true;
  net.deliver(late);
  net.deliver(late);
  net.run();
  assert.equal(net.node(3).dropped.length, 2);
  assert.equal(leader.raft.inspect().counters.duplicateProposal, 1);
});

test("the target hears that its own proposals were refused, although it campaigns in a higher term by then", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  const refusals: Message[] = [];
  net.passes = (m) => {
    if (m.type === MessageType.ProposeRefused) refusals.push(m);
    return m.type !== MessageType.ProposeRefused && m.type !== MessageType.TimeoutNow;
  };
  leader.raft.transferLeadership(2, net.nowMs);
  net.propose(2, "mine");
  net.run();
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  assert.equal(net.node(2).raft.role, "leader");
  const [refusal] = refusals;
  assert.ok(refusal !== undefined && refusal.term < net.node(2).raft.term);
  net.deliver(refusal);
  net.run();
  assert.equal(net.node(2).dropped.length, 1);
});

test("a late copy of a proposal that was appended is not refused", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  let copy: Message | undefined;
  net.passes = (m) => {
    if (m.type === MessageType.Propose) copy = { ...m, body: { ...m.body, bytes: m.body.bytes.slice() } };
    return true;
  };
  net.propose(3, "once");
  net.run();
  leader.raft.transferLeadership(2, net.nowMs);
  net.run();
  assert.ok(copy !== undefined);
  net.deliver(copy);
  net.run();
  assert.deepEqual(net.node(3).dropped, []);
  assert.equal(net.node(3).state.filter((line) => line.endsWith(":once")).length, 1);
});
