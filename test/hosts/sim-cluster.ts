/**
 * NodeHosts as they are (engine, Raft, state machines, WAL, snapshots, transport protocol), in one process, on virtual
 * time: simulated network, a simulated disk per host with the real WAL on it. Hosts crash as at a power loss and open
 * again on what their disk kept. Used by the tests of nodehost/api and by the seeded runs beside this file.
 */
import { decodeKvAnswer, encodeKvCommand, encodeKvQuery, kvApp, kvBytes } from "../../nodehost/apps/index.js";
import { NodeHost, type NodeHostOptions, noOpSession, type ReplicaConfig } from "../../nodehost/index.js";
import { createMemoryLogDb, type MemoryLogDbOptions, MemoryLogStore } from "../../nodehost/logdb/memory-logdb.js";
import type { LogDb } from "../../nodehost/logdb/port.js";
import { SimCheckpointDisk } from "../../nodehost/logdb/sim-checkpoint.js";
import { openWalLogDb } from "../../nodehost/logdb/wal-open.js";
import type { App } from "../../nodehost/rsm/index.js";
import { type SimKnobs, SimNetwork, type SimTransport } from "../../nodehost/transport/index.js";
import { type Env, type Logger, silentLogger } from "../../shared/env/env.js";
import { SimDisk, type SimOperation } from "../../shared/files/sim-files.js";
import { SimDirectory } from "../../shared/files/sim-node.js";
import { VirtualWorld } from "./virtual-world.js";

export const SHARD = 1;
export const KV = kvApp();
export const APPS: ReadonlyMap<string, App> = new Map([[KV.name, KV]]);
/** Small, so that runs cross many of them. */
const SEGMENTS = { firstBytes: 64 * 1024, maxBytes: 256 * 1024 };

export interface SimClusterOptions {
  readonly seed?: number;
  readonly hosts?: number;
  readonly knobs?: Partial<SimKnobs>;
  readonly rttMs?: number;
  /** Time an operation of a disk takes; default 0.05 … 0.5 ms. */
  readonly diskLatencyMs?: (host: number, operation: SimOperation) => number;
  /** Instead of the WAL on a simulated disk: a log in memory, with these options. */
  readonly memoryLog?: (host: number) => Omit<MemoryLogDbOptions, "env" | "onFatal" | "store">;
  readonly hostOptions?: (machine: SimMachine) => Partial<NodeHostOptions>;
  readonly logger?: (host: number) => Logger;
}

/** Everything a machine stores, at one moment. */
export interface MachineImage {
  readonly disk: SimDirectory;
  readonly rows: ReadonlyMap<string, Uint8Array>;
}

/** What a host is made of and what outlives its crashes. */
export class SimMachine {
  readonly number: number;
  readonly address: string;
  readonly disk: SimDisk;
  readonly checkpoints: SimCheckpointDisk;
  readonly memory = new MemoryLogStore();
  /** Errors given to `onFatal`, over all starts. */
  readonly fatal: unknown[] = [];
  host: NodeHost | undefined;
  /** Instead of `KV`: an app whose machines are on this host's disk. */
  app: App | undefined;
  logDb: LogDb | undefined;
  transport: SimTransport | undefined;
  kill: () => void = () => {};
  /** The process stands still for so long; what arrives meanwhile waits. */
  stall: (forMs: number) => void = () => {};
  /** Set while `open` is under way. */
  opening: Promise<NodeHost> | undefined;

  constructor(number: number, disk: SimDisk, checkpoints: SimCheckpointDisk) {
    this.number = number;
    this.address = `host-${number}.sim:7500`;
    this.disk = disk;
    this.checkpoints = checkpoints;
  }

  image(): MachineImage {
    return { disk: this.disk.image(), rows: new Map(this.checkpoints.rows) };
  }

  /** Its disks hold the image, or nothing. No host may be open. */
  restore(image?: MachineImage): void {
    this.disk.restore(image?.disk ?? new SimDirectory());
    this.checkpoints.restore(image?.rows ?? new Map());
  }
}

export class SimCluster {
  readonly world: VirtualWorld;
  /** Of nobody's host: it outlives every crash. */
  readonly env: Env;
  readonly network: SimNetwork;
  readonly machines: readonly SimMachine[];
  /** One more, of no host: for a second process on a copy of another's disk. */
  readonly spare: SimMachine;
  /** Sees all that a host says on the message lane and that arrives. */
  onBytes: ((from: string, bytes: Uint8Array) => void) | undefined;
  readonly #options: SimClusterOptions;

  constructor(options: SimClusterOptions = {}) {
    this.#options = options;
    const world = new VirtualWorld(options.seed ?? 1);
    this.world = world;
    const { env } = world.hostEnv(silentLogger);
    this.env = env;
    this.network = new SimNetwork({
      env,
      knobs: options.knobs ?? {},
      onDelivery: (from, to, bytes) => {
        world.note(`${from}>${to}`, bytes);
        this.onBytes?.(from, bytes);
      },
    });
    const quick = (): number => 0.05 + world.random.next() * 0.45;
    const makeMachine = (number: number): SimMachine => {
      const latencyMs = (operation: SimOperation): number => options.diskLatencyMs?.(number, operation) ?? quick();
      const disk = new SimDisk({ timers: env.timers, latencyMs });
      return new SimMachine(number, disk, new SimCheckpointDisk({ timers: env.timers, latencyMs: quick }));
    };
    this.machines = Array.from({ length: options.hosts ?? 3 }, (_, number) => makeMachine(number));
    this.spare = makeMachine(this.machines.length);
  }

  /** Opens all hosts; with `kv` also one kv shard over the first `kv` of them. */
  static async open(options: SimClusterOptions = {}, kv = 0): Promise<SimCluster> {
    const cluster = new SimCluster(options);
    for (const machine of cluster.machines) await cluster.world.until(cluster.openHost(machine.number));
    if (kv > 0) await cluster.startKv(kv);
    return cluster;
  }

  machine(number: number): SimMachine {
    const machine = number === this.spare.number ? this.spare : this.machines[number];
    if (machine === undefined) throw new Error(`no machine ${number}`);
    return machine;
  }

  host(number: number): NodeHost {
    const { host } = this.machine(number);
    if (host === undefined) throw new Error(`host ${number} is not open`);
    return host;
  }

  /** Begins to open a host on what its disk holds. Time must pass for it to be done. */
  openHost(number: number, extra: Partial<NodeHostOptions> = {}): Promise<NodeHost> {
    const machine = this.machine(number);
    const { env, kill, stall } = this.world.hostEnv(this.#options.logger?.(number) ?? silentLogger);
    machine.kill = kill;
    machine.stall = stall;
    const opening = NodeHost.open({
      raftAddress: machine.address,
      dataDir: "/data",
      rttMs: this.#options.rttMs ?? 20,
      env,
      files: machine.disk,
      onFatal: (error) => machine.fatal.push(error),
      factories: {
        lock: async (directory) => {
          await machine.disk.makeDirectory(directory);
          return { release: async () => {} };
        },
        transport: (setup) => {
          machine.transport = this.network.createTransport(setup);
          return machine.transport;
        },
        logDb: async (context) => {
          machine.logDb = await this.#openLog(machine, context);
          return machine.logDb;
        },
      },
      ...this.#options.hostOptions?.(machine),
      ...extra,
    });
    machine.opening = opening;
    return opening.then(
      (host) => {
        if (machine.opening === opening) {
          machine.host = host;
          machine.opening = undefined;
        }
        return host;
      },
      (error: unknown) => {
        if (machine.opening === opening) machine.opening = undefined;
        throw error;
      },
    );
  }

  async #openLog(
    machine: SimMachine,
    context: Parameters<NonNullable<NonNullable<NodeHostOptions["factories"]>["logDb"]>>[0],
  ): Promise<LogDb> {
    const { env, dataSetId, onFatal } = context;
    const { memoryLog } = this.#options;
    if (memoryLog !== undefined) {
      return createMemoryLogDb({ ...memoryLog(machine.number), env, onFatal, store: machine.memory });
    }
    return openWalLogDb({
      files: machine.disk,
      walDir: "/wal",
      dataDir: "/data",
      dataSetId,
      env,
      checkpointStore: machine.checkpoints.factory,
      onFatal,
      segmentSizes: SEGMENTS,
    });
  }

  /** Power loss: nothing of the host runs any more, its disk keeps what was durable and some of the rest. */
  crash(number: number): void {
    const machine = this.machine(number);
    machine.kill();
    machine.transport?.close().catch(() => {});
    machine.disk.crash(() => this.world.random.next());
    machine.checkpoints.crash(() => this.world.random.next());
    machine.memory.crash();
    machine.host = undefined;
    machine.opening = undefined;
  }

  /** The shard's initial members: replica i + 1 on host i. */
  members(count: number): Map<number, string> {
    return new Map(this.machines.slice(0, count).map((machine, i) => [i + 1, machine.address]));
  }

  /** The app of the tests' shards on a host. */
  appOf(number: number): App {
    return this.machine(number).app ?? KV;
  }

  async startKv(count: number, config: Partial<ReplicaConfig> = {}, shardId = SHARD, app?: App): Promise<void> {
    const members = this.members(count);
    for (let i = 0; i < count; i++) {
      const own = app ?? this.appOf(i);
      await this.world.until(this.host(i).startApp(members, false, own, { shardId, replicaId: i + 1, ...config }));
    }
    const takesPart = ({ host }: SimMachine): boolean => host?.getShardInfo(shardId).waiting === "";
    await this.world.when("all members take part", () => this.machines.slice(0, count).every(takesPart));
  }

  /** Number of the host whose replica leads in the highest term, -1 if none does. */
  leaderNow(shardId = SHARD): number {
    let best = { number: -1, term: -1 };
    for (const { number, host } of this.machines) {
      const info = host?.getNodeHostInfo({ skipLogInfo: true }).clusterInfo.find((c) => c.shardId === shardId);
      if (info?.isLeader === true && info.term > best.term) best = { number, term: info.term };
    }
    return best.number;
  }

  async leader(shardId = SHARD): Promise<number> {
    await this.world.when("a leader", () => this.leaderNow(shardId) !== -1);
    return this.leaderNow(shardId);
  }

  /** Puts through host `number` until acknowledged; only certain failures are tried again. */
  async put(number: number, key: string, value: string, shardId = SHARD): Promise<void> {
    for (;;) {
      const { completed } = this.host(number).propose(noOpSession(shardId), kvPut(key, value));
      const { code, error } = await this.world.until(completed);
      if (code === "completed") return;
      if (error === undefined || error.outcome !== "rejected" || !error.retryable) throw error;
      await this.world.run(10);
    }
  }

  /** Linearizable get through host `number`. */
  async get(number: number, key: string, shardId = SHARD): Promise<string | undefined> {
    for (;;) {
      const query = encodeKvQuery({ op: "get", key: kvBytes(key) });
      const state = this.host(number).readIndex(shardId);
      const { code, error } = await this.world.until(state.completed);
      if (code === "completed") {
        const answer = this.host(number).readLocalNode(state, query);
        if (!(answer instanceof Uint8Array)) throw new TypeError("kv answers bytes");
        const { found, bytes } = decodeKvAnswer(answer);
        return found ? Buffer.from(bytes).toString("utf8") : undefined;
      }
      if (error === undefined || !error.retryable) throw error;
      await this.world.run(10);
    }
  }

  async close(): Promise<void> {
    for (const { host } of this.machines) if (host !== undefined) await this.world.until(host.close());
  }
}

export function kvPut(key: string, value: string): Uint8Array {
  return encodeKvCommand({ op: "put", key: kvBytes(key), value: kvBytes(value) });
}
