/**
 * Members that are not configured alike: pre-vote and check-quorum on for some and off for others, as while a shard is
 * moved from one to the other. No deadlock, and no worse disturbance than without them (P17).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageType } from "../../shared/types/message.js";
import { HEARTBEAT, Net, type NetOptions, SHARD, T, type TestNode } from "./test-net.js";

const OLD = { preVote: false, checkQuorum: true };
const NEW = { preVote: true, checkQuorum: false };
const LAX = { preVote: true, checkQuorum: false };
const STRICT = { preVote: true, checkQuorum: true };
const PLAIN = { preVote: false, checkQuorum: false };
const ALL = [OLD, NEW, STRICT, PLAIN];

type Configs = NonNullable<NetOptions["configs"]>;

function mixed(voters: readonly number[], configs: Configs, seed = 1): Net {
  return new Net({ voters, configs, seed });
}

/** One leader of all that run, within `timeouts`, and it commits. */
function recovers(net: Net, timeouts: number, what: string): TestNode {
  net.elapse(timeouts * T);
  const leader = net.leader();
  assert.ok(leader !== undefined, `${what}: no leader after ${timeouts} timeouts`);
  const { commit } = leader.raft;
  net.propose(leader.id, "fresh");
  net.run();
  assert.ok(leader.raft.commit > commit, `${what}: ${leader.id} commits nothing`);
  return leader;
}

/** A higher term, as learnt from somebody. */
function raiseTerm(net: Net, to: number, term: number): void {
  net.deliver({ type: MessageType.HeartbeatResp, shardId: SHARD, from: 9, to, term, lineage: 0, round: 0 });
  net.step(net.node(to));
}

test("P17: higher term and shorter log against lower term and longer log, while pre-vote is rolled out", () => {
  for (let seed = 1; seed <= 12; seed++) {
    for (const late of [OLD, NEW]) {
      // Three old members; 3 campaigns in a partition and rises in term, 1 and 2 go on writing.
      const net = mixed(
        [1, 2, 3],
        [1, 2, 3].map((id) => [id, OLD] as const),
        seed,
      );
      net.elect(1);
      net.isolate(3);
      net.propose(1, "a", "b");
      net.run();
      net.elapse(6 * T);
      assert.ok(net.node(3).raft.term > net.node(1).raft.term + 1);
      // 2 is restarted with the new settings, 1 is gone, 3 is back, restarted or not.
      net.configs.set(2, NEW).set(3, late);
      net.restart(2);
      if (late === NEW) net.restart(3);
      net.crash(1);
      net.isolate();
      assert.equal(recovers(net, 5, `seed ${seed}`).id, 2, "only 2 has the whole log");
    }
  }
});

test("P17: cohorts of an uncommitted membership change, one with the log, one with the term", () => {
  for (let seed = 1; seed <= 6; seed++) {
    for (const [i, a] of ALL.entries()) {
      for (const [j, b] of ALL.entries()) {
        const configs = [1, 2, 3, 4, 5, 6].map((id) => [id, id % 2 === 0 ? a : b] as const);
        const net = mixed([1, 2, 3, 4, 5, 6], configs, seed);
        net.elect(6);
        // The removal of 6 reaches 1, 2, 3 and is not committed; 6 is gone; 4 and 5 are terms ahead.
        net.passes = (m) => m.from === 6 && m.to <= 3;
        net.change(6, "remove", 6);
        net.run();
        net.crash(6);
        for (const id of [4, 5]) raiseTerm(net, id, 9);
        net.passes = () => true;
        recovers(net, 6, `seed ${seed}, ${i} and ${j}`);
      }
    }
  }
});

test("P17: any mixture recovers from the loss of its leader, and from a member that returns with a higher term", () => {
  for (let mixture = 0; mixture < 4 ** 3; mixture++) {
    const configs = [1, 2, 3].map((id) => [id, ALL[Math.floor(mixture / 4 ** (id - 1)) % 4] ?? STRICT] as const);
    const net = mixed([1, 2, 3], configs, mixture);
    net.elect(1);
    net.isolate(3);
    net.elapse(4 * T);
    net.isolate();
    const leader = recovers(net, 5, `mixture ${mixture}, returned`);
    net.elapse(3 * T);
    assert.equal(net.leader(), leader, `mixture ${mixture}: one election, then it is quiet`);
    net.crash(leader.id);
    recovers(net, 5, `mixture ${mixture}, leader lost`);
  }
});

test("P15: members without pre-vote do not disturb a leader that its members are loyal to", () => {
  const net = mixed([1, 2, 3], [[3, OLD]]);
  net.elect(1);
  const { term } = net.node(1).raft;
  // 3 hears nothing, but is heard: it campaigns with ever higher terms, and nobody follows it there.
  net.passes = (m) => m.to !== 3;
  net.elapse(10 * T);
  assert.ok(net.node(3).raft.term > term);
  assert.deepEqual([net.node(1).raft.role, net.node(1).raft.term, net.node(2).raft.term], ["leader", term, term]);
});

test("a leader cut off from its quorum that does not notice holds nobody back who still hears it", () => {
  for (const preVote of [true, false]) {
    for (const checkQuorum of [true, false]) {
      // 5 sees nobody, 4 leads and reaches only 3, which 1 and 2 reach too.
      const others = [1, 2, 3, 5].map((id) => [id, { preVote, checkQuorum }] as const);
      const net = mixed([1, 2, 3, 4, 5], [...others, [4, LAX]]);
      net.elect(4);
      net.passes = (m) => m.to !== 5 && m.from !== 5 && (m.from !== 4 || m.to === 3) && (m.to !== 4 || m.from === 3);
      // A timeout until 4 notices, two until 3 campaigns, and some for elections that nobody wins.
      for (let i = 0; i < 80 && (net.leader()?.id ?? 4) === 4; i++) {
        net.propose(4, `lost ${i}`);
        net.elapse(HEARTBEAT);
      }
      const leader = net.leader();
      assert.ok(leader !== undefined && leader.id !== 4, `preVote ${preVote}, checkQuorum ${checkQuorum}`);
      recovers(net, 1, "the quorum");
    }
  }
});

test("cut off it answers no reads, and goes on as if nothing had been when its quorum is back", () => {
  const net = mixed(
    [1, 2, 3],
    [1, 2, 3].map((id) => [id, LAX] as const),
  );
  const leader = net.elect(1);
  const { term } = leader.raft;
  for (const id of [2, 3]) net.crash(id);
  net.elapse(3.5 * T);
  const sent = net.sent.length;
  net.read(1);
  net.propose(1, "x");
  net.run();
  assert.equal(leader.raft.role, "leader");
  assert.deepEqual(net.sent.slice(sent), [], "silent");
  for (const id of [2, 3]) net.restart(id);
  net.elapse(0.9 * T);
  assert.deepEqual([leader.raft.role, leader.raft.term], ["leader", term], "its heartbeat came before an election");
  assert.equal(leader.readStates.length, 1);
  assert.equal(leader.raft.commit, leader.raft.last);
});

test("the members of a leader that checks its quorum stay loyal, whatever they check themselves", () => {
  const net = mixed(
    [1, 2, 3],
    [
      [2, PLAIN],
      [3, PLAIN],
    ],
  );
  net.elect(1);
  const { term } = net.node(1).raft;
  net.node(2).raft.campaign(net.nowMs);
  net.run();
  assert.equal(net.node(1).raft.term, term);
  assert.equal(net.node(3).raft.term, term);
});
