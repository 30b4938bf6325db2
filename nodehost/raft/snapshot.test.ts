/** Snapshots: when a peer needs one, how it is taken over, and what must not be undone by it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType, type SnapshotMeta } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T } from "./test-net.js";

const three = { voters: [1, 2, 3] };

function install(net: Net, to: number, meta: SnapshotMeta): Message {
  const { term } = net.node(1).raft;
  return { type: MessageType.InstallSnapshot, shardId: SHARD, from: 1, to, term, lineage: 0, snapshot: meta };
}

function filled(count: number): Net {
  const net = new Net({ ...three, config: { cacheBytesMax: 0 } });
  net.elect(1);
  net.elapse(HEARTBEAT);
  net.isolate(3);
  for (let i = 0; i < count; i++) {
    net.propose(1, `a${i}`);
    net.run();
  }
  return net;
}

test("P29: a follower that needs compacted entries gets a snapshot, once per attempt, and then the rest", () => {
  const net = filled(20);
  const leader = net.node(1);
  const meta = net.snapshot(1);
  net.propose(1, "after");
  net.run();
  net.isolate();
  net.elapse(5 * HEARTBEAT);
  assert.equal(leader.snapshotRequests.length, 1);
  assert.deepEqual(leader.snapshotRequests[0], { to: 3, term: leader.raft.term, witness: false });
  net.stream(1);
  net.run();
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(net.node(3).state, leader.state);
  assert.equal(net.node(3).raft.status().first, meta.index + 1);
  assert.equal(leader.raft.status().peers.find((p) => p.replicaId === 3)?.state, "replicate");
});

test("P35: a member that joins an idle shard whose log is wholly compacted gets a snapshot", () => {
  const net = filled(5);
  net.isolate();
  net.elapse(2 * HEARTBEAT);
  net.add(4, membershipOf([]));
  net.change(1, "addNonVoting", 4);
  net.passes = (m) => m.to !== 4;
  net.run();
  net.snapshot(1);
  assert.equal(net.node(1).raft.status().first, net.node(1).raft.last + 1);
  net.isolate();
  net.elapse(3 * HEARTBEAT);
  net.stream(1);
  net.elapse(3 * HEARTBEAT);
  assert.deepEqual(net.node(4).state, net.node(1).state);
  assert.ok(net.node(4).membership.nonVotings.has(4));
});

test("P32: a snapshot not newer than commit is acknowledged and ignored", () => {
  const net = filled(3);
  const meta = net.snapshot(1);
  net.isolate();
  net.propose(1, "later");
  net.elapse(2 * HEARTBEAT);
  const node = net.node(2);
  const before = net.sent.length;
  const state = [...node.state];
  net.deliver(install(net, 2, meta));
  net.step(node);
  assert.deepEqual(node.state, state);
  assert.equal(node.restores.length, 0);
  const acks = net.sent.slice(before).flatMap((m) => (m.type === MessageType.ReplicateResp ? [m.index] : []));
  assert.deepEqual(acks, [node.raft.commit]);
});

test("a snapshot of an entry that the log holds only commits it", () => {
  const net = filled(3);
  const node = net.node(2);
  const meta = net.snapshot(1);
  net.restart(2);
  assert.ok(node.raft.commit < meta.index && node.raft.last >= meta.index);
  net.deliver(install(net, 2, meta));
  assert.equal(node.raft.commit, meta.index);
  assert.equal(node.raft.inspect().restoring, false);
  assert.equal(node.raft.status().first, 1);
});

test("P13: a snapshot is acknowledged and restored only when its record is durable; nobody campaigns before", () => {
  const net = filled(10);
  const meta = net.snapshot(1);
  const node = net.node(3);
  node.disk.snapshotState = net.node(1).disk.snapshotState;
  node.slowDisk = true;
  node.slowApply = true;
  const { applied } = node.raft;
  const before = net.sent.length;
  const acks = () =>
    net.sent.slice(before).flatMap((m) => (m.type === MessageType.ReplicateResp && m.from === 3 ? [m.index] : []));
  net.deliver(install(net, 3, meta));
  net.step(node);
  assert.ok(acks().every((index) => index < meta.index));
  assert.equal(node.restores.length, 0);
  net.flush(3);
  net.step(node);
  assert.equal(acks().at(-1), meta.index);
  assert.equal(node.restores.length, 1);
  node.raft.campaign(net.nowMs);
  assert.equal(node.raft.role, "follower");
  assert.equal(node.raft.applied, applied);
  net.apply(3);
  assert.equal(node.raft.applied, meta.index);
  net.nowMs += 3 * T;
  node.raft.campaign(net.nowMs);
  assert.equal(node.raft.role, "preCandidate");
});

test("nothing after a snapshot is handed out before it is restored, and only the newest of two is restored", () => {
  const net = filled(10);
  const older = net.snapshot(1);
  net.propose(1, "b");
  net.run();
  const newer = net.snapshot(1);
  net.propose(1, "c");
  net.run();
  const node = net.node(3);
  node.slowDisk = true;
  node.slowApply = true;
  net.deliver(install(net, 3, older));
  net.step(node);
  net.deliver(install(net, 3, newer));
  net.step(node);
  const [first, second] = node.unwritten.splice(0);
  assert.ok(first !== undefined && second !== undefined);
  node.disk.write(first);
  node.raft.persisted(first.sequence);
  net.step(node);
  assert.equal(node.restores.length, 0);
  node.disk.write(second);
  node.raft.persisted(second.sequence);
  node.disk.snapshotState = net.node(1).disk.snapshotState;
  node.slowDisk = false;
  net.isolate();
  net.elapse(3 * HEARTBEAT);
  assert.deepEqual(node.restores, [newer]);
  assert.ok(node.raft.commit > newer.index);
  assert.equal(node.unapplied.length, 0);
  net.apply(3);
  net.step(node);
  assert.equal(node.unapplied.at(-1)?.last, node.raft.commit);
});

test("a crash between reset and its record leaves the old log", () => {
  const net = filled(10);
  const meta = net.snapshot(1);
  const node = net.node(3);
  const { last } = node.raft;
  node.slowDisk = true;
  net.deliver(install(net, 3, meta));
  net.step(node);
  net.restart(3);
  assert.equal(node.raft.last, last);
  assert.equal(node.raft.inspect().restoring, false);
});

test("a failed stream is tried again after an election timeout, not at once", () => {
  const net = filled(10);
  const leader = net.node(1);
  net.snapshot(1);
  net.isolate();
  net.elapse(3 * HEARTBEAT);
  assert.equal(leader.snapshotRequests.splice(0).length, 1);
  leader.raft.snapshotSent(3, 0, false);
  net.elapse(T / 2);
  assert.equal(leader.snapshotRequests.length, 0);
  net.elapse(T);
  assert.equal(leader.snapshotRequests.length, 1);
});

test("a replica that finds itself removed in a snapshot says so", () => {
  const net = filled(3);
  const meta = { ...net.snapshot(1), membership: membershipOf([1, 2], { removed: new Set([3]) }) };
  const node = net.node(3);
  net.deliver(install(net, 3, meta));
  net.step(node);
  assert.equal(node.removed, "removed");
  assert.equal(node.restores.length, 0);
});
