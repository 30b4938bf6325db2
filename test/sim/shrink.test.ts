/** A failure of a planted bug becomes smaller and stays the same failure; what is recorded of it runs again. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { Raft } from "../../nodehost/raft/raft.js";
import type { Output, RaftCore } from "../../nodehost/raft/types.js";
import { type Message, MessageType } from "../../shared/types/message.js";
import { activeOptions, calmOptions, checkOverrides } from "./calm.js";
import type { CoreFactory } from "./model.js";
import { drawOptions } from "./options.js";
import { readRegressions, regressionOf, regressionOptions, writeRegression } from "./regress.js";
import { explain, shrunkCommand } from "./report.js";
import { shrink } from "./shrink.js";
import { type RunRequest, type RunResult, runSeed } from "./simulate.js";

const STEPS = 3000;

/** A core that acknowledges what it has in memory only (P08). */
const planted: CoreFactory = (deps) => {
  const raft = new Raft(deps);
  const claim = (message: Message): Message =>
    message.type === MessageType.ReplicateResp && !message.rejected && message.index < raft.last
      ? { ...message, index: raft.last }
      : message;
  const takeOutput = (): Output => {
    const out = raft.takeOutput();
    return { ...out, messages: out.messages.map(claim) };
  };
  return new Proxy<RaftCore>(raft, {
    get(target, name) {
      if (name === "takeOutput") return takeOutput;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
};

async function firstFailure(): Promise<{ readonly request: RunRequest; readonly failed: RunResult }> {
  for (let seed = 1; seed < 50; seed++) {
    const request = { seed, steps: STEPS, createCore: planted };
    const failed = await runSeed(request);
    if (!failed.ok) return { request, failed };
  }
  throw new Error("the planted bug is not found");
}

test("a failed seed of a planted bug is shrunk to something smaller that fails alike", async () => {
  const { request, failed } = await firstFailure();
  const shrunk = await shrink(request, failed);
  const before = activeOptions(drawOptions(request.seed, STEPS));
  const after = activeOptions(shrunk.options, request.seed);
  assert.equal(shrunk.result.invariant, failed.invariant);
  assert.ok(Object.keys(after).length * 3 < Object.keys(before).length, JSON.stringify(after));
  assert.ok(shrunk.steps < failed.steps, `${shrunk.steps} steps, before ${failed.steps}`);
  const { seed, steps, options } = shrunk;
  const again = await runSeed({ seed, steps, createCore: planted, overrides: options });
  assert.deepEqual(again, shrunk.result);
  assert.equal((await runSeed({ seed, steps, createCore: (deps) => new Raft(deps), overrides: options })).ok, true);
  const text = await explain({ seed, steps, createCore: planted, overrides: options }, again, shrunkCommand(shrunk));
  assert.doesNotMatch(text, /NOT REPEATED/);
  assert.match(text, /──▶|◀─/, "there is a diagram");
  assert.match(text, new RegExp(`again: npm run sim -- --seed ${seed} --steps ${steps} --calm --set `));
});

test("what is recorded of a failure is all that is needed to have it again", async () => {
  const { request, failed } = await firstFailure();
  const folder = mkdtempSync(join(tmpdir(), "drumline-regress-"));
  try {
    const options = { ...drawOptions(request.seed, STEPS), steps: failed.steps + 1 };
    const about = { seed: request.seed, invariant: failed.invariant, date: "2026-01-02", story: "planted" };
    const path = writeRegression(regressionOf(options, about), folder);
    assert.equal(basename(path), `${failed.invariant.toLowerCase()}-${request.seed}.json`);
    const [read] = readRegressions(folder);
    assert.ok(read !== undefined);
    assert.deepEqual(regressionOptions(read), options);
    const { seed, steps } = read;
    const again = await runSeed({ seed, steps, createCore: planted, overrides: regressionOptions(read) });
    assert.equal(again.why, failed.why);
    assert.match(readFileSync(path, "utf8"), /"story": "planted"/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("calm options are calm, and overrides are checked", async () => {
  const result = await runSeed({ seed: 5, steps: 500, createCore: planted, overrides: calmOptions(5, 500) });
  assert.equal(result.coverage.crashes, 0);
  assert.deepEqual(activeOptions(calmOptions(5, 500)), {});
  assert.deepEqual(checkOverrides([["voters", 5]]), { voters: 5 });
  assert.throws(() => checkOverrides([["votters", 5]]), /no option votters/);
  assert.throws(() => checkOverrides([["voters", true]]), /voters: got true, expected a number/);
  assert.throws(() => checkOverrides([["voters", Number.NaN]]), /voters: got NaN/);
});
