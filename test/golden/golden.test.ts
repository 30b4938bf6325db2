/** The golden traces in this folder: what the core does in the scenarios that matter, reviewed by eye. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { playTrace, readTrace, traceFiles } from "./play.js";

const HINT = "if the new behaviour is right: npm run golden:rewrite, then review the diff";

test("there are traces to play", () => {
  assert.ok(traceFiles().length >= 25, `${traceFiles().length} traces`);
});

for (const name of traceFiles()) {
  test(`golden ${name}`, () => {
    const written = readTrace(name);
    const { text, differences } = playTrace(name, written);
    assert.equal(differences.length, 0, `\n${differences.join("\n")}\n${HINT}`);
    assert.equal(text, written, `the form of ${name} is not what rewriting gives. ${HINT}`);
  });
}
