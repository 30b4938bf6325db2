/**
 * Disks that fail under a live host. A write error ends the process at once and nothing else (P45); a full disk refuses
 * writes, keeps serving reads, and goes on by itself when there is room again (P44). Nothing acknowledged is lost.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { decodeKvAnswer, encodeKvCommand, encodeKvQuery, type KvAnswer, kvBytes } from "../../nodehost/apps/index.js";
import { isOpError } from "../../shared/errors.js";
import { tempDir } from "../kit/temp.js";
import { eventually } from "../kit/wait.js";
import { Cleanup, command } from "./cleanup.js";
import { Clients } from "./clients.js";
import { ChaosHosts, SHARD } from "./hosts.js";
import { missing } from "./needs.js";
import { straceArguments } from "./strace.js";
import { assertHistory } from "./verdict.js";

const HOSTS = [0, 1, 2];
const RTT_MS = 40;
const ANYWHERE = "127.0.0.1:0";
const ACKNOWLEDGED_MIN = 500;
const WRITES_OF_A_PHASE = 30;
const MIB = 1024 * 1024;
const VALUE_BYTES = 16 * 1024;

test("P45: a write error of the log ends that host with one line, the others go on, a restart loses nothing", {
  skip: missing("strace"),
  timeout: 90_000,
}, async (t) => {
  const cleanup = new Cleanup(t);
  const dir = await tempDir(t);
  const options = { count: HOSTS.length, dir, rttMs: RTT_MS, threadPoolSize: 1 };
  const hosts = new ChaosHosts(cleanup, { ...options, raftAddress: () => ANYWHERE, apiAddress: () => ANYWHERE });
  await hosts.start();
  const clients = new Clients(HOSTS.map((i) => hosts.client(i)));
  clients.start();
  for (const nth of [2, 5]) {
    await writesThrough(clients, HOSTS);
    const leader = await hosts.leader();
    // The leader first, then one that follows.
    const victim = nth === 2 ? leader : (leader + 1) % HOSTS.length;
    const died = hosts.process(victim);
    const injected = await failWrite(cleanup, { pid: died.pid, walDir: join(dir, `host-${victim}`, "wal"), nth });
    assert.match(injected, /pwrite64\(\d+<[^>]*wal-\d+\.seg>.* = -1 EIO .*\(INJECTED\)/);
    assert.deepEqual(await died.exited, { code: 70, signal: null }, died.stderr);
    assert.match(died.stderr, /^drumline: DL_ERR_STORAGE_FAILED: .*EIO.*\ntry: .*\n$/);
    await writesThrough(
      clients,
      HOSTS.filter((i) => i !== victim),
    );
    await hosts.open(victim);
  }
  await writesThrough(clients, HOSTS);
  await eventually("enough is acknowledged", () => clients.acknowledged >= ACKNOWLEDGED_MIN || undefined);
  await clients.stop();
  await hosts.converged();
  t.diagnostic(await assertHistory(clients));
});

interface FailingWrite {
  readonly pid: number;
  readonly walDir: string;
  readonly nth: number;
}

/** Makes the n-th write to the log from now fail. Resolves to what strace saw when the process has ended. */
async function failWrite(cleanup: Cleanup, { pid, walDir, nth }: FailingWrite): Promise<string> {
  const log = join(walDir, "..", `strace-${pid}`);
  const files = readdirSync(walDir).flatMap((name) => ["-P", join(walDir, name)]);
  const args = straceArguments({ log, inject: `pwrite64:error=EIO:when=${nth}` });
  const strace = spawn("strace", [...args, ...files, "-p", `${pid}`], { stdio: ["ignore", "ignore", "pipe"] });
  cleanup.add(() => strace.kill("SIGKILL"));
  let stderr = "";
  strace.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code] = await once(strace, "close");
  assert.equal(code, 0, stderr);
  return readFileSync(log, "utf8");
}

test("P44: a full disk refuses writes, serves reads, and goes on when there is room; nothing acknowledged is lost", {
  skip: missing("mount", "umount"),
  timeout: 90_000,
}, async (t) => {
  const cleanup = new Cleanup(t);
  const dir = await tempDir(t);
  const disk = join(dir, "disk");
  mkdirSync(disk);
  command("mount", "-t", "tmpfs", "-o", "size=40m", "drumline-chaos", disk);
  cleanup.add(() => command("umount", "--lazy", disk));
  // Room for the log's first segment of 8 MiB, not for the second one of 16 MiB.
  const ballast = join(disk, "ballast");
  writeFileSync(ballast, new Uint8Array(24 * MIB));
  const hosts = new ChaosHosts(cleanup, {
    ...{ count: 1, dir, rttMs: RTT_MS, walDir: join(disk, "wal"), snapshotEntries: 0 },
    ...{ raftAddress: () => ANYWHERE, apiAddress: () => ANYWHERE },
  });
  await hosts.start();
  await hosts.leader();
  const writer = new BigWriter(hosts);
  const refused = await writer.untilRefused();
  assert.equal(refused, "DL_ERR_DISK_FULL");
  assert.ok(writer.acknowledged.length >= 200, `${writer.acknowledged.length} acknowledged before the disk was full`);
  assert.ok(statfsSync(disk).bavail * statfsSync(disk).bsize < 16 * MIB, "the disk is not full");
  for (let i = 0; i < 20; i++) {
    assert.equal(await writer.put(), "DL_ERR_DISK_FULL", "a write while the disk is full");
    await writer.expectThere(writer.acknowledged.at(-1 - i));
  }
  assert.ok(hosts.process(0).isRunning);
  rmSync(ballast);
  const before = writer.acknowledged.length;
  await eventually("writes go on", async () => ((await writer.put()) === undefined ? true : undefined));
  for (let i = 0; i < WRITES_OF_A_PHASE; i++) assert.equal(await writer.put(), undefined);
  assert.ok(writer.acknowledged.length > before + WRITES_OF_A_PHASE);
  hosts.process(0).signal("SIGKILL");
  await hosts.process(0).exited;
  await hosts.open(0);
  await hosts.leader();
  for (const key of writer.acknowledged) await writer.expectThere(key);
  for (const key of writer.rejected) await writer.expectAbsent(key);
  assert.ok(writer.rejected.length >= 20);
  t.diagnostic(`${writer.acknowledged.length} acknowledged, ${before} of them before the disk was full`);
});

/** Puts values of 16 KiB under new keys and remembers which were acknowledged, and which certainly not written. */
class BigWriter {
  readonly #hosts: ChaosHosts;
  readonly acknowledged: string[] = [];
  readonly rejected: string[] = [];
  #serial = 0;

  constructor(hosts: ChaosHosts) {
    this.#hosts = hosts;
  }

  /** Undefined if acknowledged, else the error code. */
  async put(): Promise<string | undefined> {
    this.#serial += 1;
    const key = `key-${this.#serial}`;
    const cmd = encodeKvCommand({ op: "put", key: kvBytes(key), value: valueFor(key) });
    try {
      await this.#hosts.client(0).propose(SHARD, cmd, { timeoutMs: 2000 });
      this.acknowledged.push(key);
      return undefined;
    } catch (error) {
      if (!isOpError(error)) throw error;
      if (error.outcome === "rejected") this.rejected.push(key);
      return error.code;
    }
  }

  /** The proposal that met the full disk may be waiting still; those after it are refused. */
  async untilRefused(): Promise<string> {
    for (;;) {
      const code = await this.put();
      if (code !== undefined && code !== "DL_ERR_TIMEOUT") return code;
    }
  }

  async expectThere(key: string | undefined): Promise<void> {
    assert.ok(key !== undefined);
    const { found, bytes } = await this.#get(key);
    assert.ok(found && Buffer.from(valueFor(key)).equals(bytes), `${key} is lost`);
  }

  async expectAbsent(key: string): Promise<void> {
    assert.equal((await this.#get(key)).found, false, `${key} was refused, and is there`);
  }

  async #get(key: string): Promise<KvAnswer> {
    const query = encodeKvQuery({ op: "get", key: kvBytes(key) });
    const answer = await this.#hosts.client(0).read(SHARD, query, { timeoutMs: 5000 });
    return decodeKvAnswer(answer ?? new Uint8Array(1));
  }
}

function valueFor(key: string): Uint8Array {
  return kvBytes(key.padEnd(VALUE_BYTES, "."));
}

async function writesThrough(clients: Clients, hosts: readonly number[]): Promise<void> {
  const before = [...clients.writes];
  for (const i of hosts) {
    const enough = (): boolean => (clients.writes[i] ?? 0) - (before[i] ?? 0) >= WRITES_OF_A_PHASE / hosts.length;
    await eventually(`writes through host ${i}`, () => enough() || undefined);
  }
}
