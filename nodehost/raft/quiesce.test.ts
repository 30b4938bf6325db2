/** Rest of an idle shard: when a leader may ask for it, who obeys, and what wakes whom. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType, type QuiesceMessage } from "../../shared/types/message.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T, type TestNode } from "./test-net.js";
import type { RaftConfig } from "./types.js";

const AFTER = 3 * T;
const all = (): boolean => true;

function idleNet(voters: readonly number[] = [1, 2, 3], extra: Partial<RaftConfig> = {}): Net {
  const net = new Net({ voters, config: { quiesceAfterMs: AFTER, ...extra } });
  net.elect(1);
  net.propose(1, "a");
  net.run();
  return net;
}

/** A net of which everybody rests. */
function restingNet(voters: readonly number[] = [1, 2, 3], extra: Partial<RaftConfig> = {}): Net {
  const net = idleNet(voters, extra);
  net.elapse(AFTER + HEARTBEAT);
  assert.equal(net.node(1).raft.quiesce(net.nowMs, all), true);
  net.run();
  assert.deepEqual(resting(net), voters);
  return net;
}

function resting(net: Net): number[] {
  return [...net.nodes.values()].filter((node) => node.raft.quiesced).map((node) => node.id);
}

function quiesceOf(net: Net, over: Partial<QuiesceMessage> = {}): QuiesceMessage {
  const { term, last: index } = net.node(1).raft;
  return { type: MessageType.Quiesce, shardId: SHARD, from: 1, to: 2, term, lineage: 0, index, ...over };
}

test("an idle shard comes to rest: no message, no timer, and everything still known", () => {
  const net = idleNet();
  const leader = net.node(1);
  net.elapse(AFTER - HEARTBEAT);
  assert.equal(leader.raft.inspect().quiesceDue, false, "not idle for long enough");
  assert.equal(leader.raft.quiesce(net.nowMs, all), false);
  net.elapse(2 * HEARTBEAT);
  assert.equal(leader.raft.inspect().quiesceDue, true);
  assert.equal(leader.raft.quiesce(net.nowMs, all), true);
  net.run();
  const sent = net.sent.length;
  const { term, commit } = leader.raft;
  for (const node of net.nodes.values()) assert.equal(node.raft.deadlineMs, Number.POSITIVE_INFINITY);
  net.elapse(100 * T, T);
  assert.equal(net.sent.length, sent);
  for (const { raft } of net.nodes.values()) {
    assert.deepEqual([raft.term, raft.leaderId, raft.commit, raft.applied], [term, 1, commit, commit]);
    assert.equal(raft.status().quiesced, true);
  }
  assert.ok(leader.raft.status().peers.every((peer) => peer.active));
});

test("without a setting no shard rests", () => {
  const net = new Net({ voters: [1, 2, 3] });
  net.elect(1);
  net.elapse(100 * T, HEARTBEAT);
  assert.equal(net.node(1).raft.inspect().quiesceDue, false);
  assert.equal(net.node(1).raft.quiesce(net.nowMs, all), false);
});

test("a leader does not rest while a member lags, is silent, or cannot be watched", () => {
  const cases: [string, (net: Net) => void, (member: number) => boolean][] = [
    ["a watched member lacks entries", lagging, all],
    ["a watched member is silent", (net) => void net.crash(3), all],
    ["a member that talks is not watched", () => {}, (member) => member !== 3],
    ["no quorum is watched", twoDie, () => false],
  ];
  for (const [what, prepare, watched] of cases) {
    const net = idleNet([1, 2, 3], { checkQuorum: false });
    net.elapse(AFTER);
    prepare(net);
    net.elapse(2 * T);
    const { raft } = net.node(1);
    assert.equal(raft.inspect().quiesceDue, true, what);
    assert.equal(raft.quiesce(net.nowMs, watched), false, what);
    assert.deepEqual(resting(net), [], what);
  }
});

function twoDie(net: Net): void {
  net.crash(2);
  net.crash(3);
}

/** Node 3 answers heartbeats and gets no entries. */
function lagging(net: Net): void {
  net.passes = (m) => m.type !== MessageType.Replicate || m.to !== 3;
  net.propose(1, "b");
  net.elapse(AFTER);
}

test("a leader does not rest with something under way: entries, changes, reads, a transfer", () => {
  const lose = (net: Net, type: MessageType): void => {
    net.passes = (m) => m.type !== type;
  };
  const cases: Record<string, (net: Net, leader: TestNode) => void> = {
    "an entry not durable here": (net, leader) => {
      leader.slowDisk = true;
      net.propose(1, "b");
    },
    "an entry not committed": (net) => {
      lose(net, MessageType.ReplicateResp);
      net.propose(1, "b");
    },
    "a membership change not applied": (net, leader) => {
      leader.slowApply = true;
      net.change(1, "remove", 3);
    },
    "a read not confirmed": (net) => {
      lose(net, MessageType.HeartbeatResp);
      net.read(1);
    },
    "a transfer": (net, leader) => {
      lose(net, MessageType.TimeoutNow);
      assert.equal(leader.raft.transferLeadership(2, net.nowMs), undefined);
    },
  };
  for (const [what, prepare] of Object.entries(cases)) {
    const net = idleNet();
    net.elapse(AFTER);
    const leader = net.node(1);
    prepare(net, leader);
    net.run();
    // As if it had been idle all the time: only what is under way keeps it awake.
    leader.raft.quiesce(net.nowMs + AFTER, all);
    assert.equal(leader.raft.inspect().quiesceDue, false, what);
    assert.deepEqual(resting(net), [], what);
  }
});

test("a shard rests without its dead member, and the member's return wakes it", () => {
  const net = idleNet();
  net.crash(3);
  net.elapse(AFTER + 2 * T);
  assert.equal(
    net.node(1).raft.quiesce(net.nowMs, (member) => member !== 3),
    true,
  );
  net.run();
  assert.deepEqual(resting(net), [1, 2]);
  assert.ok(!net.sent.some((m) => m.type === MessageType.Quiesce && m.to === 3));
  const { term } = net.node(1).raft;
  net.restart(3);
  net.elapse(3 * T);
  assert.deepEqual(resting(net), []);
  assert.equal(net.node(3).raft.commit, net.node(1).raft.commit);
  assert.ok(net.node(1).raft.role === "leader" || net.node(1).raft.term > term);
});

test("every request wakes the shard, and is served as ever", () => {
  const requests: [string, (net: Net) => void][] = [
    ["proposal at the leader", (net) => net.propose(1, "b")],
    ["proposal at a member", (net) => net.propose(2, "b")],
    ["read at the leader", (net) => net.read(1)],
    ["read at a member", (net) => net.read(2)],
    ["membership change", (net) => net.change(2, "addNonVoting", 9)],
    ["transfer", (net) => assert.equal(net.node(1).raft.transferLeadership(2, net.nowMs), undefined)],
    ["owner of the leader", (net) => net.node(1).raft.wake(net.nowMs)],
  ];
  for (const [what, request] of requests) {
    const net = restingNet();
    net.elapse(20 * T, T);
    const { term, commit } = net.node(1).raft;
    request(net);
    net.run();
    assert.deepEqual(resting(net), [], what);
    net.elapse(10 * T, HEARTBEAT);
    assert.equal(net.leader()?.raft.term, what === "transfer" ? term + 1 : term, `${what}: no election`);
    if (what.startsWith("read"))
      assert.ok(
        [1, 2].some((id) => net.node(id).readStates[0]?.index === commit),
        what,
      );
    if (what.startsWith("proposal"))
      for (const node of net.nodes.values()) assert.ok(node.state.at(-1)?.endsWith(":b"));
  }
});

test("a leader at rest answers no read before a quorum has confirmed it", () => {
  const net = restingNet();
  net.elapse(10 * T, T);
  net.passes = () => false;
  net.read(1);
  net.run();
  assert.deepEqual(net.node(1).readStates, []);
  net.passes = () => true;
  net.elapse(HEARTBEAT);
  assert.equal(net.node(1).readStates.length, 1);
});

test("who wakes begins anew: a leader beats at once and has time to be answered, a member has a whole timeout", () => {
  const net = restingNet();
  net.elapse(50 * T, T);
  net.passes = () => false;
  const sent = net.sent.length;
  net.node(1).raft.wake(net.nowMs);
  net.node(2).raft.wake(net.nowMs);
  net.run();
  assert.deepEqual(
    net.sent.slice(sent).map((m) => [m.type, m.to]),
    [
      [MessageType.Heartbeat, 2],
      [MessageType.Heartbeat, 3],
    ],
  );
  assert.ok(net.node(2).raft.deadlineMs >= net.nowMs + T);
  net.elapse(T);
  assert.equal(net.node(1).raft.role, "leader", "nobody had the time to answer");
  net.elapse(2 * HEARTBEAT);
  assert.equal(net.node(1).raft.role, "follower", "nobody answers");
});

test("late answers without news let a leader rest; news wake it", () => {
  const net = restingNet();
  const { raft } = net.node(1);
  const head = { shardId: SHARD, from: 2, to: 1, term: raft.term, lineage: 0 };
  const ack = { ...head, type: MessageType.ReplicateResp, rejected: false, hintIndex: 0, hintTerm: 0 } as const;
  net.deliver({ ...head, type: MessageType.HeartbeatResp, round: 0 });
  net.deliver({ ...ack, index: raft.last });
  assert.equal(raft.quiesced, true);
  net.deliver({ ...ack, index: raft.last - 1 });
  assert.equal(raft.quiesced, false, "it was started again and must verify its log");
});

test("a member that missed the word wakes the leader by its campaign, and nobody is deposed", () => {
  const net = idleNet();
  net.elapse(AFTER + HEARTBEAT);
  const { term } = net.node(1).raft;
  net.passes = (m) => m.type !== MessageType.Quiesce || m.to !== 3;
  assert.equal(net.node(1).raft.quiesce(net.nowMs, all), true);
  net.run();
  assert.deepEqual(resting(net), [1, 2]);
  // The member's host says that the leader is alive.
  net.node(2).raft.leaderHeard(net.nowMs + 2 * T);
  net.elapse(2 * T + HEARTBEAT);
  assert.deepEqual(resting(net), []);
  assert.equal(net.node(1).raft.role, "leader");
  assert.equal(net.node(1).raft.term, term);
});

test("the word of another term, sender or index is not obeyed", () => {
  const cases: [string, Partial<QuiesceMessage>][] = [
    ["an older term", { term: 1 }],
    ["an entry more", { index: 6 }],
    ["an entry less", { index: 4 }],
    ["not the leader", { from: 3 }],
  ];
  for (const [what, over] of cases) {
    const net = idleNet();
    net.elapse(HEARTBEAT);
    assert.equal(net.node(2).raft.last, 5, "three bootstrap entries, the leader's first, one more");
    net.deliver(quiesceOf(net, over));
    assert.equal(net.node(2).raft.quiesced, false, what);
    assert.ok(Number.isFinite(net.node(2).raft.deadlineMs), what);
  }
  const behind = idleNet();
  behind.passes = (m) => m.to !== 2;
  behind.propose(1, "b");
  behind.run();
  behind.deliver(quiesceOf(behind));
  assert.equal(behind.node(2).raft.quiesced, false, "it lacks an entry");
  const written = idleNet();
  written.node(2).slowDisk = true;
  written.propose(1, "b");
  written.run();
  written.deliver(quiesceOf(written));
  assert.equal(written.node(2).raft.quiesced, false, "an entry is not durable");
  written.node(2).slowDisk = false;
  written.flush(2);
  written.deliver(quiesceOf(written));
  assert.equal(written.node(2).raft.quiesced, true, "now it is, and the word tells of its commit");
});

test("the word repeated changes nothing, a newer one wakes who cannot follow it", () => {
  const net = restingNet();
  net.deliver(quiesceOf(net));
  assert.equal(net.node(2).raft.quiesced, true);
  net.deliver(quiesceOf(net, { index: 6 }));
  assert.equal(net.node(2).raft.quiesced, false);
});

test("the leader's host is gone: the preferred candidate campaigns at once, the others after a whole timeout", () => {
  for (const preVote of [true, false]) {
    const net = restingNet([1, 2, 3], { preVote });
    net.elapse(10 * T, T);
    const { term } = net.node(1).raft;
    net.crash(1);
    for (const id of [2, 3]) net.node(id).raft.leaderGone(net.nowMs);
    const [chosen] = [2, 3].filter((id) => net.node(id).raft.role !== "follower");
    assert.ok(chosen !== undefined, "one of them campaigns");
    net.run();
    assert.equal(net.node(chosen).raft.role, "leader");
    assert.equal(net.node(chosen).raft.term, term + 1);
    assert.deepEqual(
      resting(net).filter((id) => id !== 1),
      [],
    );
  }
  const net = restingNet([1, 2, 3, 4, 5]);
  net.elapse(10 * T, T);
  net.crash(1);
  for (const id of [2, 3, 4, 5]) net.node(id).raft.leaderGone(net.nowMs);
  const campaigning = [2, 3, 4, 5].filter((id) => net.node(id).raft.role !== "follower");
  assert.equal(campaigning.length, 1);
  net.crash(campaigning[0] ?? 0);
  net.messages = [];
  for (const { alive, raft } of net.nodes.values()) if (alive) assert.ok(raft.deadlineMs >= net.nowMs + T);
  net.elapse(3 * T);
  assert.notEqual(net.leader()?.id, undefined, "the preferred one died too");
});

test("a leader does not take its own host for gone", () => {
  const net = restingNet();
  net.node(1).raft.leaderGone(net.nowMs);
  assert.deepEqual(resting(net), [1, 2, 3]);
});

test("stickiness of a resting member lasts for a timeout after its leader's host was heard, not for ever", () => {
  const ask = (net: Net): Message[] => {
    const { last: lastIndex, term } = net.node(3).raft;
    const before = net.sent.length;
    const head = { type: MessageType.PreVote, shardId: SHARD, from: 3, to: 2, lineage: 0 } as const;
    net.deliver({ ...head, term: term + 1, lastIndex, lastTerm: term });
    net.step(net.node(2));
    return net.sent.slice(before).filter((m) => m.type === MessageType.PreVoteResp);
  };
  const sticky = restingNet();
  sticky.elapse(10 * T, T);
  sticky.node(2).raft.leaderHeard(sticky.nowMs - T + 1);
  sticky.node(1).raft.leaderHeard(sticky.nowMs);
  assert.deepEqual(ask(sticky), [], "the leader lives");
  const free = restingNet();
  free.elapse(10 * T, T);
  free.node(2).raft.leaderHeard(free.nowMs - T);
  assert.deepEqual(
    ask(free).map((m) => m.type === MessageType.PreVoteResp && m.granted),
    [true],
  );
});

test("non-voting members rest too, and one that joins wakes nobody by itself", () => {
  const net = idleNet();
  net.add(4, membershipOf([]));
  net.change(1, "addNonVoting", 4);
  net.run();
  net.elapse(AFTER + HEARTBEAT);
  assert.equal(net.node(1).raft.quiesce(net.nowMs, all), true);
  net.run();
  assert.deepEqual(resting(net), [1, 2, 3, 4]);
  net.node(4).raft.leaderGone(net.nowMs);
  assert.equal(net.node(4).raft.deadlineMs, Number.POSITIVE_INFINITY, "it waits for the next leader");
});
