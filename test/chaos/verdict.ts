/** The end of every chaos test: histories are checked, and a violation is left behind as a page to look at. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkLinearizable } from "../linear/checker.js";
import { kvModel } from "../linear/models.js";
import { timelineHtml } from "../linear/timeline.js";
import type { Clients } from "./clients.js";

/** Reads everything once more, then: linearizable, every acknowledged append is there once. Says how much it was. */
export async function assertHistory(clients: Clients): Promise<string> {
  await clients.readAll();
  const { history } = clients;
  const { verdict, keys, steps } = checkLinearizable(kvModel, history);
  const bad = keys.find((one) => one.verdict !== "linearizable");
  if (bad !== undefined && verdict === "violation") {
    const violated = keys.find((one) => one.verdict === "violation") ?? bad;
    const page = join(tmpdir(), `drumline-violation-${process.pid}-${violated.key}.html`);
    writeFileSync(page, timelineHtml(kvModel, violated));
    assert.fail(`not linearizable: ${violated.key}, see ${page}`);
  }
  assert.equal(verdict, "linearizable", `undecided after ${steps} steps: ${bad?.key}`);
  assert.deepEqual(clients.lostAppends(), []);
  const unknown = history.filter((op) => op.output === undefined).length;
  const errors = [...clients.errors].map(([code, count]) => `${count} × ${code}`).join(", ");
  return `${history.length} operations on ${keys.length} keys, ${unknown} unknown, ${steps} steps; ${errors}`;
}
