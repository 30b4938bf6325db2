/** ReadIndex: nothing older than what was acknowledged before the read was asked for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, T } from "./test-net.js";

const three = { voters: [1, 2, 3] };

test("a leader answers after a round of heartbeats, one round for all that waits", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.propose(1, "a");
  net.run();
  const before = net.sent.length;
  for (let i = 0; i < 10; i++) net.read(1);
  net.step(leader);
  const rounds = net.sent.slice(before).filter((m) => m.type === MessageType.Heartbeat);
  assert.deepEqual(
    rounds.map((m) => m.round),
    [1, 1],
  );
  assert.equal(leader.readStates.length, 0);
  net.run();
  assert.equal(leader.readStates.length, 10);
  assert.ok(leader.readStates.every((r) => r.index === leader.raft.commit));
});

test("P03: no read before the leader has committed in its own term", () => {
  const net = new Net(three);
  net.elect(1);
  net.propose(1, "a");
  net.run();
  net.nowMs += 3 * T;
  net.passes = (m) => m.type !== MessageType.ReplicateResp;
  const leader = net.elect(2);
  net.read(2);
  net.run();
  net.elapse(2 * HEARTBEAT);
  assert.equal(leader.readStates.length, 0);
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  assert.equal(leader.readStates.length, 1);
  assert.ok((leader.readStates[0]?.index ?? 0) >= leader.raft.inspect().termStart);
});

test("P04: answers to an earlier round confirm no later one", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.read(1);
  net.run();
  assert.equal(leader.readStates.length, 1);
  const old = net.sent.filter((m) => m.type === MessageType.HeartbeatResp && m.round === 1);
  assert.equal(old.length, 2);
  net.isolate(1);
  net.read(1);
  net.run();
  for (const m of old) net.deliver(m);
  net.step(leader);
  assert.equal(leader.readStates.length, 1);
});

test("P04: a round is confirmed by answers to it or to later ones, not by late answers to earlier ones", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.passes = (m) => m.type !== MessageType.HeartbeatResp && !(m.type === MessageType.Heartbeat && m.round > 1);
  const first = net.read(1);
  net.run();
  const second = net.read(1);
  net.run();
  const answers = net.sent.filter((m) => m.type === MessageType.HeartbeatResp && m.round === 1);
  assert.equal(answers.length, 2);
  for (const m of answers) net.deliver(m);
  net.step(leader);
  assert.deepEqual(
    leader.readStates.map((r) => r.key.sequence),
    [first],
  );
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(
    leader.readStates.map((r) => r.key.sequence),
    [first, second],
  );
});

test("a deposed leader answers no read, and reports those that waited", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.isolate(1);
  net.read(1);
  net.run();
  net.elapse(3 * T);
  assert.equal(leader.readStates.length, 0);
  assert.deepEqual(
    leader.dropped.map((d) => [d.kind, d.reason]),
    [["readIndex", "leaderChanged"]],
  );
  net.read(1);
  net.run();
  assert.equal(leader.dropped.at(-1)?.reason, "noLeader");
});

test("P05: followers and non-voting members answer from their own state, at an index perhaps not yet applied", () => {
  const net = new Net(three);
  net.elect(1);
  net.add(4, membershipOf([]));
  net.change(1, "addNonVoting", 4);
  net.run();
  net.elapse(2 * HEARTBEAT);
  for (const id of [2, 4]) {
    const node = net.node(id);
    node.slowApply = true;
    net.propose(1, `x${id}`);
    net.run();
    net.read(id);
    net.run();
    const [read] = node.readStates;
    assert.ok(read !== undefined);
    assert.equal(read.index, net.node(1).raft.commit);
    assert.ok(node.applied < read.index);
  }
});

test("a forwarded read is answered once, though request and answer are duplicated", () => {
  const net = new Net(three);
  net.elect(1);
  net.elapse(HEARTBEAT);
  net.read(2);
  net.run();
  const again: Message[] = net.sent.filter(
    (m) => m.type === MessageType.ReadIndex || m.type === MessageType.ReadIndexResp,
  );
  assert.equal(again.length, 2);
  for (const m of again) net.deliver(m);
  net.run();
  assert.equal(net.node(2).readStates.length, 1);
});

test("a forwarded read is reported when the leader changes", () => {
  const net = new Net(three);
  net.elect(1);
  net.elapse(HEARTBEAT);
  net.crash(1);
  net.read(2);
  net.run();
  net.elapse(5 * T);
  assert.equal(net.node(2).dropped[0]?.reason, "leaderChanged");
});

test("a lost round is repeated by heartbeats", () => {
  const net = new Net(three);
  const leader = net.elect(1);
  net.passes = (m) => m.type !== MessageType.Heartbeat;
  net.read(1);
  net.run();
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  assert.equal(leader.readStates.length, 1);
});

test("a single voter answers at once", () => {
  const net = new Net({ voters: [1] });
  const leader = net.elect(1);
  net.read(1);
  net.step(leader);
  assert.equal(leader.readStates.length, 1);
});

test("P22: a non-voting member confirms no round", () => {
  const net = new Net({ voters: [1, 2] });
  const leader = net.elect(1);
  net.add(3, membershipOf([]));
  net.change(1, "addNonVoting", 3);
  net.run();
  net.elapse(2 * HEARTBEAT);
  net.crash(2);
  net.read(1);
  net.run();
  assert.equal(leader.readStates.length, 0);
});
