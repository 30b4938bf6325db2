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
/** Longer than LIMITS.walWriteDeadlineMs. */
const STUCK_MS = 40_000;
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
  const clients = new Clients(
    cleanup,
    HOSTS.map((i) => hosts.client(i)),
  );
  clients.start();
  for (const nth of [2, 5]) {
    await writesThrough(clients, HOSTS);
    const leader = await hosts.leader();
    // The leader first, then one that follows.
    const victim = nth === 2 ? leader : (leader + 1) % HOSTS.length;
    const died = hosts.process(victim);
    const fault = { walDir: join(dir, `host-${victim}`, "wal"), what: "error=EIO", nth };
    const injected = await failWrite(cleanup, { pid: died.pid, ...fault }).log;
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

test("P46: a leader whose disk stands still gives way; when the write is overdue it is silent and ends", {
  skip: missing("strace"),
  timeout: 90_000,
}, async (t) => {
  const cleanup = new Cleanup(t);
  const dir = await tempDir(t);
  const hosts = new ChaosHosts(cleanup, {
    ...{ count: HOSTS.length, dir, rttMs: RTT_MS, threadPoolSize: 1 },
    ...{ raftAddress: () => ANYWHERE, apiAddress: () => ANYWHERE },
  });
  await hosts.start();
  const clients = new Clients(
    cleanup,
    HOSTS.map((i) => hosts.client(i)),
  );
  clients.start();
  await writesThrough(clients, HOSTS);
  const leader = await hosts.leader();
  const others = HOSTS.filter((i) => i !== leader);
  const stuck = hosts.process(leader);
  const fault = { walDir: join(dir, `host-${leader}`, "wal"), what: `delay_enter=${STUCK_MS}ms`, nth: 3 };
  const strace = failWrite(cleanup, { pid: stuck.pid, ...fault });
  await hosts.leader(others);
  await writesThrough(clients, others);
  assert.equal(stuck.stderr, "", "the others went on only after the write was overdue");
  await eventually("the write is overdue", () => stuck.stderr.endsWith("\n") || undefined);
  assert.match(stuck.stderr, /^drumline: DL_ERR_STORAGE_FAILED: .*did not settle in time\ntry: .*\n$/);
  // An orderly exit would wait for the thread that hangs in the kernel, holding lock and ports.
  assert.deepEqual(await stuck.exited, { code: null, signal: "SIGKILL" });
  assert.equal(await hosts.shardInfo(leader), undefined, "a host that has failed still answers");
  strace.stop();
  assert.match(await strace.log, /pwrite64\(\d+<[^>]*wal-\d+\.seg>/);
  await hosts.open(leader);
  await writesThrough(clients, HOSTS);
  await clients.stop();
  await hosts.converged();
  t.diagnostic(await assertHistory(clients));
});

interface FailingWrite {
  readonly pid: number;
  readonly walDir: string;
  /** As strace's inject= takes it. */
  readonly what: string;
  readonly nth: number;
}

interface Strace {
  /** What it saw, when the host has ended or was let go. */
  readonly log: Promise<string>;
  stop(): void;
}

/** Makes the n-th write to the log from now fail. */
function failWrite(cleanup: Cleanup, { pid, walDir, what, nth }: FailingWrite): Strace {
  const log = join(walDir, "..", `strace-${pid}`);
  const files = readdirSync(walDir).flatMap((name) => ["-P", join(walDir, name)]);
  const args = straceArguments({ log, inject: `pwrite64:${what}:when=${nth}` });
  const strace = spawn("strace", [...args, ...files, "-p", `${pid}`], { stdio: ["ignore", "ignore", "inherit"] });
  cleanup.add(() => strace.kill("SIGKILL"));
  const ended = once(strace, "close").then(() => readFileSync(log, "utf8"));
  return { log: ended, stop: () => strace.kill("SIGTERM") };
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
