/** RaftLog: appends and conflicts against a plain array, durability under truncation, memory, compaction, reset. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionError } from "../../shared/assert.js";
import { BlockBuilder, type EntryBlock, EntryType, sealBlock } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import { RaftLog, type RaftLogStart } from "./raft-log.js";

const key = { replicaId: 1, incarnation: 1, sequence: 1 };
const write = { term: 1, vote: 1, snapshotIndex: 0 };

function block(firstIndex: number, term: number, count = 1, type: EntryType = EntryType.Application): EntryBlock {
  const builder = new BlockBuilder();
  const change = encodeConfigChange({
    kind: "addNonVoting",
    replicaId: 9,
    target: "h",
    expectedConfigChangeIndex: 0,
    bootstrap: false,
  });
  const cmd = type === EntryType.ConfigChange ? change : new Uint8Array(10);
  for (let i = 0; i < count; i++) builder.add(type, { ...key, sequence: firstIndex + i }, cmd);
  return sealBlock(builder.finish(), { shardId: 1, firstIndex, term });
}

function logOf(terms: readonly number[], more: Partial<RaftLogStart> = {}): RaftLog {
  const start = { first: 1, precedingTerm: 0, last: 0, applied: 0, commit: 0, blocks: [], blocksPrecedingTerm: 0 };
  const log = new RaftLog({ ...start, cacheBytesMax: 0, ...more });
  for (const b of grouped(terms)) log.append(b);
  return log;
}

/** Blocks of equal terms; `terms[i]` is the term of index i + 1. */
function grouped(terms: readonly number[], from = 1): EntryBlock[] {
  const blocks: EntryBlock[] = [];
  for (let i = from - 1; i < terms.length; ) {
    let end = i;
    while (end < terms.length && terms[end] === terms[i]) end += 1;
    blocks.push(block(i + 1, terms[i] ?? 0, end - i));
    i = end;
  }
  return blocks;
}

function termsOf(log: RaftLog): number[] {
  return Array.from({ length: log.last }, (_, i) => log.term(i + 1) ?? -1);
}

/** All rising sequences of terms 1 … 3 up to `length` entries. */
function* logs(length: number, lowest = 1): Generator<number[]> {
  yield [];
  if (length === 0) return;
  for (let term = lowest; term <= 3; term++) for (const rest of logs(length - 1, term)) yield [term, ...rest];
}

test("appendFrom: every pair of logs up to 4 entries × 3 terms × every start, commit and split (P27, P28)", () => {
  let cases = 0;
  for (const ours of logs(4)) {
    for (const theirs of logs(4)) {
      for (let prev = 0; prev <= Math.min(ours.length, theirs.length); prev++) {
        if (prev > 0 && ours[prev - 1] !== theirs[prev - 1]) continue;
        for (let commit = 0; commit <= prev; commit++) {
          checkAppend(ours, theirs, prev, commit);
          cases += 1;
        }
      }
    }
  }
  assert.ok(cases > 2000);
});

/** The logs agree at `prev`; a leader's log agrees then with ours in everything before too. */
function checkAppend(ours: readonly number[], theirs: readonly number[], prev: number, commit: number): void {
  const same = ours.slice(0, prev).every((term, i) => term === theirs[i]);
  if (!same) return;
  const log = logOf(ours);
  log.takeUnsaved({ ...write, sequence: 1 });
  log.persisted(1);
  log.commitTo(commit);
  assert.equal(log.appendFrom(grouped(theirs, prev + 1), 0), "ok");
  let conflict = prev;
  while (conflict < theirs.length && ours[conflict] === theirs[conflict]) conflict += 1;
  const expected = conflict === theirs.length ? [...ours] : [...theirs];
  assert.deepEqual(termsOf(log), expected, `${ours} + ${theirs} after ${prev}`);
  assert.equal(log.durable, conflict === theirs.length ? ours.length : Math.min(ours.length, conflict));
  assert.equal(log.lastTerm, expected.at(-1) ?? 0);
}

test("P28: truncation of committed entries is an assertion; a contradiction of a leader changes nothing", () => {
  const log = logOf([1, 1, 2, 2]);
  log.commitTo(3);
  assert.throws(() => log.truncate(3), AssertionError);
  assert.equal(log.appendFrom([block(3, 3)], 0), "contradiction");
  assert.equal(log.appendFrom([block(2, 3, 3)], 0), "contradiction");
  assert.equal(log.appendFrom([block(4, 3)], 4), "contradiction");
  assert.deepEqual(termsOf(log), [1, 1, 2, 2]);
  assert.equal(log.appendFrom([block(4, 3)], 3), "ok");
  assert.deepEqual(termsOf(log), [1, 1, 2, 3]);
});

test("P10: updates in flight count only up to the last truncation", () => {
  const log = logOf([1, 1, 1]);
  assert.equal(log.takeUnsaved({ ...write, sequence: 1 }).length, 1);
  log.truncate(2);
  assert.equal(log.handed, 1);
  log.append(block(2, 2, 2));
  const [second] = log.takeUnsaved({ ...write, sequence: 2 });
  assert.deepEqual([second?.first, second?.last], [2, 3]);
  log.persisted(1);
  assert.equal(log.durable, 1);
  log.persisted(2);
  assert.equal(log.durable, 3);
  assert.equal(log.persisted(2), undefined);
});

test("several updates may be reported durable by the last one", () => {
  const log = logOf([1]);
  log.takeUnsaved({ ...write, sequence: 1 });
  log.append(block(2, 1));
  log.takeUnsaved({ ...write, sequence: 2, vote: 7 });
  const done = log.persisted(2);
  assert.equal(done?.vote, 7);
  assert.equal(log.durable, 2);
  assert.equal(log.writesInFlight, 0);
});

test("committed entries are handed out once, when durable, in bounded portions", () => {
  const log = logOf([1, 2, 3, 3]);
  log.commitTo(4);
  assert.equal(log.hasCommitted, false);
  log.takeUnsaved({ ...write, sequence: 1 });
  log.persisted(1);
  const seen: number[] = [];
  while (log.hasCommitted) for (const b of log.takeCommitted(1)) seen.push(b.first, b.last);
  assert.deepEqual(seen, [1, 1, 2, 2, 3, 4]);
});

test("memory keeps what is not applied or not durable, and the cache its bound", () => {
  const log = logOf([], { cacheBytesMax: 200 });
  for (let i = 1; i <= 100; i++) log.append(block(i, 1));
  log.commitTo(100);
  log.appliedTo(50);
  assert.equal(log.memoryFirst, 1, "not durable");
  log.takeUnsaved({ ...write, sequence: 1 });
  log.persisted(1);
  assert.ok(log.memoryFirst <= 51 && log.memoryFirst > 40);
  assert.equal(log.term(log.memoryFirst - 1), 1);
  assert.equal(log.term(log.memoryFirst - 2), undefined);
  log.appliedTo(100);
  assert.ok(log.memoryBytes <= 200);
  assert.equal(log.term(100), 1);
  assert.equal(log.busyBytes, 0);
});

test("findTermAtMost agrees with a scan", () => {
  for (const terms of logs(4)) {
    const log = logOf(terms);
    for (let index = 0; index <= terms.length + 1; index++) {
      for (let term = 0; term <= 4; term++) {
        let expected = Math.min(index, terms.length);
        while (expected > 0 && (terms[expected - 1] ?? 0) > term) expected -= 1;
        assert.equal(log.findTermAtMost(index, term), expected, `${terms} ≤ ${index}, term ≤ ${term}`);
      }
    }
  }
});

test("config changes above applied are known, through truncation and apply", () => {
  const log = logOf([1]);
  log.append(block(2, 1, 1, EntryType.ConfigChange));
  log.append(block(3, 1, 2));
  log.append(block(5, 1, 1, EntryType.ConfigChange));
  assert.deepEqual(log.pendingConfigs, [2, 5]);
  assert.equal(log.commitEarlierConfigs(), true);
  assert.equal(log.commit, 2);
  log.truncate(5);
  assert.deepEqual(log.pendingConfigs, [2]);
  log.configsAppliedTo(2);
  assert.deepEqual(log.pendingConfigs, []);
});

test("a reset begins after the snapshot; until it is durable only what was durable and committed counts", () => {
  const log = logOf([1, 1, 1, 1]);
  log.takeUnsaved({ ...write, sequence: 1 });
  log.persisted(1);
  log.commitTo(2);
  log.append(block(5, 2));
  log.takeUnsaved({ ...write, sequence: 2 });
  log.reset(9, 3);
  assert.deepEqual([log.first, log.last, log.commit, log.durable, log.lastTerm], [10, 9, 9, 2, 3]);
  log.persisted(2);
  assert.equal(log.durable, 2);
  log.append(block(10, 3));
  const blocks = log.takeUnsaved({ ...write, sequence: 3, snapshotIndex: 9 });
  assert.deepEqual(
    blocks.map((b) => b.first),
    [10],
  );
  assert.equal(log.persisted(3)?.snapshotIndex, 9);
  assert.equal(log.durable, 10);
});

test("compaction moves the first index and keeps the term before it", () => {
  const log = logOf([1, 2, 2, 3], { cacheBytesMax: 1 << 20 });
  log.takeUnsaved({ ...write, sequence: 1 });
  log.persisted(1);
  log.commitTo(4);
  log.appliedTo(4);
  log.compact(3, 2);
  assert.deepEqual([log.first, log.precedingTerm, log.memoryFirst], [4, 2, 4]);
  assert.equal(log.term(3), 2);
  log.compact(4, 3);
  assert.deepEqual([log.first, log.memoryFirst, log.last], [5, 5, 4]);
  assert.equal(log.term(4), 3);
  log.append(block(5, 3));
  assert.throws(() => log.compact(5, 3), AssertionError);
});

test("a long run of appends and trims stays bounded and correct", () => {
  const log = logOf([], { cacheBytesMax: 1000 });
  for (let i = 1; i <= 5000; i++) {
    log.append(block(i, 1 + Math.floor(i / 1000)));
    log.takeUnsaved({ ...write, sequence: i });
    log.persisted(i);
    log.commitTo(i);
    log.takeCommitted(1e9);
    log.appliedTo(i);
  }
  assert.ok(log.memoryBytes <= 1000);
  assert.equal(log.term(4999), 5);
  const out: EntryBlock[] = [];
  assert.equal(log.sliceInto(out, log.memoryFirst, 4998, 1e9), 4998);
  assert.equal(out.at(-1)?.last, 4998);
});
