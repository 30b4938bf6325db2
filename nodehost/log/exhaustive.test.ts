/**
 * All small logs against all appends of a leader, with every state of the disk: up to 4 entries × 3 terms, handed over
 * and durable up to every index, one block or many, with and without membership changes among the entries. A plain
 * array is the model. What a write makes durable late must never count for entries that replaced those it carried.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BlockBuilder, type EntryBlock, EntryType, sealBlock } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import { RaftLog } from "./raft-log.js";

const LENGTH = 4;
const TERMS = 3;
const write = { term: 1, vote: 1, snapshotIndex: 0 };
const change = encodeConfigChange({
  kind: "addNonVoting",
  replicaId: 9,
  target: "h",
  expectedConfigChangeIndex: 0,
  bootstrap: false,
});

/** Whether the entry of this index and term is a membership change: the same in every log, as entries are. */
type IsChange = (index: number, term: number) => boolean;

function entries(first: number, terms: readonly number[], isChange: IsChange): EntryBlock {
  const builder = new BlockBuilder();
  for (const [i, term] of terms.entries()) {
    const key = { replicaId: 1, incarnation: 1, sequence: first + i };
    if (isChange(first + i, term)) builder.add(EntryType.ConfigChange, key, change);
    else builder.add(EntryType.Application, key, new Uint8Array(3));
  }
  return sealBlock(builder.finish(), { shardId: 1, firstIndex: first, term: terms[0] ?? 0 });
}

/** The entries of `terms` from index `first` on: neighbours of one term in one block, or each in its own. */
function blocksOf(terms: readonly number[], first: number, how: { joined: boolean; isChange: IsChange }): EntryBlock[] {
  const blocks: EntryBlock[] = [];
  for (let from = first - 1; from < terms.length; ) {
    let end = from + 1;
    while (how.joined && end < terms.length && terms[end] === terms[from]) end += 1;
    blocks.push(entries(from + 1, terms.slice(from, end), how.isChange));
    from = end;
  }
  return blocks;
}

/** All rising sequences of terms up to `length` entries. */
function* logs(length: number, lowest = 1): Generator<readonly number[]> {
  yield [];
  if (length === 0) return;
  for (let term = lowest; term <= TERMS; term++) for (const rest of logs(length - 1, term)) yield [term, ...rest];
}

interface Case {
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  /** The logs agree up to here; the leader sends what follows. All of it is committed. */
  readonly prev: number;
  readonly durable: number;
  readonly handed: number;
  readonly joined: boolean;
  readonly isChange: IsChange;
}

function* cases(): Generator<Case> {
  const kinds: readonly IsChange[] = [() => false, (index, term) => (index + term) % 2 === 0];
  for (const ours of logs(LENGTH)) {
    for (const theirs of logs(LENGTH)) {
      let agree = 0;
      while (agree < Math.min(ours.length, theirs.length) && ours[agree] === theirs[agree]) agree += 1;
      for (let prev = 0; prev <= agree; prev++) {
        for (let handed = 0; handed <= ours.length; handed++) {
          for (let durable = 0; durable <= handed; durable++) {
            for (const isChange of kinds) {
              for (const joined of [true, false]) yield { ours, theirs, prev, durable, handed, joined, isChange };
            }
          }
        }
      }
    }
  }
}

/** A log in this state: writes 1 (durable) and 2 (under way), the rest not handed over. */
function logIn({ ours, prev, durable, handed, joined, isChange }: Case): RaftLog {
  const start = { first: 1, precedingTerm: 0, last: 0, applied: 0, commit: 0, blocks: [], blocksPrecedingTerm: 0 };
  const log = new RaftLog({ ...start, cacheBytesMax: 0 });
  const append = (to: number) => {
    for (const block of blocksOf(ours.slice(0, to), log.last + 1, { joined, isChange })) log.append(block);
  };
  append(durable);
  log.takeUnsaved({ ...write, sequence: 1 });
  log.persisted(1);
  append(handed);
  log.takeUnsaved({ ...write, sequence: 2 });
  append(ours.length);
  log.commitTo(prev);
  return log;
}

const termsOf = (log: RaftLog) => Array.from({ length: log.last }, (_, i) => log.term(i + 1) ?? -1);

function check(c: Case): void {
  const { ours, theirs, prev, durable, handed, isChange } = c;
  const log = logIn(c);
  assert.equal(log.appendFrom(blocksOf(theirs, prev + 1, c), 0), "ok");
  let kept = prev;
  while (kept < theirs.length && ours[kept] === theirs[kept]) kept += 1;
  if (kept === theirs.length) kept = ours.length;
  const expected = kept === ours.length && theirs.length <= ours.length ? ours : theirs;
  const what = () => JSON.stringify(c);
  assert.deepEqual(termsOf(log), expected, what());
  const changes = expected.flatMap((term, i) => (isChange(i + 1, term) ? [i + 1] : []));
  assert.deepEqual(log.pendingConfigs, changes, what());
  assert.equal(log.durable, Math.min(durable, kept), what());
  // The late end of a write that carried other entries as well.
  log.persisted(2);
  assert.equal(log.durable, Math.min(handed, kept), what());
  log.takeUnsaved({ ...write, sequence: 3 });
  log.persisted(3);
  assert.equal(log.durable, expected.length, what());
  assert.equal(log.lastTerm, expected.at(-1) ?? 0, what());
}

test("P10, P27: every append to every small log, in every state of the disk, against a plain array", () => {
  let count = 0;
  for (const c of cases()) {
    check(c);
    count += 1;
  }
  assert.equal(count, 89_148);
});

test("P28: every append that contradicts what is committed changes nothing", () => {
  let refused = 0;
  for (const c of cases()) {
    const { ours, theirs, prev } = c;
    let agree = prev;
    while (agree < Math.min(ours.length, theirs.length) && ours[agree] === theirs[agree]) agree += 1;
    if (agree >= Math.min(ours.length, theirs.length)) continue;
    const log = logIn(c);
    // The first difference is committed here.
    log.commitTo(agree + 1);
    const { durable } = log;
    assert.equal(log.appendFrom(blocksOf(theirs, prev + 1, c), 0), "contradiction", JSON.stringify(c));
    assert.deepEqual([termsOf(log), log.durable], [ours, durable]);
    refused += 1;
  }
  assert.equal(refused, 65_592);
});
