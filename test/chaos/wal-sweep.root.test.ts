/** A short crash sweep (crash-sweep.ts), and that it met every phase of a log's life (P08, P30, P45). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sweep } from "./crash-sweep.js";
import { missing } from "./needs.js";

const APPENDS = 200;

test("P08, P30, P45: kill -9 at any write, sync, rename or removal of the log loses nothing acknowledged", {
  skip: missing("strace"),
  timeout: 120_000,
}, async (t) => {
  const { counts, points } = await sweep({ points: 28, seed: 1, appends: APPENDS });
  t.diagnostic(`${points.length} points: ${[...counts].map(([call, count]) => `${call} of ${count}`).join(", ")}`);
  assert.deepEqual(
    points.filter((point) => point.problem !== undefined),
    [],
  );
  assert.ok(points.length >= 25, `${points.length} points`);
  assert.ok((counts.get("pwrite64") ?? 0) > APPENDS, "each append is a write");
  for (const kind of [/^(fsync|fdatasync)$/, /^rename/, /^unlink/]) {
    assert.ok(
      points.some(({ call }) => kind.test(call)),
      `no point at ${kind}`,
    );
  }
  const acknowledged = points.map((point) => point.acknowledged);
  assert.ok(Math.min(...acknowledged) < APPENDS * 0.1 && Math.max(...acknowledged) > APPENDS * 0.7);
  assert.ok(new Set(acknowledged).size >= 15, "the points are spread over the run");
});
