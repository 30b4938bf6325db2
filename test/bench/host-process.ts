/**
 * One host of the benchmark, in its own process: runs its replicas and, for every shard it leads, a closed loop of
 * proposals (in-process clients, as an application embedding the library has them).
 */
import { createHistogram, performance } from "node:perf_hooks";
import type { ConcurrentStateMachine, Result, SmEntry } from "../../nodehost/index.js";
import { NodeHost, noOpSession } from "../../nodehost/index.js";
import type { BenchPlan, FromHost, HostReport, ToHost } from "./protocol.js";

/** Counts commands and keeps a checksum: as little work as a machine can do and still prove that all were applied. */
class CountingMachine implements ConcurrentStateMachine {
  #count = 0;

  update(entries: readonly SmEntry[]): Result[] {
    const results: Result[] = [];
    for (let i = 0; i < entries.length; i++) {
      this.#count += 1;
      results.push({ value: this.#count });
    }
    return results;
  }
  lookup(): number {
    return this.#count;
  }
  prepareSnapshot(): number {
    return this.#count;
  }
  async saveSnapshot(prepared: unknown, sink: { write(bytes: Uint8Array): Promise<void> }): Promise<void> {
    await sink.write(Buffer.from(String(prepared)));
  }
  async recoverFromSnapshot(source: AsyncIterable<Uint8Array>): Promise<void> {
    let text = "";
    for await (const chunk of source) text += Buffer.from(chunk).toString();
    this.#count = Number(text);
  }
  close(): void {}
}

class Load {
  readonly #host: NodeHost;
  readonly #plan: BenchPlan;
  readonly #payload: Uint8Array;
  readonly #histogram = createHistogram();
  #completed = 0;
  #failed = 0;
  #measuring = false;
  #stopped = false;

  constructor(host: NodeHost, plan: BenchPlan) {
    this.#host = host;
    this.#plan = plan;
    this.#payload = new Uint8Array(plan.payloadBytes).fill(7);
  }

  async run(): Promise<HostReport> {
    const loops: Promise<void>[] = [];
    for (let shardId = 1; shardId <= this.#plan.groups; shardId++) loops.push(this.#drive(shardId));
    await pause(this.#plan.warmupMs);
    const before = this.#counters();
    this.#measuring = true;
    await pause(this.#plan.measureMs);
    this.#measuring = false;
    const after = this.#counters();
    this.#stopped = true;
    await Promise.all(loops);
    const h = this.#histogram;
    const us = (ns: number): number => Math.round(ns / 1000);
    return {
      completed: this.#completed,
      failed: this.#failed,
      latencyUs: { p50: us(h.percentile(50)), p99: us(h.percentile(99)), max: this.#completed > 0 ? us(h.max) : 0 },
      fsyncs: after.fsyncs - before.fsyncs,
      walBytes: after.walBytes - before.walBytes,
      cpuMs: after.cpuMs - before.cpuMs,
      rssBytes: process.memoryUsage.rss(),
      measuredMs: after.nowMs - before.nowMs,
    };
  }

  /** Runs the closed loops of one shard whenever this host leads it. */
  async #drive(shardId: number): Promise<void> {
    while (!this.#stopped) {
      if (this.#leads(shardId)) {
        await Promise.all(Array.from({ length: this.#plan.inFlight }, () => this.#loop(shardId)));
      }
      await pause(50);
    }
  }

  /** One proposal in flight, until one does not complete (the leader changed) or the end. */
  async #loop(shardId: number): Promise<void> {
    const session = noOpSession(shardId);
    while (!this.#stopped) {
      const startMs = performance.now();
      const outcome = await this.#host.propose(session, this.#payload).completed;
      if (outcome.code !== "completed") {
        if (this.#measuring) this.#failed += 1;
        return;
      }
      if (!this.#measuring) continue;
      this.#completed += 1;
      this.#histogram.record(Math.max(1, Math.round((performance.now() - startMs) * 1e6)));
    }
  }

  #leads(shardId: number): boolean {
    return this.#host.getLeaderId(shardId)?.leaderId === this.#host.getShardInfo(shardId).replicaId;
  }

  #counters(): { fsyncs: number; walBytes: number; cpuMs: number; nowMs: number } {
    const { log } = this.#host.getNodeHostInfo({ skipLogInfo: true });
    const cpu = process.cpuUsage();
    return {
      fsyncs: log.appends,
      walBytes: log.bytesWritten,
      cpuMs: (cpu.user + cpu.system) / 1000,
      nowMs: performance.now(),
    };
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function say(message: FromHost): void {
  process.send?.(message);
}

async function main(): Promise<void> {
  const [dataDir = "", indexText = "0"] = process.argv.slice(2);
  const replicaId = Number(indexText) + 1;
  const host = await NodeHost.open({ raftAddress: "127.0.0.1:0", dataDir });
  let load: Load | undefined;
  process.on("disconnect", () => process.exit(0));
  process.on("message", (message: ToHost) => {
    handle(message).catch((error: unknown) => {
      console.error(error);
      process.exit(1);
    });
  });
  const handle = async (message: ToHost): Promise<void> => {
    if (message.kind === "start") {
      const members = new Map(message.members);
      const config = { replicaId, snapshotEntries: 200_000, compactionOverhead: 10_000 };
      for (let shardId = 1; shardId <= message.plan.groups; shardId++) {
        await host.startConcurrentReplica(members, false, () => new CountingMachine(), { ...config, shardId });
      }
      load = new Load(host, message.plan);
      say({ kind: "ready" });
    } else if (message.kind === "run" && load !== undefined) {
      say({ kind: "report", report: await load.run() });
    } else if (message.kind === "stop") {
      await host.close();
      process.disconnect();
    }
  };
  say({ kind: "listening", raftAddress: host.raftAddress });
}

await main();
