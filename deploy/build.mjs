/**
 * Builds what is not committed: proto/gen (by pbjs and pbts, from proto/*.proto) and dist (by tsc, from *.ts).
 * Each step is skipped when a hash of its inputs equals the stamp that its last success left, so that a second run
 * costs a directory scan. Progress goes to stderr: stdout belongs to the program that is started afterwards.
 *
 *   node deploy/build.mjs          both steps
 *   node deploy/build.mjs --gen    only proto/gen
 *   node deploy/build.mjs --force  both steps, fresh or not
 *
 * deploy/bootstrap.mjs imports `build`. Uses node:* only.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(fileURLToPath(import.meta.url), "..", "..");

const SOURCE_FOLDERS = ["shared", "nodehost", "master", "test"];
const GEN_STAMP = join(root, "proto", "gen", ".stamp");
const DIST_STAMP = join(root, "dist", ".stamp");

/** Something a person must correct: shown as one line, without a stack. */
export class Failure extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Runs what is stale. `onlyGen` stops after proto/gen. Throws a Failure. */
export async function build(options = {}) {
  await buildGen(options.force === true);
  if (options.onlyGen !== true) await buildDist(options.force === true);
}

/** All files with one of the endings below the given folders, as paths relative to the root, sorted. */
export function listFiles(folders, ...endings) {
  const found = [];
  const walk = (folder) => {
    for (const item of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = `${folder}/${item.name}`;
      if (item.isDirectory()) {
        if (item.name !== "node_modules" && path !== "proto/gen") walk(path);
      } else if (endings.some((ending) => item.name.endsWith(ending))) found.push(path);
    }
  };
  for (const folder of folders) if (existsSync(join(root, folder))) walk(folder);
  return found.sort();
}

/** The npm that started this, so that its version and settings are the same; else the one on the PATH. */
export function npmCommand() {
  const path = process.env.npm_execpath;
  if (path !== undefined && basename(path) === "npm-cli.js" && existsSync(path)) return [process.execPath, [path]];
  return ["npm", []];
}

async function buildGen(force) {
  const protos = listFiles(["proto"], ".proto");
  const stamp = contentHash([...protos, "deploy/build.mjs", "node_modules/protobufjs-cli/package.json"]);
  if (protos.length === 0 || (!force && readStamp(GEN_STAMP) === stamp)) return;
  say(`generating proto/gen from ${protos.length} files`);
  const target = join(root, "proto", "gen");
  const fresh = `${target}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const js = join(fresh, "drumline.js");
  const pbjs = ["-t", "static-module", "-w", "esm", "-r", "drumline", "--force-number", "--no-service", "--no-verify"];
  await run("protobufjs-cli/bin/pbjs", [...pbjs, "--no-delimited", "--no-typeurl", "-o", js, ...protos]);
  useNumbers(js);
  await run("protobufjs-cli/bin/pbts", ["-o", join(fresh, "drumline.d.ts"), js]);
  writeFileSync(join(fresh, ".stamp"), stamp);
  rmSync(target, { recursive: true, force: true });
  renameSync(fresh, target);
}

/**
 * --force-number changes only the declared types: absent uint64 fields would still read as Long objects wherever the
 * package `long` is installed. Generated code asks `$util.Long` for it, so it gets a `$util` of its own without one;
 * protobufjs' global one belongs to the application.
 */
function useNumbers(path) {
  const text = readFileSync(path, "utf8");
  const parts = text.split("$util = $protobuf.util;");
  if (parts.length !== 2) throw new Failure("pbjs writes another form of code than the one that build.mjs knows");
  writeFileSync(path, parts.join("$util = Object.create($protobuf.util, { Long: { value: null } });"));
}

async function buildDist(force) {
  const sources = listFiles(SOURCE_FOLDERS, ".ts");
  const settings = ["tsconfig.json", "package.json", "node_modules/typescript/package.json"];
  const stamp = `${statHash(sources)} ${contentHash(settings)} ${readStamp(GEN_STAMP)}`;
  if (!force && readStamp(DIST_STAMP) === stamp) return;
  say(`compiling ${sources.length} files`);
  rmSync(DIST_STAMP, { force: true });
  removeOrphans(new Set(sources));
  await run("typescript/bin/tsc", ["-p", "."]);
  writeFileSync(DIST_STAMP, stamp);
}

/** Output of a source that is gone must not be run or packed. */
function removeOrphans(sources) {
  if (!existsSync(join(root, "dist"))) return;
  let removed = 0;
  for (const path of listFiles(["dist"], ".js", ".js.map", ".d.ts")) {
    const source = path.slice("dist/".length).replace(/(\.d\.ts|\.js\.map|\.js)$/, ".ts");
    if (sources.has(source)) continue;
    rmSync(join(root, path));
    removed += 1;
  }
  // tsc would take what it remembers as written for still there.
  if (removed > 0) rmSync(join(root, "dist", ".tsbuildinfo"), { force: true });
}

function contentHash(paths) {
  const hash = createHash("sha256");
  for (const path of paths) hash.update(`${path}\0`).update(readFileSync(join(root, path)));
  return hash.digest("hex");
}

function statHash(paths) {
  const hash = createHash("sha256");
  for (const path of paths) {
    const { mtimeMs, size } = statSync(join(root, path));
    hash.update(`${path}\0${mtimeMs}\0${size}\0`);
  }
  return hash.digest("hex");
}

function readStamp(path) {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** Runs a tool of node_modules with this Node; what it prints goes to stderr. */
function run(tool, args) {
  return new Promise((done, fail) => {
    const script = join(root, "node_modules", ...tool.split("/"));
    const child = spawn(process.execPath, [script, ...args], { cwd: root, stdio: ["ignore", 2, 2] });
    child.on("error", fail);
    child.on("exit", (code, signal) => {
      if (code === 0) done();
      else fail(new Failure(`${tool.split("/").at(-1)} failed (${signal ?? `exit code ${code}`})`));
    });
  });
}

function say(text) {
  process.stderr.write(`build: ${text}\n`);
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === [root, "deploy", "build.mjs"].join(sep)) {
  const flags = new Set(process.argv.slice(2));
  build({ onlyGen: flags.has("--gen"), force: flags.has("--force") }).catch((error) => {
    say(error.message);
    process.exitCode = 1;
  });
}
