/**
 * What goes wrong, drawn from the world's chance: power loss and return, processes that stand still, partitions, bad
 * links, slow, full and broken disks, orderly restarts of hosts and replicas, snapshots, leaders that step down,
 * members that are replaced. Which of it a run may see is drawn per run ("swarm"), so that rare combinations are not
 * drowned by frequent ones.
 */
import { isOpError, type NodeHost } from "../../nodehost/index.js";
import type { Clients } from "./clients.js";
import { Members } from "./members.js";
import { SHARD, type SimCluster, type SimMachine } from "./sim-cluster.js";
import { STORAGE_FAULTS, type StorageFault, StorageFaults } from "./storage-faults.js";

const CALM = { dropRate: 0, duplicateRate: 0, reorderRate: 0, splitRate: 0, delayMinMs: 0.2, delayMaxMs: 1 };

export const FAULTS = [
  "crash",
  "crashAll",
  "stall",
  "isolate",
  "split",
  "oneWay",
  "badLinks",
  "slowDisk",
  "fullDisk",
  "brokenDisk",
  "reopen",
  "restartReplica",
  "snapshot",
  "stepDown",
  "replaceMember",
] as const;
export type Fault = (typeof FAULTS)[number] | StorageFault;

export class Nemesis {
  readonly #cluster: SimCluster;
  readonly #clients: Clients;
  readonly #members: Members;
  readonly #faults: readonly Fault[];
  /** Until when a disk is slow. */
  readonly slowUntilMs: number[] = [];
  /** Things that must not have happened. */
  readonly problems: string[] = [];
  /** What happened, for people. */
  readonly log: string[] = [];
  /** Directories that were lost, aged or copied. */
  readonly storage: StorageFaults;
  /** Errors that a broken disk explains. */
  #expectedFatal = 0;
  #running = true;

  constructor(cluster: SimCluster, clients: Clients, faults: readonly Fault[]) {
    this.#cluster = cluster;
    this.#clients = clients;
    this.#faults = faults;
    this.#members = new Members(cluster);
    this.storage = new StorageFaults({
      cluster,
      members: this.#members,
      calm: () => this.#calm(),
      note: (what) => this.#note(what),
      hostDied: (host) => clients.hostDied(host),
    });
  }

  start(): void {
    this.#next();
  }

  /** Ends all faults and brings every host back. */
  async stop(): Promise<void> {
    this.#running = false;
    this.#calm();
    this.#note("calm");
    await this.#cluster.world.until(this.storage.finish(), 120_000);
    this.problems.push(...this.storage.problems);
  }

  #calm(): void {
    const { network, machines } = this.#cluster;
    network.heal();
    network.setKnobs(CALM);
    for (const machine of machines) {
      machine.disk.fault = undefined;
      machine.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
      this.slowUntilMs[machine.number] = 0;
      if (machine.host === undefined && machine.opening === undefined) this.#bring(machine);
    }
  }

  /** A host failed for good, by itself. */
  hostFailed(machine: SimMachine, error: unknown): void {
    this.#note(`fatal on ${machine.number}: ${String(error)}`);
    if (this.#expectedFatal === 0) this.problems.push(`host ${machine.number} failed: ${String(error)}`);
    // As its process would, it ends; and somebody starts it again.
    const { world, env } = this.#cluster;
    env.timers.after(1, () => this.#crash(machine, 50 + world.random.int(500)));
  }

  replicaFaulted(machine: SimMachine, fault: string): void {
    this.#note(`replica on ${machine.number}: ${fault}`);
    if (fault !== "removed" && !this.storage.expects(machine, fault))
      this.problems.push(`replica on host ${machine.number}: ${fault}`);
  }

  #note(what: string): void {
    this.#cluster.world.note(what);
    this.log.push(`${this.#cluster.world.nowMs.toFixed(1)} ${what}`);
  }

  #next(): void {
    const { world, env } = this.#cluster;
    env.timers.after(100 + world.random.int(700), () => {
      if (!this.#running) return;
      if (!this.storage.paused) this.#strike(this.#faults[world.random.int(this.#faults.length)] ?? "crash");
      this.#next();
    });
  }

  #strike(fault: Fault): void {
    if (isStorageFault(fault)) {
      this.storage.strike(fault);
      return;
    }
    const { world, network, machines } = this.#cluster;
    const { random } = world;
    const machine = this.#cluster.machine(random.int(machines.length));
    const { host } = machine;
    this.#note(`${fault} ${machine.number}`);
    const addresses = machines.map((m) => m.address);
    const others = addresses.filter((a) => a !== machine.address);
    const forMs = 100 + random.int(1_500);
    switch (fault) {
      case "crash":
        this.#crash(machine, random.int(1_500));
        break;
      case "crashAll":
        for (const each of machines) this.#crash(each, random.int(400));
        break;
      case "isolate":
        network.partition([machine.address], others);
        this.#healAfter(forMs);
        break;
      case "split": {
        const side = addresses.filter(() => random.next() < 0.5);
        network.partition(
          side,
          addresses.filter((a) => !side.includes(a)),
        );
        this.#healAfter(forMs);
        break;
      }
      case "oneWay":
        for (const other of others) network.block(machine.address, other);
        this.#healAfter(forMs);
        break;
      case "badLinks":
        network.setKnobs({
          dropRate: random.next() * 0.1,
          duplicateRate: random.next() * 0.3,
          reorderRate: random.next() * 0.3,
          splitRate: random.next() * 0.3,
          delayMaxMs: 1 + random.next() * 40,
        });
        this.#cluster.env.timers.after(forMs, () => network.setKnobs(CALM));
        break;
      default:
        this.#strikeHost(fault, { machine, host, forMs });
    }
  }

  #strikeHost(
    fault: Fault,
    at: { readonly machine: SimMachine; readonly host: NodeHost | undefined; readonly forMs: number },
  ): void {
    const { machine, host, forMs } = at;
    const { world, env } = this.#cluster;
    switch (fault) {
      case "stall":
        machine.stall(forMs);
        break;
      case "slowDisk":
        this.slowUntilMs[machine.number] = world.nowMs + forMs;
        break;
      case "fullDisk":
        machine.disk.capacityBytes = machine.disk.usedBytes;
        env.timers.after(forMs, () => {
          machine.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
        });
        break;
      case "brokenDisk":
        this.#break(machine);
        break;
      case "reopen":
        if (host !== undefined) this.#reopen(machine, host);
        break;
      case "restartReplica":
        if (host !== undefined) this.#restartReplica(machine, host);
        break;
      case "snapshot":
        if (host?.getNodeHostInfo().clusterInfo.length === 1) {
          host.requestSnapshot(SHARD, { compactionOverhead: world.random.int(10) }, { timeoutMs: 1_000 });
        }
        break;
      case "stepDown":
        host?.drain({ timeoutMs: 1_000 }).catch((error: unknown) => this.#note(`drain: ${String(error)}`));
        break;
      case "replaceMember":
        this.#members.replaceOne().then(
          (what) => this.#note(what),
          (error: unknown) => this.#note(`replacing a member: ${String(error)}`),
        );
        break;
      default:
    }
  }

  #healAfter(forMs: number): void {
    this.#cluster.env.timers.after(forMs, () => {
      this.#cluster.network.heal();
      this.#note("heal");
    });
  }

  /** One of the next writes fails: the host must stop by itself. */
  #break(machine: SimMachine): void {
    let left = this.#cluster.world.random.int(20);
    this.#expectedFatal += 1;
    machine.disk.fault = ({ kind, path }) => {
      if (kind !== "write" || !path.startsWith("/wal")) return undefined;
      left -= 1;
      return left < 0 ? "EIO" : undefined;
    };
  }

  #crash(machine: SimMachine, backAfterMs: number): void {
    const { host } = machine;
    this.#cluster.crash(machine.number);
    this.#clients.hostDied(host);
    this.#note(`host ${machine.number} is dead`);
    this.#cluster.env.timers.after(backAfterMs, () => this.#bring(machine));
  }

  #bring(machine: SimMachine): void {
    if (machine.host !== undefined || machine.opening !== undefined) return;
    this.#cluster
      .openHost(machine.number)
      .then(() => this.#note(`host ${machine.number} is back`))
      .catch((error: unknown) => {
        this.#note(`host ${machine.number} does not open: ${String(error)}`);
        const full = isOpError(error) && error.code === "DL_ERR_DISK_FULL";
        if (!full && this.#expectedFatal === 0) {
          this.problems.push(`host ${machine.number} does not open: ${String(error)}`);
        }
        this.#cluster.env.timers.after(200, () => this.#bring(machine));
      });
  }

  #reopen(machine: SimMachine, host: NodeHost): void {
    machine.host = undefined;
    const closing = host.close();
    machine.opening = closing.then(() => host);
    closing.then(
      () => {
        this.#clients.hostDied(host);
        if (machine.opening === undefined || machine.host !== undefined) return;
        machine.opening = undefined;
        this.#bring(machine);
      },
      (error: unknown) => {
        this.problems.push(`host ${machine.number} does not close: ${String(error)}`);
      },
    );
  }

  #restartReplica(machine: SimMachine, host: NodeHost): void {
    const running = host.getNodeHostInfo().clusterInfo.find((info) => info.shardId === SHARD);
    if (running === undefined) return;
    const { replicaId } = running;
    const app = this.#cluster.appOf(machine.number);
    host
      .stopReplica(SHARD, replicaId)
      .then(() => host.restartReplica(SHARD, replicaId, new Map([[app.name, app]])))
      .catch((error: unknown) => this.#note(`restart of a replica on ${machine.number}: ${String(error)}`));
  }
}

function isStorageFault(fault: Fault): fault is StorageFault {
  return STORAGE_FAULTS.some((each) => each === fault);
}
