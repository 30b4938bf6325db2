/**
 * One test per rule of the Raft paper about terms and elections: sections 5.1, 5.2 and 5.4.1, "Rules for Servers" and
 * RequestVote of Figure 2; of the thesis 4.2.3 and 9.6. Each is named by its rule.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType } from "../../shared/types/message.js";
import { ackOf, heartbeatOf, netOfDisks, replicateOf, voteOf, voteRespOf } from "./test-logs.js";
import { HEARTBEAT, Net, T } from "./test-net.js";
import type { RaftRole } from "./types.js";

const ROLES: readonly RaftRole[] = ["follower", "preCandidate", "candidate", "leader"];

/** Replica 1 of `size` in `role`; the others hear nothing of it. */
function inRole(role: RaftRole, size = 3): Net {
  const voters = Array.from({ length: size }, (_, i) => i + 1);
  const net = new Net({ voters, config: { preVote: role === "preCandidate" } });
  net.elect(role === "leader" || size === 1 ? 1 : 2);
  net.passes = () => false;
  // Others lead no more: their last word is an election timeout ago.
  if (role !== "leader") net.nowMs += T;
  if (role === "candidate" || role === "preCandidate") net.node(1).raft.campaign(net.nowMs);
  net.run();
  assert.equal(net.node(1).raft.role, role);
  return net;
}

function votesAsked(net: Net): Message[] {
  return net.sent.filter((m) => m.type === MessageType.Vote);
}

test("5.1: whoever hears of a higher term takes it over; candidates and leaders become followers", () => {
  for (const role of ROLES) {
    const net = inRole(role);
    const term = net.node(1).raft.term + 3;
    net.deliver(ackOf([2, 1, term], 0));
    net.run();
    assert.deepEqual([net.node(1).raft.role, net.node(1).raft.term], ["follower", term], role);
    assert.deepEqual(net.node(1).disk.hardState, { term, vote: 0, commit: net.node(1).raft.commit });
  }
});

test("5.1: a request of an older term is refused and changes nothing", () => {
  for (const role of ROLES) {
    const net = inRole(role);
    const { term, last } = net.node(1).raft;
    const requests = [voteOf([2, 1, term - 1], [99, term - 1]), replicateOf([2, 1, term - 1], [last, 1], [1])];
    for (const request of requests) {
      const sent = net.sent.length;
      net.deliver(request);
      net.run();
      const [answer] = net.sent.slice(sent);
      assert.equal(answer?.term, term, `${role}: the sender learns the newer term`);
      assert.ok(answer?.type !== MessageType.VoteResp || !answer.granted);
    }
    assert.deepEqual([net.node(1).raft.role, net.node(1).raft.term, net.node(1).raft.last], [role, term, last]);
  }
});

test("5.2: servers start as followers", () => {
  for (const node of new Net({ voters: [1, 2, 3] }).nodes.values()) {
    assert.equal(node.raft.role, "follower");
    assert.equal(node.raft.leaderId, 0);
  }
});

test("5.2: a leader sends heartbeats to all, one per interval", () => {
  const net = inRole("leader", 5);
  const sent = net.sent.length;
  net.elapse(3 * HEARTBEAT);
  const heartbeats = net.sent.slice(sent).filter((m) => m.type === MessageType.Heartbeat);
  for (const to of [2, 3, 4, 5]) assert.equal(heartbeats.filter((m) => m.to === to).length, 3);
});

test("5.2: a server stays a follower as long as it hears from a leader", () => {
  const net = new Net({ voters: [1, 2, 3] });
  net.elect(1);
  const { term } = net.node(1).raft;
  net.elapse(20 * T);
  for (const node of net.nodes.values()) assert.deepEqual([node.raft.term, node.raft.leaderId], [term, 1]);
});

test("Figure 2, followers: the current leader's messages put off the election, others do not", () => {
  const net = netOfDisks([
    { terms: [1], term: 5 },
    { terms: [1], term: 5 },
    { terms: [1], term: 5 },
  ]);
  const { raft } = net.node(1);
  const messages = [heartbeatOf([2, 1, 5]), replicateOf([2, 1, 5], [1, 1], [])];
  for (const m of messages) {
    net.nowMs += 100;
    net.deliver(m);
    assert.ok(raft.deadlineMs >= net.nowMs + T);
  }
  const { deadlineMs } = raft;
  net.nowMs += 100;
  net.deliver(heartbeatOf([3, 1, 4]));
  net.deliver(replicateOf([3, 1, 4], [1, 1], []));
  assert.equal(raft.deadlineMs, deadlineMs);
});

test("Figure 2, followers: granting a vote puts off the election, refusing one does not", () => {
  const net = netOfDisks([
    { terms: [1, 1], term: 1 },
    { terms: [1], term: 1 },
    { terms: [1], term: 1 },
  ]);
  const { raft } = net.node(1);
  net.nowMs += 200;
  const { deadlineMs } = raft;
  net.deliver(voteOf([2, 1, 2], [1, 1]));
  assert.equal(raft.deadlineMs, deadlineMs, "its log is shorter");
  net.deliver(voteOf([3, 1, 2], [2, 1]));
  assert.ok(raft.deadlineMs >= net.nowMs + T);
});

test("5.2: who hears nothing for its election timeout begins an election: next term, own vote, requests to all", () => {
  for (const again of [false, true]) {
    const net = inRole(again ? "candidate" : "follower", 5);
    const { raft, disk } = net.node(1);
    const before = votesAsked(net).length;
    const term = raft.term + 1;
    net.nowMs = raft.deadlineMs;
    raft.tick(net.nowMs);
    net.run();
    assert.deepEqual([raft.role, raft.term], ["candidate", term]);
    assert.deepEqual([disk.hardState.term, disk.hardState.vote], [term, 1]);
    const asked = votesAsked(net).slice(before);
    assert.deepEqual(
      asked.map((m) => [m.to, m.term]),
      [2, 3, 4, 5].map((to) => [to, term]),
    );
  }
});

test("5.2: election timeouts are random, so that mostly one server stands alone", () => {
  let alone = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const net = new Net({ voters: [1, 2, 3, 4, 5], seed });
    const deadlines = [...net.nodes.values()].map((n) => n.raft.deadlineMs).sort((a, b) => a - b);
    assert.ok(deadlines.every((ms) => ms >= T && ms < 2 * T));
    // A round trip of T / 50 is enough for the first one to win before the second one stands.
    if ((deadlines[1] ?? 0) - (deadlines[0] ?? 0) > T / 50) alone += 1;
  }
  assert.ok(alone > 150, `${alone} of 200`);
});

/** Every pattern of answers of the other servers: granted, refused, none. */
function* answers(others: number): Generator<readonly (boolean | undefined)[]> {
  for (let n = 0; n < 3 ** others; n++) {
    yield Array.from({ length: others }, (_, i) => [undefined, true, false][Math.floor(n / 3 ** i) % 3]);
  }
}

test("5.2: a candidate wins with the votes of a majority of all servers, its own included, and with no fewer", () => {
  for (const size of [1, 2, 3, 4, 5]) {
    for (const pattern of answers(size - 1)) {
      const voters = Array.from({ length: size }, (_, i) => i + 1);
      const net = new Net({ voters, config: { preVote: false } });
      net.passes = () => false;
      const { raft } = net.node(1);
      raft.campaign(0);
      net.run();
      for (const [i, granted] of pattern.entries()) {
        if (granted !== undefined) net.deliver(voteRespOf([i + 2, 1, raft.term], granted));
      }
      const majority = 1 + pattern.filter((granted) => granted === true).length > size / 2;
      assert.equal(raft.role === "leader", majority, `${size}: ${pattern.join()}`);
    }
  }
});

test("5.2: each server votes for one candidate per term, first come first served", () => {
  const net = netOfDisks([
    { terms: [1], term: 1 },
    { terms: [1], term: 1 },
    { terms: [1], term: 1 },
  ]);
  const granted = () =>
    net.sent.flatMap((m) => (m.type === MessageType.VoteResp && m.granted ? [`${m.to} in ${m.term}`] : []));
  for (const from of [2, 3, 2]) {
    net.deliver(voteOf([from, 1, 2], [1, 1]));
    net.step(net.node(1));
    net.step(net.node(1));
  }
  assert.deepEqual(granted(), ["2 in 2", "2 in 2"], "the same candidate may ask again");
  net.restart(1);
  net.deliver(voteOf([3, 1, 2], [1, 1]));
  net.run();
  assert.equal(granted().length, 2, "the vote is remembered over a restart");
  net.deliver(voteOf([3, 1, 3], [1, 1]));
  net.run();
  assert.deepEqual(granted().at(-1), "3 in 3", "a new term, a new vote");
});

test("5.2: a candidate that hears the leader of its term becomes its follower, one of an older term it refuses", () => {
  for (const message of [heartbeatOf([2, 1, 2]), replicateOf([2, 1, 2], [3, 1], [])]) {
    const net = inRole("candidate");
    const { term } = net.node(1).raft;
    net.deliver({ ...message, term: term - 1 });
    assert.deepEqual([net.node(1).raft.role, net.node(1).raft.term], ["candidate", term]);
    net.deliver({ ...message, term });
    assert.deepEqual([net.node(1).raft.role, net.node(1).raft.leaderId], ["follower", 2]);
  }
});

test("5.2: if votes are split nobody wins; who times out first stands again in the next term", () => {
  const net = new Net({ voters: [1, 2, 3, 4], config: { preVote: false } });
  net.passes = (m) => m.type !== MessageType.Vote || (m.from === 1) === (m.to === 3) || m.to < 3;
  net.node(1).raft.campaign(0);
  net.node(2).raft.campaign(0);
  net.run();
  assert.equal(net.leader(), undefined);
  net.passes = () => true;
  net.elapse(2 * T);
  const leader = net.leader();
  assert.ok(leader !== undefined && leader.raft.term >= 3);
});

test("5.4.1: a vote goes only to a log as up to date as the own: first its last term counts, then its length", () => {
  const own: readonly (readonly number[])[] = [[1], [1, 1], [1, 2], [1, 2, 2], [1, 1, 1, 1]];
  const cases: readonly (readonly [number, number])[] = [
    [1, 1],
    [2, 1],
    [3, 1],
    [5, 1],
    [1, 2],
    [2, 2],
    [3, 2],
    [4, 3],
  ];
  for (const terms of own) {
    for (const [lastIndex, lastTerm] of cases) {
      const net = netOfDisks([
        { terms, term: 3 },
        { terms: [1], term: 3 },
      ]);
      net.passes = () => false;
      net.deliver(voteOf([2, 1, 4], [lastIndex, lastTerm]));
      net.run();
      const ownLast = terms.at(-1) ?? 0;
      const upToDate = lastTerm > ownLast || (lastTerm === ownLast && lastIndex >= terms.length);
      const answer = net.sent.find((m) => m.type === MessageType.VoteResp);
      assert.ok(answer?.type === MessageType.VoteResp);
      assert.equal(answer.granted, upToDate, `${terms.join()} against ${lastIndex}/t${lastTerm}`);
    }
  }
});

test("Figure 2: term and vote are on stable storage before anybody is answered", () => {
  const net = netOfDisks([
    { terms: [1], term: 1 },
    { terms: [1], term: 1 },
    { terms: [1], term: 1 },
  ]);
  const voter = net.node(1);
  voter.slowDisk = true;
  net.deliver(voteOf([2, 1, 2], [1, 1]));
  net.deliver(heartbeatOf([3, 1, 2]));
  net.step(voter);
  assert.equal(net.sent.length, 0);
  net.flush(1);
  net.step(voter);
  assert.deepEqual(
    net.sent.map((m) => [m.type, m.term]),
    [
      [MessageType.HeartbeatResp, 2],
      [MessageType.VoteResp, 2],
    ],
  );
});

test("thesis 4.2.3: who heard a leader within an election timeout neither votes nor takes over the term", () => {
  const net = new Net({ voters: [1, 2, 3], config: { preVote: false } });
  net.elect(1);
  const { term, last } = net.node(1).raft;
  for (const to of [1, 2]) {
    net.deliver(voteOf([3, to, term + 1], [last, term]));
    net.run();
    assert.equal(net.node(to).raft.term, term);
  }
  net.nowMs += T;
  net.deliver(voteOf([3, 2, term + 1], [last, term]));
  net.run();
  assert.equal(net.node(2).raft.term, term + 1);
});

test("thesis 9.6: pre-votes change neither the term nor the vote of anybody, and need a majority too", () => {
  const net = inRole("preCandidate", 5);
  const { raft } = net.node(1);
  const { term } = raft;
  const asked = net.sent.filter((m) => m.type === MessageType.PreVote && m.from === 1);
  assert.deepEqual(
    asked.map((m) => [m.to, m.term]),
    [2, 3, 4, 5].map((to) => [to, term + 1]),
  );
  for (const m of asked) {
    const { hardState } = net.node(m.to).disk;
    net.deliver(m);
    net.run();
    assert.deepEqual([net.node(m.to).raft.term, net.node(m.to).disk.hardState], [term, hardState]);
  }
  const [first, second] = net.sent.filter((m) => m.type === MessageType.PreVoteResp && m.to === 1);
  assert.ok(first !== undefined && second !== undefined);
  net.deliver(first);
  net.deliver(first);
  assert.equal(raft.role, "preCandidate", "one answer, heard twice, is one vote");
  net.deliver(second);
  assert.deepEqual([raft.role, raft.term], ["candidate", term + 1]);
});
