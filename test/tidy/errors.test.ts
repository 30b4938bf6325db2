/** docs/errors.md says what shared/errors.ts says. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ERROR_CODES } from "../../shared/errors.js";
import { codeFiles, ROOT, read } from "./scan.js";

test("docs/errors.md is up to date (run: npm run build && node deploy/gen-errors.mjs)", async () => {
  const compiled = fileURLToPath(new URL("../../shared/errors.js", import.meta.url));
  const args = ["deploy/gen-errors.mjs", "--print", compiled];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT });
  assert.equal(read("docs/errors.md"), stdout);
});

test("every code is one line that fits into the table", () => {
  for (const [code, { text, try: hint }] of Object.entries(ERROR_CODES)) {
    assert.match(code, /^DL_ERR_[A-Z_]+$/);
    for (const line of [text, hint]) assert.match(line, /^[^\n|]+$/, code);
  }
});

test("code that names an error names one of the table", () => {
  const known = new Set(Object.keys(ERROR_CODES));
  const named = codeFiles().flatMap((path) =>
    [...read(path).matchAll(/"(DL_ERR_[A-Z_]+)"/g)].map(([, code = ""]) => ({ path, code })),
  );
  assert.ok(named.length > 100);
  for (const { path, code } of named) assert.ok(known.has(code), `${path}: ${code}`);
});
