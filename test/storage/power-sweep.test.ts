/** Some images of `npm run power-sweep`, and that they are worth it: losses in every phase, rot that is noticed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkImage, type ImageResult } from "./power.js";

const IMAGES = 160;

test("P08, P30, P45, P48: disks that lost their power or rotted hold what was acknowledged, or say so", async () => {
  const results: ImageResult[] = [];
  for (let seed = 1; seed <= IMAGES; seed++) results.push(await checkImage(seed));
  const bad = results.filter((result) => result.problem !== undefined);
  assert.deepEqual(bad.slice(0, 3), []);
  const acknowledged = results.filter((r) => r.kind === "powerLoss").map((r) => r.acknowledged);
  assert.ok(Math.min(...acknowledged) <= 2 && Math.max(...acknowledged) >= 35, `${acknowledged.join(" ")}`);
  const rot = results.filter((result) => result.kind === "rot");
  assert.ok(rot.filter((result) => result.noticed).length > rot.length / 2, "most rotten bits were in use");
});
