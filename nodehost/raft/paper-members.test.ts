/**
 * One test per rule about membership (thesis chapter 4), leader transfer (3.10) and clients (paper section 8, thesis
 * 6.4). Each is named by its rule. One rule is ours: changes are in force from their apply on, not from their append.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageType } from "../../shared/types/message.js";
import { quorumOf } from "./quorum.js";
import { heartbeatOf, replicateOf, voteOf } from "./test-logs.js";
import { HEARTBEAT, membershipOf, Net, T } from "./test-net.js";

function led(voters = [1, 2, 3]): Net {
  const net = new Net({ voters });
  net.elect(1);
  return net;
}

const votersOf = (net: Net, id: number) => [...net.node(id).raft.membership.voters.keys()].join();

/** All subsets of `ids` with at least `size` members. */
function subsets(ids: readonly number[], size: number): number[][] {
  const all = Array.from({ length: 2 ** ids.length }, (_, bits) => ids.filter((_id, i) => (bits >> i) & 1));
  return all.filter((set) => set.length >= size);
}

test("4.1: one server is added or removed at a time: majorities of the old and the new always share one", () => {
  for (let n = 1; n <= 5; n++) {
    const old = Array.from({ length: n }, (_, i) => i + 1);
    const next = [...old, n + 1];
    for (const a of subsets(old, quorumOf(n))) {
      for (const b of subsets(next, quorumOf(n + 1)))
        assert.ok(
          a.some((id) => b.includes(id)),
          `${a} ${b}`,
        );
    }
  }
  // Two at a time would not do.
  assert.ok(subsets([1, 2], 2).some((a) => subsets([1, 2, 3, 4, 5], 3).some((b) => !a.some((id) => b.includes(id)))));
});

test("4.1: a change travels as an entry, is committed by the old members, and is in force from its apply on", () => {
  const net = led();
  net.node(1).slowApply = true;
  net.change(1, "addVoter", 4);
  net.run();
  assert.equal(net.node(1).raft.commit, net.node(1).raft.last, "by three voters: 4 does not exist");
  assert.equal(votersOf(net, 1), "1,2,3");
  assert.equal(votersOf(net, 2), "1,2,3,4");
  net.apply(1);
  assert.equal(votersOf(net, 1), "1,2,3,4");
});

test("4.1: no change while another one is not in force", () => {
  const net = led();
  net.node(1).slowApply = true;
  net.change(1, "addVoter", 4);
  net.change(1, "remove", 3);
  net.run();
  net.change(1, "remove", 3);
  net.run();
  assert.deepEqual(
    net.node(1).dropped.map((d) => d.reason),
    ["configChangePending", "configChangePending"],
  );
  net.apply(1);
  net.run();
  net.node(1).slowApply = false;
  net.change(1, "remove", 3);
  net.run();
  assert.equal(votersOf(net, 1), "1,2,4");
});

test("the correction of 2015: no change before the leader has committed an entry of its own term", () => {
  const net = led();
  net.crash(1);
  net.nowMs += 2 * T;
  net.passes = (m) => m.type !== MessageType.ReplicateResp;
  net.elect(2);
  net.change(2, "remove", 1);
  net.run();
  assert.deepEqual(
    net.node(2).dropped.map((d) => d.reason),
    ["configChangePending"],
  );
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  net.change(2, "remove", 1);
  net.run();
  assert.equal(votersOf(net, 2), "2,3");
});

test("the case of 2015: changes of two leaders of four members are never both committed by disjoint sets", () => {
  const net = led([1, 2, 3, 4]);
  // 1 appends the removal of 2, which reaches nobody; then 2 leads and tries to remove 1.
  net.passes = () => false;
  net.change(1, "remove", 2);
  net.run();
  net.passes = (m) => m.from !== 1 && m.to !== 1;
  net.nowMs += 2 * T;
  net.node(1).raft.stepDown(net.nowMs);
  net.elect(2);
  net.change(2, "remove", 1);
  net.run();
  assert.equal(votersOf(net, 2), "2,3,4");
  // 1 comes back: by what it applied it needs three of four, and nobody has a log that old.
  net.passes = () => true;
  net.elapse(5 * T);
  assert.notEqual(votersOf(net, 1), "1,3,4");
  for (const id of [2, 3, 4]) assert.equal(votersOf(net, id), "2,3,4");
  assert.ok(net.node(1).removed === "removed" || votersOf(net, 1) === "1,2,3,4");
});

test("4.1: entries and votes are given to servers that are not in the own membership", () => {
  const net = led();
  const { raft } = net.node(2);
  const { term, last } = raft;
  const { lastTerm } = raft.inspect();
  net.nowMs += 2 * T;
  net.passes = () => false;
  net.deliver(voteOf([9, 2, term + 1], [last, lastTerm]));
  net.run();
  assert.ok(net.sent.some((m) => m.type === MessageType.VoteResp && m.to === 9 && m.granted));
  net.deliver(replicateOf([9, 2, term + 1], [last, lastTerm], [term + 1]));
  net.run();
  assert.deepEqual([raft.leaderId, raft.last], [9, last + 1]);
});

test("4.2.1: a new server catches up without a vote; meanwhile it slows down no commit", () => {
  const net = led();
  net.propose(1, "old");
  net.run();
  net.add(4, membershipOf([]));
  net.isolate(4);
  net.change(1, "addNonVoting", 4);
  net.run();
  net.propose(1, "new");
  net.run();
  assert.equal(net.node(1).raft.commit, net.node(1).raft.last);
  net.isolate();
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(net.node(4).state, net.node(1).state);
  net.change(1, "addVoter", 4);
  net.run();
  assert.equal(votersOf(net, 4), "1,2,3,4");
});

test("4.2.2: a leader that is removed goes on until the change is committed, then it leads no more", () => {
  const net = led();
  net.passes = (m) => m.type !== MessageType.ReplicateResp;
  net.change(1, "remove", 1);
  net.run();
  net.elapse(5 * HEARTBEAT);
  assert.equal(net.node(1).raft.role, "leader", "not committed");
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  assert.equal(net.node(1).raft.role, "follower");
  net.elapse(3 * T);
  assert.ok([2, 3].includes(net.leader()?.id ?? 0));
  assert.equal(votersOf(net, 2), "2,3");
});

test("4.2.3: removed servers do not disturb: no term rises on their account", () => {
  const net = led();
  net.isolate(3);
  net.change(1, "remove", 3);
  net.run();
  net.elapse(2 * T);
  const { term } = net.node(1).raft;
  // It never hears of its removal: all that goes to it is lost, all that comes from it arrives.
  net.passes = (m) => m.to !== 3;
  net.elapse(100 * T);
  assert.deepEqual([net.node(1).raft.term, net.node(2).raft.term], [term, term]);
  net.deliver(voteOf([3, 1, term + 50], [99, term + 49], true));
  net.deliver(heartbeatOf([3, 2, term + 50]));
  net.run();
  assert.deepEqual([net.node(1).raft.term, net.node(2).raft.term], [term, term]);
});

test("4.3: with a server lost for good the membership is changed by the rest", () => {
  const net = led();
  net.crash(3);
  net.change(1, "remove", 3);
  net.run();
  assert.equal(votersOf(net, 2), "1,2");
  net.propose(1, "a");
  net.run();
  assert.equal(net.node(1).raft.commit, net.node(1).raft.last);
});

test("3.10: leadership is handed over: no new commands, target brought up to date, told to campaign at once", () => {
  const net = led();
  net.isolate(2);
  net.propose(1, "a");
  net.run();
  assert.equal(net.node(1).raft.transferLeadership(2, net.nowMs), undefined);
  net.propose(1, "b");
  net.run();
  assert.deepEqual(
    net.node(1).dropped.map((d) => d.reason),
    ["transferring"],
  );
  assert.ok(!net.sent.some((m) => m.type === MessageType.TimeoutNow));
  net.isolate();
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual([net.leader()?.id, net.node(2).state.some((line) => line.endsWith(":a"))], [2, true]);
  assert.ok(net.nowMs < T, "no election timeout had to pass");
});

test("3.10: a transfer that takes longer than an election timeout is given up, and commands are taken again", () => {
  const net = led();
  net.crash(2);
  net.node(1).raft.transferLeadership(2, net.nowMs);
  net.elapse(T + HEARTBEAT);
  assert.deepEqual(
    net.node(1).transfers.map((t) => t.outcome),
    ["aborted"],
  );
  net.propose(1, "a");
  net.run();
  assert.equal(net.node(1).raft.commit, net.node(1).raft.last);
});

test("8: a command given to a follower goes to the leader; without a leader it is refused", () => {
  const net = led();
  net.propose(2, "a");
  net.run();
  assert.ok(net.node(2).state.at(-1)?.endsWith(":a"));
  net.restart(3);
  net.propose(3, "b");
  net.run();
  assert.deepEqual(
    net.node(3).dropped.map((d) => d.reason),
    ["noLeader"],
  );
});

test("6.4: a read waits until the leader has committed in its term, and is answered with the commit index then", () => {
  const net = led();
  net.crash(1);
  net.nowMs += 2 * T;
  net.passes = (m) => m.type !== MessageType.ReplicateResp;
  net.elect(2);
  net.read(2);
  net.run();
  assert.equal(net.node(2).readStates.length, 0);
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(
    net.node(2).readStates.map((r) => r.index),
    [net.node(2).raft.commit],
  );
});

test("6.4: a read is answered after a majority answered a heartbeat sent after it", () => {
  for (const size of [1, 2, 3, 4, 5]) {
    const net = led(Array.from({ length: size }, (_, i) => i + 1));
    net.passes = (m) => m.from === 1;
    net.read(1);
    net.run();
    for (let answers = 0; answers < size; answers++) {
      assert.equal(net.node(1).readStates.length, answers + 1 > size / 2 ? 1 : 0, `${answers} of ${size}`);
      const answer = net.sent.find((m) => m.type === MessageType.HeartbeatResp && m.from === answers + 2);
      if (answer !== undefined) net.deliver(answer);
      net.run();
    }
  }
});

test("6.4: all reads that wait share one round", () => {
  const net = led();
  for (let i = 0; i < 20; i++) net.read(1);
  const sent = net.sent.length;
  net.run();
  assert.equal(net.node(1).readStates.length, 20);
  assert.equal(net.sent.slice(sent).filter((m) => m.type === MessageType.Heartbeat).length, 2);
});

test("6.4: followers and members without a vote answer reads by asking the leader for the index", () => {
  const net = led();
  net.add(4, membershipOf([]));
  net.change(1, "addNonVoting", 4);
  net.run();
  net.elapse(2 * HEARTBEAT);
  for (const id of [2, 4]) {
    net.read(id);
    net.run();
    assert.deepEqual(
      net.node(id).readStates.map((r) => r.index),
      [net.node(1).raft.commit],
    );
  }
});

test("6.2: a leader that hears no majority for an election timeout steps down", () => {
  const net = led();
  net.read(1);
  net.passes = (m) => m.from === 1;
  net.elapse(T + 2 * HEARTBEAT);
  assert.notEqual(net.node(1).raft.role, "leader");
  assert.deepEqual(
    net.node(1).dropped.map((d) => d.kind),
    ["readIndex"],
    "who waits is told",
  );
});
