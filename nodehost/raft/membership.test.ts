/** Membership changes: one at a time, effective at apply; removed replicas and lineages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T } from "./test-net.js";

const three = { voters: [1, 2, 3] };

test("a member is added as non-voting, catches up, is promoted and then counts", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  for (let i = 0; i < 30; i++) net.propose(1, `a${i}`);
  net.run();
  net.add(4, membershipOf([]));
  net.change(1, "addNonVoting", 4);
  net.run();
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(net.node(4).state, leader.state);
  const match = leader.raft.inspect().peers.find((p) => p.replicaId === 4)?.match;
  net.change(1, "addVoter", 4);
  net.run();
  assert.ok(
    (leader.raft.inspect().peers.find((p) => p.replicaId === 4)?.match ?? 0) >= (match ?? 1),
    "progress is kept",
  );
  assert.ok(net.node(4).raft.deadlineMs < Number.POSITIVE_INFINITY);
  net.crash(2);
  const { commit } = leader.raft;
  net.propose(1, "x");
  net.run();
  assert.ok(leader.raft.commit > commit, "3 of 4");
  net.crash(3);
  const stuck = leader.raft.commit;
  net.propose(1, "y");
  net.run();
  assert.equal(leader.raft.commit, stuck, "2 of 4 is no quorum");
});

test("P11: a change is refused while another is not applied", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  leader.slowApply = true;
  net.change(1, "addNonVoting", 4);
  net.change(1, "addNonVoting", 5);
  net.run();
  assert.deepEqual(
    leader.dropped.map((d) => d.reason),
    ["configChangePending"],
  );
  net.change(1, "addNonVoting", 5);
  net.run();
  assert.equal(leader.dropped.length, 2, "committed is not applied");
  net.apply(1);
  net.change(1, "addNonVoting", 5);
  net.run();
  net.apply(1);
  assert.ok(leader.membership.nonVotings.has(5));
});

test("P11: a new leader refuses a change while it inherits one that is not applied", () => {
  const net = new Net(three);
  net.elect(1);
  net.passes = (m) => m.type !== MessageType.ReplicateResp;
  net.change(1, "addNonVoting", 4);
  net.run();
  net.crash(1);
  net.nowMs += 3 * T;
  const leader = net.elect(2);
  assert.equal(leader.raft.inspect().pendingConfigs.length, 1);
  net.change(2, "addNonVoting", 5);
  net.run();
  assert.equal(leader.dropped[0]?.reason, "configChangePending");
  net.passes = () => true;
  net.elapse(3 * HEARTBEAT);
  assert.ok(leader.membership.nonVotings.has(4));
  net.change(2, "addNonVoting", 5);
  net.run();
  assert.ok(leader.membership.nonVotings.has(5));
});

test("P12: no change before the leader has committed in its own term", () => {
  const net = new Net({ voters: [1, 2, 3, 4] });
  const first = net.elect(1);
  net.passes = (m) => m.from !== 1 && m.to !== 1;
  net.change(1, "remove", 4);
  net.step(first);
  net.nowMs += 3 * T;
  net.passes = (m) => m.from !== 1 && m.to !== 1 && m.type !== MessageType.ReplicateResp;
  const second = net.elect(2);
  net.change(2, "remove", 1);
  net.step(second);
  assert.equal(second.dropped[0]?.reason, "configChangePending");
  net.passes = (m) => m.from !== 1 && m.to !== 1;
  net.elapse(2 * HEARTBEAT);
  net.change(2, "remove", 1);
  net.run();
  assert.ok(second.membership.removed.has(1));
  net.isolate();
  net.elapse(4 * T);
  assert.ok(!net.node(1).membership.removed.has(4), "the change of the deposed leader never commits");
  assert.ok(second.membership.voters.has(4));
});

test("P14: a leader that removes itself commits by the old members, stops leading at apply; others take over", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  leader.slowApply = true;
  net.change(1, "remove", 1);
  net.run();
  assert.equal(leader.raft.role, "leader", "until it is applied");
  net.apply(1);
  assert.equal(leader.raft.role, "follower");
  net.step(leader);
  assert.equal(leader.removed, "removed");
  net.elapse(4 * T);
  const next = net.leader();
  assert.ok(next !== undefined && next.id !== 1);
  assert.ok(next.membership.removed.has(1));
  net.propose(next.id, "x");
  net.run();
  assert.ok(next.state.at(-1)?.endsWith(":x"));
});

test("P25: with one of two members lost, its removal does not commit, and the leader says so by stepping down", () => {
  const net = new Net({ voters: [1, 2] });
  const leader = net.elect(1);
  net.elapse(HEARTBEAT);
  net.crash(2);
  net.change(1, "remove", 2);
  net.elapse(10 * T, 50);
  assert.ok(leader.membership.voters.has(2));
  assert.notEqual(leader.raft.role, "leader");
});

test("P26: the last voter is never removed; the refused change does not block later ones (P41)", () => {
  const net = new Net({ voters: [1] });
  const leader = net.elect(1);
  net.change(1, "remove", 1);
  net.run();
  assert.ok(leader.membership.voters.has(1));
  assert.equal(leader.raft.role, "leader");
  net.change(1, "addNonVoting", 2);
  net.run();
  assert.ok(leader.membership.nonVotings.has(2));
});

test("a quorum that shrinks commits what waited for it", () => {
  const net = new Net({ voters: [1, 2, 3, 4] });
  const leader = net.elect(1);
  net.elapse(HEARTBEAT);
  net.crash(4);
  leader.slowApply = true;
  net.change(1, "remove", 4);
  net.run();
  net.crash(3);
  net.propose(1, "x");
  net.run();
  const { commit, last } = leader.raft;
  assert.ok(commit < last, "2 of 4");
  net.apply(1);
  assert.equal(leader.raft.commit, last, "2 of 3");
});

test("P58: messages of a removed id are dropped before the term rule and answered by a notice, not too often", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.change(1, "remove", 3);
  net.run();
  const { term } = leader.raft;
  const vote: Message = {
    type: MessageType.Vote,
    shardId: SHARD,
    from: 3,
    to: 1,
    term: term + 50,
    lineage: 0,
    lastIndex: 999,
    lastTerm: term + 49,
    transfer: true,
  };
  net.nowMs += 3 * T;
  const before = net.sent.length;
  for (let i = 0; i < 20; i++) net.deliver(vote);
  net.step(leader);
  assert.equal(leader.raft.term, term);
  assert.equal(net.sent.slice(before).filter((m) => m.type === MessageType.RemovedNotice).length, 1);
  net.change(1, "addVoter", 3);
  net.run();
  assert.ok(!leader.membership.voters.has(3), "removed ids never come back");
});

test("notices are believed from members only", () => {
  const net = new Net(three);
  const node = net.node(1);
  const notice = { type: MessageType.RemovedNotice, shardId: SHARD, to: 1, term: 1, lineage: 0 } as const;
  net.deliver({ ...notice, from: 9 });
  net.step(node);
  assert.equal(node.removed, undefined);
  net.deliver({ ...notice, from: 2 });
  net.step(node);
  assert.equal(node.removed, "removed");
});

test("a lower lineage is answered Superseded, and its sender stops", () => {
  const net = new Net({ voters: [1, 2] });
  const forced = net.add(3, membershipOf([2, 3], { lineage: 1 }));
  net.node(2).raft.campaign(net.nowMs);
  const vote = { type: MessageType.PreVote, shardId: SHARD, to: 3, term: 9, lastIndex: 9, lastTerm: 8 } as const;
  net.deliver({ ...vote, from: 2, lineage: 0 });
  net.run();
  assert.equal(forced.raft.inspect().counters.lowerLineage, 1);
  assert.equal(net.node(2).removed, undefined, "3 is no member for 2");
  net.deliver({ type: MessageType.Superseded, shardId: SHARD, from: 1, to: 2, term: 0, lineage: 1 });
  net.run();
  assert.equal(net.node(2).removed, "superseded");
  assert.equal(net.node(2).raft.role, "follower");
});

test("a joining replica takes the lineage it hears, so that it is not taken for an old one", () => {
  const net = new Net(three);
  const joining = net.add(4, membershipOf([]));
  net.deliver({
    type: MessageType.Replicate,
    shardId: SHARD,
    from: 1,
    to: 4,
    term: 3,
    lineage: 2,
    prevIndex: 5,
    prevTerm: 3,
    commit: 5,
    blocks: [],
  });
  net.step(joining);
  net.step(joining);
  assert.deepEqual(
    net.sent.filter((m) => m.from === 4).map((m) => m.lineage),
    [2],
  );
});
