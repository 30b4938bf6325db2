/** A few NodeHosts in one process, on real disks and real sockets, with one kv shard over them. */
import * as path from "node:path";
import type { TestContext } from "node:test";
import { decodeKvAnswer, encodeKvCommand, encodeKvQuery, kvApp, kvBytes } from "../../nodehost/apps/index.js";
import { NodeHost, type NodeHostOptions, noOpSession, type ReplicaConfig } from "../../nodehost/index.js";
import { tempDir } from "./temp.js";
import { eventually } from "./wait.js";

export const SHARD = 1;
export const KV = kvApp();
export const APPS = new Map([[KV.name, KV]]);

export class Hosts {
  readonly #dir: string;
  readonly hosts: (NodeHost | undefined)[] = [];
  readonly addresses: string[] = [];
  readonly #extra: Partial<NodeHostOptions>;

  constructor(dir: string, extra: Partial<NodeHostOptions>) {
    this.#dir = dir;
    this.#extra = extra;
  }

  static async open(t: TestContext, count: number, extra: Partial<NodeHostOptions> = {}): Promise<Hosts> {
    const cluster = new Hosts(await tempDir(t), extra);
    t.after(() => cluster.close());
    for (let i = 0; i < count; i++) await cluster.openHost(i);
    return cluster;
  }

  /** Opens (again) host `i`, at its earlier address if it had one. */
  async openHost(i: number): Promise<NodeHost> {
    const host = await NodeHost.open({
      raftAddress: this.addresses[i] ?? "127.0.0.1:0",
      dataDir: this.dataDir(i),
      rttMs: 10,
      ...this.#extra,
    });
    this.hosts[i] = host;
    this.addresses[i] = host.raftAddress;
    return host;
  }

  dataDir(i: number): string {
    return path.join(this.#dir, `host-${i}`);
  }

  host(i: number): NodeHost {
    const host = this.hosts[i];
    if (host === undefined) throw new Error(`host ${i} is not open`);
    return host;
  }

  /** The shard's initial members: replica i + 1 on host i. */
  members(count: number): Map<number, string> {
    return new Map(this.addresses.slice(0, count).map((address, i) => [i + 1, address]));
  }

  async startKv(count: number, config: Partial<ReplicaConfig> = {}): Promise<void> {
    const members = this.members(count);
    for (let i = 0; i < count; i++) {
      await this.host(i).startApp(members, false, KV, { shardId: SHARD, replicaId: i + 1, ...config });
    }
    // A new member that loses another one before it heard of it would wait for it.
    for (let i = 0; i < count; i++) {
      await eventually("a member takes part", () => this.host(i).getShardInfo(SHARD).waiting === "" || undefined);
    }
  }

  /** Puts through host `i` until it is acknowledged; only certain failures are tried again. */
  async put(i: number, key: string, value: string): Promise<void> {
    await eventually(`put ${key}`, async () => {
      const outcome = await this.host(i).propose(noOpSession(SHARD), kvPut(key, value), { timeoutMs: 10_000 })
        .completed;
      if (outcome.code === "completed") return true;
      if (outcome.error?.outcome !== "rejected" || !outcome.error.retryable) throw outcome.error;
      return undefined;
    });
  }

  /** Linearizable get through host `i`. */
  async get(i: number, key: string): Promise<string | undefined> {
    return eventually(`get ${key}`, async () => {
      const answer = await this.host(i).syncRead(SHARD, encodeKvQuery({ op: "get", key: kvBytes(key) }));
      if (!(answer instanceof Uint8Array)) throw new TypeError("kv answers bytes");
      const { found, bytes } = decodeKvAnswer(answer);
      return { value: found ? Buffer.from(bytes).toString("utf8") : undefined };
    }).then((found) => found.value);
  }

  /** What host `i` has, whoever leads; undefined if it has nothing under the key. */
  async staleGet(i: number, key: string): Promise<string | undefined> {
    const answer = await this.host(i).staleRead(SHARD, encodeKvQuery({ op: "get", key: kvBytes(key) }));
    if (!(answer instanceof Uint8Array)) throw new TypeError("kv answers bytes");
    const { found, bytes } = decodeKvAnswer(answer);
    return found ? Buffer.from(bytes).toString("utf8") : undefined;
  }

  /** Index of the host whose replica leads. */
  leader(): Promise<number> {
    return eventually("a leader", () => {
      const at = this.hosts.findIndex((host) => host?.getNodeHostInfo().clusterInfo.some((info) => info.isLeader));
      return at === -1 ? undefined : { at };
    }).then((found) => found.at);
  }

  async close(): Promise<void> {
    await Promise.all(this.hosts.map((host) => host?.close()));
  }
}

export function kvPut(key: string, value: string): Uint8Array {
  return encodeKvCommand({ op: "put", key: kvBytes(key), value: kvBytes(value) });
}
