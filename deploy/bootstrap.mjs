/**
 * Behind every npm script: makes a fresh checkout runnable, then runs one verb.
 *
 *   node deploy/bootstrap.mjs <verb> [arguments]      (npm start = demo; npm test = test; `npm run <verb> -- …`)
 *
 * 1. checks Node's version and the platform, 2. installs the locked packages unless node_modules matches
 * package-lock.json, 3. builds what is stale, 4. runs the verb. When nothing changed, 2 and 3 touch neither the
 * network nor the compiler. Only node:* is imported here, because nothing else may be there yet. What is not the
 * verb's own output goes to stderr.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build, Failure, npmCommand, root } from "./build.mjs";

// Inherited by every process started from here; see deploy/drumline.cjs for the reasons.
process.env.UV_THREADPOOL_SIZE ??= "16";
process.env.LMDB_RESTORE ??= "safe";

/** Verbs that are a program of dist: imported into this process, so that signals and exit codes are its own. */
const PROGRAMS = {
  demo: { file: "master/cli/main.js", args: ["demo"] },
  sim: { file: "test/sim/main.js", args: [] },
  golden: { file: "test/golden/main.js", args: [] },
  "golden:rewrite": { file: "test/golden/main.js", args: ["--rewrite"] },
  worlds: { file: "test/worlds/main.js", args: [] },
  mutants: { file: "test/mutants/run.js", args: [] },
  soak: { file: "test/sim/soak.js", args: [] },
  "bench:smoke": { file: "test/bench/smoke.js", args: [] },
  "power-sweep": { file: "test/storage/power-sweep.js", args: [] },
  "crash-sweep": { file: "test/chaos/crash-sweep.js", args: [] },
};

const OTHER_VERBS = ["build", "lint", "fix", "test", "test:root", "test:node"];

async function main(verb, args) {
  if (!OTHER_VERBS.includes(verb) && PROGRAMS[verb] === undefined) {
    const verbs = [...OTHER_VERBS, ...Object.keys(PROGRAMS)].join(" ");
    throw new Failure(`unknown verb ${verb ?? "(none)"}, expected one of: ${verbs}`, 2);
  }
  checkNode();
  checkPlatform();
  await install();
  if (verb === "lint") return await biome("ci", ".", ...args);
  if (verb === "fix") return await biome("check", "--write", ".", ...args);
  await build();
  if (verb === "build") return 0;
  if (verb === "test" || verb === "test:root" || verb === "test:node") {
    const { runTests } = await import("./test-run.mjs");
    return await runTests(verb, args);
  }
  return await runProgram(verb, args);
}

async function runProgram(verb, args) {
  const program = PROGRAMS[verb];
  const file = join(root, "dist", program.file);
  if (!existsSync(file))
    throw new Failure(`${verb} is not part of this checkout (no ${program.file.replace(/js$/, "ts")})`);
  process.setSourceMapsEnabled(true);
  process.argv = [process.execPath, file, ...program.args, ...args];
  await import(pathToFileURL(file).href);
  return undefined; // the program decides when and how it ends
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
  if (!fits) throw new Failure(`Node ${process.versions.node} is not supported, expected ^20.19.0 or >=22.12.0`);
}

function checkPlatform() {
  const { platform, arch } = process;
  const fits = (platform === "linux" || platform === "darwin") && (arch === "x64" || arch === "arm64");
  if (!fits) throw new Failure(`${platform} ${arch} is not supported, expected linux or darwin on x64 or arm64`);
  if (platform !== "linux") return;
  process.report.excludeNetwork = true;
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  if (glibc === undefined) throw new Failure("this Linux has no glibc (Alpine?), which the database needs");
}

async function install() {
  const lockText = readFileSync(join(root, "package-lock.json"), "utf8");
  const hash = createHash("sha256").update(lockText).digest("hex");
  const stampPath = join(root, "node_modules", ".drumline-stamp");
  if (existsSync(stampPath) && readFileSync(stampPath, "utf8") === hash) return;
  if (!installedMatches(JSON.parse(lockText))) {
    process.stderr.write("bootstrap: installing packages (npm ci)\n");
    const [command, first] = npmCommand();
    const code = await exitCodeOf(command, [
      ...first,
      "ci",
      "--include=dev",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
    ]);
    if (code !== 0) throw new Failure(`npm ci failed (exit code ${code}); is the package registry reachable?`);
  }
  writeFileSync(stampPath, hash);
}

/** True if someone ran `npm ci` or `npm install` here with this lockfile, development packages included. */
function installedMatches(lock) {
  const path = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(path)) return false;
  const installed = JSON.parse(readFileSync(path, "utf8")).packages ?? {};
  return Object.entries(lock.packages).every(([name, wanted]) => {
    if (name === "" || (wanted.optional === true && installed[name] === undefined)) return true;
    return installed[name]?.version === wanted.version && existsSync(join(root, name));
  });
}

async function biome(...args) {
  const colors = process.stdout.isTTY ? [] : ["--colors=off"];
  const script = join(root, "node_modules", "@biomejs", "biome", "bin", "biome");
  return await exitCodeOf(process.execPath, [script, ...args, ...colors], 1);
}

/** Runs a child whose stdout goes to our descriptor `out`; passes signals on to it. */
function exitCodeOf(command, args, out = 2) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", out, 2] });
    const pass = (signal) => child.kill(signal);
    process.on("SIGTERM", pass);
    process.on("SIGINT", pass);
    child.on("error", fail);
    child.on("exit", (code, signal) => {
      process.off("SIGTERM", pass);
      process.off("SIGINT", pass);
      if (signal !== null) process.kill(process.pid, signal);
      else done(code);
    });
  });
}

const [verb, ...rest] = process.argv.slice(2);
main(verb, rest).then(
  (code) => {
    if (code !== undefined) process.exitCode = code;
  },
  (error) => {
    process.stderr.write(`drumline: ${error instanceof Failure ? error.message : (error.stack ?? error)}\n`);
    process.exitCode = error instanceof Failure ? error.exitCode : 1;
  },
);
