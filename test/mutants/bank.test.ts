/** The bank fits the sources: every mutant applies to exactly one place and changes it. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MUTANTS } from "./bank.js";
import { mutate } from "./build.js";
import { type Catch, Layers } from "./layers.js";
import type { Mutant } from "./mutant.js";
import { type Hunt, markdownText, summaryOf } from "./table.js";

const stub: Mutant = { id: "x", file: "x.ts", find: "a", replace: "b", invariant: "what (R1)", quick: false };

function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) folder = dirname(folder);
  return folder;
}

test("every mutant matches exactly once and changes its file", () => {
  const root = repositoryRoot();
  for (const mutant of MUTANTS) {
    const source = readFileSync(join(root, mutant.file), "utf8");
    assert.notEqual(mutate(mutant, source), source, mutant.id);
  }
});

test("ids are unique and eight mutants are quick", () => {
  assert.equal(new Set(MUTANTS.map((m) => m.id)).size, MUTANTS.length);
  assert.ok(MUTANTS.filter((m) => m.quick).length >= 8);
});

test("a mutant whose text is gone or doubled is refused", () => {
  assert.throws(() => mutate(stub, "c"), /matches 0 times/);
  assert.throws(() => mutate(stub, "aa"), /matches 2 times/);
  assert.equal(mutate(stub, "cac"), "cbc");
});

test("every mutant meets a layer that can catch it, and names tests that exist", () => {
  const root = repositoryRoot();
  const compiled = join(dirname(fileURLToPath(import.meta.url)), "../..");
  const layers = new Layers({ root, compiled, target: "" }, { seeds: 0, steps: 0 });
  for (const mutant of MUTANTS) {
    assert.notDeepEqual(layers.of(mutant), [], `${mutant.id}: no simulation runs ${mutant.file}, name tests`);
    if (mutant.unseen !== undefined) assert.ok((mutant.tests ?? []).length > 0, mutant.id);
    for (const path of mutant.tests ?? []) assert.ok(existsSync(join(root, path)), `${mutant.id}: ${path}`);
  }
  const of = (file: string): readonly string[] => layers.of({ ...stub, file });
  assert.deepEqual(of("nodehost/raft/raft.ts"), ["simulation"]);
  assert.ok(of("nodehost/engine/turn.ts").includes("hosts"));
  assert.deepEqual(of("master/plan/plan.ts"), []);
});

test("the summary fails a bank of which simulation catches too little", () => {
  const hunts = Array.from({ length: 20 }, (_, i): Hunt => {
    const caught: Catch =
      i === 0 ? { layer: "tests", by: "x.test.ts: a", seeds: 0 } : { layer: "simulation", by: "R1", seeds: 3 };
    return { mutant: stub, caught, reachable: true, seconds: 1 };
  });
  assert.deepEqual(summaryOf(hunts).enough, true);
  assert.equal(summaryOf(hunts.slice(0, 10)).enough, false);
  assert.equal(summaryOf([...hunts, { mutant: stub, caught: undefined, reachable: false, seconds: 1 }]).missed, 1);
  assert.match(summaryOf(hunts).text, /^19 by simulation .*, 1 by unit\/golden, 0 missed/);
  assert.match(markdownText(hunts), /^\| `x` \| what \| `x.test.ts` \| \|\n\| `x` \| what \| R1 \| 3 \|/);
});
