/** Rows of shards at rest: sums kept step by step equal sums made anew, and differences are found and named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";
import { PULSE_GROUPS, type RestRow } from "../../shared/types/pulse.js";
import { groupOf, RestRows } from "./rest-rows.js";

const ALL_GROUPS = (1 << PULSE_GROUPS) - 1;

function row(shardId: number, over: Partial<RestRow> = {}): RestRow {
  return { shardId, term: 3, leaderId: 1, memberId: 2, ...over };
}

function rowsOf(...rows: readonly RestRow[]): RestRows<string> {
  const set = new RestRows<string>();
  for (const r of rows) set.add(r, `s${r.shardId}`, 1);
  return set;
}

test("sums depend on the rows alone, not on how they came and went", () => {
  const random = seededRandom(3);
  const set = new RestRows<string>();
  const now = new Map<number, RestRow>();
  for (let step = 0; step < 5_000; step++) {
    const shardId = 1 + random.int(200);
    if (random.next() < 0.5) {
      const added = row(shardId, { term: random.int(5), leaderId: 1 + random.int(3), memberId: 1 + random.int(3) });
      set.add(added, "", 1);
      now.set(shardId, added);
    } else {
      set.delete(shardId);
      now.delete(shardId);
    }
    if (step % 100 === 0) assert.equal(rowsOf(...now.values()).differs(set.sums), 0, `step ${step}`);
  }
  assert.equal(set.count, now.size);
  for (const shardId of [...now.keys()]) set.delete(shardId);
  assert.deepEqual([...set.sums], new Array(2 * PULSE_GROUPS).fill(0));
});

test("every field of a row counts, and a difference is in the group of its shard alone", () => {
  const base = [7, 2 ** 33, 2 ** 52].map((shardId) => row(shardId));
  for (const [i, old] of base.entries()) {
    const others: Partial<RestRow>[] = [{ term: 4 }, { leaderId: 2 }, { memberId: 1 }, { leaderId: 2, memberId: 1 }];
    for (const over of others) {
      const changed = base.map((r, k) => (k === i ? { ...r, ...over } : r));
      assert.equal(rowsOf(...changed).differs(rowsOf(...base).sums), 1 << groupOf(old.shardId), JSON.stringify(over));
    }
    const without = base.filter((_, k) => k !== i);
    assert.equal(rowsOf(...without).differs(rowsOf(...base).sums), 1 << groupOf(old.shardId));
  }
});

test("shards spread over the groups", () => {
  const counts = new Array<number>(PULSE_GROUPS).fill(0);
  for (let shardId = 1; shardId <= 1_600; shardId++) counts[groupOf(shardId)] = (counts[groupOf(shardId)] ?? 0) + 1;
  for (const count of counts) assert.ok(count > 50 && count < 150, counts.join(" "));
});

test("what the other side lacks is named, but for what it could not know yet", () => {
  const led = new RestRows<string>();
  led.add(row(1), "held alike", 1);
  led.add(row(2), "not held", 1);
  led.add(row(3), "held in another term", 1);
  led.add(row(4), "told later", 6);
  const theirs = [row(1), row(3, { term: 2 }), row(9)];
  assert.deepEqual(led.missingFrom(theirs, ALL_GROUPS, 5), ["not held", "held in another term"]);
  assert.deepEqual(led.missingFrom(theirs, ALL_GROUPS, 6), ["not held", "held in another term", "told later"]);
  assert.deepEqual(led.missingFrom(theirs, ALL_GROUPS & ~(1 << groupOf(2)), 5).includes("not held"), false);
  assert.equal(led.ownerOf(row(1)), "held alike");
  assert.equal(led.ownerOf(row(3, { term: 2 })), undefined);
  assert.equal(led.ownerOf(row(9)), undefined);
  assert.deepEqual(
    led.rowsIn(1 << groupOf(2)).map((r) => r.shardId),
    [1, 2, 3, 4].filter((shardId) => groupOf(shardId) === groupOf(2)),
  );
});

/** The hashes are on the wire: hosts of different versions must agree on them. */
test("golden sums", () => {
  const { sums } = rowsOf(row(1), row(70_000, { term: 2 ** 40 }), row(2 ** 52, { memberId: 2 ** 33 + 5 }));
  const shown = [...sums].map((sum, i) => [i, sum.toString(16)]).filter(([, sum]) => sum !== "0");
  assert.deepEqual(shown, [
    [3, "85fa0963"],
    [5, "5b1d9b3d"],
    [7, "3ecea8a6"],
    [19, "85a10f5e"],
    [21, "53dafdf8"],
    [23, "2ff34b0"],
  ]);
});
