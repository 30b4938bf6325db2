/**
 * Whole data directories that go wrong: an older image of one comes back, one is lost, a copy of one runs beside it.
 * Whoever comes up on such a directory must be refused, and its replica never takes part again; then it is replaced by
 * a new one under a new id. Within a fault budget: one directory at a time, that of one voter of three, the next one
 * only when the shard is whole again. What makes an old image recognisable must have had time to spread
 * (RELIABILITY.md, "Copies of a directory"), so all other faults pause for that time and until the refusal. Used by
 * nemesis.ts.
 */
import type { Membership, NodeHost } from "../../nodehost/index.js";
import { FRAME_HEADER_BYTES, FrameReader } from "../../nodehost/transport/frame.js";
import { MessageDecoder } from "../../nodehost/transport/message-codec.js";
import { LIMITS } from "../../shared/limits.js";
import { HostMessageType } from "../../shared/types/message.js";
import type { Members } from "./members.js";
import { type MachineImage, SHARD, type SimCluster, type SimMachine } from "./sim-cluster.js";

export const STORAGE_FAULTS = ["staleDisk", "lostDisk", "cloneDisk"] as const;
export type StorageFault = (typeof STORAGE_FAULTS)[number];

const SPREAD_MS = LIMITS.peerBeatMs + LIMITS.peerSequenceLagMs + 500;
const REFUSED_WITHIN_MS = 20_000;
const STEP = { timeoutMs: 1_500 };

/** What the nemesis does for it. */
export interface StorageFaultsOptions {
  readonly cluster: SimCluster;
  readonly members: Members;
  /** All other faults end. */
  readonly calm: () => void;
  readonly note: (what: string) => void;
  readonly hostDied: (host: NodeHost | undefined) => void;
}

interface Victim {
  readonly machine: SimMachine;
  readonly replicaId: number;
}

export class StorageFaults {
  readonly #options: StorageFaultsOptions;
  readonly problems: string[] = [];
  /** Directories that were refused as they must. */
  readonly refused: StorageFault[] = [];
  /** No other fault may begin. */
  paused = false;
  #victim: Victim | undefined;
  #work: Promise<void> | undefined;

  constructor(options: StorageFaultsOptions) {
    this.#options = options;
  }

  /** Begins, unless one is under way. */
  strike(fault: StorageFault): void {
    if (this.#work !== undefined) return;
    this.#work = this.#run(fault)
      .catch((error: unknown) => {
        this.problems.push(`${fault}: ${error instanceof Error ? error.message : String(error)}`);
      })
      .finally(() => {
        this.paused = false;
        this.#victim = undefined;
        this.#work = undefined;
      });
  }

  /** Resolves when the shard is whole again. */
  async finish(): Promise<void> {
    await this.#work;
  }

  /** True if this replica must end like this. */
  expects(machine: SimMachine, fault: string): boolean {
    const { spare } = this.#options.cluster;
    const struck = machine === this.#victim?.machine || machine === spare;
    return struck && fault.startsWith("refused: ");
  }

  async #run(fault: StorageFault): Promise<void> {
    const { random } = this.#options.cluster.world;
    const victim = this.#choose();
    if (victim === undefined) return;
    const { machine, replicaId } = victim;
    this.#options.note(`${fault} ${machine.number}: replica ${replicaId}`);
    const image = machine.image();
    const sequence = machine.logDb?.durableSequence() ?? 0;
    await this.#sleep(500 + random.int(1_500));
    if (!(await this.#quiet())) return;
    if ((machine.logDb?.durableSequence() ?? 0) <= sequence || this.#voterOn(machine) !== replicaId) return;
    if (fault === "cloneDisk") {
      await this.#clone(victim, image);
      return;
    }
    this.#victim = victim;
    if (fault === "staleDisk") await this.#age(victim, image);
    else await this.#lose(victim);
    this.#options.note(`host ${machine.number}: ${this.#faultOn(machine)}`);
    this.refused.push(fault);
    await this.#start(machine);
    this.paused = false;
    await this.#replace(victim);
  }

  /** The host comes back on an older image, sometimes while the leader, which knows best, cannot be asked. */
  async #age({ machine }: Victim, image: MachineImage): Promise<void> {
    const { cluster } = this.#options;
    const leader = cluster.leaderNow();
    this.#stop(machine);
    machine.restore(image);
    if (leader !== machine.number && this.#chance(0.4)) this.#isolate(cluster.machine(leader));
    await cluster.openHost(machine.number);
    await this.#whenRefused(machine);
    cluster.network.heal();
    if (this.#chance(0.5)) return;
    // For ever, also when nobody who knows can be asked.
    this.#stop(machine);
    this.#isolate(machine);
    await cluster.openHost(machine.number);
    await this.#sleep(500);
    if (!this.#isRefused(machine)) this.problems.push(`host ${machine.number} has forgotten that it was refused`);
    cluster.network.heal();
  }

  /** The host comes back on an empty directory, and its replica is started as if nothing had happened. */
  async #lose({ machine, replicaId }: Victim): Promise<void> {
    const { cluster } = this.#options;
    this.#stop(machine);
    machine.restore();
    const initial = cluster.members(3);
    const isInitial = initial.has(replicaId);
    if (isInitial) this.#listenTo(machine);
    const isAlone = this.#chance(0.5);
    if (isAlone) this.#isolate(machine);
    const host = await cluster.openHost(machine.number);
    const config = { shardId: SHARD, replicaId, snapshotEntries: 40, compactionOverhead: 5 };
    await host.startApp(isInitial ? initial : new Map(), !isInitial, cluster.appOf(machine.number), config);
    if (isAlone) await this.#sleep(500 + cluster.world.random.int(1_500));
    cluster.network.heal();
    await this.#whenRefused(machine);
    cluster.onBytes = undefined;
  }

  /** Two processes on copies of one directory: one of which runs on, or both that start at the same time. */
  async #clone(victim: Victim, image: MachineImage): Promise<void> {
    const { cluster } = this.#options;
    const { machine, replicaId } = victim;
    const { spare } = cluster;
    const areTwins = this.#chance(0.5);
    if (areTwins) {
      this.#victim = victim;
      this.#stop(machine);
      spare.restore(machine.image());
      const numbers = this.#chance(0.5) ? [machine.number, spare.number] : [spare.number, machine.number];
      await Promise.all(numbers.map((number) => cluster.openHost(number)));
    } else {
      spare.restore(image);
      await cluster.openHost(spare.number);
    }
    await this.#when("a copy is refused", () => this.#isRefused(spare) || (areTwins && this.#isRefused(machine)));
    await this.#sleep(SPREAD_MS);
    this.refused.push("cloneDisk");
    this.#stop(spare);
    spare.restore();
    if (areTwins && this.#isRefused(machine)) {
      await this.#start(machine);
      this.paused = false;
      await this.#replace(victim);
    } else if (this.#faultOn(machine) !== "") {
      this.problems.push(`host ${machine.number} replica ${replicaId}, of which a copy ran: ${this.#faultOn(machine)}`);
    }
  }

  /** Whatever a replica says that must not take part, before it has heard so, is a broken promise. */
  #listenTo({ address }: SimMachine): void {
    const { cluster } = this.#options;
    const { crc32 } = cluster.env;
    const decoder = new MessageDecoder(crc32);
    const onFrame = (_kind: number, frame: Uint8Array): boolean => {
      for (const message of decoder.decode(frame, FRAME_HEADER_BYTES)) {
        if (message.type < HostMessageType.Recall)
          this.problems.push(`${address} said a message of type ${message.type}`);
      }
      return true;
    };
    cluster.onBytes = (from, bytes) => {
      if (from === address) new FrameReader(crc32, { onFrame }, bytes.length).push(bytes);
    };
  }

  #isolate(machine: SimMachine): void {
    const { machines, network } = this.#options.cluster;
    const others = machines.map((m) => m.address).filter((address) => address !== machine.address);
    network.partition([machine.address], others);
  }

  /** As a new host. */
  async #start(machine: SimMachine): Promise<void> {
    this.#stop(machine);
    machine.restore();
    await this.#options.cluster.openHost(machine.number);
  }

  #chance(rate: number): boolean {
    return this.#options.cluster.world.random.next() < rate;
  }

  #isRefused(machine: SimMachine): boolean {
    return this.#faultOn(machine).startsWith("refused: ");
  }

  #whenRefused(machine: SimMachine): Promise<void> {
    return this.#when(`host ${machine.number} is refused`, () => this.#isRefused(machine));
  }

  /** Other faults are over, all hosts are up, and have told each other how far they are. False if it takes too long. */
  async #quiet(): Promise<boolean> {
    const { cluster, calm } = this.#options;
    this.paused = true;
    for (let tries = 0; tries < 20; tries++) {
      calm();
      await this.#sleep(SPREAD_MS);
      const isUp = (machine: SimMachine): boolean => machine.host !== undefined && machine.opening === undefined;
      if (cluster.machines.every(isUp) && cluster.leaderNow() !== -1) return true;
    }
    return false;
  }

  #choose(): Victim | undefined {
    const { machines, world } = this.#options.cluster;
    const first = world.random.int(machines.length);
    for (let i = 0; i < machines.length; i++) {
      const machine = machines[(first + i) % machines.length];
      const replicaId = machine === undefined ? undefined : this.#voterOn(machine);
      if (machine !== undefined && replicaId !== undefined) return { machine, replicaId };
    }
    return undefined;
  }

  /** The voter that lives on a machine, if the shard has three voters of which it is one. */
  #voterOn(machine: SimMachine): number | undefined {
    const voters = this.#membership()?.voters;
    if (voters?.size !== 3) return undefined;
    for (const [replicaId, target] of voters) {
      const runs = machine.host?.getNodeHostInfo().clusterInfo.some((info) => info.replicaId === replicaId);
      if (target === machine.address && runs === true) return replicaId;
    }
    return undefined;
  }

  #membership(): Membership | undefined {
    const { cluster } = this.#options;
    const at = cluster.leaderNow();
    if (at === -1) return undefined;
    return cluster
      .host(at)
      .getNodeHostInfo()
      .clusterInfo.find((info) => info.shardId === SHARD)?.membership;
  }

  #faultOn(machine: SimMachine): string {
    return machine.host?.getNodeHostInfo().clusterInfo.find((info) => info.shardId === SHARD)?.fault ?? "";
  }

  /** The careful operator: the old member out, a new one in. Any step may fail under other faults. */
  async #replace({ replicaId }: Victim): Promise<void> {
    const { cluster, members, note } = this.#options;
    for (;;) {
      const at = cluster.leaderNow();
      const membership = this.#membership();
      try {
        if (at === -1 || membership === undefined) await this.#sleep(100);
        else if (membership.voters.has(replicaId)) {
          const { configChangeIndex } = membership;
          await members.inTime(cluster.host(at).syncRequestDeleteReplica(SHARD, replicaId, configChangeIndex, STEP));
          note(`removed ${replicaId}, which lost its directory`);
        } else if (membership.voters.size >= 3) return;
        else note(await members.replaceOne());
      } catch (error) {
        note(`replacing ${replicaId}: ${String(error)}`);
      }
      await this.#sleep(100);
    }
  }

  #stop(machine: SimMachine): void {
    const { cluster, hostDied } = this.#options;
    const { host } = machine;
    cluster.crash(machine.number);
    hostDied(host);
  }

  async #when(what: string, holds: () => boolean): Promise<void> {
    const { world } = this.#options.cluster;
    const endMs = world.nowMs + REFUSED_WITHIN_MS;
    while (!holds()) {
      if (world.nowMs > endMs) throw new Error(`did not happen: ${what}`);
      await this.#sleep(20);
    }
  }

  #sleep(forMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.cluster.env.timers.after(forMs, resolve);
    });
  }
}
