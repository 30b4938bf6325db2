/**
 * The `drumline` command as a shell sees it: real processes, their output and exit codes. Every failure must be one
 * line with a code, one line with what to try, and no stack.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import * as path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { tempDir } from "../../test/kit/temp.js";

const MAIN = fileURLToPath(new URL("./main.js", import.meta.url));
const NOWHERE = "nats://127.0.0.1:1";
/** Warnings of a process that gets as far as looking for NATS are not what is looked at here. */
const QUIET = ["--log-level", "error"];
const DEPLOYMENT = ["--deployment-id", "5", "--nats", NOWHERE, ...QUIET];

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("DRUMLINE_") && name !== "NODE_OPTIONS");
  return { ...Object.fromEntries(own), UV_THREADPOOL_SIZE: "16", LMDB_RESTORE: "safe", ...extra };
}

function drumline(cwd: string, args: readonly string[], extra?: Readonly<Record<string, string>>): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { cwd, env: environment(extra), timeout: 30_000 };
    const child = execFile(process.execPath, [MAIN, ...args], options, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

interface Running {
  readonly child: ChildProcess;
  readonly ready: Readonly<Record<string, unknown>>;
  readonly exited: Promise<number | null>;
}

/** Resolves at the ready line; rejects with what the process printed when it ends before. */
function start(t: TestContext, cwd: string, args: readonly string[]): Promise<Running> {
  const stdio = ["ignore", "pipe", "pipe", "ipc"] as const;
  const child = spawn(process.execPath, [MAIN, ...args, "--json"], { cwd, env: environment(), stdio: [...stdio] });
  t.after(() => child.kill("SIGKILL"));
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    let stdout = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
      const end = stdout.indexOf("\n");
      if (end < 0) return;
      const ready: Readonly<Record<string, unknown>> = JSON.parse(stdout.slice(0, end));
      assert.equal(ready["event"], "ready");
      resolve({ child, ready, exited });
    });
    void exited.then((code) => reject(new Error(`${args.join(" ")} ended with ${code}: ${stderr}`)));
  });
}

/** Exactly: one line with the code and what, one line with what to try. */
function assertFails(ended: Ended, exitCode: number, line: RegExp): void {
  assert.match(ended.stderr, /^drumline: DL_ERR_[A-Z_]+: [^\n]+\ntry: [^\n]+\n$/);
  assert.match(ended.stderr, line);
  assert.equal(ended.code, exitCode, ended.stderr);
  assert.equal(ended.stdout, "");
}

async function occupiedPort(t: TestContext): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return portOf(server);
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** A base port with two free ones above it. */
async function freeBase(taken: Set<number>): Promise<number> {
  for (;;) {
    const servers: Server[] = [];
    const listen = (port: number): Promise<boolean> => {
      const server = createServer();
      servers.push(server);
      return new Promise((resolve) => {
        server.once("error", () => resolve(false));
        server.listen(port, "127.0.0.1", () => resolve(true));
      });
    };
    await listen(0);
    const base = portOf(servers[0] as Server);
    const wanted = [base, base + 1, base + 2];
    const free = !wanted.some((p) => taken.has(p)) && (await listen(base + 1)) && (await listen(base + 2));
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    if (!free) continue;
    for (const port of wanted) taken.add(port);
    return base;
  }
}

describe("drumline: wrong use", () => {
  it("usage errors exit 2 with one line and a hint", async (t) => {
    const dir = await tempDir(t);
    const cases: readonly (readonly [string, RegExp])[] = [
      ["", /a verb is missing/],
      ["stauts", /unknown command 'stauts'.*Did you mean status/],
      ["shard create", /required option '--app <name>'/],
      ["shard create --app kv --voters three", /voters is "three", expected a number/],
      ["status --nonsense", /unknown option '--nonsense'/],
      ["status --timeout soon", /timeout is "soon"/],
      ["status --master nowhere", /DL_ERR_INVALID_ADDRESS.*expected host:port/],
      ["kv get 1", /missing required argument 'key'/],
      ["nodehost --data d --ports 99999", /DL_ERR_INVALID_CONFIG.*ports is "99999" \(from --ports\)/],
      ["nodehost --data d --ports 0 --down-after 1ms", /downAfter is "1ms"/],
      ["master --data d --ports 7400", /deploymentId is missing/],
      ["init --masters 7400,7401", /too close/],
    ];
    const ended = await inTurns(cases, ([args]) => drumline(dir, args === "" ? [] : args.split(" ")));
    for (const [i, [, line]] of cases.entries()) assertFails(ended[i] as Ended, 2, line);
  });

  it("help and version are no errors", async (t) => {
    const dir = await tempDir(t);
    const [version, help] = await Promise.all([drumline(dir, ["--version"]), drumline(dir, ["shard", "--help"])]);
    assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
    assert.match(help.stdout, /create/);
    assert.deepEqual([version.code, help.code, version.stderr, help.stderr], [0, 0, "", ""]);
  });

  it("nobody there exits 3", async (t) => {
    const dir = await tempDir(t);
    const calls = ["status", "host list", "shard list", "shard create --app kv", "kv put 1 key value"];
    const ended = await inTurns(calls, (args) => drumline(dir, ["--master", "127.0.0.1:1", ...args.split(" ")]));
    for (const one of ended) assertFails(one, 3, /DL_ERR_UNREACHABLE.*127\.0\.0\.1:1/);
    assertFails(
      await drumline(dir, ["kv", "get", "1", "key", "--api", "127.0.0.1:1", "--timeout", "1s"]),
      3,
      /UNREACHABLE/,
    );
  });

  it("init writes a deployment once", async (t) => {
    const dir = await tempDir(t);
    const made = await drumline(dir, ["init", "--masters", "7400,7410,db.example:7400", "--down-after", "5s"]);
    assert.equal(made.code, 0, made.stderr);
    const file = path.join(dir, "drumline.yaml");
    const text = readFileSync(file, "utf8");
    assert.match(text, /^deploymentId: [1-9]\d*$/m);
    assert.match(text, /- 127\.0\.0\.1:7410\n {2}- db\.example:7400/);
    assertFails(await drumline(dir, ["init", "--masters", "7400"]), 1, /DL_ERR_FILE_EXISTS.*drumline\.yaml/);
    assert.equal(readFileSync(file, "utf8"), text);

    const extra = { DRUMLINE_NATS_TOKEN: "hush", DRUMLINE_RTT_MS: "20" };
    const print = await drumline(dir, ["config", "print", "master", "--data", "m1", "--json"], extra);
    const { settings }: { settings: { key: string; value: string; origin: string }[] } = JSON.parse(print.stdout);
    const of = (key: string) => settings.find((s) => s.key === key);
    assert.deepEqual(of("data"), { key: "data", value: "m1", origin: "--data" });
    assert.deepEqual(of("rttMs"), { key: "rttMs", value: "20", origin: "DRUMLINE_RTT_MS" });
    assert.deepEqual(of("downAfter"), { key: "downAfter", value: "5s", origin: "drumline.yaml" });
    assert.deepEqual(of("natsToken"), { key: "natsToken", value: "***", origin: "DRUMLINE_NATS_TOKEN" });
    assert.deepEqual(of("ports"), { key: "ports", value: "", origin: "missing" });
    assert.equal(of("electionTicks")?.origin, "default");

    assertFails(await drumline(dir, ["master", "--data", "m", "--ports", "7430"]), 2, /none of the configured masters/);
  });

  it("a port in use is named", async (t) => {
    const dir = await tempDir(t);
    const port = String(await occupiedPort(t));
    const broker = drumline(dir, ["broker", "--port", port]);
    const at = (flag: string) =>
      drumline(dir, ["nodehost", "--data", flag, "--ports", "0", flag, `127.0.0.1:${port}`, ...DEPLOYMENT]);
    for (const one of [broker, at("--raft-address"), at("--api-address"), at("--http-address")]) {
      assertFails(await one, 1, new RegExp(`DL_ERR_ADDRESS_IN_USE.*${port}`));
    }
  });

  it("an app that is none is named", async (t) => {
    const dir = await tempDir(t);
    writeFileSync(path.join(dir, "broken.mjs"), "export const app = { name: 'x', kind: 'memory' };\n");
    writeFileSync(path.join(dir, "throws.mjs"), "throw new Error('no luck');\n");
    const base = ["nodehost", "--data", "h", "--ports", "0", ...DEPLOYMENT, "--app-module"];
    assertFails(await drumline(dir, [...base, "./absent.mjs"]), 1, /DL_ERR_APP_UNKNOWN.*absent\.mjs/);
    assertFails(await drumline(dir, [...base, "./broken.mjs"]), 1, /DL_ERR_APP_INVALID.*app\.create is missing/);
    assertFails(await drumline(dir, [...base, "./throws.mjs"]), 1, /DL_ERR_APP_INVALID.*cannot be loaded: no luck/);
  });
});

describe("drumline: a NodeHost process", () => {
  it("keeps its directory to itself, and stops in order", async (t) => {
    const dir = await tempDir(t);
    const args = ["nodehost", "--data", "h", "--ports", "0", "--nats", NOWHERE, ...QUIET];
    const first = await start(t, dir, [...args, "--deployment-id", "5"]);
    const { hostId, httpAddress } = first.ready;
    assert.equal((await fetch(`http://${httpAddress}/livez`)).status, 200);
    assert.equal((await fetch(`http://${httpAddress}/readyz`)).status, 200, "ready although NATS is unreachable");
    assert.match(await (await fetch(`http://${httpAddress}/metrics`)).text(), /^drumline_replicas 0$/m);
    const second = await drumline(dir, [...args, "--deployment-id", "5"]);
    assertFails(second, 1, new RegExp(`DL_ERR_DIRECTORY_LOCKED.*process ${first.child.pid}`));

    first.child.kill("SIGTERM");
    assert.equal(await first.exited, 0);
    const other = "00000000-0000-4000-8000-000000000000";
    assertFails(await drumline(dir, [...args, "--host-id", other]), 1, new RegExp(`DL_ERR_HOST_MISMATCH.*${hostId}`));
    const foreign = await drumline(dir, [...args, "--deployment-id", "6"]);
    assertFails(foreign, 1, /DL_ERR_DEPLOYMENT_MISMATCH.*belongs to deployment 5, expected 6/);

    const again = await start(t, dir, args);
    assert.deepEqual([again.ready["hostId"], again.ready["deploymentId"]], [hostId, 5], "the directory knows both");
    again.child.disconnect();
    assert.equal(await again.exited, 0, "a child ends with its parent");
  });
});

describe("drumline: a deployment of processes", () => {
  it("is made, used and seen from the command line", async (t) => {
    const dir = await tempDir(t);
    const taken = new Set<number>();
    const bases = [await freeBase(taken), await freeBase(taken), await freeBase(taken)];
    const broker = await start(t, dir, ["broker", "--port", "0"]);
    const init = ["init", "--masters", bases.join(","), "--nats", String(broker.ready["url"]), "--down-after", "5s"];
    assert.equal((await drumline(dir, init)).code, 0);
    const masters = bases.map((base, i) => start(t, dir, ["master", "--data", `m${i + 1}`, "--ports", String(base)]));
    const hosts = [1, 2, 3].map((i) => {
      return start(t, dir, ["nodehost", "--data", `h${i}`, "--ports", "0", "--label", `machine=m${i}`]);
    });
    const running = await Promise.all([...masters, ...hosts]);
    assert.deepEqual(
      running.slice(0, 3).map((m) => m.ready["replicaId"]),
      [1, 2, 3],
    );
    const say = async (...args: string[]) => {
      const ended = await drumline(dir, ["--json", ...args]);
      assert.equal(ended.code, 0, ended.stderr);
      return JSON.parse(ended.stdout);
    };
    let up = 0;
    while (up < 3) up = (await say("status")).hosts.up ?? 0;
    const { shardIds, key } = await say("shard", "create", "--app", "kv", "--count", "2", "--name", "pair");
    assert.deepEqual(shardIds, [1, 2]);
    assert.deepEqual(await say("shard", "create", "--app", "kv", "--count", "2", "--name", "pair", "--key", key), {
      shardIds: [1, 2],
      created: false,
      key,
      dryRun: false,
      plan: [],
    });
    const wishes = ["shard create --app kv --voters 5", "shard create --app other", "shard show 7"];
    const refusals = await inTurns(wishes, (wish) => drumline(dir, wish.split(" ")));
    for (const [i, code] of [/_NOT_PLACEABLE/, /_APP_UNKNOWN/, /_SHARD_NOT_FOUND/].entries()) {
      assertFails(refusals[i] as Ended, 1, code);
    }

    await say("kv", "put", "pair-2", "colour", "blue");
    assert.equal((await say("kv", "get", "2", "colour")).value, "blue");
    assert.equal((await say("kv", "append", "2", "colour", "--", "-ish")).length, 8);
    const cas = await drumline(dir, ["kv", "cas", "2", "colour", "red", "--expect", "green", "--json"]);
    assert.deepEqual([cas.code, JSON.parse(cas.stdout).value], [1, "blue-ish"]);
    assert.equal((await drumline(dir, ["kv", "get", "2", "absent"])).code, 1);
    const shown = await drumline(dir, ["shard", "show", "pair-2"]);
    assert.match(shown.stdout, /shard 2 \(pair-2\) of app kv: healthy, wanted 3 voters/);

    const wrong = ["master", "--data", "m1", "--ports", String(bases[1]), ...QUIET];
    for (const { child } of running.slice(0, 2)) child.kill("SIGTERM");
    assert.deepEqual(await Promise.all(running.slice(0, 2).map((r) => r.exited)), [0, 0]);
    assertFails(await drumline(dir, wrong), 1, /DL_ERR_HOST_MISMATCH.*directory of master 1, this is master 2/);
    // No master leads any more; data is served as before.
    const [api] = hosts.map(async (h) => String((await h).ready["apiAddress"]));
    assert.equal((await say("kv", "get", "2", "colour", "--api", String(await api))).value, "blue-ish");
  });
});

/** Two at a time: as many as the smallest machine has cores. */
async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += 2) results.push(...(await Promise.all(items.slice(at, at + 2).map(work))));
  return results;
}
