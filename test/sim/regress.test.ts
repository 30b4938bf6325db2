/** Every failure that was ever recorded stays fixed: runs all files of test/sim/regress/. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Raft } from "../../nodehost/raft/raft.js";
import type { CoreFactory } from "./model.js";
import { readRegressions, regressionOptions } from "./regress.js";
import { explain } from "./report.js";
import { runSeed } from "./simulate.js";

const createCore: CoreFactory = (deps) => new Raft(deps);
const regressions = readRegressions();

test("there are recorded failures, named after their invariant and seed", () => {
  assert.ok(regressions.length > 0);
  for (const { name, invariant, seed } of regressions) assert.equal(name, `${invariant.toLowerCase()}-${seed}.json`);
});

for (const regression of regressions) {
  test(`${regression.name}: ${regression.story}`, async () => {
    const { seed, steps } = regression;
    const request = { seed, steps, createCore, overrides: regressionOptions(regression) };
    const result = await runSeed(request);
    if (!result.ok) assert.fail(await explain(request, result));
  });
}
