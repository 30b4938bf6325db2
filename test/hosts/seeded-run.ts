/**
 * One seeded run of a whole cluster: clients and faults for a while, then calm, then the questions: is what clients
 * were told true, do all members hold the same, did nothing fail that was not broken. See history.ts, nemesis.ts.
 */
import type { ClusterInfo } from "../../nodehost/index.js";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";
import { Clients, KEYS } from "./clients.js";
import { diskKvApp } from "./disk-kv.js";
import { FAULTS, type Fault, Nemesis } from "./nemesis.js";
import { KV, SHARD, SimCluster } from "./sim-cluster.js";
import { STORAGE_FAULTS, type StorageFault } from "./storage-faults.js";

export interface SeededRunOptions {
  readonly seed: number;
  /** Virtual time under faults; default 6,000. */
  readonly forMs?: number;
  /** Default: drawn from the seed. */
  readonly faults?: readonly Fault[];
  /** Machines on disk; default: drawn from the seed. */
  readonly onDisk?: boolean;
  /** Clients with sessions, besides those without; default 0. */
  readonly sessionClients?: number;
}

export interface SeededRunResult {
  readonly problems: readonly string[];
  /** Checksum of everything that happened. */
  readonly trace: string;
  readonly acknowledged: number;
  readonly reads: number;
  /** Attempts that clients with sessions made again. */
  readonly retries: number;
  /** Directories that were lost, aged or copied, and refused. */
  readonly refused: readonly StorageFault[];
  readonly log: readonly string[];
}

const ON_DISK_STREAM = 6_000_000;
const CONVERGE_MS = 30_000;

export async function seededRun(options: SeededRunOptions): Promise<SeededRunResult> {
  const { seed } = options;
  // Not drawn from the world: that would shift everything after it.
  const onDisk = options.onDisk ?? seededRandom(seed + ON_DISK_STREAM).next() < 0.4;
  const late: { nemesis: Nemesis | undefined } = { nemesis: undefined };
  const cluster: SimCluster = new SimCluster({
    seed,
    hosts: 4,
    diskLatencyMs: (number, { kind }) => {
      const slow = (late.nemesis?.slowUntilMs[number] ?? 0) > cluster.world.nowMs;
      const writes = kind === "write" || kind === "sync";
      return slow && writes ? cluster.world.random.next() * 300 : 0.05 + cluster.world.random.next() * 0.5;
    },
    hostOptions: (machine) => {
      if (onDisk) machine.app ??= diskKvApp(machine.disk);
      return {
        apps: [machine.app ?? KV],
        onFatal: (error) => late.nemesis?.hostFailed(machine, error),
        listeners: { replicaFaulted: (_shard, _replica, fault) => late.nemesis?.replicaFaulted(machine, fault) },
      };
    },
  });
  const { world } = cluster;
  const drawn: Fault[] = FAULTS.filter(() => world.random.next() < 0.4);
  // Of their own chance: what the seeds that found bugs do stays the same.
  const disks = seededRandom(seed ^ 0x5d15c);
  drawn.push(...STORAGE_FAULTS.filter(() => disks.next() < 0.15));
  for (const { number } of cluster.machines) await world.until(cluster.openHost(number));
  // In every third run the shard rests whenever its clients pause.
  const quiesceTicks = seed % 3 === 0 ? 5 : 100;
  await cluster.startKv(3, { snapshotEntries: 40, compactionOverhead: 5, quiesceTicks });
  const clients = new Clients(cluster);
  const nemesis = new Nemesis(cluster, clients, options.faults ?? (drawn.length === 0 ? ["crash"] : drawn));
  late.nemesis = nemesis;
  clients.start(4);
  clients.sessions.start(options.sessionClients ?? 0);
  nemesis.start();
  await world.run(options.forMs ?? 6_000);
  clients.stop();
  await nemesis.stop();
  const problems = [...(await finish(cluster, clients)), ...nemesis.problems, ...clients.sessions.problems];
  const { operations } = clients.history;
  return {
    problems,
    trace: world.trace,
    acknowledged: operations.filter((o) => o.kind === "append" && o.outcome === "ok").length,
    reads: operations.filter((o) => o.kind === "read" && o.outcome === "ok").length,
    retries: clients.sessions.retries,
    refused: nemesis.storage.refused,
    log: nemesis.log,
  };
}

/** Waits until the cluster is whole again, then checks it. */
async function finish(cluster: SimCluster, clients: Clients): Promise<string[]> {
  const { world } = cluster;
  try {
    await world.when("all requests settled", () => clients.openCount === 0, CONVERGE_MS);
    await world.when("all members hold the same", () => converged(cluster), CONVERGE_MS);
    const final = new Map<string, string>();
    for (const key of KEYS) final.set(key, await finalContent(cluster, clients, key));
    const problems = clients.history.problems(final);
    await cluster.close();
    return problems;
  } catch (error) {
    return [error instanceof Error ? error.message : String(error), ...describe(cluster)];
  }
}

async function finalContent(cluster: SimCluster, clients: Clients, key: string): Promise<string> {
  const { world } = cluster;
  for (let attempt = 0; attempt < 20; attempt++) {
    const host = cluster.host(await cluster.leader());
    const content = await world.until(clients.content(host, key));
    if (content !== undefined) return content;
    await world.run(100);
  }
  throw new Error("no linearizable read at the end");
}

function infoOf(cluster: SimCluster, number: number): ClusterInfo | undefined {
  return cluster
    .machine(number)
    .host?.getNodeHostInfo()
    .clusterInfo.find((info) => info.shardId === SHARD);
}

/** Every member of the leader's membership runs, with equal index and state. */
function converged(cluster: SimCluster): boolean {
  const at = cluster.leaderNow();
  const leader = at === -1 ? undefined : infoOf(cluster, at);
  if (leader?.membership === undefined || leader.stateHash === "") return false;
  for (const [replicaId, target] of leader.membership.voters) {
    const number = cluster.machines.findIndex((machine) => machine.address === target);
    const info = infoOf(cluster, number);
    if (info?.replicaId !== replicaId || info.stateHash !== leader.stateHash || info.fault !== "") return false;
  }
  return true;
}

function describe(cluster: SimCluster): string[] {
  return cluster.machines.map(({ number, host, opening }) => {
    const info = host === undefined ? undefined : infoOf(cluster, number);
    const what = host === undefined ? (opening === undefined ? "closed" : "opening") : "open";
    if (info === undefined) return `host ${number}: ${what}, no replica`;
    const { replicaId, role, isLeader, leaderId, term, applied, commit, stateHash, fault, configChangeIndex } = info;
    const status = { replicaId, role, isLeader, leaderId, term, applied, commit, stateHash, fault, configChangeIndex };
    return `host ${number}: ${what} ${JSON.stringify(status)}`;
  });
}
