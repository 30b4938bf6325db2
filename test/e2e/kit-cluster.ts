/** A deployment of real processes with kv shards under load, for the end-to-end tests. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { DemoCluster, type Member } from "../../master/cli/demo-cluster.js";
import { Load } from "../../master/cli/demo-load.js";
import { HostViews } from "../../master/cli/demo-verify.js";
import type { Limit } from "../../master/cli/demo-wait.js";
import { awaitStrength, type Checked, MAIN, tempDir } from "./kit.js";

export interface ClusterPlan {
  readonly limit: Limit;
  readonly hosts: number;
  readonly shards: number;
  /** Default: kv. */
  readonly app?: string;
  readonly downAfterMs: number;
  /** A NATS server that runs already; default: the embedded broker. */
  readonly nats?: string;
}

const MASTERS = 3;
const VOTERS = 3;

export class LoadedCluster implements Checked {
  readonly cluster: DemoCluster;
  readonly load = new Load();
  readonly views = new HostViews();
  readonly limit: Limit;
  readonly voters = VOTERS;
  shardIds: readonly number[] = [];
  readonly #plan: ClusterPlan;

  private constructor(cluster: DemoCluster, plan: ClusterPlan) {
    this.cluster = cluster;
    this.limit = plan.limit;
    this.#plan = plan;
  }

  /** Broker, masters and hosts run, all shards are at strength, and clients write to them. */
  static async start(t: TestContext, plan: ClusterPlan): Promise<LoadedCluster> {
    const directory = join(await tempDir(t), "deployment");
    mkdirSync(directory);
    const nats = plan.nats === undefined ? {} : { nats: plan.nats };
    const cluster = new DemoCluster({ directory, downAfterMs: plan.downAfterMs, program: MAIN, ...nats });
    const loaded = new LoadedCluster(cluster, plan);
    t.after(() => loaded.#close());
    await cluster.startBroker();
    await cluster.startMasters(MASTERS);
    await cluster.startHosts(plan.hosts);
    await loaded.#createShards();
    loaded.followHosts();
    loaded.load.start(loaded.shardIds);
    return loaded;
  }

  addresses(): string[] {
    return this.cluster.liveHosts.map((host) => host.apiAddress);
  }

  /** Call after hosts came or went. */
  followHosts(): void {
    this.load.setHosts(this.addresses());
  }

  /** A live host that leads at least one shard. */
  async leadingHost(): Promise<Member> {
    return await this.limit.until("a host leads", async () => {
      const infos = await this.views.infos(this.addresses());
      const leading = infos.find((info) => info.clusterInfo.some((replica) => replica.isLeader));
      return this.cluster.host(leading?.hostId ?? "");
    });
  }

  /** A master plans again, and sees every host up and every shard healthy. */
  async awaitCalm(): Promise<void> {
    const { control, masters, hosts } = this.cluster;
    await this.limit.until("masters plan, all hosts up, all shards healthy", async () => {
      const answers = await Promise.all(masters.map((master) => control.status(master.apiAddress, 1_000)));
      const rows = await control.hosts();
      const shards = await control.shards();
      const problems = [
        ...(answers.some((answer) => answer.mode === "running")
          ? []
          : [`modes ${answers.map((a) => a.mode).join(", ")}`]),
        ...rows.filter((row) => row.state !== "up").map((row) => `${row.hostId} is ${row.state}: ${row.reason}`),
        ...(rows.length === hosts.length ? [] : [`${rows.length} hosts known`]),
        ...shards.filter((s) => s.state !== "healthy").map((s) => `shard ${s.shardId} ${s.state}: ${s.reason}`),
      ];
      if (problems.length > 0) throw new Error(problems.join("; "));
      return true;
    });
  }

  async #createShards(): Promise<void> {
    const { control } = this.cluster;
    const { hosts, shards: count, app = "kv" } = this.#plan;
    await this.limit.until("all hosts up", async () => {
      return (await control.hosts()).filter((row) => row.state === "up").length === hosts;
    });
    const wish = { key: "e2e", app, voters: VOTERS, count };
    this.shardIds = await this.limit.until("the shards are created", () => control.createShards(wish));
    await awaitStrength(this.shardIds, this);
  }

  async #close(): Promise<void> {
    await this.load.stop();
    this.load.close();
    this.views.close();
    await this.cluster.stop();
  }
}
