/** Witnesses: what they count for, what they hold, and what a leader does because of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EntryType, entriesOf } from "../../shared/codec/block.js";
import { decodeConfigChange } from "../../shared/codec/membership.js";
import { emptyMembership, quorumSize } from "../../shared/types/membership.js";
import { type Message, MessageType } from "../../shared/types/message.js";
import { hindranceText } from "./hindrance.js";
import { quorumValue } from "./quorum.js";
import { members } from "./test-disk.js";
import { HEARTBEAT, membershipOf, Net, SHARD, T } from "./test-net.js";

/** Voters 1 and 2, witness 3; voter 1 leads. */
function twoAndOne(): Net {
  const net = new Net({ voters: [1, 2] });
  net.elect(1);
  net.addWitness(1, 3);
  return net;
}

function write(net: Net, leader: number, text = "x"): boolean {
  net.propose(leader, text);
  net.run();
  const { commit, last } = net.node(leader).raft;
  return commit === last;
}

/** Types of the entries on the disk of `id`, oldest first. */
function typesOn(net: Net, id: number): number[] {
  return net.node(id).disk.blocks.flatMap((block) => [...entriesOf(block)].map((entry) => entry.type));
}

function sentTo(net: Net, id: number): Message[] {
  return net.sent.filter((m) => m.to === id);
}

test("P22: quorums by brute force: 1–5 voters, 0–2 learners, 0–2 witnesses, each set of holders of an entry", () => {
  for (let v = 1; v <= 5; v++) {
    for (let l = 0; l <= 2; l++) {
      for (let w = 0; w <= 2; w++) allSets(v, l, w);
    }
  }
});

/**
 * A leader commits exactly when the voters and witnesses that hold an entry are a majority of all. Witnesses get
 * nothing that is not on the leader's disk.
 */
function allSets(v: number, l: number, w: number): void {
  const ids = (count: number, from: number) => Array.from({ length: count }, (_, i) => from + i);
  const [voters, learners, witnesses] = [ids(v, 1), ids(l, v + 1), ids(w, v + l + 1)];
  const net = new Net({ voters, config: { checkQuorum: false } });
  const leader = net.elect(1);
  for (const id of learners) {
    net.add(id, membershipOf([]));
    net.change(1, "addNonVoting", id);
    net.run();
  }
  for (const id of witnesses) net.addWitness(1, id);
  const counting = v + w;
  assert.equal(
    quorumSize({ ...emptyMembership(), voters: members(voters), witnesses: members(witnesses) }),
    Math.floor(counting / 2) + 1,
  );
  const all = [...voters, ...learners, ...witnesses];
  for (let set = 0; set < 2 ** all.length; set++) {
    const holders = all.filter((_, i) => (set & (1 << i)) !== 0);
    const { commit } = leader.raft;
    leader.slowDisk = !holders.includes(1);
    net.passes = (m) => m.to === 1 || holders.includes(m.to);
    net.propose(1, "x");
    net.run();
    const votes = holders.filter((id) => voters.includes(id) || (witnesses.includes(id) && holders.includes(1)));
    assert.equal(
      leader.raft.commit > commit,
      votes.length > counting / 2,
      `voters ${voters} witnesses ${witnesses}, held by ${holders}`,
    );
    leader.slowDisk = false;
    net.flush(1);
    net.passes = () => true;
    net.elapse(2 * HEARTBEAT);
    assert.equal(leader.raft.commit, leader.raft.last);
  }
  const marks = Array.from({ length: counting }, (_, i) => i);
  assert.equal(quorumValue(marks), counting - (Math.floor(counting / 2) + 1));
}

test("P23: 2 voters + 1 witness: one voter dies, the other goes on with the witness", () => {
  for (const dies of [1, 2]) {
    const net = twoAndOne();
    assert.ok(write(net, 1));
    net.crash(dies);
    net.elapse(6 * T);
    const lives = dies === 1 ? 2 : 1;
    assert.equal(net.leader()?.id, lives);
    assert.ok(write(net, lives, "after"));
    assert.deepEqual(net.node(lives).state.at(-1)?.split(":").at(-1), "after");
    assert.equal(net.node(3).raft.commit >= net.node(lives).raft.commit - 1, true);
  }
});

test("P23: 2 voters + 1 witness: the witness dies, the voters go on", () => {
  const net = twoAndOne();
  net.crash(3);
  assert.ok(write(net, 1));
  net.crash(2);
  net.propose(1, "y");
  net.run();
  assert.ok(net.node(1).raft.commit < net.node(1).raft.last, "one of three is no quorum");
});

test("P23: a witness holds config changes and metadata, in memory, on disk and in every message to it", () => {
  const net = twoAndOne();
  for (let i = 0; i < 20; i++) net.propose(1, "secret", "secret too");
  net.run();
  net.change(1, "addNonVoting", 4);
  net.run();
  net.elapse(2 * HEARTBEAT);
  const types = typesOn(net, 3);
  assert.equal(types.length, net.node(1).raft.last);
  assert.deepEqual(new Set(types), new Set([EntryType.ConfigChange, EntryType.Metadata]));
  assert.ok(net.node(3).membership.nonVotings.has(4), "it applies membership");
  for (const m of sentTo(net, 3)) {
    if (m.type !== MessageType.Replicate) continue;
    for (const block of m.blocks) {
      assert.ok(block.isMetadata);
      for (const { type, key, cmd, session } of entriesOf(block)) {
        if (type === EntryType.ConfigChange) assert.ok(decodeConfigChange(cmd).replicaId > 0);
        else assert.deepEqual([type, key.replicaId, cmd.length, session], [EntryType.Metadata, 0, 0, undefined]);
      }
    }
  }
  assert.ok(sentTo(net, 2).every((m) => m.type !== MessageType.Replicate || m.blocks.every((b) => !b.isMetadata)));
});

test("each block is reduced once for all witnesses and sends", () => {
  const net = twoAndOne();
  net.addWitness(1, 4);
  write(net, 1);
  const lastTo = (id: number) =>
    sentTo(net, id)
      .flatMap((m) => (m.type === MessageType.Replicate ? m.blocks : []))
      .at(-1);
  assert.equal(lastTo(3)?.bytes, lastTo(4)?.bytes);
  assert.notEqual(lastTo(3)?.bytes, lastTo(2)?.bytes);
});

test("P23: a witness never leads: not by time, not when asked to, not as target of a transfer", () => {
  const net = twoAndOne();
  const witness = net.node(3);
  assert.equal(witness.raft.deadlineMs, Number.POSITIVE_INFINITY);
  assert.equal(net.node(1).raft.transferLeadership(3, net.nowMs), "invalidTarget");
  const { term } = net.node(1).raft;
  net.deliver({ type: MessageType.TimeoutNow, shardId: SHARD, from: 1, to: 3, term, lineage: 0 });
  witness.raft.campaign(net.nowMs);
  assert.equal(witness.raft.role, "follower");
  net.crash(1);
  net.crash(2);
  net.elapse(20 * T);
  assert.equal(witness.raft.role, "follower");
  assert.equal(witness.raft.term, term);
});

test("P23: a witness answers no reads", () => {
  const net = twoAndOne();
  net.read(3);
  net.run();
  assert.deepEqual(
    net.node(3).dropped.map((d) => [d.kind, d.reason]),
    [["readIndex", "witness"]],
  );
  assert.deepEqual(net.node(3).readStates, []);
});

test("P23: a snapshot for a witness is empty, and its own snapshots make its log short", () => {
  const net = new Net({ voters: [1, 2], config: { cacheBytesMax: 0 } });
  const leader = net.elect(1);
  const witness = net.addWitness(1, 3);
  net.isolate(3);
  for (let i = 0; i < 20; i++) write(net, 1);
  const meta = net.snapshot(1);
  write(net, 1);
  net.isolate();
  net.elapse(5 * HEARTBEAT);
  assert.deepEqual(leader.snapshotRequests, [{ to: 3, term: leader.raft.term, witness: true }]);
  net.stream(1);
  net.elapse(3 * HEARTBEAT);
  const installed = witness.disk.snapshot;
  assert.deepEqual([installed?.index, installed?.sizeBytes, installed?.directory], [meta.index, 0, ""]);
  assert.deepEqual(installed?.membership, meta.membership);
  assert.deepEqual(witness.state, [`${meta.index + 1}:2:`], "nothing of the snapshot, and no command after it");
  assert.equal(witness.raft.last, leader.raft.last);
  net.snapshot(3);
  assert.equal(witness.raft.status().first, witness.raft.last + 1);
  net.restart(3);
  assert.ok(write(net, 1));
  net.crash(2);
  assert.ok(write(net, 1), "it counts as before");
});

test("why a campaign is refused is kept until a leader is known: the furthest log, of a member", () => {
  const net = new Net({ voters: [1, 2, 3] });
  const { raft } = net.node(1);
  const header = { type: MessageType.LogAhead, shardId: SHARD, to: 1, term: raft.term, lineage: 0 } as const;
  const tell = (from: number, lastIndex: number, lastTerm: number) =>
    net.deliver({ ...header, from, lastIndex, lastTerm });
  tell(2, raft.last, 1);
  tell(9, 50, 1);
  assert.equal(raft.status().hindrance, undefined, "not ahead, no member");
  tell(2, 9, 1);
  tell(3, 7, 1);
  assert.deepEqual(raft.status().hindrance, { kind: "logAhead", by: 2, lastIndex: 9, lastTerm: 1 });
  assert.equal(hindranceText({ ...raft.status(), hindrance: undefined }), "");
  net.elect(2);
  assert.equal(raft.status().hindrance, undefined);
  tell(3, 99, 2);
  assert.equal(raft.status().hindrance, undefined, "a leader is known");
});

test("blocks and snapshots of the wrong kind are counted and change nothing", () => {
  const net = twoAndOne();
  write(net, 1);
  const { term, last } = net.node(1).raft;
  net.passes = (m) => m.type !== MessageType.Replicate;
  net.propose(1, "x");
  net.run();
  for (const [to, other] of [
    [2, 3],
    [3, 2],
  ] as const) {
    const replicate = net.sent.findLast((m) => m.to === other && m.type === MessageType.Replicate);
    assert.ok(replicate?.type === MessageType.Replicate && replicate.blocks.length > 0);
    net.deliver({ ...replicate, to });
    const { raft } = net.node(to);
    assert.equal(raft.last, last, `of replica ${to}`);
    assert.equal(raft.inspect().counters.malformed, 1);
    assert.match(hindranceText(raft.status()), /leader 1 takes this replica for a witness/);
    const snapshot = {
      shardId: SHARD,
      replicaId: 1,
      index: last + 5,
      term,
      membership: net.node(1).membership,
      sizeBytes: to === 3 ? 10 : 0,
      directory: "",
    };
    net.deliver({ type: MessageType.InstallSnapshot, shardId: SHARD, from: 1, to, term, lineage: 0, snapshot });
    assert.equal(raft.last, last);
    assert.equal(raft.inspect().counters.malformed, 2);
  }
  net.passes = () => true;
  net.elapse(2 * HEARTBEAT);
  for (const id of [2, 3]) assert.equal(net.node(id).raft.status().hindrance, undefined, "it follows");
});

test("P23: with one voter lost and the other behind the witness, the shard refuses rather than loses", () => {
  const net = twoAndOne();
  net.isolate(2);
  assert.ok(write(net, 1, "only on 1"));
  const { last, lastTerm } = net.node(1).raft.status();
  net.crash(1);
  net.isolate();
  net.elapse(10 * T);
  assert.equal(net.leader(), undefined);
  const status = net.node(2).raft.status();
  assert.deepEqual(status.hindrance, { kind: "logAhead", by: 3, lastIndex: last, lastTerm });
  assert.equal(
    hindranceText(status),
    `replica 3 refuses its vote, its log ends at index ${last} of term ${lastTerm}, this one at ${status.last} of ` +
      `term ${status.lastTerm}: a voter that holds those entries must return`,
  );
  net.restart(1);
  net.elapse(6 * T);
  const leader = net.leader();
  assert.ok(leader !== undefined);
  assert.ok(leader.state.some((line) => line.endsWith(":only on 1")));
});

test("a witness votes by the order of logs", () => {
  const net = twoAndOne();
  net.isolate(2);
  write(net, 1);
  net.crash(1);
  net.isolate();
  net.nowMs += 3 * T;
  net.node(2).raft.campaign(net.nowMs);
  net.run();
  assert.equal(net.node(2).raft.role, "preCandidate");
  const answers = net.sent.filter((m) => m.from === 3 && m.type === MessageType.PreVoteResp);
  assert.deepEqual(
    answers.map((m) => m.type === MessageType.PreVoteResp && m.granted),
    [false],
  );
});

test("a witness is sent only what is on the leader's disk, so no crash leaves it ahead of all voters", () => {
  for (const voters of [[1], [1, 2]]) {
    const net = new Net({ voters });
    const leader = net.elect(1);
    net.addWitness(1, 8);
    net.addWitness(1, 9);
    if (voters.length > 1) net.crash(2);
    leader.slowDisk = true;
    const { commit, last } = leader.raft;
    for (let i = 0; i < 3; i++) net.propose(1, "x");
    net.run();
    net.elapse(2 * HEARTBEAT);
    assert.equal(net.node(9).raft.last, last);
    assert.equal(leader.raft.commit, commit);
    leader.slowDisk = false;
    net.restart(1);
    net.elapse(6 * T);
    assert.equal(net.leader()?.id, 1);
    assert.ok(write(net, 1));
    assert.equal(net.node(9).raft.last, net.node(1).raft.last);
  }
});

test("a leader that is removed beside a witness stays until another voter holds its whole log", () => {
  const net = twoAndOne();
  const leader = net.node(1);
  net.isolate(2);
  write(net, 1, "only on 1");
  net.change(1, "remove", 1);
  net.run();
  net.elapse(3 * HEARTBEAT);
  assert.equal(leader.raft.role, "leader");
  assert.ok(leader.membership.voters.has(1));
  net.propose(1, "refused");
  assert.equal(leader.dropped.at(-1)?.reason ?? "none", "none");
  net.run();
  assert.equal(leader.dropped.at(-1)?.reason, "configChangePending", "the log stands still");
  net.isolate();
  net.elapse(4 * HEARTBEAT);
  assert.ok(leader.membership.removed.has(1));
  net.crash(1);
  net.elapse(8 * T);
  assert.equal(net.leader()?.id, 2);
  assert.ok(net.node(2).state.some((line) => line.endsWith(":only on 1")));
  assert.ok(write(net, 2, "after"));
});

test("a new leader that finds its own removal in its log keeps the same rule", () => {
  const net = twoAndOne();
  write(net, 1);
  // 1 appends the removal of 2 and dies before it is on its own disk.
  net.node(1).slowDisk = true;
  net.change(1, "remove", 2);
  net.run();
  net.crash(1);
  net.elapse(6 * T);
  const leader = net.node(2);
  assert.equal(leader.raft.role, "leader");
  assert.ok(leader.membership.voters.has(2), "1 has not the end of its log");
  net.node(1).slowDisk = false;
  net.restart(1);
  net.elapse(12 * T);
  assert.ok(net.node(1).membership.removed.has(2));
  assert.equal(net.leader()?.id, 1);
});

test("the only voter beside witnesses asks for its own removal in vain, and goes on", () => {
  const net = new Net({ voters: [1] });
  const leader = net.elect(1);
  net.addWitness(1, 2);
  net.change(1, "remove", 1);
  net.run();
  assert.ok(leader.membership.voters.has(1));
  assert.ok(write(net, 1));
});
