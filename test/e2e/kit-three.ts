/** Three NodeHost processes without masters, with kv shards of three voters, for the end-to-end tests. */
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { Client, credentials } from "@grpc/grpc-js";
import { DrumlineProcess, freePortTriples } from "../../master/cli/demo-process.js";
import { callUnary, NODE_HOST_SERVICE } from "../../shared/wire/index.js";
import { tempDir } from "./kit.js";

const HOST_PROGRAM = fileURLToPath(new URL("./kit-host.js", import.meta.url));

export class ThreeHosts {
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

  async startReplicas(shardIds: readonly number[], snapshotEntries: number): Promise<void> {
    const initial = [0, 1, 2].map((i) => ({ replicaId: i + 1, target: this.#address(i, 0) }));
    const settings = { snapshotEntries, compactionOverhead: 10 };
    for (const i of [0, 1, 2]) {
      const client = new Client(this.#address(i, 1), credentials.createInsecure());
      for (const shardId of shardIds) {
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
