/** The bound on entries in memory: refusal, hysteresis, reports of voters and their end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageType } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, T, type TestNode } from "./test-net.js";

const MAX = 2_000;
const TEXT = "x".repeat(200);

function limited(): { net: Net; leader: TestNode } {
  const net = new Net({ voters: [1, 2, 3], config: { maxInMemLogBytes: MAX } });
  return { net, leader: net.elect(1) };
}

/** Proposes one by one until the leader refuses; how many it took. */
function fill(net: Net, leader: TestNode, most = 100): number {
  for (let taken = 0; taken < most; taken++) {
    net.propose(leader.id, TEXT);
    net.run();
    if (leader.dropped.length > 0) {
      assert.deepEqual(
        leader.dropped.splice(0).map((d) => d.reason),
        ["busy"],
      );
      return taken;
    }
  }
  return most;
}

/** More than the bound, one after the other, so that a leader that applies at once keeps none of it. */
function write(net: Net): void {
  for (let i = 0; i < 15; i++) {
    net.propose(1, TEXT);
    net.run();
  }
}

function takes(net: Net, leader: TestNode): boolean {
  net.propose(leader.id, "y");
  net.run();
  return leader.dropped.splice(0).length === 0;
}

test("a leader whose machine is slow refuses above the bound, and takes again at 70 % of it", () => {
  const { net, leader } = limited();
  leader.slowApply = true;
  const taken = fill(net, leader);
  assert.ok(taken >= 5 && taken < 12, `${taken}`);
  const { memoryBytes, memoryLimited } = leader.raft.status();
  assert.ok(memoryBytes > MAX && memoryBytes < MAX + 400 && memoryLimited);
  const blocks = leader.unapplied.splice(0);
  for (const block of blocks) {
    if (leader.raft.status().memoryBytes <= 0.7 * MAX) break;
    assert.equal(takes(net, leader), false, "still above the release");
    leader.raft.appliedTo(block.last);
  }
  assert.ok(takes(net, leader));
});

test("a block larger than the bound passes when the memory is empty: nobody starves", () => {
  const { net, leader } = limited();
  net.propose(1, "z".repeat(3 * MAX));
  net.run();
  assert.equal(leader.dropped.length, 0);
  assert.ok(takes(net, leader));
});

test("membership changes are taken whatever the load", () => {
  const { net, leader } = limited();
  leader.slowApply = true;
  fill(net, leader);
  net.change(1, "addNonVoting", 4);
  net.run();
  assert.equal(leader.dropped.length, 0);
  net.apply(1);
  assert.ok(leader.membership.nonVotings.has(4));
});

test("a voter with a slow machine reports, holds the leader up, and lets go when it has caught up", () => {
  const { net, leader } = limited();
  const slow = net.node(2);
  slow.slowApply = true;
  write(net);
  assert.ok(takes(net, leader), "not reported yet");
  net.elapse(HEARTBEAT);
  assert.equal(takes(net, leader), false);
  assert.ok(leader.raft.status().memoryLimited);
  net.propose(3, "forwarded");
  net.run();
  assert.deepEqual(
    net.node(3).dropped.map((d) => d.reason),
    ["busy"],
  );
  slow.slowApply = false;
  net.apply(2);
  net.elapse(HEARTBEAT);
  assert.ok(takes(net, leader), "the end of it is reported at once");
  const reports = net.sent.filter((m) => m.type === MessageType.MemoryReport).length;
  net.elapse(5 * HEARTBEAT);
  assert.equal(net.sent.filter((m) => m.type === MessageType.MemoryReport).length, reports, "then it is silent");
});

test("a voter that fell silent with a full memory counts for an election timeout and no longer", () => {
  const { net, leader } = limited();
  net.node(2).slowApply = true;
  write(net);
  net.elapse(HEARTBEAT);
  assert.equal(takes(net, leader), false);
  net.crash(2);
  net.elapse(T - 2 * HEARTBEAT);
  assert.equal(takes(net, leader), false);
  net.elapse(4 * HEARTBEAT);
  assert.ok(takes(net, leader));
});

test("a slow non-voting member holds nobody up", () => {
  const { net, leader } = limited();
  net.add(4, membershipOf([])).slowApply = true;
  net.change(1, "addNonVoting", 4);
  net.run();
  net.apply(4);
  write(net);
  net.elapse(3 * HEARTBEAT);
  assert.ok(
    net.sent.some((m) => m.type === MessageType.MemoryReport && m.from === 4 && m.bytes > MAX),
    "it is above the bound and says so",
  );
  assert.ok(takes(net, leader));
});

test("a new leader starts without a grudge, and without the reports of others", () => {
  const { net, leader } = limited();
  leader.slowApply = true;
  fill(net, leader);
  leader.raft.stepDown(net.nowMs);
  const next = net.elect(2);
  assert.ok(takes(net, next));
  net.elapse(HEARTBEAT);
  assert.equal(takes(net, next), false, "the old leader is a voter with a full memory");
});

test("off: only the general bound is there, and nobody reports", () => {
  const net = new Net({ voters: [1, 2, 3] });
  const leader = net.elect(1);
  leader.slowApply = true;
  net.node(2).slowApply = true;
  assert.equal(fill(net, leader), 100);
  net.elapse(3 * HEARTBEAT);
  assert.ok(!net.sent.some((m) => m.type === MessageType.MemoryReport));
});
