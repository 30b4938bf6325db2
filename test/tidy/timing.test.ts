/** Hosts and masters derive their times from `downAfter` in two folders that may not import each other: they agree. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deriveTiming, timingProblems } from "../../master/detect/index.js";
import { DOWN_AFTER_DEFAULT_MS, deriveControlTiming } from "../../shared/config/index.js";

test("the master's times contain those that hosts know", () => {
  for (const downAfterMs of [5_000, 10_000, 60_000, DOWN_AFTER_DEFAULT_MS, 3_600_000]) {
    const timing = deriveTiming(downAfterMs);
    assert.deepEqual({ ...timing, ...deriveControlTiming(downAfterMs) }, timing, `at ${downAfterMs} ms`);
    assert.deepEqual(timingProblems(timing), []);
  }
});
