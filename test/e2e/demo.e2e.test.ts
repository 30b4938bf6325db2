/**
 * `drumline demo` as a user starts it: its report and exit code, and that no child outlives it, however it ends.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { childEnvironment } from "../../master/cli/demo-process.js";
import type { Limit } from "../../master/cli/demo-wait.js";
import { limitOf, MAIN, tempDir } from "./kit.js";

/** The demo's own limit is 170 s. */
const DEMO_LIMIT_MS = 180_000;
const PROCESSES = 1 + 3 + 5;

class Demo {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  readonly #dir: string;
  stdout = "";
  stderr = "";

  constructor(t: TestContext, dir: string, args: readonly string[]) {
    this.#dir = dir;
    this.child = spawn(process.execPath, [MAIN, "demo", "--keep", dir, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: childEnvironment(),
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.exited = new Promise((resolve) => this.child.once("close", (code) => resolve(code)));
    t.after(async () => {
      this.child.kill("SIGKILL");
      await this.exited;
    });
  }

  /** Process ids of every child it has started so far, from their logs. */
  childPids(): number[] {
    const logs = join(this.#dir, "logs");
    if (!existsSync(logs)) return [];
    return readdirSync(logs).flatMap((name) => {
      const found = /"event":"spawned".*"pid":(\d+)/.exec(readFileSync(join(logs, name), "utf8"));
      return found === null ? [] : [Number(found[1])];
    });
  }

  /** The children that were started, once there are so many and then none of them lives. */
  async awaitNoneLeft(limit: Limit): Promise<void> {
    const pids = this.childPids();
    assert.ok(pids.length > 0, "no child was ever started");
    await limit.until(`all of ${pids.join(", ")} are gone`, () => !pids.some(isAlive));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("demo --once --json: killed host and master leader, all repaired, nothing acknowledged lost", async (t) => {
  const dir = await tempDir(t);
  const demo = new Demo(t, dir, ["--once", "--json", "--hosts", "5", "--shards", "16"]);
  const limit = limitOf(t, DEMO_LIMIT_MS);
  const code = await limit.until("the demo ends", () => (demo.child.exitCode === null ? undefined : demo.exited));
  assert.equal(code, 0, demo.stderr);
  const lines = demo.stdout.trimEnd().split("\n");
  const report = new Map<string, unknown>(Object.entries(JSON.parse(lines.at(-1) ?? "")));
  const expected = { hosts: 5, shards: 16, lostWrites: 0, doubleWrites: 0, shardsAtStrength: 16, replicasEqual: true };
  for (const [key, value] of Object.entries(expected)) assert.equal(report.get(key), value, key);
  assert.deepEqual(report.get("killed"), ["host", "master"]);
  const measured = ["detectedMs", "repairedMs", "masterFailoverMs", "maxWriteGapMs", "electionTimeoutMs", "cleanedMs"];
  for (const key of [...measured, "ackedWrites", "unknownWrites"]) {
    const value = report.get(key);
    assert.ok(typeof value === "number" && value >= 0, `${key} is ${String(value)}\n${demo.stderr}`);
  }
  assert.ok(Number(report.get("ackedWrites")) > 1_000);
  assert.ok(Number(report.get("operationsAtFailover")) > 0);
  assert.equal(report.get("operationsContinued"), report.get("operationsAtFailover"), demo.stderr);
  await demo.awaitNoneLeft(limit);
  t.diagnostic(lines.at(-1) ?? "");
});

test("SIGKILL of the demo leaves no child, not even one that is still starting", async (t) => {
  const limit = limitOf(t);
  for (const [name, count] of [
    ["early", 3],
    ["late", PROCESSES],
  ] as const) {
    const demo = new Demo(t, join(await tempDir(t), name), []);
    await limit.until(`${count} processes are started`, () => demo.childPids().length >= count, { everyMs: 5 });
    demo.child.kill("SIGKILL");
    await demo.exited;
    await demo.awaitNoneLeft(limit);
  }
});

test("SIGINT stops the demo and all children in order", async (t) => {
  const limit = limitOf(t);
  const demo = new Demo(t, join(await tempDir(t), "interrupted"), []);
  await limit.until("all processes are started", () => demo.childPids().length >= PROCESSES);
  demo.child.kill("SIGINT");
  assert.equal(await demo.exited, 130, demo.stderr);
  assert.ok(demo.childPids().every((pid) => !isAlive(pid)));
  assert.match(demo.stdout, /stopping all processes/);
});
