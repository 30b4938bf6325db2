/** Quorum arithmetic against brute force. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { quorumOf, quorumValue, voteResult } from "./quorum.js";

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
