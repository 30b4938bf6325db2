/** All states of small worlds (test/worlds): every order of deliveries, writes, crashes, elections and changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { explore } from "../../test/worlds/world.js";
import { WORLDS } from "../../test/worlds/worlds.js";

for (const { name, bounds, statesMin, quick } of WORLDS) {
  if (!quick) continue;
  test(`all states: ${name}`, () => {
    const explored = explore(bounds);
    assert.ok(explored.complete);
    assert.ok(explored.states >= statesMin, `${explored.states} states`);
  });
}
