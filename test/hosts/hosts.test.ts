/**
 * Whole clusters under seeded faults: real engine, Raft, state machines, WAL and snapshots on simulated disks and a
 * simulated network. What clients were told must be true, all members must end equal, and a seed must repeat itself.
 * More seeds: node dist/test/hosts/main.js <first> <count>; a failure here is repeated by its seed alone.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FAULTS, type Fault } from "./nemesis.js";
import { seededRun } from "./seeded-run.js";
import { STORAGE_FAULTS } from "./storage-faults.js";

const SEEDS = 20;

test(`${SEEDS} seeded clusters keep every promise and converge`, async () => {
  let acknowledged = 0;
  let reads = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = await seededRun({ seed });
    assert.deepEqual(result.problems, [], `seed ${seed}\n${result.log.join("\n")}`);
    acknowledged += result.acknowledged;
    reads += result.reads;
  }
  assert.ok(acknowledged > 100 * SEEDS && reads > 50 * SEEDS, `${acknowledged} appends, ${reads} reads`);
});

test("with sessions every proposal is answered in the end and applied once (P36, P37, P38)", async () => {
  let acknowledged = 0;
  let retries = 0;
  for (let seed = 1001; seed <= 1012; seed++) {
    const result = await seededRun({ seed, sessionClients: 6 });
    assert.deepEqual(result.problems, [], `seed ${seed}\n${result.log.join("\n")}`);
    acknowledged += result.acknowledged;
    retries += result.retries;
  }
  assert.ok(acknowledged > 1_000 && retries > 100, `${acknowledged} appends, ${retries} retries`);
});

test("every kind of fault by itself is survived", async () => {
  for (const fault of FAULTS) {
    const result = await seededRun({ seed: 77, faults: [fault], forMs: 3_000 });
    assert.deepEqual(result.problems, [], `${fault}\n${result.log.join("\n")}`);
    assert.ok(result.acknowledged >= 10, `${fault}: ${result.acknowledged} appends`);
  }
});

for (const fault of STORAGE_FAULTS) {
  test(`${fault}: the directory is refused each time, and no promise is broken (P49, P50)`, async () => {
    let refused = 0;
    for (let seed = 300; seed < 306; seed++) {
      const faults: Fault[] = [fault, "crash", "isolate", "snapshot", "replaceMember"];
      const result = await seededRun({ seed, faults, forMs: 12_000 });
      assert.deepEqual(result.problems, [], `seed ${seed}\n${result.log.join("\n")}`);
      refused += result.refused.length;
    }
    assert.ok(refused >= 6, `${refused} times`);
  });
}

/** The record of an own snapshot came behind a newer one from the leader that had replaced the log. */
test("a seed that found a bug stays fixed", async () => {
  const { problems } = await seededRun({ seed: 121, faults: ["isolate", "slowDisk", "snapshot", "split", "crash"] });
  assert.deepEqual(problems, []);
});

test("the same seed gives the same history", async () => {
  const { trace } = await seededRun({ seed: 4 });
  assert.equal((await seededRun({ seed: 4 })).trace, trace);
  assert.notEqual((await seededRun({ seed: 5 })).trace, trace);
});
