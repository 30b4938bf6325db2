/**
 * Runs the test suites on compiled output, phase by phase, and stops after the first phase with a failure.
 *
 *   test [word…]        lint, then every phase; with words only the files whose path contains one of them, no lint
 *   test:root           x.root.test.ts: what needs root, strace or network namespaces
 *   test:node <major>   unit suites and smoke tests with another Node, taken from the npm package node-<os>-<arch>
 *
 * Test files are listed one by one (Node 20 has no globs) and are those of the sources, so that output of a deleted
 * test cannot run. With DRUMLINE_TEST_NO_SKIP=1 a skipped test fails the run. Called by deploy/bootstrap.mjs.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Failure, listFiles, npmCommand, root } from "./build.mjs";

/** The time-out is for a whole file: the runner kills a file that takes longer. */
const PHASES = [
  { name: "unit", timeoutMs: 120_000, has: (path) => !path.startsWith("test/") || path.startsWith("test/tidy/") },
  { name: "system", timeoutMs: 300_000, has: (path) => path.startsWith("test/") && !isProcessTest(path) },
  { name: "e2e", timeoutMs: 240_000, has: isProcessTest },
];
const ROOT_PHASE = { name: "root", timeoutMs: 300_000 };

export async function runTests(verb, args) {
  const startedMs = Date.now();
  const all = listFiles(["shared", "nodehost", "master", "test"], ".test.ts");
  const ordinary = all.filter((path) => !path.endsWith(".root.test.ts") && !path.endsWith(".soak.test.ts"));
  let results;
  if (verb === "test:root") {
    const files = all.filter((path) => path.endsWith(".root.test.ts"));
    results = await runPhases([{ ...ROOT_PHASE, files }], process.execPath);
  } else if (verb === "test:node") {
    const node = await otherNode(args[0] ?? "24");
    const unit = ordinary.filter((path) => PHASES[0].has(path) && !path.startsWith("test/tidy/"));
    const smoke = ordinary.filter((path) => path.endsWith(".smoke.test.ts"));
    results = await runPhases(
      [
        { ...PHASES[0], files: unit },
        { ...PHASES[2], files: smoke },
      ],
      node,
    );
  } else {
    if (args.length === 0 && !(await lint())) return 1;
    const wanted = ordinary.filter((path) => args.length === 0 || args.some((word) => path.includes(word)));
    const phases = PHASES.map((phase) => ({ ...phase, files: wanted.filter(phase.has) }));
    results = await runPhases(phases, process.execPath);
  }
  return summarize(verb, results, Date.now() - startedMs);
}

function isProcessTest(path) {
  return path.startsWith("test/e2e/") || path.startsWith("test/chaos/");
}

async function lint() {
  print("== lint");
  const biome = join(root, "node_modules", "@biomejs", "biome", "bin", "biome");
  const colors = process.stdout.isTTY ? [] : ["--colors=off"];
  const { code } = await run(process.execPath, [biome, "ci", ".", ...colors], process.env);
  if (code !== 0) print("lint failed: `npm run fix` corrects most of it");
  return code === 0;
}

async function runPhases(phases, node) {
  const results = [];
  for (const phase of phases) {
    if (phase.files.length === 0) continue;
    const result = await runPhase(phase, node);
    results.push({ phase: phase.name, ...result });
    if (result.failed > 0) break;
  }
  return results;
}

async function runPhase(phase, node) {
  print(`== ${phase.name}: ${phase.files.length} files`);
  const folder = join(root, ".build", "test");
  mkdirSync(folder, { recursive: true });
  const summary = join(folder, `summary-${phase.name}-${process.pid}.json`);
  rmSync(summary, { force: true });
  const env = testEnvironment({ DRUMLINE_TEST_SUMMARY: summary });
  const flags = ["--enable-source-maps", "--test", "--test-concurrency=2", `--test-timeout=${phase.timeoutMs}`];
  const reporter = ["--test-reporter=./deploy/test-reporter.mjs", "--test-reporter-destination=stdout"];
  const files = phase.files.map((path) => `dist/${path.replace(/ts$/, "js")}`);
  const startedMs = Date.now();
  const { code } = await run(node, [...flags, ...reporter, ...files], env);
  const counts = existsSync(summary) ? JSON.parse(readFileSync(summary, "utf8")) : emptyCounts("the runner crashed");
  rmSync(summary, { force: true });
  if (code !== 0 && counts.failed === 0) Object.assign(counts, { failed: 1, failures: [`runner: exit code ${code}`] });
  if (counts.skipped > 0 && process.env.DRUMLINE_TEST_NO_SKIP === "1") {
    counts.failed += counts.skipped;
    counts.failures.push(...counts.skips.map((text) => `skipped, which is not allowed here: ${text}`));
  }
  return { ...counts, seconds: (Date.now() - startedMs) / 1000 };
}

function emptyCounts(failure) {
  return { passed: 0, failed: 1, skipped: 0, failures: [failure], skips: [] };
}

/** Tests must not see who started them: no settings of ours, no outer test runner. */
function testEnvironment(extra) {
  const env = { ...process.env, ...extra };
  delete env.NODE_TEST_CONTEXT;
  for (const name of Object.keys(env)) {
    if (name.startsWith("DRUMLINE_") && !name.startsWith("DRUMLINE_TEST_")) delete env[name];
  }
  return env;
}

function summarize(verb, results, elapsedMs) {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  print(`== ${verb}: ${(elapsedMs / 1000).toFixed(0)} s`);
  for (const { phase, passed, failed, skipped, seconds } of results) {
    print(`   ${phase}: ${passed} passed, ${failed} failed, ${skipped} skipped (${seconds.toFixed(0)} s)`);
  }
  for (const { failures } of results) for (const failure of failures) print(`   FAIL ${failure}`);
  if (results.length === 0) print("   no test files of this kind");
  print(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
  return sum("failed") === 0 ? 0 : 1;
}

/**
 * Path of a Node of this major version: the newest on npm when first asked, afterwards what .build holds, without
 * any network. The package only carries the binary.
 */
async function otherNode(major) {
  if (!/^\d+$/.test(major)) throw new Failure(`test:node needs a major version such as 24, got ${major}`);
  const folder = join(root, ".build", `node-${major}`);
  const name = `node-${process.platform}-${process.arch}`;
  const binary = join(folder, "node_modules", name, "bin", "node");
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true });
    const version = await newestVersion(name, major);
    print(`== fetching ${name}@${version}`);
    const flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"];
    await npm(["install", "--prefix", folder, ...flags, `${name}@${version}`]);
  }
  const { stdout } = await promisify(execFile)(binary, ["--version"]);
  print(`== with Node ${stdout.trim()}`);
  return binary;
}

async function newestVersion(name, major) {
  const text = await npm(["view", `${name}@${major}`, "version", "--json"]);
  const versions = [JSON.parse(text)].flat();
  const newest = versions.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
  if (newest === undefined) throw new Failure(`npm has no ${name} of version ${major}`);
  return newest;
}

async function npm(args) {
  const [command, first] = npmCommand();
  const { stdout } = await promisify(execFile)(command, [...first, ...args], { cwd: join(root, ".build") });
  return stdout;
}

/**
 * Runs a child in a process group of its own, so that SIGTERM and SIGINT reach it and all test processes below it
 * exactly once; afterwards this process ends by the same signal.
 */
function run(command, args, env) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", 1, 2], env, detached: true });
    let received;
    const pass = (signal) => {
      received = signal;
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    };
    process.on("SIGTERM", pass);
    process.on("SIGINT", pass);
    child.on("error", fail);
    child.on("exit", (code, signal) => {
      process.off("SIGTERM", pass);
      process.off("SIGINT", pass);
      if (received === undefined) done({ code: code ?? `of signal ${signal}` });
      else process.kill(process.pid, received);
    });
  });
}

function print(text) {
  process.stdout.write(`${text}\n`);
}
