/** The bank fits the sources: every mutant applies to exactly one place and changes it. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MUTANTS } from "./bank.js";
import { mutate } from "./build.js";

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
  const mutant = { id: "x", file: "x.ts", find: "a", replace: "b", invariant: "", quick: false };
  assert.throws(() => mutate(mutant, "c"), /matches 0 times/);
  assert.throws(() => mutate(mutant, "aa"), /matches 2 times/);
  assert.equal(mutate(mutant, "cac"), "cbc");
});
