/**
 * Three hosts, no master: one is killed while clients write, writes go on; it returns on its old data after the log
 * it lacks was compacted, catches up by snapshot, and every acknowledged write is on every replica exactly once.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";
import { Load } from "../../master/cli/demo-load.js";
import { DrumlineProcess, freePortTriples } from "../../master/cli/demo-process.js";
import { HostViews } from "../../master/cli/demo-verify.js";
import { callUnary, NODE_HOST_SERVICE } from "../../shared/wire/index.js";
import { awaitStrength, awaitWrites, checkAll, limitOf, tempDir } from "./kit.js";

const HOST_PROGRAM = fileURLToPath(new URL("./kit-host.js", import.meta.url));
const SHARDS = [1, 2];
const SNAPSHOT_ENTRIES = 100;

class ThreeHosts {
  readonly processes: DrumlineProcess[] = [];
  readonly snapshots: string[] = [];
  readonly #dir: string;
  readonly #ports: readonly number[];

  private constructor(dir: string, ports: readonly number[]) {
    this.#dir = dir;
    this.#ports = ports;
  }

  static async start(t: TestContext): Promise<ThreeHosts> {
    const hosts = new ThreeHosts(await tempDir(t), await freePortTriples(3));
    t.after(() => Promise.all(hosts.processes.map((process) => process.stop())));
    await Promise.all([0, 1, 2].map((i) => hosts.startHost(i)));
    return hosts;
  }

  async startHost(i: number): Promise<void> {
    const process = new DrumlineProcess({
      name: `host-${i}`,
      args: [HOST_PROGRAM, join(this.#dir, `host-${i}`), String(this.#ports[i])],
      logPath: join(this.#dir, `host-${i}.log`),
      onLine: (line) => {
        if (line.includes('"snapshotReceived"')) this.snapshots.push(`host-${i}: ${line}`);
      },
    });
    this.processes[i] = process;
    await process.ready();
  }

  /** Of the gRPC APIs of live hosts. */
  addresses(): string[] {
    return [0, 1, 2].filter((i) => this.processes[i]?.running === true).map((i) => this.#address(i, 1));
  }

  async startReplicas(): Promise<void> {
    const initial = [0, 1, 2].map((i) => ({ replicaId: i + 1, target: this.#address(i, 0) }));
    const settings = { snapshotEntries: SNAPSHOT_ENTRIES, compactionOverhead: 10 };
    for (const i of [0, 1, 2]) {
      const client = new Client(this.#address(i, 1), credentials.createInsecure());
      for (const shardId of SHARDS) {
        const request = { shardId, replicaId: i + 1, app: "kv", initial, join: false, settings };
        await callUnary(client, NODE_HOST_SERVICE.startReplica, request, { timeoutMs: 10_000 });
      }
      client.close();
    }
  }

  #address(i: number, offset: number): string {
    return `127.0.0.1:${(this.#ports[i] ?? 0) + offset}`;
  }
}

test("a killed host returns, catches up by snapshot, and nothing acknowledged is lost", async (t) => {
  const limit = limitOf(t);
  const hosts = await ThreeHosts.start(t);
  await hosts.startReplicas();
  const views = new HostViews();
  const load = new Load();
  t.after(() => {
    load.close();
    views.close();
  });
  const checked = { load, views, limit, voters: 3, addresses: () => hosts.addresses() };
  await awaitStrength(SHARDS, checked);
  load.setHosts(hosts.addresses());
  load.start(SHARDS);
  await awaitWrites(load, limit, 50);

  const infos = await views.infos(hosts.addresses());
  const victim = infos.findIndex((info) => info.clusterInfo.some((replica) => replica.isLeader));
  assert.ok(victim >= 0, "no host leads");
  await hosts.processes[victim]?.kill();
  load.setHosts(hosts.addresses());
  hosts.snapshots.length = 0;
  await awaitWrites(load, limit, 3 * SNAPSHOT_ENTRIES);

  await hosts.startHost(victim);
  load.setHosts(hosts.addresses());
  await limit.until("a snapshot arrived", () => hosts.snapshots.some((text) => text.startsWith(`host-${victim}:`)));
  await awaitWrites(load, limit, 50);
  await checkAll(checked);
  const { acked, maxGapMs, unknown } = load.totals();
  t.diagnostic(`${acked} writes acknowledged, ${unknown} unknown, largest gap ${maxGapMs} ms`);
});
