/** Gathers twice a second what the demo's live status shows, from the masters and the writers. */
import type { DemoCluster } from "./demo-cluster.js";
import type { Load } from "./demo-load.js";
import type { HostRow, ShardRow } from "./demo-masters.js";
import type { HostLine, ShardLine, StatusSnapshot } from "./demo-render.js";

export interface FeedOptions {
  readonly cluster: DemoCluster;
  readonly load: Load;
  show(status: StatusSnapshot): void;
}

const EVERY_MS = 500;

export class StatusFeed {
  readonly #options: FeedOptions;
  #timer: NodeJS.Timeout | undefined;
  #asking = false;
  #hosts: readonly HostRow[] = [];
  #shards: readonly ShardRow[] = [];
  #operationsOpen = 0;
  #lastAcked = 0;
  #lastMs = 0;

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  start(): void {
    this.#lastMs = performance.now();
    this.#timer = setInterval(() => this.#tick(), EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #tick(): void {
    if (!this.#asking) {
      this.#asking = true;
      this.#ask()
        .catch(() => {}) // no master answers just now: the last known rows stay
        .finally(() => {
          this.#asking = false;
        });
    }
    this.#options.show(this.#snapshot());
  }

  async #ask(): Promise<void> {
    const { control } = this.#options.cluster;
    this.#hosts = await control.hosts();
    this.#shards = await control.shards();
    this.#operationsOpen = (await control.operations(false)).length;
  }

  #snapshot(): StatusSnapshot {
    const { acked, unknown, maxGapMs } = this.#options.load.totals();
    const nowMs = performance.now();
    const writesPerSecond = ((acked - this.#lastAcked) / Math.max(1, nowMs - this.#lastMs)) * 1000;
    this.#lastAcked = acked;
    this.#lastMs = nowMs;
    const hosts = this.#options.cluster.hosts.map((member): HostLine => {
      const row = this.#hosts.find((one) => one.hostId === member.hostId);
      const seen = row?.state ?? "starting";
      const state = !member.process.running && seen === "up" ? "killed" : seen;
      const { replicas = 0, leaders = 0 } = row?.load ?? {};
      return { name: member.name, state, replicas: replicas ?? 0, leaders: leaders ?? 0 };
    });
    const shards = this.#shards.map((row) => this.#shardLine(row));
    return { hosts, shards, operationsOpen: this.#operationsOpen, acked, unknown, writesPerSecond, maxGapMs };
  }

  #shardLine(row: ShardRow): ShardLine {
    const members = (row.replicas ?? []).map((replica) => {
      const member = this.#options.cluster.host(replica.hostId ?? "");
      const host = member?.name.replace("host-", "") ?? "?";
      const is = replica.isLeader === true ? "leader" : replica.running === true ? "running" : "missing";
      return { host, is } as const;
    });
    return { shardId: row.shardId ?? 0, state: row.state ?? "", members };
  }
}
