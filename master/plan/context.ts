/**
 * What one planning pass carries around: the view, what was seen when, and what this pass has decided so far (so that
 * later decisions see the influence of earlier ones). Made by plan.ts for each pass and thrown away.
 */
import type { DataSetId, HostId, ShardId } from "../../shared/types/ids.js";
import type { Operation } from "../db/index.js";
import type { HostView } from "../detect/index.js";
import type { PlanMemory, PlanView } from "./types.js";

export class PlanContext {
  readonly view: PlanView;
  /** Effective time. */
  readonly nowMs: number;
  readonly seed: number;
  readonly #remembered = new Map<string, number>();
  /** Replicas this pass gives to each host, on top of what is committed. */
  readonly #planned = new Map<HostId, number>();
  /** Open operations that bring a replica to each host. */
  readonly #incoming = new Map<HostId, number>();
  readonly #requests = new Map<HostId, number>();
  readonly #restarts = new Map<HostId, number>();
  readonly #steady = new Map<HostId, DataSetId | undefined>();
  repairsOpen = 0;

  constructor(view: PlanView, nowMs: number, seed: number) {
    this.view = view;
    this.nowMs = nowMs;
    this.seed = seed;
    for (const operation of view.db.operations.values()) this.#count(operation);
  }

  #count(operation: Operation): void {
    if (operation.kind === "create") return;
    this.repairsOpen += 1;
    const joins = operation.steps.find((s) => s.kind === "join")?.targets[0];
    if (joins !== undefined) bump(this.#incoming, joins.hostId);
  }

  /** Since when `key` has been true, in every pass without a break; now, if it was not before. */
  since(key: string): number {
    const known = this.#remembered.get(key) ?? this.view.memory.get(key) ?? this.nowMs;
    this.#remembered.set(key, known);
    return known;
  }

  /** True when `key` has been true for at least `forMs`. */
  held(key: string, forMs: number): boolean {
    return this.nowMs - this.since(key) >= forMs;
  }

  get memory(): PlanMemory {
    return this.#remembered;
  }

  host(hostId: HostId): HostView | undefined {
    return this.view.detector.hosts.get(hostId);
  }

  /** What the host reports is current, its data set is the registered one, and its directory may be used. */
  readonly fresh = (hostId: HostId): boolean => {
    const host = this.host(hostId);
    return host?.fresh === true && host.state !== "Wiped" && host.state !== "Refused";
  };

  /** The data set of a host that is heard, stays, and runs on the registered one; else undefined. Once a pass. */
  steadyDataSet(hostId: HostId): DataSetId | undefined {
    if (this.#steady.has(hostId)) return this.#steady.get(hostId);
    const record = this.view.db.hosts.get(hostId);
    const stays = record !== undefined && !record.removed && !record.draining && this.fresh(hostId);
    const dataSetId = stays ? record.dataSetId : undefined;
    this.#steady.set(hostId, dataSetId);
    return dataSetId;
  }

  /** Replicas a host has or is to get. */
  load(hostId: HostId): number {
    return (this.view.db.placedCounts.get(hostId) ?? 0) + (this.#planned.get(hostId) ?? 0);
  }

  incoming(hostId: HostId): number {
    return this.#incoming.get(hostId) ?? 0;
  }

  notePlaced(hostId: HostId): void {
    bump(this.#planned, hostId);
  }

  noteIncoming(hostId: HostId): void {
    this.notePlaced(hostId);
    bump(this.#incoming, hostId);
  }

  /** Takes one of the host's request slots, false when all are taken. */
  takeRequest(hostId: HostId): boolean {
    return take(this.#requests, hostId, this.view.db.limits.requestsPerHostMax);
  }

  takeRestart(hostId: HostId): boolean {
    return take(this.#restarts, hostId, this.view.db.limits.restartsPerHostMax);
  }

  /** A number in [0, bound) that depends on seed and shard only. */
  pick(shardId: ShardId, bound: number): number {
    let x = (this.seed ^ Math.imul(shardId, 0x9e3779b1)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0) % bound;
  }
}

function bump(counts: Map<HostId, number>, hostId: HostId): void {
  counts.set(hostId, (counts.get(hostId) ?? 0) + 1);
}

function take(counts: Map<HostId, number>, hostId: HostId, max: number): boolean {
  const used = counts.get(hostId) ?? 0;
  if (used >= max) return false;
  counts.set(hostId, used + 1);
  return true;
}
