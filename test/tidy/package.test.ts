/** The package and what starts it: manifest, lockfile, the `drumline` command, the bootstrap behind npm scripts. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT, read } from "./scan.js";

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
  readonly scripts: Record<string, string>;
  readonly exports: Record<string, string | { readonly types: string; readonly default: string }>;
}
const manifest: Manifest = JSON.parse(read("package.json"));

function run(args: readonly string[], cwd = ROOT): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((done) => {
    execFile(process.execPath, args, { cwd }, (error, stdout, stderr) => {
      done({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

test("versions are exact", () => {
  const all = { ...manifest.dependencies, ...manifest.devDependencies };
  for (const [name, version] of Object.entries(all)) assert.match(version, /^\d+\.\d+\.\d+$/, name);
});

test("the lockfile fits package.json and names no registry host", () => {
  const lock: {
    packages: Record<string, Partial<Manifest> & { resolved?: string; integrity?: string; link?: boolean }>;
  } = JSON.parse(read("package-lock.json"));
  const { "": top, ...packages } = lock.packages;
  assert.deepEqual(top?.dependencies, manifest.dependencies);
  assert.deepEqual(top?.devDependencies, manifest.devDependencies);
  for (const [path, { resolved, integrity }] of Object.entries(packages)) {
    assert.equal(resolved, undefined, path);
    assert.ok(integrity?.startsWith("sha512-"), path);
  }
});

test("scripts run the bootstrap in place of the shell, without pre and post scripts", () => {
  for (const [name, script] of Object.entries(manifest.scripts)) {
    assert.match(script, /^exec node deploy\/bootstrap\.mjs [a-z:-]+$/, name);
    assert.doesNotMatch(name, /^(pre|post)/);
  }
});

test("what the package exports has a source", () => {
  for (const [name, target] of Object.entries(manifest.exports)) {
    if (typeof target === "string") continue;
    for (const path of [target.types, target.default]) {
      const source = path.replace(/^\.\/dist\//, "").replace(/(\.d\.ts|\.js)$/, ".ts");
      assert.ok(existsSync(join(ROOT, source)), `${name}: no ${source}`);
    }
  }
});

test("the drumline command can be executed", () => {
  assert.equal(statSync(join(ROOT, "deploy/drumline.cjs")).mode & 0o111, 0o111);
  assert.ok(read("deploy/drumline.cjs").startsWith("#!/usr/bin/env node\n"));
});

test("before a build the drumline command says what to do", async () => {
  const folder = mkdtempSync(join(tmpdir(), "drumline not built "));
  try {
    mkdirSync(join(folder, "deploy"));
    copyFileSync(join(ROOT, "deploy/drumline.cjs"), join(folder, "deploy/drumline.cjs"));
    const { code, stdout, stderr } = await run([join(folder, "deploy/drumline.cjs"), "status"], folder);
    assert.deepEqual([code, stdout, stderr], [1, "", "drumline: not built yet: run npm start\n"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("an unknown verb of the bootstrap is a usage error that names the verbs", async () => {
  const { code, stdout, stderr } = await run(["deploy/bootstrap.mjs", "dance"]);
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /^drumline: unknown verb dance, expected one of: build lint fix test .*demo/);
});
