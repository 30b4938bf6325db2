/** Quorum arithmetic against brute force. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { quorumOf, quorumValue, voteResult } from "./quorum.js";
import { members } from "./test-disk.js";
import { ackOf, voteRespOf } from "./test-logs.js";
import { membershipOf, Net } from "./test-net.js";

/** All sequences of `length` values 0 … base − 1. */
function* sequences(length: number, base: number): Generator<number[]> {
  for (let n = 0; n < base ** length; n++) {
    const values: number[] = [];
    for (let i = 0, rest = n; i < length; i++, rest = Math.floor(rest / base)) values.push(rest % base);
    yield values;
  }
}

test("any two quorums intersect and a quorum is no larger than needed", () => {
  for (let n = 1; n <= 9; n++) {
    assert.ok(2 * quorumOf(n) > n);
    assert.ok(2 * (quorumOf(n) - 1) <= n);
  }
});

test("P22: the quorum value is the largest that a quorum reached (all cases up to 5 members × 4 values)", () => {
  for (let n = 1; n <= 5; n++) {
    for (const values of sequences(n, 4)) {
      let expected = -1;
      for (let v = 0; v < 4; v++) if (values.filter((x) => x >= v).length >= quorumOf(n)) expected = v;
      assert.equal(quorumValue([...values]), expected, values.join());
    }
  }
  assert.equal(quorumValue([]), -1);
});

test("P22: elections: every pattern of answers of up to 5 voters, with answers of 2 others that must not count", () => {
  for (let n = 1; n <= 5; n++) {
    const voters = Array.from({ length: n }, (_, i) => i + 1);
    for (const answers of sequences(n + 2, 3)) {
      const votes = new Map<number, boolean>();
      for (const [i, answer] of answers.entries()) if (answer > 0) votes.set(i + 1, answer === 1);
      const own = answers.slice(0, n);
      const granted = own.filter((a) => a === 1).length;
      const open = own.filter((a) => a === 0).length;
      const expected = granted >= quorumOf(n) ? "won" : granted + open < quorumOf(n) ? "lost" : "open";
      assert.equal(voteResult(voters, votes), expected, answers.join());
    }
  }
});

/** Replica 1 alone with itself, in a shard of so many members of each kind; ids 1 …, in this order. */
function alone(voters: number, witnesses: number, nonVotings: number): Net {
  const ids = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);
  const membership = membershipOf(ids(1, voters), {
    witnesses: members(ids(voters + 1, witnesses)),
    nonVotings: members(ids(voters + witnesses + 1, nonVotings)),
  });
  const net = new Net({ voters: [], config: { preVote: false } });
  net.add(1, membership);
  return net;
}

/** Votes for replica 1 of `votes`, acknowledgements of its first entry of `acks`: does it lead, is it committed? */
function outcome(net: Net, votes: readonly number[], acks: readonly number[]): { leads: boolean; commits: boolean } {
  const { raft } = net.node(1);
  raft.campaign(0);
  net.run();
  for (const from of votes) net.deliver(voteRespOf([from, 1, 1], true));
  net.run();
  const leads = raft.role === "leader";
  if (leads) for (const from of acks) net.deliver(ackOf([from, 1, 1], 1));
  net.run();
  return { leads, commits: raft.commit === 1 };
}

test("P22: elections and commits of up to 5 voters, 2 witnesses, 2 non-voting members, every set of answers", () => {
  let cases = 0;
  for (let v = 1; v <= 5; v++) {
    for (let w = 0; w <= 2; w++) {
      for (let l = 0; l <= 2; l++) {
        const everybody = Array.from({ length: v + w + l - 1 }, (_, i) => i + 2);
        for (let bits = 0; bits < 2 ** everybody.length; bits++) {
          const some = everybody.filter((_id, i) => (bits >> i) & 1);
          const quorum = 1 + some.filter((id) => id <= v + w).length > (v + w) / 2;
          const what = `${v} voters, ${w} witnesses, ${l} non-voting, answers of ${some}`;
          assert.equal(outcome(alone(v, w, l), some, []).leads, quorum, what);
          assert.deepEqual(outcome(alone(v, w, l), everybody, some), { leads: true, commits: quorum }, what);
          cases += 1;
        }
      }
    }
  }
  assert.ok(cases > 1000, `${cases}`);
});
