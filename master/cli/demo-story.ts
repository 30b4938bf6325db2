/**
 * What happens in the demo, in order: everything starts, clients write, a NodeHost is killed, then the master leader
 * while operations are open, shards are repaired, the killed ones return, every write is checked. Each step is one
 * method. What may not finish in time without harm to the verdict is shown as failed and measured as -1.
 */
import { errorText } from "../../shared/errors.js";
import type { DemoOptions } from "./demo.js";
import type { DemoCluster, Member } from "./demo-cluster.js";
import { Load } from "./demo-load.js";
import type { DemoReport } from "./demo-report.js";
import { StatusFeed } from "./demo-status.js";
import { checkWrites, HostViews, replicasEqual, votersAtStrength } from "./demo-verify.js";
import type { DemoView } from "./demo-view.js";
import { DemoFailure, type Limit } from "./demo-wait.js";

export interface StoryContext {
  readonly cluster: DemoCluster;
  readonly options: DemoOptions;
  readonly view: DemoView;
  readonly limit: Limit;
}

const MASTERS = 3;
/** rttMs 50 × electionTicks 10: the defaults of hosts. */
const ELECTION_TIMEOUT_MS = 500;
const START_LIMIT_MS = 60_000;
const WARM_WRITES_PER_SHARD = 25;
/** A slow machine writes a little longer, so that there is something to check. */
const WRITES_MIN = 2_000;
const NOT_MEASURED = -1;

interface HostKill {
  readonly victim: Member;
  readonly atMs: number;
  readonly detectedMs: number;
}

interface Failover {
  readonly killed: Member;
  readonly masterFailoverMs: number;
  readonly operations: readonly number[];
}

export class DemoStory {
  readonly #cluster: DemoCluster;
  readonly #options: DemoOptions;
  readonly #view: DemoView;
  readonly #limit: Limit;
  readonly #load = new Load();
  readonly #views = new HostViews();
  readonly #feed: StatusFeed;
  #shardIds: readonly number[] = [];
  /** When what began, for telling when the largest gap was. */
  readonly #marks: { readonly name: string; readonly atMs: number }[] = [];

  constructor({ cluster, options, view, limit }: StoryContext) {
    this.#cluster = cluster;
    this.#options = options;
    this.#view = view;
    this.#limit = limit;
    this.#feed = new StatusFeed({ cluster, load: this.#load, show: (status) => view.status(status) });
  }

  async run(): Promise<DemoReport> {
    await this.#start();
    await this.#createShards();
    await this.#startWriters();
    const kill = await this.#killHost();
    const failover = await this.#killMaster(kill);
    const repairedMs = await this.#awaitRepair(kill);
    const operationsContinued = await this.#awaitOperations(failover);
    const cleanedMs = await this.#bringBack(kill, failover);
    const proof = await this.#verify();
    const { acked, unknown, maxGapMs, maxGapEndedMs } = this.#load.totals();
    const { hosts, shards, voters, downAfterMs } = this.#options;
    return {
      hosts,
      shards,
      voters,
      killed: ["host", "master"],
      detectedMs: kill.detectedMs,
      repairedMs,
      masterFailoverMs: failover.masterFailoverMs,
      operationsAtFailover: failover.operations.length,
      operationsContinued,
      cleanedMs,
      maxWriteGapMs: maxGapMs,
      maxWriteGapDuring: this.#marks.findLast((mark) => mark.atMs <= maxGapEndedMs)?.name ?? "",
      electionTimeoutMs: ELECTION_TIMEOUT_MS,
      ackedWrites: acked,
      unknownWrites: unknown,
      ...proof,
      downAfterMs,
      totalMs: Math.round(this.#limit.elapsedMs),
    };
  }

  close(): void {
    this.#feed.stop();
    this.#load.close();
    this.#views.close();
  }

  async #start(): Promise<void> {
    const { hosts } = this.#options;
    this.#view.phase(`starting a broker, ${MASTERS} masters and ${hosts} NodeHosts`);
    await this.#cluster.startBroker();
    await this.#cluster.startMasters(MASTERS);
    await this.#cluster.startHosts(hosts);
    this.#view.done(`a broker, ${MASTERS} masters and ${hosts} NodeHosts run, each its own process`);
    this.#load.setHosts(this.#hostAddresses());
    this.#feed.start();
  }

  async #createShards(): Promise<void> {
    const { shards: count, voters, hosts } = this.#options;
    this.#view.phase(`creating ${count} shards of ${voters} voters`);
    const { control } = this.#cluster;
    const seesHosts = async (): Promise<boolean> =>
      (await control.hosts()).filter((h) => h.state === "up").length === hosts;
    await this.#limit.until("the masters see all hosts up", seesHosts, { limitMs: START_LIMIT_MS, everyMs: 100 });
    const wish = { key: "demo", app: "kv", voters, count };
    const create = async (): Promise<number[]> => await control.createShards(wish);
    this.#shardIds = await this.#limit.until("the shards are created", create, {
      limitMs: START_LIMIT_MS,
      everyMs: 200,
    });
    await this.#limit.until("all shards at strength", () => this.#atStrength(), {
      limitMs: START_LIMIT_MS,
      everyMs: 100,
    });
    this.#view.done(`${count} kv shards of ${voters} voters are at strength`);
  }

  async #startWriters(): Promise<void> {
    this.#view.phase("clients begin to write to every shard");
    this.#mark("start");
    this.#load.start(this.#shardIds);
    const warm = (): boolean => this.#load.ledgers.every((ledger) => ledger.acked >= WARM_WRITES_PER_SHARD);
    await this.#limit.until("every shard acknowledges writes", warm, { limitMs: START_LIMIT_MS });
    this.#view.done("clients write to every shard, at least one write in flight per shard");
  }

  /** The host that leads the most shards. */
  async #killHost(): Promise<HostKill> {
    const infos = await this.#views.infos(this.#hostAddresses());
    const [most] = infos.sort((a, b) => b.load.leaders - a.load.leaders);
    const victim = this.#cluster.host(most?.hostId ?? "");
    if (most === undefined || victim === undefined) throw new DemoFailure("no host leads a shard");
    this.#view.phase(`SIGKILL ${victim.name}, which leads ${most.load.leaders} shards`);
    const atMs = this.#mark("host kill");
    await victim.process.kill();
    this.#load.setHosts(this.#hostAddresses());
    this.#view.phase(`waiting until the master sees ${victim.name} Down`);
    const isDown = async (): Promise<boolean> =>
      (await this.#cluster.control.hosts()).some((row) => row.hostId === victim.hostId && row.state === "down");
    await this.#limit.until(`${victim.name} is Down`, isDown, { limitMs: START_LIMIT_MS });
    const detectedMs = Math.round(performance.now() - atMs);
    this.#view.done(`the master sees ${victim.name} Down`);
    return { victim, atMs, detectedMs };
  }

  async #killMaster(kill: HostKill): Promise<Failover> {
    const cluster = this.#cluster;
    this.#view.phase("waiting for open operations");
    const leader = await this.#limit.until("a master leads", () => this.#leadingMaster(), { limitMs: START_LIMIT_MS });
    const openOnes = async (): Promise<number[] | undefined> => {
      const rows = await cluster.control.operations(false);
      const ids = rows.filter((row) => row.state === "open").map((row) => row.operationId ?? 0);
      return ids.length > 0 ? ids : undefined;
    };
    const what = `operations for the shards of ${kill.victim.name} are open`;
    const operations = await this.#limit.until(what, openOnes, { limitMs: START_LIMIT_MS, everyMs: 10 });
    const atMs = this.#mark("master kill");
    await leader.process.kill();
    this.#view.done(`SIGKILL ${leader.name}, the master leader, while ${operations.length} operations are open`);
    this.#view.phase("waiting until another master plans");
    const isNew = async (): Promise<boolean> => {
      const now = await this.#leadingMaster();
      return now !== undefined && now !== leader;
    };
    const took = await this.#soft("another master plans", isNew, { sinceMs: atMs, limitMs: 60_000 });
    return { killed: leader, masterFailoverMs: took, operations };
  }

  async #awaitRepair(kill: HostKill): Promise<number> {
    this.#view.phase("repairing: every shard gets a new third voter");
    this.#mark("repair");
    const repaired = (): Promise<boolean> => this.#atStrength();
    const took = await this.#soft("all shards at strength again", repaired, { sinceMs: kill.atMs, limitMs: 90_000 });
    if (took !== NOT_MEASURED) this.#view.done(`all shards at strength again, none on ${kill.victim.name}`);
    return took;
  }

  /** How many of the operations that were open at the failover were done by their ids. */
  async #awaitOperations({ operations }: Failover): Promise<number> {
    this.#view.phase("waiting for the operations that were open when the master was killed");
    let finished = 0;
    const all = async (): Promise<boolean> => {
      const rows = await this.#cluster.control.operations(true);
      const isDone = new Set(rows.filter((row) => row.state === "done").map((row) => row.operationId ?? 0));
      finished = operations.filter((id) => isDone.has(id)).length;
      return finished === operations.length;
    };
    const took = await this.#soft("the same operations are done", all, { sinceMs: 0, limitMs: 20_000 });
    if (took !== NOT_MEASURED) this.#view.done(`all ${finished} finished under the new leader, by the same ids`);
    return finished;
  }

  /** Starts the killed ones on their old data. Resolves to how long the host's old replicas took to vanish. */
  async #bringBack({ victim }: HostKill, { killed }: Failover): Promise<number> {
    this.#view.phase(`restarting ${victim.name} and ${killed.name} on their old data`);
    const sinceMs = this.#mark("return");
    await Promise.all([this.#cluster.restartHost(victim), this.#cluster.restartMaster(killed)]);
    this.#load.setHosts(this.#hostAddresses());
    this.#view.phase(`waiting until the old replicas of ${victim.name} are stopped and their data removed`);
    let left: readonly number[] = [];
    const isClean = async (): Promise<boolean> => {
      left = await this.#strangersOn(victim);
      return left.length === 0;
    };
    const took = await this.#soft("old replicas are gone", isClean, { sinceMs, limitMs: 40_000 });
    if (took === NOT_MEASURED) this.#view.note(`still there: shards ${left.join(", ")}`);
    else this.#view.done(`the old replicas of ${victim.name} are stopped and their data removed`);
    return took;
  }

  async #verify(): Promise<Proof> {
    const { voters } = this.#options;
    this.#view.phase("clients go on writing to the repaired shards");
    const enough = async (): Promise<boolean> => this.#load.totals().acked >= WRITES_MIN;
    await this.#soft(`${WRITES_MIN} writes are acknowledged`, enough, { sinceMs: 0, limitMs: 30_000 });
    this.#view.phase("stopping the clients");
    const ledgers = await this.#load.stop();
    this.#view.phase("reading every value through every replica, linearizably");
    const where = { limit: this.#limit, addressesOf: (shardId: number) => this.#replicaAddresses(shardId) };
    const check = await checkWrites(ledgers, this.#views, where);
    for (const finding of check.findings) this.#view.problem(finding);
    if (check.unwitnessed > 0) throw new DemoFailure(`${check.unwitnessed} writes were not read through another host`);
    this.#view.phase("comparing state hashes of all replicas at one index");
    const equal = await replicasEqual(this.#shardIds, this.#views, {
      voters,
      limit: this.#limit,
      limitMs: 20_000,
      addresses: () => this.#hostAddresses(),
      problem: (text) => this.#view.problem(text),
    });
    this.#view.done();
    const shardsAtStrength = (await this.#strength()).filter((state) => typeof state !== "string").length;
    const { lost: lostWrites, double: doubleWrites, unknownApplied } = check;
    return { lostWrites, doubleWrites, unknownApplied, shardsAtStrength, replicasEqual: equal };
  }

  #mark(name: string): number {
    const atMs = performance.now();
    this.#marks.push({ name, atMs });
    return atMs;
  }

  #hostAddresses(): string[] {
    return this.#cluster.liveHosts.map((host) => host.apiAddress);
  }

  async #strength(): Promise<ReturnType<typeof votersAtStrength>[]> {
    const infos = await this.#views.infos(this.#hostAddresses());
    return this.#shardIds.map((shardId) => votersAtStrength(shardId, this.#options.voters, infos));
  }

  /** Throws with the first reason, so that a wait that fails can name it. */
  async #atStrength(): Promise<boolean> {
    const why = (await this.#strength()).find((state) => typeof state === "string");
    if (typeof why === "string") throw new Error(why);
    return true;
  }

  async #replicaAddresses(shardId: number): Promise<string[]> {
    return await this.#limit.until(`shard ${shardId} at strength`, async () => {
      const infos = await this.#views.infos(this.#hostAddresses());
      const placed = votersAtStrength(shardId, this.#options.voters, infos);
      if (typeof placed === "string") throw new Error(placed);
      return placed.map((one) => one.address);
    });
  }

  /** Shards of which the host has a replica, or data of one, that is no member. */
  async #strangersOn(host: Member): Promise<number[]> {
    const infos = await this.#views.infos(this.#hostAddresses());
    const info = infos.find((one) => one.hostId === host.hostId);
    if (info === undefined) throw new Error(`${host.name} does not answer`);
    const isMember = (shardId: number, replicaId: number): boolean =>
      infos.some((one) =>
        one.clusterInfo.some(
          (r) => r.shardId === shardId && r.isLeader && r.membership?.voters.has(replicaId) === true,
        ),
      );
    const here = [...info.clusterInfo, ...info.logInfo];
    return [...new Set(here.filter((r) => !isMember(r.shardId, r.replicaId)).map((r) => r.shardId))];
  }

  /** The master that leads and plans, as it says itself. */
  async #leadingMaster(): Promise<Member | undefined> {
    const { masters, control } = this.#cluster;
    const live = masters.filter((master) => master.process.running);
    const answers = await Promise.allSettled(live.map((master) => control.status(master.apiAddress, 1_000)));
    for (const answer of answers) {
      if (answer.status === "rejected" || answer.value.mode !== "running") continue;
      const { leaderId, masters: rows } = answer.value;
      const address = rows.find((row) => row.replicaId === leaderId)?.raftAddress;
      const leader = live.find((master) => master.raftAddress === address);
      if (leader !== undefined) return leader;
    }
    return undefined;
  }

  /** Time since `sinceMs` until it held; NOT_MEASURED, and shown, when it did not in time. */
  async #soft(what: string, probe: () => Promise<boolean>, options: SoftOptions): Promise<number> {
    try {
      await this.#limit.until(what, probe, { limitMs: options.limitMs });
      return Math.round(performance.now() - options.sinceMs);
    } catch (error) {
      if (this.#limit.signal.aborted) throw error;
      this.#view.problem(errorText(error));
      return NOT_MEASURED;
    }
  }
}

interface SoftOptions {
  readonly sinceMs: number;
  readonly limitMs: number;
}

type Proof = Pick<DemoReport, "lostWrites" | "doubleWrites" | "unknownApplied" | "shardsAtStrength" | "replicasEqual">;
