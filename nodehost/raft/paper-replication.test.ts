/**
 * One test per rule of the Raft paper about the log: sections 5.3, 5.4.2, 5.5 and 7, AppendEntries and "Leaders" of
 * Figure 2, InstallSnapshot of Figure 13; of the thesis 10.2.1. Each is named by its rule.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType, type ReplicateMessage } from "../../shared/types/message.js";
import { ackOf, heartbeatOf, netOfDisks, replicateOf, termsOf } from "./test-logs.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T } from "./test-net.js";

function replicates(messages: readonly Message[]): ReplicateMessage[] {
  return messages.filter((m) => m.type === MessageType.Replicate);
}

/** Three voters, 1 leads with its first entry committed everywhere. */
function led(config = {}): Net {
  const net = new Net({ voters: [1, 2, 3], config });
  net.elect(1);
  return net;
}

/** Replica 1 follows 2 in term 9, with this log. */
function following(terms: readonly number[], commit = 0): Net {
  const other = { terms: [1], term: 9 };
  const net = netOfDisks([{ terms, term: 9, commit }, other, other]);
  net.passes = () => false;
  net.deliver(heartbeatOf([2, 1, 9]));
  net.run();
  return net;
}

test("5.3: a command becomes the leader's next entry, of its term, and is sent to all at once", () => {
  const net = led();
  const { term, last } = net.node(1).raft;
  const sent = net.sent.length;
  net.propose(1, "a", "b");
  net.step(net.node(1));
  assert.deepEqual(termsOf(net, 1).slice(last), [term, term]);
  const messages = replicates(net.sent.slice(sent));
  assert.deepEqual(
    messages.map((m) => [m.to, m.prevIndex, m.prevTerm, m.blocks.at(-1)?.last]),
    [
      [2, last, term, last + 2],
      [3, last, term, last + 2],
    ],
  );
});

test("5.3: an entry is committed once it is stored on a majority; then all apply it in log order", () => {
  for (const size of [1, 2, 3, 4, 5]) {
    const net = new Net({ voters: Array.from({ length: size }, (_, i) => i + 1) });
    net.elect(1);
    const { commit } = net.node(1).raft;
    let reached = 1;
    net.passes = (m) => m.to <= reached;
    net.propose(1, "a");
    net.run();
    for (; reached <= size; reached++) {
      net.elapse(2 * HEARTBEAT);
      const holders = [...net.nodes.values()].filter((n) => n.disk.last > commit).length;
      assert.equal(holders, reached);
      assert.equal(net.node(1).raft.commit, holders > size / 2 ? commit + 1 : commit, `${holders} of ${size}`);
    }
    assert.ok(net.node(1).state.at(-1)?.endsWith(":a"));
    net.passes = () => true;
    net.elapse(2 * HEARTBEAT);
    for (const node of net.nodes.values()) assert.deepEqual(node.state, net.node(1).state);
  }
});

test("5.3: the leader repeats what gets lost until every follower has stored every entry", () => {
  const net = led();
  let lost = 0;
  const random = net.random;
  net.passes = () => {
    const passes = random() > 0.6;
    if (!passes) lost += 1;
    return passes;
  };
  for (let i = 0; i < 30; i++) {
    net.leader()?.raft.propose(net.body(net.leader()?.id ?? 1, `p${i}`), net.nowMs);
    net.elapse(HEARTBEAT);
  }
  net.passes = () => true;
  net.elapse(10 * T);
  assert.ok(lost > 50, `${lost} lost`);
  const last = net.leader()?.raft.last;
  for (const node of net.nodes.values()) assert.equal(node.disk.last, last);
});

test("5.3: to commit an entry is to commit all before it, those of earlier leaders too", () => {
  const net = netOfDisks([
    { terms: [1, 2, 3, 3], term: 3, commit: 1 },
    { terms: [1], term: 3, commit: 1 },
    { terms: [1], term: 3, commit: 1 },
  ]);
  net.elect(1);
  assert.deepEqual([net.node(1).raft.commit, net.node(2).raft.commit], [5, 5]);
  assert.deepEqual(net.node(3).state, ["1:1:e1t1", "2:2:e2t2", "3:3:e3t3", "4:3:e4t3", "5:4:"]);
});

test("5.4.2: entries of earlier terms are not committed by counting, only through one of the leader's own term", () => {
  const net = netOfDisks([
    { terms: [1, 2, 2], term: 3, commit: 1 },
    { terms: [1], term: 3 },
    { terms: [1], term: 3 },
  ]);
  net.passes = (m) => m.type !== MessageType.Replicate && m.type !== MessageType.ReplicateResp;
  net.elect(1);
  const { raft } = net.node(1);
  assert.deepEqual([raft.term, raft.last], [4, 4]);
  for (const from of [2, 3]) net.deliver(ackOf([from, 1, 4], 3));
  assert.equal(raft.commit, 1, "all three hold index 3, which is of term 2");
  net.deliver(ackOf([2, 1, 4], 4));
  assert.equal(raft.commit, 4);
});

test("5.3: entries are taken only after an entry with the index and term that precede them at the leader", () => {
  const logs: readonly (readonly number[])[] = [[1], [1, 1, 1], [1, 2, 2], [1, 1, 2, 3]];
  for (const terms of logs) {
    for (let prevIndex = 0; prevIndex <= 5; prevIndex++) {
      for (const prevTerm of prevIndex === 0 ? [0] : [1, 2, 3]) {
        const net = following(terms);
        const sent = net.sent.length;
        net.deliver(replicateOf([2, 1, 9], [prevIndex, prevTerm], [9]));
        net.run();
        const fits = prevIndex === 0 || terms[prevIndex - 1] === prevTerm;
        const what = `${terms.join()} after ${prevIndex}/t${prevTerm}`;
        assert.deepEqual(termsOf(net, 1), fits ? [...terms.slice(0, prevIndex), 9] : terms, what);
        const [answer] = net.sent.slice(sent).filter((m) => m.type === MessageType.ReplicateResp);
        assert.equal(answer?.rejected, !fits, what);
      }
    }
  }
});

test("5.3: an entry that differs from the leader's goes with all that follow, and the leader's are taken", () => {
  const net = following([1, 2, 2, 3, 3, 3], 2);
  net.deliver(replicateOf([2, 1, 9], [2, 2], [2, 4, 4]));
  net.run();
  assert.deepEqual(termsOf(net, 1), [1, 2, 2, 4, 4]);
});

test("5.5: entries that are here already stay, and so do those after them: messages may come twice and late", () => {
  const net = following([1, 1, 1, 1, 1, 1]);
  for (const [prev, terms] of [
    [1, [1, 1]],
    [1, []],
    [0, [1]],
    [5, [1]],
  ] as const) {
    net.deliver(replicateOf([2, 1, 9], [prev, prev === 0 ? 0 : 1], terms));
    net.run();
    assert.equal(net.node(1).raft.last, 6);
    assert.equal(net.node(1).unwritten.length, 0);
  }
});

test("Figure 2: a follower commits up to the leader's commit index, but not past the last entry it got from it", () => {
  for (const [prev, terms, commit, expected] of [
    [2, [9, 9], 3, 3],
    [2, [9, 9], 4, 4],
    [2, [9, 9], 7, 4],
    [2, [], 7, 2],
    [4, [], 7, 4],
  ] as const) {
    const net = following([1, 1, 1, 1, 1], 1);
    net.deliver(replicateOf([2, 1, 9], [prev, 1], terms, commit));
    assert.equal(net.node(1).raft.commit, expected);
  }
});

test("Figure 2: commit and applied only grow", () => {
  const net = following([1, 1, 1], 1);
  net.deliver(replicateOf([2, 1, 9], [3, 1], [], 3));
  net.run();
  assert.deepEqual([net.node(1).raft.commit, net.node(1).raft.applied], [3, 3]);
  net.deliver(replicateOf([2, 1, 9], [3, 1], [9], 1));
  net.deliver(heartbeatOf([2, 1, 9], 2));
  net.run();
  assert.deepEqual([net.node(1).raft.commit, net.node(1).raft.applied, net.node(1).raft.last], [3, 3, 4]);
});

test("5.3: a new leader takes the end of its log for everybody's next index and knows no match", () => {
  const net = netOfDisks([
    { terms: [1, 1, 1], term: 1 },
    { terms: [1], term: 1 },
    { terms: [1], term: 1 },
  ]);
  net.passes = (m) => m.type !== MessageType.Replicate;
  net.elect(1);
  for (const peer of net.node(1).raft.status().peers) assert.deepEqual([peer.match, peer.next], [0, 4]);
});

test("5.3: refused, the leader goes back until the logs agree, by terms and not by entries", () => {
  const net = netOfDisks([
    { terms: [1, ...Array<number>(40).fill(4), 8], term: 8 },
    { terms: [1, ...Array<number>(60).fill(3)], term: 3 },
    { terms: [1], term: 8 },
  ]);
  net.elect(1);
  assert.deepEqual(termsOf(net, 2), termsOf(net, 1));
  const refusals = net.sent.filter((m) => m.type === MessageType.ReplicateResp && m.rejected && m.from === 2);
  assert.ok(refusals.length <= 3, `${refusals.length} round trips`);
});

test("5.3: a leader never removes or rewrites an entry of its own log", () => {
  const net = led();
  net.propose(1, "a");
  net.run();
  const before = termsOf(net, 1);
  const { term, last } = net.node(1).raft;
  net.deliver(replicateOf([2, 1, term], [1, 1], [term, term]));
  net.run();
  assert.deepEqual(termsOf(net, 1), before);
  assert.deepEqual([net.node(1).raft.role, net.node(1).raft.last], ["leader", last]);
  assert.equal(net.node(1).raft.inspect().counters.impossible, 1);
});

test("8: a new leader begins with an empty entry of its term, by which it learns what is committed", () => {
  const net = netOfDisks([
    { terms: [1, 2], term: 2, commit: 1 },
    { terms: [1, 2], term: 2, commit: 1 },
    { terms: [1], term: 2, commit: 1 },
  ]);
  net.elect(1);
  assert.deepEqual(termsOf(net, 1), [1, 2, 3]);
  assert.equal(net.node(1).raft.commit, 3);
});

test("5.5: a server that was down gets what it missed, and what it had already done is done no second time", () => {
  const net = led();
  for (let round = 0; round < 5; round++) {
    net.crash(3);
    net.propose(1, `while away ${round}`);
    net.run();
    net.restart(3);
    net.elapse(3 * HEARTBEAT);
    assert.deepEqual(net.node(3).state, net.node(1).state);
  }
});

test("Figure 2: entries are on stable storage before they are acknowledged", () => {
  const net = following([1]);
  const node = net.node(1);
  node.slowDisk = true;
  net.deliver(replicateOf([2, 1, 9], [1, 1], [9, 9]));
  const acknowledged = () => net.sent.flatMap((m) => (m.type === MessageType.ReplicateResp ? [m.index] : []));
  net.step(node);
  assert.ok(acknowledged().every((index) => index <= 1));
  net.flush(1);
  net.step(node);
  assert.equal(acknowledged().at(-1), 3);
});

test("thesis 10.2.1: a leader writes to disk while its followers do, and counts itself only when it has", () => {
  const net = led();
  const { commit } = net.node(1).raft;
  net.node(1).slowDisk = true;
  net.passes = (m) => m.to !== 3;
  net.propose(1, "a");
  net.run();
  assert.equal(net.node(2).disk.last, commit + 1);
  assert.equal(net.node(1).raft.commit, commit, "2 alone is no majority");
  net.flush(1);
  assert.equal(net.node(1).raft.commit, commit + 1);
});

test("7: a snapshot stands for all entries up to its last index; the next one is checked against its term", () => {
  const net = led();
  for (const text of ["a", "b", "c"]) net.propose(1, text);
  net.run();
  const { index, term } = net.snapshot(1);
  assert.deepEqual([net.node(1).raft.inspect().first, net.node(1).disk.blocks.length], [index + 1, 0]);
  net.restart(1);
  assert.equal(net.node(1).applied, index);
  const { raft } = net.node(1);
  net.passes = () => false;
  net.deliver(replicateOf([2, 1, term + 1], [index, term + 1], [term + 1]));
  assert.equal(raft.last, index, "another term");
  net.deliver(replicateOf([2, 1, term + 1], [index, term], [term + 1]));
  assert.equal(raft.last, index + 1);
});

test("7: a follower whose next entry the leader has discarded gets the snapshot, and the entries after it", () => {
  const net = led();
  net.isolate(3);
  net.propose(1, "a");
  net.run();
  net.snapshot(1);
  net.propose(1, "b");
  net.run();
  net.isolate();
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(
    net.node(1).snapshotRequests.map((r) => r.to),
    [3],
  );
  net.stream(1);
  net.elapse(2 * HEARTBEAT);
  assert.deepEqual(net.node(3).state, net.node(1).state);
});

/** A snapshot up to `index` from the leader of term 9 reaches replica 1. */
function install(net: Net, index: number, term: number, voters: readonly number[] = [1, 2, 3]): void {
  const meta = { shardId: SHARD, replicaId: 2, index, term, membership: membershipOf(voters), sizeBytes: 1 };
  const snapshot = { ...meta, directory: "s" };
  net.deliver({ type: MessageType.InstallSnapshot, shardId: SHARD, from: 2, to: 1, term: 9, lineage: 0, snapshot });
  net.run();
}

test("Figure 13: a snapshot whose last entry is here only commits it: the entries after it stay", () => {
  const net = following([1, 1, 2, 2, 2], 1);
  install(net, 3, 2);
  assert.deepEqual(termsOf(net, 1), [1, 1, 2, 2, 2]);
  assert.equal(net.node(1).raft.commit, 3);
});

test("Figure 13: a snapshot whose last entry is not here replaces the whole log", () => {
  for (const [index, term] of [
    [3, 5],
    [7, 2],
  ] as const) {
    const net = following([1, 1, 2, 2, 2], 1);
    install(net, index, term);
    const { first, last, lastTerm, commit } = net.node(1).raft.inspect();
    assert.deepEqual([first, last, lastTerm, commit], [index + 1, index, term, index]);
    assert.deepEqual(net.node(1).disk.blocks, []);
  }
});

test("Figure 13: a snapshot of an older leader, or of what is committed here, changes nothing", () => {
  const net = following([1, 1, 2, 2, 2], 4);
  install(net, 3, 2);
  assert.deepEqual([net.node(1).raft.commit, net.node(1).raft.last], [4, 5]);
  net.deliver(heartbeatOf([3, 1, 10]));
  install(net, 30, 9);
  assert.deepEqual([net.node(1).raft.commit, net.node(1).raft.last, net.node(1).raft.leaderId], [4, 5, 3]);
});

test("7: a snapshot carries the membership as of its index", () => {
  const net = following([1]);
  install(net, 8, 2, [1, 2, 3, 4]);
  assert.deepEqual([...net.node(1).raft.membership.voters.keys()], [1, 2, 3, 4]);
});
