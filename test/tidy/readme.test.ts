/** The example in README.md is compiled with types and run as it stands; only its addresses become free ports. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { ROOT, read } from "./scan.js";

const DOOR = new URL("../../nodehost/index.js", import.meta.url);
const LINES_MAX = 40;

function example(): string {
  const blocks = [...read("README.md").matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code = ""]) => code);
  const [code, ...more] = blocks.filter((block) => block.includes("NodeHost.open"));
  assert.ok(code !== undefined && more.length === 0, "README.md has one example");
  return code;
}

/** Compiles as a user would; returns JavaScript. */
function compile(file: string): string {
  const options: ts.CompilerOptions = {
    strict: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
    types: ["node"],
    typeRoots: [join(ROOT, "node_modules/@types")],
    paths: { drumline: [fileURLToPath(DOOR).replace(/\.js$/, ".d.ts")] },
    skipLibCheck: true,
  };
  const program = ts.createProgram([file], options);
  const problems = ts.getPreEmitDiagnostics(program).map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"));
  assert.deepEqual(problems, []);
  let output = "";
  program.emit(program.getSourceFile(file), (_path, text) => {
    output = text;
  });
  return output;
}

test("the example of README.md compiles, runs, and prints what it says", { timeout: 60_000 }, async () => {
  const code = example();
  assert.ok(code.trimEnd().split("\n").length <= LINES_MAX, `at most ${LINES_MAX} lines`);
  const folder = mkdtempSync(join(tmpdir(), "drumline-readme-"));
  try {
    const file = join(folder, "example.ts");
    writeFileSync(file, code.replaceAll(/127\.0\.0\.1:\d+/g, "127.0.0.1:0"));
    const script = join(folder, "example.mjs");
    writeFileSync(script, compile(file).replace('"drumline"', JSON.stringify(DOOR.href)));
    const { stdout } = await promisify(execFile)(process.execPath, [script], { cwd: folder, timeout: 30_000 });
    const [, printed = ""] = /^\/\/ prints (.*)$/m.exec(code) ?? [];
    assert.equal(stdout.trim(), printed);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
