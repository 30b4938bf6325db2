/**
 * Every role × message: what the core does with a message of its own term, as text. The compiler refuses a table with
 * a missing cell; the tests below it do lower and higher terms. Empty = nothing at all changes or leaves.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sealBlock } from "../../shared/codec/block.js";
import { type Message, MessageType } from "../../shared/types/message.js";
import { before, changes, messageText, updateText } from "../../test/golden/view.js";
import { ROLE_TABLE } from "./dispatch.js";
import { membershipOf, Net, SHARD, T, type TestNode } from "./test-net.js";
import type { RaftRole } from "./types.js";

type Name = keyof typeof MessageType;
const ROLES = Object.keys(ROLE_TABLE) as RaftRole[];
const NAMES = Object.keys(MessageType) as Name[];

const TABLE: Readonly<Record<RaftRole, Readonly<Record<Name, readonly string[]>>>> = {
  follower: {
    PreVote: ["1→2 PreVoteResp t3 granted"],
    PreVoteResp: [],
    Vote: ["1→2 VoteResp t2 granted"],
    VoteResp: [],
    Replicate: ["1: last 6/t2 durable 6", "writes t2 vote 2 commit 5, 6…6/t2", "1→2 ReplicateResp t2 has 6"],
    ReplicateResp: [],
    Heartbeat: ["1→2 HeartbeatResp t2 round 3"],
    HeartbeatResp: [],
    InstallSnapshot: [
      "1: first 9 last 8/t2 durable 8 commit 8 applied 8",
      "writes t2 vote 2 commit 8, reset to 8/t2",
      "1→2 ReplicateResp t2 has 8",
    ],
    ReadIndex: [],
    ReadIndexResp: ["1:", "read #77 at 5"],
    Propose: [],
    ProposeDropped: ["1:", "drops propose #77: busy"],
    TimeoutNow: [
      "1: candidate t3 vote 1 no leader",
      "writes t3 vote 1 commit 5",
      "drops readIndex #77: leaderChanged",
      "1→2 Vote t3 last 5/t2 transfer",
      "1→3 Vote t3 last 5/t2 transfer",
    ],
    RemovedNotice: ["1:", "told to stop: removed"],
    Superseded: ["1:", "told to stop: superseded"],
    ProposeRefused: ["1:", "drops propose #77: busy"],
    MemoryReport: [],
    Quiesce: ["1: rests"],
    LogAhead: [],
  },
  preCandidate: {
    PreVote: ["1→2 PreVoteResp t3 granted"],
    PreVoteResp: [
      "1: candidate t3 vote 1",
      "writes t3 vote 1 commit 5",
      "1→2 Vote t3 last 5/t2",
      "1→3 Vote t3 last 5/t2",
    ],
    Vote: ["1: follower", "1→2 VoteResp t2 granted"],
    VoteResp: [],
    Replicate: [
      "1: follower follows 2 last 6/t2 durable 6",
      "writes t2 vote 2 commit 5, 6…6/t2",
      "1→2 ReplicateResp t2 has 6",
    ],
    ReplicateResp: [],
    Heartbeat: ["1: follower follows 2", "1→2 HeartbeatResp t2 round 3"],
    HeartbeatResp: [],
    InstallSnapshot: [
      "1: follower follows 2 first 9 last 8/t2 durable 8 commit 8 applied 8",
      "writes t2 vote 2 commit 8, reset to 8/t2",
      "1→2 ReplicateResp t2 has 8",
    ],
    ReadIndex: [],
    ReadIndexResp: [],
    Propose: [],
    ProposeDropped: ["1:", "drops propose #77: busy"],
    TimeoutNow: [],
    RemovedNotice: ["1: follower", "told to stop: removed"],
    Superseded: ["1: follower", "told to stop: superseded"],
    ProposeRefused: ["1:", "drops propose #77: busy"],
    MemoryReport: [],
    Quiesce: ["1: follower follows 2 rests"],
    LogAhead: [],
  },
  candidate: {
    PreVote: ["1→2 PreVoteResp t4 granted"],
    PreVoteResp: [],
    Vote: ["1→2 VoteResp t3 refused"],
    VoteResp: [
      "1: leader last 6/t3 durable 6 peers 2:probe 0/6 3:probe 0/6",
      "writes t3 vote 1 commit 5, 6…6/t3",
      "1→2 Replicate t3 after 5/t2 6…6 commit 5",
      "1→3 Replicate t3 after 5/t2 6…6 commit 5",
    ],
    Replicate: [
      "1: follower follows 2 last 6/t3 durable 6",
      "writes t3 vote 1 commit 5, 6…6/t3",
      "1→2 ReplicateResp t3 has 5",
      "1→2 ReplicateResp t3 has 6",
    ],
    ReplicateResp: ["1:", "counts impossible"],
    Heartbeat: ["1: follower follows 2", "1→2 HeartbeatResp t3 round 3"],
    HeartbeatResp: ["1:", "counts impossible"],
    InstallSnapshot: [
      "1: follower follows 2 first 9 last 8/t3 durable 8 commit 8 applied 8",
      "writes t3 vote 1 commit 8, reset to 8/t3",
      "1→2 ReplicateResp t3 has 5",
      "1→2 ReplicateResp t3 has 8",
    ],
    ReadIndex: ["1:", "counts impossible"],
    ReadIndexResp: [],
    Propose: ["1:", "counts impossible"],
    ProposeDropped: ["1:", "drops propose #77: busy"],
    TimeoutNow: [],
    RemovedNotice: ["1: follower", "told to stop: removed"],
    Superseded: ["1: follower", "told to stop: superseded"],
    ProposeRefused: ["1:", "drops propose #77: busy"],
    MemoryReport: ["1:", "counts impossible"],
    Quiesce: ["1: follower follows 2 rests"],
    LogAhead: [],
  },
  leader: {
    PreVote: [],
    PreVoteResp: [],
    Vote: [],
    VoteResp: [],
    Replicate: ["1:", "counts impossible"],
    ReplicateResp: [
      "1: commit 6 applied 6 peers 2:replicate 6/7 3:replicate 5/7+1",
      'applies 6 "b"',
      "1→2 Replicate t2 after 6/t2 empty commit 6",
      "1→3 Replicate t2 after 6/t2 empty commit 6",
    ],
    Heartbeat: ["1:", "counts impossible"],
    HeartbeatResp: ["1:", "read #77 at 5", "1→2 Replicate t2 after 6/t2 empty commit 5"],
    InstallSnapshot: ["1:", "counts impossible"],
    ReadIndex: ["1→2 Heartbeat t2 commit 5 round 2", "1→3 Heartbeat t2 commit 5 round 2"],
    ReadIndexResp: [],
    Propose: [
      "1: last 7/t2 durable 7 peers 2:replicate 5/8+2 3:replicate 5/8+2",
      "writes t2 vote 1 commit 5, 7…7/t2",
      "1→2 Replicate t2 after 6/t2 7…7 commit 5",
      "1→3 Replicate t2 after 6/t2 7…7 commit 5",
    ],
    ProposeDropped: ["1:", "drops propose #77: busy"],
    TimeoutNow: [],
    RemovedNotice: ["1: follower no leader peers", "drops readIndex #77: leaderChanged", "told to stop: removed"],
    Superseded: ["1: follower no leader peers", "drops readIndex #77: leaderChanged", "told to stop: superseded"],
    ProposeRefused: ["1:", "drops propose #77: busy"],
    MemoryReport: [],
    Quiesce: ["1:", "counts impossible"],
    LogAhead: [],
  },
};

/** Replica 1 of three in `role`, with 5 entries committed; nothing under way. */
function replicaIn(role: RaftRole): { net: Net; node: TestNode } {
  const net = new Net({ voters: [1, 2, 3], config: { preVote: role !== "candidate" } });
  net.elect(role === "leader" ? 1 : 2);
  net.propose(role === "leader" ? 1 : 2, "a");
  net.run();
  const node = net.node(1);
  net.passes = () => false;
  // Something for answers to be about: a forwarded read, or a read and an entry that wait for followers.
  if (role !== "candidate" && role !== "preCandidate")
    node.raft.readIndex({ replicaId: 1, incarnation: 1, sequence: 77 }, net.nowMs);
  if (role === "leader") net.propose(1, "b");
  if (role === "preCandidate" || role === "candidate") node.raft.campaign(net.nowMs);
  settle(net, node);
  assert.equal(node.raft.role, role);
  // The lease of the leader is over: what is answered only without one is seen too.
  if (role !== "leader") net.nowMs += T;
  return { net, node };
}

function settle(net: Net, node: TestNode): void {
  while (net.step(node));
}

/**
 * A message from 2, `ahead` terms above the receiver's, that makes sense to it if anything of this type does. What
 * PreVote and its answer name is one term higher: the one to campaign in.
 */
function messageOf(net: Net, node: TestNode, name: Name, ahead = 0): Message {
  const { last } = node.raft;
  const term = node.raft.term + ahead;
  const lastTerm = Math.min(node.raft.inspect().lastTerm, term);
  const key = { replicaId: 1, incarnation: 1, sequence: 77 };
  const header = { shardId: SHARD, from: 2, to: 1, term, lineage: 0 };
  const body = net.body(2, "b");
  const block = () => sealBlock(net.body(2, "c"), { shardId: SHARD, firstIndex: last + 1, term });
  const meta = { shardId: SHARD, replicaId: 2, index: last + 3, term, membership: membershipOf([1, 2, 3]) };
  const snapshot = { ...meta, sizeBytes: 1, directory: "s" };
  const refused = { incarnation: 1, firstSequence: 77, count: 1 };
  const messages: { readonly [N in Name]: Omit<Extract<Message, { type: (typeof MessageType)[N] }>, "type"> } = {
    PreVote: { ...header, term: term + 1, lastIndex: last, lastTerm },
    PreVoteResp: { ...header, term: term + 1, granted: true },
    Vote: { ...header, lastIndex: last, lastTerm, transfer: false },
    VoteResp: { ...header, granted: true },
    Replicate: { ...header, prevIndex: last, prevTerm: lastTerm, commit: last, blocks: [block()] },
    ReplicateResp: { ...header, index: last, rejected: false, hintIndex: 0, hintTerm: 0 },
    Heartbeat: { ...header, commit: last, round: 3 },
    HeartbeatResp: { ...header, round: 1 },
    InstallSnapshot: { ...header, snapshot },
    ReadIndex: { ...header, key: { ...key, replicaId: 2 } },
    ReadIndexResp: { ...header, key, index: last },
    Propose: { ...header, body },
    ProposeDropped: { ...header, ...refused },
    ProposeRefused: { ...header, ...refused, reason: "busy" },
    MemoryReport: { ...header, bytes: 9 },
    TimeoutNow: header,
    RemovedNotice: header,
    Superseded: { ...header, lineage: 1 },
    Quiesce: { ...header, index: last },
    LogAhead: { ...header, lastIndex: last + 1, lastTerm },
  };
  return { ...messages[name], type: MessageType[name] } as Message;
}

/** What one message does, up to everything it leads to in this replica. */
function effectOf(net: Net, node: TestNode, m: Message): string[] {
  const old = before(node);
  const writes: string[] = [];
  const sent = net.sent.length;
  net.onWrite = (_node, update) => writes.push(`writes ${updateText(update)}`);
  net.deliver(m);
  settle(net, node);
  const messages = net.sent.slice(sent).map((sentNow) => messageText(sentNow, false));
  return changes(old, node, { writes, messages }, true).map((line) => line.trim());
}

for (const role of ROLES) {
  for (const name of NAMES) {
    test(`${role} × ${name} of its own term`, () => {
      const { net, node } = replicaIn(role);
      assert.deepEqual(effectOf(net, node, messageOf(net, node, name)), TABLE[role][name]);
    });
  }
}

/** Said to a sender of a lower term; nothing else ever happens on account of one. */
const ANSWERS_TO_LOWER: Readonly<Record<Name, string>> = {
  PreVote: "PreVoteResp refused",
  PreVoteResp: "",
  Vote: "VoteResp refused",
  VoteResp: "",
  Replicate: "HeartbeatResp round 0",
  ReplicateResp: "",
  Heartbeat: "HeartbeatResp round 0",
  HeartbeatResp: "",
  InstallSnapshot: "",
  ReadIndex: "",
  ReadIndexResp: "",
  Propose: "",
  ProposeDropped: "drops propose #77: busy",
  ProposeRefused: "drops propose #77: busy",
  TimeoutNow: "",
  MemoryReport: "",
  RemovedNotice: "",
  Superseded: "",
  Quiesce: "HeartbeatResp round 0",
  LogAhead: "",
};

test("every role × message of a lower term: the sender is told the newer one, or nothing happens", () => {
  for (const role of ROLES) {
    for (const name of NAMES) {
      if (name === "RemovedNotice" || name === "Superseded") continue;
      const { net, node } = replicaIn(role);
      const { term } = node.raft;
      const asksForNext = name === "PreVote" || name === "PreVoteResp";
      const effect = effectOf(net, node, messageOf(net, node, name, asksForNext ? -2 : -1));
      const answer = ANSWERS_TO_LOWER[name];
      const told = answer.startsWith("drops") ? answer : `1→2 ${answer.replace(" ", ` t${term} `)}`;
      assert.deepEqual(effect, ["1:", "counts lowerTerm", ...(answer === "" ? [] : [told])], `${role} × ${name}`);
    }
  }
});

test("notices are believed whatever their term", () => {
  for (const role of ROLES) {
    for (const name of ["RemovedNotice", "Superseded"] as const) {
      const { net, node } = replicaIn(role);
      const m = messageOf(net, node, name);
      effectOf(net, node, { ...m, term: 0 });
      assert.deepEqual([node.removed, node.raft.role], [name === "Superseded" ? "superseded" : "removed", "follower"]);
    }
  }
});

/** Changes no term: a pre-vote is only a question, a granted one the answer to the own question. */
const KEEPS_TERM: readonly Name[] = ["PreVote", "RemovedNotice", "Superseded"];

test("every role × message of a higher term: follower of that term, but for votes inside a lease", () => {
  for (const role of ROLES) {
    for (const name of NAMES) {
      if (KEEPS_TERM.includes(name)) continue;
      const { net, node } = replicaIn(role);
      const term = node.raft.term + 4;
      const m = messageOf(net, node, name, name === "PreVoteResp" ? 3 : 4);
      effectOf(net, node, m.type === MessageType.PreVoteResp ? { ...m, granted: false } : m);
      if (role === "leader" && name === "Vote") {
        assert.deepEqual([node.raft.role, node.raft.term], ["leader", term - 4]);
        continue;
      }
      assert.deepEqual([node.raft.role, node.raft.term], ["follower", term], `${role} × ${name}`);
      const leads = name === "Replicate" || name === "Heartbeat" || name === "InstallSnapshot" || name === "Quiesce";
      assert.equal(node.raft.leaderId, leads ? 2 : 0, `${role} × ${name}`);
    }
  }
});

test("granted pre-votes of another term than the one asked for do not count", () => {
  const { net, node } = replicaIn("preCandidate");
  const m = messageOf(net, node, "PreVoteResp");
  for (const term of [node.raft.term, node.raft.term + 2]) assert.deepEqual(effectOf(net, node, { ...m, term }), []);
  assert.equal(node.raft.role, "preCandidate");
});
