/** The demo's verdict must see every kind of damage: each test plants one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkShard, compareHashes, type HostRead, parseValues } from "./demo-check.js";
import { type DemoReport, verdictOf } from "./demo-report.js";
import { type Fate, keyOf, ShardLedger } from "./demo-writer.js";

function ledgerOf(fates: readonly Fate["kind"][]): ShardLedger {
  const ledger = new ShardLedger(1, 0);
  for (const [i, kind] of fates.entries()) ledger.settle(i + 1, kind === "acked" ? { kind, by: "a" } : { kind }, i);
  return ledger;
}

function readOf(address: string, values: readonly number[]): HostRead {
  const byKey = new Map<string, number[]>();
  for (const value of values) byKey.set(keyOf(value), [...(byKey.get(keyOf(value)) ?? []), value]);
  return { address, values: byKey };
}

test("everything acknowledged once, on every host: nothing to say", () => {
  const check = checkShard(ledgerOf(["acked", "unknown", "acked", "unknown", "refused"]), [
    readOf("a", [1, 3, 4]),
    readOf("b", [1, 3, 4]),
  ]);
  assert.deepEqual(check, { lost: 0, double: 0, unknownApplied: 1, unwitnessed: 0, findings: [] });
});

test("an acknowledged write missing on one host is lost", () => {
  const check = checkShard(ledgerOf(["acked", "acked"]), [readOf("a", [1, 2]), readOf("b", [1])]);
  assert.equal(check.lost, 1);
  assert.match(check.findings[0] ?? "", /value 2 acknowledged by a is missing, read through b/);
});

test("a write that is there twice, refused, never written, or under another key is damage", () => {
  const ledger = ledgerOf(["acked", "refused"]);
  assert.equal(checkShard(ledger, [readOf("b", [1, 1])]).double, 1);
  assert.equal(checkShard(ledger, [readOf("b", [1, 2])]).double, 1);
  assert.equal(checkShard(ledger, [readOf("b", [1, 99])]).double, 1);
  assert.equal(checkShard(ledger, [{ address: "b", values: new Map([["k9", [1]]]) }]).double, 1);
});

test("a write that only its acknowledging host was asked for counts as unwitnessed", () => {
  assert.equal(checkShard(ledgerOf(["acked"]), [readOf("a", [1])]).unwitnessed, 1);
});

test("values are parsed as append left them", () => {
  assert.deepEqual(parseValues("3,67,131,"), [3, 67, 131]);
  assert.deepEqual(parseValues(""), []);
});

test("replicas are equal only with one hash at one index; two hashes at one index are final", () => {
  const of = (...states: string[]) => states.map((stateHash, i) => ({ hostId: `h${i}`, stateHash }));
  assert.equal(compareHashes(of("5:aa", "5:aa", "5:aa")), "equal");
  assert.equal(compareHashes(of("5:aa", "4:bb", "5:aa")), "waiting");
  assert.equal(compareHashes(of("5:aa", "4:bb", "5:cc")), "different");
  assert.equal(compareHashes(of("5:aa", "")), "waiting");
});

const GOOD: DemoReport = {
  hosts: 5,
  shards: 16,
  voters: 3,
  killed: ["host", "master"],
  detectedMs: 1,
  repairedMs: 1,
  masterFailoverMs: 1,
  operationsAtFailover: 1,
  operationsContinued: 1,
  cleanedMs: 1,
  maxWriteGapMs: 1,
  maxWriteGapDuring: "host kill",
  electionTimeoutMs: 500,
  ackedWrites: 1_001,
  unknownWrites: 5,
  unknownApplied: 1,
  lostWrites: 0,
  doubleWrites: 0,
  shardsAtStrength: 16,
  replicasEqual: true,
  downAfterMs: 5_000,
  totalMs: 1,
};

test("the verdict depends on writes, strength and equality, not on times", () => {
  assert.equal(verdictOf(GOOD).ok, true);
  const slow = { detectedMs: -1, repairedMs: -1, masterFailoverMs: -1, maxWriteGapMs: 99_999, cleanedMs: -1 };
  assert.equal(verdictOf({ ...GOOD, ...slow }).ok, true);
  for (const bad of [
    { lostWrites: 1 },
    { doubleWrites: 1 },
    { ackedWrites: 1_000 },
    { shardsAtStrength: 15 },
    { replicasEqual: false },
  ]) {
    const verdict = verdictOf({ ...GOOD, ...bad });
    assert.equal(verdict.ok, false, JSON.stringify(bad));
    assert.equal(verdict.problems.length, 1);
  }
});
