/**
 * The small world of the planner's tests: the data plane of world-model.ts, and masters that observe and plan it, on
 * virtual time. Used by tests only; nothing of the product imports it.
 */
import type { HostRequest, HostResult } from "../../shared/types/control.js";
import { applyBytes, type Command, type CommandResult, encodeCommand, type ShardSpec } from "../db/index.js";
import { FailureDetector, ObservationImage, registeredHosts } from "../detect/index.js";
import { leaderCoverage, type Plan, type PlanMemory, type PlanView, placeNewShard, plan } from "./index.js";
import { CONFIG, DEPLOYMENT, specOf, TIMING, WorldHost, WorldModel } from "./world-model.js";

export { specOf, TIMING } from "./world-model.js";
export const STEP_MS = 250;

export class WorldMaster {
  readonly detector: FailureDetector;
  image = new ObservationImage();
  memory: PlanMemory = new Map();
  readonly refusals = new Map<string, HostResult>();
  linked = true;

  constructor(nowMs: number) {
    this.detector = new FailureDetector(TIMING, nowMs);
    this.detector.onLink(true, nowMs);
  }
}

export class World extends WorldModel {
  readonly masters: WorldMaster[];
  leading = 0;
  term = 1;
  /** Every command committed and every request handed to a host, for assertions. */
  readonly commands: Command[] = [];
  readonly requests: HostRequest[] = [];
  readonly results: CommandResult[] = [];
  /** Drops a request or commit when it answers true. */
  lose: (what: "request" | "commit") => boolean = () => false;
  lastPlan: Plan | undefined;

  constructor(hostCount: number, labels: (i: number) => Readonly<Record<string, string>> = () => ({})) {
    super();
    this.masters = [new WorldMaster(0), new WorldMaster(0), new WorldMaster(0)];
    this.commit({ kind: "initDeployment", deploymentId: DEPLOYMENT, atMs: 0 });
    for (let i = 1; i <= hostCount; i++) {
      const host = new WorldHost(`h${i}`);
      host.labels = labels(i);
      this.hosts.set(host.hostId, host);
    }
    this.masters[0]?.detector.onLeadership(true, 0);
  }

  host(i: number): WorldHost {
    const host = this.hosts.get(`h${i}`);
    if (host === undefined) throw new Error(`no host h${i}`);
    return host;
  }

  master(i = this.leading): WorldMaster {
    const master = this.masters[i];
    if (master === undefined) throw new Error(`no master ${i}`);
    return master;
  }

  /** Runs until all is up and registered. */
  static ready(
    hostCount: number,
    shards: readonly Partial<ShardSpec>[] = [],
    labels?: (i: number) => Record<string, string>,
  ): World {
    const world = new World(hostCount, labels);
    world.run(TIMING.warmUpCapMs + 1_000);
    for (const spec of shards) world.createShard(spec);
    if (shards.length > 0) world.run(5_000);
    return world;
  }

  createShard(spec: Partial<ShardSpec> = {}, clientKey = ""): CommandResult {
    const full = specOf(spec);
    const placement = placeNewShard(this.view(), full, 1);
    if (!("places" in placement)) throw new Error(placement.reason);
    return this.commit({ kind: "createShard", clientKey, spec: full, places: placement.places, atMs: this.nowMs });
  }

  commit(command: Command): CommandResult {
    const result = applyBytes(this.state, encodeCommand(command));
    this.commands.push(command);
    this.results.push(result);
    return result;
  }

  kill(i: number): void {
    const host = this.host(i);
    host.up = false;
    host.diedMs = this.nowMs;
  }

  /** Starts a host again; its replicas are on disk and wait for a restart. */
  start(i: number, wiped = false): void {
    const host = this.host(i);
    host.up = true;
    host.stopping = false;
    host.sequence = 0;
    host.done.clear();
    if (wiped) {
      host.dataSet += 1;
      host.incarnation = 1;
      host.replicas.clear();
    } else host.incarnation += 1;
    for (const r of this.replicasOn(host)) r.running = false;
  }

  failover(to: number): void {
    this.master().detector.onLeadership(false, this.nowMs);
    this.leading = to;
    this.term += 1;
    this.master().memory = new Map();
    this.master().detector.onLeadership(true, this.nowMs);
  }

  /** Cuts or mends the bus link of all masters. */
  linkMasters(linked: boolean): void {
    for (const master of this.masters) {
      master.linked = linked;
      master.detector.onLink(linked, this.nowMs);
    }
  }

  view(): PlanView {
    const master = this.master();
    return {
      db: this.state.view(),
      detector: master.detector.view(),
      image: master.image,
      config: CONFIG,
      masterLineage: 0,
      masterTerm: this.term,
      memory: master.memory,
      refusals: master.refusals,
      wallClockMs: this.nowMs,
    };
  }

  run(forMs: number): void {
    for (let passed = 0; passed < forMs; passed += STEP_MS) this.step();
  }

  /** Until `when` holds; false if it does not within `forMs`. */
  runUntil(when: () => boolean, forMs: number): boolean {
    for (let passed = 0; passed < forMs; passed += STEP_MS) {
      if (when()) return true;
      this.step();
    }
    return when();
  }

  step(): Plan {
    this.nowMs += STEP_MS;
    for (const [shardId, shard] of this.shards) this.raft(shardId, shard);
    this.#report();
    for (const master of this.masters) {
      if (master.linked) master.detector.onProbe(this.nowMs);
      master.detector.setHosts(registeredHosts(this.state.view(), this.nowMs));
      const coverage = leaderCoverage(this.state.view(), master.detector.view(), master.image);
      master.detector.onCoverage(coverage.led, coverage.shards);
      master.detector.tick(this.nowMs);
    }
    return this.#plan();
  }

  #plan(): Plan {
    const master = this.master();
    const view = this.view();
    const decided = plan(view, view.detector.effectiveMs, 7);
    this.lastPlan = decided;
    master.memory = decided.memory;
    for (const action of decided.actions) {
      if (action.kind === "commit") {
        if (!this.lose("commit")) this.commit(action.command);
      } else if (!this.lose("request")) this.#deliver(master, action.request);
    }
    return decided;
  }

  #deliver(master: WorldMaster, request: HostRequest): void {
    const host = this.hosts.get(request.fence.hostId);
    if (host === undefined || !host.up || !host.linked || !master.linked) return;
    this.requests.push(request);
    const result = host.done.get(request.requestId) ?? this.execute(host, request);
    host.done.set(request.requestId, result);
    if (!result.ok) master.refusals.set(request.requestId, result);
  }

  #report(): void {
    for (const host of this.hosts.values()) {
      if (!host.up || !host.linked) continue;
      const info = this.reportOf(host);
      for (const master of this.masters) {
        if (!master.linked) continue;
        if (master.detector.onReport(info, this.nowMs) === "accepted") master.image.onReport(info);
      }
    }
  }
}
