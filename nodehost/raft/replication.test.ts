/** Replication: commit rules, conflicts, flow control, proposals and their fate. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type EntryBlock, EntryType, sealBlock, singleBody } from "../../shared/codec/block.js";
import { type Message, MessageType, type ReplicateMessage } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T, type TestNode } from "./test-net.js";

const three = { voters: [1, 2, 3] };

function entry(index: number, term: number, text = `${index}/${term}`): EntryBlock {
  const key = { replicaId: 9, incarnation: 1, sequence: index };
  const body = singleBody(EntryType.Application, key, new TextEncoder().encode(text));
  return sealBlock(body, { shardId: SHARD, firstIndex: index, term });
}

function replicate(
  to: number,
  term: number,
  prev: [number, number],
  more: Partial<ReplicateMessage>,
): ReplicateMessage {
  return {
    type: MessageType.Replicate,
    shardId: SHARD,
    from: 2,
    to,
    term,
    lineage: 0,
    prevIndex: prev[0],
    prevTerm: prev[1],
    commit: 0,
    blocks: [],
    ...more,
  };
}

function heartbeat(to: number, term: number, commit: number): Message {
  return { type: MessageType.Heartbeat, shardId: SHARD, from: 2, to, term, lineage: 0, commit, round: 0 };
}

const accepted = (net: Net, from: number) =>
  net.sent.flatMap((m) => (m.type === MessageType.ReplicateResp && m.from === from && !m.rejected ? [m.index] : []));

test("entries are replicated, committed and applied everywhere, in order", () => {
  const net = new Net(three);
  net.elect(1);
  for (let i = 0; i < 50; i++) net.propose(1, `a${i}`, `b${i}`);
  net.run();
  for (const node of net.nodes.values()) {
    assert.equal(node.applied, 3 + 1 + 100);
    assert.deepEqual(node.state, net.node(1).state);
  }
});

test("P01: entries of an earlier term are not committed by counting replicas (Fig. 8)", () => {
  const net = new Net(three);
  net.elect(1);
  net.passes = (m) => m.to !== 3 && !(m.type === MessageType.ReplicateResp);
  net.propose(1, "old");
  net.run();
  const old = net.node(1).raft.last;
  const { commit } = net.node(1).raft;
  assert.ok(commit < old);
  net.passes = () => true;
  net.restart(1);
  net.elapse(0);
  net.nowMs += 3 * T;
  // The new leader's own entry reaches nobody, the old one a quorum.
  net.passes = (m) => m.type !== MessageType.Replicate || (m.blocks.at(-1)?.last ?? 0) <= old;
  net.node(2).raft.campaign(net.nowMs);
  net.run();
  assert.equal(net.node(2).raft.role, "leader");
  assert.equal(net.node(2).raft.last, old + 1);
  const before = net.node(2).raft.commit;
  const { term } = net.node(2).raft;
  const resp = { type: MessageType.ReplicateResp, shardId: SHARD, to: 2, term, lineage: 0 } as const;
  for (const from of [1, 3]) {
    net.deliver({ ...resp, from, index: old, rejected: false, hintIndex: 0, hintTerm: 0 });
  }
  assert.equal(net.node(2).raft.commit, before);
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  assert.ok(net.node(2).raft.commit > old);
});

test("P02: commit does not pass the verified prefix, whatever the leader says", () => {
  const net = new Net(three);
  const node = net.node(1);
  const old = [4, 5, 6, 7, 8, 9].map((i) => entry(i, 1));
  net.deliver(replicate(1, 1, [3, 1], { blocks: old }));
  net.step(node);
  assert.equal(node.raft.last, 9);
  net.deliver(replicate(1, 2, [3, 1], { blocks: [entry(4, 1), entry(5, 1)], commit: 9 }));
  assert.equal(node.raft.commit, 5);
  net.deliver(heartbeat(1, 2, 9));
  assert.equal(node.raft.commit, 5);
  net.deliver(replicate(1, 2, [5, 1], { blocks: [entry(6, 2)], commit: 9 }));
  assert.equal(node.raft.commit, 6);
});

test("a restarted follower asks for a Replicate to verify its log and follows the commit index again", () => {
  const net = new Net(three);
  net.elect(1);
  net.elapse(HEARTBEAT);
  net.propose(1, "a", "b");
  net.run();
  net.elapse(HEARTBEAT);
  const node = net.restart(2);
  assert.ok(node.raft.commit < net.node(1).raft.commit);
  net.elapse(3 * HEARTBEAT);
  assert.equal(node.raft.commit, net.node(1).raft.commit);
  const before = net.sent.length;
  net.elapse(10 * HEARTBEAT);
  assert.ok(!net.sent.slice(before).some((m) => m.type === MessageType.Replicate), "quiet again");
});

test("P08: an acknowledgement goes out only when the entries are durable", () => {
  const net = new Net(three);
  net.elect(1);
  net.node(2).slowDisk = true;
  net.node(3).slowDisk = true;
  const { commit } = net.node(1).raft;
  net.propose(1, "x");
  net.run();
  assert.equal(net.node(1).raft.commit, commit);
  net.flush(2);
  net.run();
  assert.equal(net.node(1).raft.commit, commit + 1);
});

test("P09: a leader counts itself only when durable, and may commit by its followers", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  leader.slowDisk = true;
  net.isolate(3);
  const { commit } = leader.raft;
  net.propose(1, "x");
  net.run();
  assert.equal(leader.raft.commit, commit, "one follower and no own disk is no quorum");
  net.isolate();
  net.elapse(2 * HEARTBEAT);
  assert.equal(leader.raft.commit, commit + 1);
  assert.equal(leader.applied, commit, "committed, but not durable here");
  net.flush(1);
  net.run();
  assert.equal(leader.applied, commit + 1);
});

test("P24: a single voter commits by its own durability alone", () => {
  const net = new Net({ voters: [1] });
  const node = net.elect(1);
  node.slowDisk = true;
  net.propose(1, "x");
  net.run();
  assert.ok(!node.state.some((line) => line.endsWith(":x")));
  net.restart(1);
  node.slowDisk = false;
  net.elect(1);
  assert.ok(!node.state.some((line) => line.endsWith(":x")));
  net.propose(1, "y");
  net.run();
  assert.ok(node.state.some((line) => line.endsWith(":y")));
  assert.equal(net.sent.length, 0);
});

test("P10: a late answer of the disk does not count for entries that replaced those it was about", () => {
  const net = new Net(three);
  const node = net.node(1);
  node.slowDisk = true;
  net.deliver(replicate(1, 2, [3, 1], { blocks: [entry(4, 2), entry(5, 2), entry(6, 2)] }));
  net.step(node);
  net.deliver(replicate(1, 3, [4, 2], { blocks: [entry(5, 3), entry(6, 3)] }));
  net.step(node);
  const [first, second] = node.unwritten.splice(0);
  assert.ok(first !== undefined && second !== undefined);
  node.disk.write(first);
  node.raft.persisted(first.sequence);
  assert.equal(node.raft.status().durable, 4);
  net.step(node);
  assert.deepEqual(accepted(net, 1), []);
  node.disk.write(second);
  node.raft.persisted(second.sequence);
  net.step(node);
  assert.deepEqual(accepted(net, 1), [6]);
});

test("P27, P28: conflicts remove uncommitted entries only; one at a committed entry is refused and counted", () => {
  const net = new Net(three);
  const node = net.node(1);
  net.deliver(replicate(1, 2, [3, 1], { blocks: [entry(4, 2), entry(5, 2)], commit: 4 }));
  net.step(node);
  net.deliver(replicate(1, 3, [3, 1], { blocks: [entry(4, 3)] }));
  assert.equal(node.raft.inspect().counters.contradictory, 1);
  assert.equal(node.raft.last, 5);
  net.deliver(replicate(1, 3, [4, 2], { blocks: [entry(5, 3)] }));
  assert.equal(node.raft.inspect().lastTerm, 3);
  net.deliver(replicate(1, 3, [4, 2], { blocks: [entry(5, 2)] }));
  assert.equal(node.raft.inspect().counters.contradictory, 2, "the same leader says two things of index 5");
});

test("a long conflicting tail is brought back by terms, not by entries", () => {
  const net = new Net(three);
  net.elect(1);
  net.elapse(HEARTBEAT);
  net.isolate(1);
  for (let i = 0; i < 40; i++) net.propose(1, `lost${i}`);
  net.run();
  net.elapse(4 * T);
  const leader = net.leader();
  assert.ok(leader !== undefined && leader.id !== 1);
  assert.ok(net.node(1).raft.last > leader.raft.last + 30);
  net.propose(leader.id, "kept");
  net.run();
  const before = net.sent.length;
  net.isolate();
  net.elapse(T);
  assert.deepEqual(net.node(1).state, leader.state);
  const rejects = net.sent.slice(before).filter((m) => m.type === MessageType.ReplicateResp && m.rejected);
  assert.ok(rejects.length <= 2, `${rejects.length} rejections`);
});

test("P42: a window whose acknowledgements were all lost opens again", () => {
  const net = new Net({ ...three, config: { inflightMessagesMax: 2 } });
  const leader = net.elect(1);
  net.elapse(HEARTBEAT);
  net.passes = (m) => m.type !== MessageType.ReplicateResp;
  for (let i = 0; i < 10; i++) {
    net.propose(1, `a${i}`);
    net.run();
  }
  for (const peer of leader.raft.inspect().peers) assert.equal(peer.inflightMessages, 2);
  net.passes = () => true;
  net.elapse(3 * HEARTBEAT);
  assert.equal(net.node(2).applied, leader.raft.last);
  for (const peer of leader.raft.inspect().peers) assert.equal(peer.inflightMessages, 0);
});

test("P42: a window whose messages were all lost is sent again", () => {
  const net = new Net({ ...three, config: { inflightMessagesMax: 2 } });
  const leader = net.elect(1);
  net.elapse(HEARTBEAT);
  net.passes = (m) => m.type !== MessageType.Replicate;
  for (let i = 0; i < 10; i++) {
    net.propose(1, `a${i}`);
    net.run();
  }
  net.passes = () => true;
  net.elapse(3 * HEARTBEAT);
  assert.equal(net.node(2).applied, leader.raft.last);
});

test("P43: stale answers change nothing", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  for (let i = 0; i < 5; i++) {
    net.propose(1, `a${i}`);
    net.run();
  }
  const peers = () => JSON.stringify(leader.raft.inspect().peers.map((p) => [p.match, p.next, p.state]));
  const before = peers();
  for (const m of net.sent.filter((s) => s.type === MessageType.ReplicateResp)) net.deliver(m);
  net.run();
  const resp = { type: MessageType.ReplicateResp, shardId: SHARD, from: 2, to: 1, lineage: 0 } as const;
  const { term } = leader.raft;
  net.deliver({ ...resp, term, index: 2, rejected: true, hintIndex: 0, hintTerm: 0 });
  net.deliver({ ...resp, term: term - 1, index: 3, rejected: false, hintIndex: 0, hintTerm: 0 });
  assert.equal(peers(), before);
  net.deliver({ ...resp, term, index: 999, rejected: false, hintIndex: 0, hintTerm: 0 });
  assert.equal(peers(), before);
  assert.equal(leader.raft.inspect().counters.contradictory, 1);
});

test("everything proposed in a turn leaves in one message per peer", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.elapse(HEARTBEAT);
  const before = net.sent.length;
  for (let i = 0; i < 20; i++) net.propose(1, `a${i}`);
  net.step(leader);
  const sent = net.sent.slice(before).filter((m) => m.type === MessageType.Replicate);
  assert.equal(sent.length, 2);
  assert.ok(sent.every((m) => m.blocks.length === 20));
});

test("a commit index that moved is told at once, without entries", () => {
  const net = new Net(three);
  net.elect(1);
  net.propose(1, "a");
  net.run();
  assert.equal(net.node(2).raft.commit, net.node(1).raft.commit);
  assert.equal(net.node(3).raft.commit, net.node(1).raft.commit);
});

const application = (node: TestNode) => node.state.filter((line) => line.split(":")[2] !== "").slice(3);

test("forwarded proposals are appended once, whatever is duplicated or late", () => {
  const net = new Net(three);
  net.elect(1);
  net.propose(2, "a");
  net.propose(2, "b");
  net.run();
  const forwarded = net.sent.filter((m) => m.type === MessageType.Propose);
  assert.equal(forwarded.length, 2);
  for (const m of forwarded) net.deliver(m);
  net.run();
  assert.equal(application(net.node(1)).length, 2);
  assert.equal(net.node(1).raft.inspect().counters.duplicateProposal, 2);
  net.node(1).raft.stepDown(net.nowMs);
  net.elapse(4 * T);
  net.node(2).raft.stepDown(net.nowMs);
  net.node(3).raft.stepDown(net.nowMs);
  net.nowMs += 3 * T;
  net.elect(1);
  for (const m of forwarded) net.deliver(m);
  net.run();
  assert.equal(application(net.node(1)).length, 2, "a late copy of an earlier term is not appended");
});

test("what is dropped is reported, and not appended later", () => {
  const net = new Net(three);
  net.propose(1, "nobody leads");
  net.run();
  assert.deepEqual(
    net.node(1).dropped.map((d) => d.reason),
    ["noLeader"],
  );
  net.elect(1);
  net.change(2, "addNonVoting", 8);
  net.change(2, "addNonVoting", 9);
  net.run();
  assert.equal(net.node(2).dropped.length, 1);
  const forwarded = net.sent.filter((m) => m.type === MessageType.Propose);
  for (const m of forwarded) net.deliver(m);
  net.run();
  assert.ok(!net.node(1).membership.nonVotings.has(9));
});

test("proposals of strangers are refused", () => {
  const net = new Net(three);
  net.elect(1);
  net.add(8, membershipOf([1, 2, 3]));
  const { term, last } = net.node(1).raft;
  const body = net.body(8, "x");
  net.deliver({ type: MessageType.Propose, shardId: SHARD, from: 8, to: 1, term, lineage: 0, body });
  assert.equal(net.node(1).raft.last, last);
});

test("old entries come from disk; while they are fetched the peer waits", () => {
  const net = new Net({ ...three, config: { cacheBytesMax: 0 } });
  const leader = net.elect(1);
  net.isolate(3);
  for (let i = 0; i < 20; i++) {
    net.propose(1, `a${i}`);
    net.run();
  }
  assert.ok(leader.raft.inspect().memoryFirst > 20);
  leader.disk.cold = true;
  net.isolate();
  net.elapse(3 * HEARTBEAT);
  assert.ok(net.node(3).applied < leader.applied);
  leader.disk.cold = false;
  leader.raft.entriesFetched();
  net.run();
  net.elapse(HEARTBEAT);
  assert.equal(net.node(3).applied, leader.applied);
});
