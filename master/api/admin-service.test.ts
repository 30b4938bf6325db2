/**
 * The control plane as its users meet it: three masters and four NodeHosts in one process, on real disks and sockets
 * with a simulated broker, driven through the gRPC admin API only.
 */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import * as path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { Client, credentials } from "@grpc/grpc-js";
import { decodeKvAnswer, encodeKvCommand, encodeKvQuery, kvApp, kvBytes } from "../../nodehost/apps/index.js";
import { ShardClient } from "../../nodehost/client/index.js";
import { NodeHost } from "../../nodehost/index.js";
import { SimBroker } from "../../shared/bus/index.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { isOpError, type OpError } from "../../shared/errors.js";
import { callUnary, MASTER_SERVICE, type Method } from "../../shared/wire/index.js";
import { tempDir } from "../../test/kit/temp.js";
import { eventually } from "../../test/kit/wait.js";
import { deriveTiming } from "../detect/index.js";
import { Master, type MasterMember } from "../loop/index.js";
import { type AdminService, startAdminService } from "./index.js";

const DEPLOYMENT = 77;
const TIMING = deriveTiming(2_000);
const SETTINGS = { electionTicks: 10, heartbeatTicks: 1, snapshotEntries: 100, compactionOverhead: 10 };
const RTT_MS = 20;

interface RunningMaster {
  readonly master: Master;
  readonly api: AdminService;
}

class Deployment {
  readonly #dir: string;
  readonly #env = createRealEnv();
  readonly #broker = new SimBroker({ env: createRealEnv() });
  readonly members: readonly MasterMember[];
  readonly masters = new Map<number, RunningMaster>();
  readonly hosts = new Map<number, NodeHost>();
  readonly #clients = new Map<string, Client>();
  readonly shards: ShardClient;

  constructor(dir: string, members: readonly MasterMember[]) {
    this.#dir = dir;
    this.members = members;
    this.shards = new ShardClient((shardId) => this.#route(shardId));
  }

  static async open(t: TestContext, hosts: number): Promise<Deployment> {
    const ports = await freePorts(6);
    const members = [1, 2, 3].map((replicaId) => ({
      replicaId,
      raftAddress: `127.0.0.1:${ports[replicaId - 1]}`,
      apiAddress: `127.0.0.1:${ports[replicaId + 2]}`,
    }));
    const deployment = new Deployment(await tempDir(t), members);
    t.after(() => deployment.close());
    await Promise.all(members.map(({ replicaId }) => deployment.openMaster(replicaId)));
    await Promise.all(Array.from({ length: hosts }, (_, i) => deployment.openHost(i)));
    await eventually("all hosts are up", async () => {
      const { hosts: all } = await deployment.call(MASTER_SERVICE.listHosts, {});
      return all.length === hosts && all.every((host) => host.state === "up");
    });
    return deployment;
  }

  async openMaster(replicaId: number): Promise<void> {
    const bus = this.#broker.createBus(`master-${replicaId}`);
    const { members } = this;
    const dataDir = path.join(this.#dir, `m${replicaId}`);
    const base = { env: this.#env, bus, deploymentId: DEPLOYMENT, replicaId, members, dataDir };
    const master = await Master.open({ ...base, timing: TIMING, rttMs: RTT_MS });
    const address = members[replicaId - 1]?.apiAddress ?? "";
    const api = await startAdminService({ env: this.#env, master, address, version: "test", settings: SETTINGS });
    this.masters.set(replicaId, { master, api });
  }

  async closeMaster(replicaId: number): Promise<void> {
    const running = this.masters.get(replicaId);
    this.masters.delete(replicaId);
    await running?.api.close();
    await running?.master.close();
    await running?.master.options.bus.close();
  }

  async openHost(i: number): Promise<NodeHost> {
    const bus = this.#broker.createBus(`host-${i}`);
    const host = await NodeHost.open({
      raftAddress: "127.0.0.1:0",
      apiAddress: "127.0.0.1:0",
      dataDir: path.join(this.#dir, `h${i}`),
      deploymentId: DEPLOYMENT,
      rttMs: RTT_MS,
      labels: { machine: `m${i}` },
      apps: [kvApp()],
      master: { nats: bus, reportIntervalMs: TIMING.reportIntervalMs, peerSilenceMs: TIMING.peerEvidenceMs },
      env: this.#env,
    });
    this.hosts.set(i, host);
    return host;
  }

  async closeHost(i: number): Promise<void> {
    const host = this.hosts.get(i);
    this.hosts.delete(i);
    await host?.close();
  }

  /** Asks the masters that run, in order, until one answers; a call that is refused for good rejects. */
  call<Sent, Got>(method: Method<Sent, unknown, never, Got, false>, request: Sent): Promise<Got> {
    return eventually("a master answers", async () => {
      for (const replicaId of this.masters.keys()) {
        try {
          return { answer: await this.callAt(replicaId, method, request) };
        } catch (error) {
          if (!isOpError(error)) throw error;
          if (error.code !== "DL_ERR_NOT_LEADER" && error.code !== "DL_ERR_UNREACHABLE") return { error };
        }
      }
      return undefined;
    }).then((result) => {
      if ("error" in result) throw result.error;
      return result.answer;
    });
  }

  callAt<Sent, Got>(id: number, method: Method<Sent, unknown, never, Got, false>, request: Sent): Promise<Got> {
    const address = this.members[id - 1]?.apiAddress ?? "";
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new Client(address, credentials.createInsecure(), { "grpc.max_reconnect_backoff_ms": 200 });
      this.#clients.set(address, client);
    }
    return callUnary(client, method, request, { timeoutMs: 10_000 });
  }

  leaderId(): Promise<number> {
    return eventually("a master leads", () => {
      for (const [id, { master }] of this.masters) if (master.loop.lastPlan !== undefined) return id;
      return undefined;
    });
  }

  async #route(shardId: number): Promise<string[]> {
    const { replicas } = await this.call(MASTER_SERVICE.getShard, { shardId });
    const { hosts } = await this.call(MASTER_SERVICE.listHosts, {});
    const leaderFirst = [...replicas].sort((a, b) => Number(b.isLeader ?? false) - Number(a.isLeader ?? false));
    return leaderFirst.map((r) => hosts.find((h) => h.hostId === r.hostId)?.apiAddress ?? "");
  }

  allHealthy(): Promise<void> {
    return eventually("all shards are healthy", async () => {
      const { shards } = await this.call(MASTER_SERVICE.listShards, {});
      return shards.length > 0 && shards.every((shard) => shard.state === "healthy");
    }).then(() => {});
  }

  async put(shardId: number, key: string, value: string): Promise<void> {
    const command = encodeKvCommand({ op: "put", key: kvBytes(key), value: kvBytes(value) });
    const { value: status } = await this.shards.propose(shardId, command);
    assert.equal(status, 0);
  }

  async get(shardId: number, key: string): Promise<string> {
    const bytes = await this.shards.read(shardId, encodeKvQuery({ op: "get", key: kvBytes(key) }));
    return new TextDecoder().decode(decodeKvAnswer(bytes ?? new Uint8Array([0])).bytes);
  }

  async close(): Promise<void> {
    this.shards.close();
    for (const client of this.#clients.values()) client.close();
    for (const i of [...this.hosts.keys()]) await this.closeHost(i);
    for (const id of [...this.masters.keys()]) await this.closeMaster(id);
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<Server>((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function codeIs(code: string, detail: RegExp = /./) {
  return (error: unknown): boolean => {
    assert.ok(isOpError(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, detail);
    return true;
  };
}

const NEW = { key: "", app: "kv", voters: 3 };

describe("admin service", () => {
  it("creates shards, repairs them when a host dies, and says why all the while", async (t) => {
    const d = await Deployment.open(t, 4);
    const made = await d.call(MASTER_SERVICE.createShard, { ...NEW, key: "first", count: 6, name: "s" });
    assert.deepEqual(made.shardIds, [1, 2, 3, 4, 5, 6]);
    assert.equal(made.created, true);
    await d.allHealthy();
    const { shards } = await d.call(MASTER_SERVICE.listShards, {});
    assert.deepEqual(
      shards.map((s) => s.name),
      ["s-1", "s-2", "s-3", "s-4", "s-5", "s-6"],
    );
    const perHost = new Map<string, number>();
    for (const { replicas } of shards) {
      assert.equal(new Set(replicas?.map((r) => r.hostId)).size, 3, "one replica per host");
      for (const { hostId } of replicas ?? []) perHost.set(hostId ?? "", (perHost.get(hostId ?? "") ?? 0) + 1);
    }
    // 18 replicas over 4 hosts: each placement saw the ones before it.
    assert.deepEqual([...perHost.values()].sort(), [4, 4, 5, 5]);
    await Promise.all(shards.map((s) => d.put(s.shardId ?? 0, "key", `value ${s.shardId}`)));

    const lostId = d.hosts.get(0)?.hostId ?? "";
    const hurt = (await d.call(MASTER_SERVICE.listShards, { hostId: lostId })).shards.map((s) => s.shardId ?? 0);
    assert.ok(hurt.length > 0);
    await d.closeHost(0);
    await eventually("the loss is told with its reason", async () => {
      const { shards: unhealthy } = await d.call(MASTER_SERVICE.listShards, { unhealthyOnly: true });
      return unhealthy.length === hurt.length && unhealthy.every((s) => s.reason?.includes(lostId));
    });
    await eventually("the host is Down", async () => {
      const { hosts } = await d.call(MASTER_SERVICE.listHosts, {});
      const host = hosts.find((h) => h.hostId === lostId);
      return host?.state === "down" && host.reason?.includes("leaders miss it");
    });
    await eventually("every shard is at strength on the other hosts", async () => {
      const all = (await d.call(MASTER_SERVICE.listShards, {})).shards;
      return all.every((s) => s.state === "healthy" && s.replicas?.every((r) => r.running && r.hostId !== lostId));
    });
    for (const shardId of hurt) {
      assert.equal(await d.get(shardId, "key"), `value ${shardId}`);
      const { operations } = await d.call(MASTER_SERVICE.listOperations, { includeFinished: true, shardId });
      assert.deepEqual(
        operations.map((o) => [o.kind, o.state]),
        [
          ["create", "done"],
          ["replace", "done"],
        ],
      );
      assert.match(operations[1]?.reason ?? "", /lost replica \d+ on .* \(down\)/);
    }
    // On a busy machine another master may lead by now, and warm up.
    const status = await eventually("the master plans", async () => {
      const now = await d.call(MASTER_SERVICE.status, {});
      return now.mode === "running" ? now : undefined;
    });
    assert.deepEqual(status.hosts, { up: 3, down: 1 });
    assert.equal(status.shards, 6);
    assert.equal(status.shardsDegraded + status.shardsUnavailable + status.operationsOpen, 0);
  });

  it("operations outlive the master that opened them, under the same ids", async (t) => {
    const d = await Deployment.open(t, 4);
    await d.call(MASTER_SERVICE.createShard, { ...NEW, key: "k", count: 8 });
    await d.allHealthy();
    const lostId = d.hosts.get(1)?.hostId ?? "";
    await d.closeHost(1);
    const open = await eventually("repairs are open", async () => {
      const { operations } = await d.call(MASTER_SERVICE.listOperations, {});
      return operations.length > 0 ? operations : undefined;
    });
    const leaderId = await d.leaderId();
    await d.closeMaster(leaderId);
    await eventually("every shard is at strength again", async () => {
      const all = (await d.call(MASTER_SERVICE.listShards, {})).shards;
      return all.every((s) => s.state === "healthy" && s.replicas?.every((r) => r.running && r.hostId !== lostId));
    });
    const { operations } = await d.call(MASTER_SERVICE.listOperations, { includeFinished: true });
    for (const { operationId } of open) {
      assert.equal(operations.find((o) => o.operationId === operationId)?.state, "done");
    }
    const replaced = operations.filter((o) => o.kind === "replace").map((o) => o.shardId);
    assert.equal(new Set(replaced).size, replaced.length, "no shard was repaired twice");
    assert.notEqual(await d.leaderId(), leaderId);
  });

  it("every master answers, by asking the leader; without one it says so", async (t) => {
    const d = await Deployment.open(t, 3);
    await d.call(MASTER_SERVICE.createShard, { ...NEW, key: "k" });
    const leaderId = await d.leaderId();
    for (const id of [1, 2, 3]) {
      const status = await d.callAt(id, MASTER_SERVICE.status, {});
      assert.equal(status.replicaId, leaderId);
      assert.equal(status.leaderId, leaderId);
      assert.deepEqual(
        status.masters.map((m) => [m.replicaId, m.isLeader ?? false]),
        [1, 2, 3].map((m) => [m, m === leaderId]),
      );
      assert.deepEqual((await d.callAt(id, MASTER_SERVICE.listShards, {})).shards.length, 1);
      // The same key at any of them is the same shard.
      const again = await d.callAt(id, MASTER_SERVICE.createShard, { ...NEW, key: "k" });
      assert.deepEqual([again.shardIds, again.created], [[1], false]);
    }
    const [left, gone] = [1, 2, 3].filter((id) => id !== leaderId) as [number, number];
    await d.closeMaster(gone);
    await d.closeMaster(leaderId);
    await assert.rejects(
      eventually("the remaining master notices", async () => {
        try {
          await d.callAt(left, MASTER_SERVICE.listShards, {});
        } catch (error) {
          return { error: error as OpError };
        }
        return undefined;
      }).then(({ error }) => Promise.reject(error)),
      codeIs("DL_ERR_NOT_LEADER"),
    );
    const status = await d.callAt(left, MASTER_SERVICE.status, {});
    assert.equal(status.replicaId, left);
    assert.equal(status.mode, "following");
    assert.notEqual(status.reason, "");
  });

  it("refuses what cannot be, and names what would be valid", async (t) => {
    const d = await Deployment.open(t, 3);
    const create = (request: object) => () => d.call(MASTER_SERVICE.createShard, { ...NEW, ...request });
    await assert.rejects(create({ voters: 0 }), codeIs("DL_ERR_INVALID_ARGUMENT", /voters is 0, expected 1 to 7/));
    await assert.rejects(create({ voters: 8 }), codeIs("DL_ERR_INVALID_ARGUMENT", /expected 1 to 7/));
    await assert.rejects(create({ count: 1_001 }), codeIs("DL_ERR_INVALID_ARGUMENT", /count/));
    await assert.rejects(create({ name: "no spaces" }), codeIs("DL_ERR_INVALID_ARGUMENT", /name/));
    await assert.rejects(create({ app: "" }), codeIs("DL_ERR_INVALID_ARGUMENT", /app/));
    await assert.rejects(create({ app: "absent" }), codeIs("DL_ERR_APP_UNKNOWN", /absent, the hosts have kv/));
    await assert.rejects(create({ voters: 5 }), codeIs("DL_ERR_NOT_PLACEABLE", /3 of 5 voters placed/));
    await assert.rejects(create({ witnesses: 1 }), codeIs("DL_ERR_NOT_IMPLEMENTED"));
    await assert.rejects(
      create({ settings: { electionTicks: 3, heartbeatTicks: 2 } }),
      codeIs("DL_ERR_INVALID_ARGUMENT"),
    );
    const { plan, shardIds } = await create({ dryRun: true, count: 2 })();
    assert.deepEqual([plan.length, shardIds.length], [2, 0]);
    assert.equal((await d.call(MASTER_SERVICE.listShards, {})).shards.length, 0, "nothing was made");

    await create({ key: "a", name: "one" })();
    await assert.rejects(create({ key: "b", name: "one" }), codeIs("DL_ERR_SHARD_EXISTS", /shard 1 has the name one/));
    await assert.rejects(create({ key: "a", name: "two" }), codeIs("DL_ERR_SHARD_EXISTS", /another spec/));
    await assert.rejects(
      create({ key: "a", count: 2 }),
      codeIs("DL_ERR_SHARD_EXISTS", /was used for 1 shards, now for 2/),
    );
    await assert.rejects(() => d.call(MASTER_SERVICE.getShard, { shardId: 9 }), codeIs("DL_ERR_SHARD_NOT_FOUND"));
    await assert.rejects(() => d.call(MASTER_SERVICE.setScheduler, { paused: true }), codeIs("DL_ERR_NOT_IMPLEMENTED"));
    await d.allHealthy();
    const { reason } = await d.call(MASTER_SERVICE.getShard, { shardId: 1 });
    assert.match(reason, /shard 1 \(one\) of app kv: healthy, wanted 3 voters/);
  });
});
