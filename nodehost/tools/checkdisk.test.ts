/** The verdict on numbers, and a short run on a real directory. Its timings are looked at by nobody. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { tempDir } from "../../test/kit/temp.js";
import { checkDisk, type DiskMeasurement, judge } from "./checkdisk.js";

function measured(p50Ms: number, p99Ms: number): DiskMeasurement {
  return { writeBytes: 8192, writes: 100, p50Ms, p99Ms, maxMs: p99Ms, writesPerSecond: 1, bytesPerSecond: 1 };
}

test("the verdict follows the slowest writes, and does not believe what cannot be", () => {
  const verdict = (p50Ms: number, p99Ms: number) => judge([measured(0.3, 1), measured(p50Ms, p99Ms)]).verdict;
  assert.equal(verdict(0.5, 2), "good");
  assert.equal(verdict(4, 20), "usable");
  assert.equal(verdict(10, 60), "slow");
  assert.equal(verdict(10, 500), "unsuitable");
  assert.equal(verdict(0.003, 0.01), "implausible");
  assert.match(judge([measured(10, 60)]).advice, /rttMs to 250/);
});

test("a run measures both sizes, shows its progress and leaves nothing behind", async (t) => {
  const directory = await tempDir(t);
  const parts: number[] = [];
  const report = await checkDisk({ directory, forMs: 200, progress: (part) => parts.push(part) });
  assert.deepEqual(
    report.measurements.map((m) => m.writeBytes),
    [8192, 65_536],
  );
  for (const m of report.measurements) assert.ok(m.writes > 0 && m.maxMs >= m.p50Ms && m.bytesPerSecond > 0);
  assert.deepEqual(
    [...parts].sort((a, b) => a - b),
    parts,
  );
  assert.deepEqual(readdirSync(directory), []);
});

test("what cannot be checked is refused", async (t) => {
  const directory = await tempDir(t);
  await assert.rejects(checkDisk({ directory: `${directory}/none` }), { code: "DL_ERR_INVALID_ARGUMENT" });
  await assert.rejects(checkDisk({ directory, forMs: 1 }), { code: "DL_ERR_INVALID_ARGUMENT" });
});
