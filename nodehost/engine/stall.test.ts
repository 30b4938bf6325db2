/** What counts as a stall of this process, and what it excuses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StallWatch } from "./stall.js";

test("a deadline is excused once, if it passed in a stall of at least half an election timeout (P52)", () => {
  const watch = new StallWatch(50, 0);
  for (let nowMs = 50; nowMs <= 1_000; nowMs += 50) assert.equal(watch.note(nowMs), false);
  assert.equal(watch.note(1_100), false, "a late tick is no stall");
  assert.equal(watch.excuses(1_050, 100), false);
  assert.equal(watch.note(6_100), true);
  assert.equal(watch.excuses(1_100, 500), false, "was due before");
  assert.equal(watch.excuses(1_101, 500), true);
  assert.equal(watch.excuses(6_100, 500), true);
  assert.equal(watch.excuses(6_101, 500), false, "falls due after");
  assert.equal(watch.excuses(3_000, 20_000), false, "too short for such a timeout");
  assert.equal(watch.note(6_150), false);
  assert.equal(watch.note(9_000), true);
  assert.equal(watch.excuses(6_000, 500), false, "the stall before the last one");
});
