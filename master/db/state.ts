/**
 * The state of shard 0 and its read-only view. Only update.ts writes to it (and snapshot.ts fills a fresh one).
 *
 * Invariants: records are replaced, never edited; everything outside the tables is a value; the derived indexes
 * (clientKeys, names, placedCounts) follow from the records and are rebuilt at restore, so they are not in snapshots.
 */
import type { HostId, ReplicaId, ShardId } from "../../shared/types/ids.js";
import { type ReadonlyTable, Table } from "./table.js";
import {
  DEFAULT_LIMITS,
  type EventRecord,
  type HostRecord,
  type MasterLimits,
  type Operation,
  type ShardRecord,
} from "./types.js";

/** A fixed, read-only state: what lookups, the planner and snapshots read. */
export interface MasterView {
  /** Commands applied so far. */
  readonly revision: number;
  /** 0 = not initialised. */
  readonly deploymentId: number;
  readonly featureLevel: number;
  readonly nextShardId: ShardId;
  readonly nextReplicaId: ReplicaId;
  readonly nextOperationId: number;
  readonly nextEventSequence: number;
  readonly limits: MasterLimits;
  readonly hosts: ReadonlyTable<HostId, HostRecord>;
  readonly shards: ReadonlyTable<ShardId, ShardRecord>;
  /** Open ones. */
  readonly operations: ReadonlyTable<number, Operation>;
  /** Ended ones, oldest first, bounded. */
  readonly history: readonly Operation[];
  /** Newest last, bounded. */
  readonly events: readonly EventRecord[];
  readonly clientKeys: ReadonlyTable<string, ShardId>;
  readonly names: ReadonlyTable<string, ShardId>;
  /** Replicas each host holds or is about to get, by what is committed here (influence of open operations included). */
  readonly placedCounts: ReadonlyTable<HostId, number>;
}

export class MasterState {
  revision = 0;
  deploymentId = 0;
  featureLevel = 1;
  nextShardId = 1;
  nextReplicaId = 1;
  nextOperationId = 1;
  nextEventSequence = 1;
  limits: MasterLimits = DEFAULT_LIMITS;
  history: readonly Operation[] = [];
  events: readonly EventRecord[] = [];
  readonly hosts = new Table<HostId, HostRecord>();
  readonly #operations = new Table<number, Operation>();
  readonly #shards = new Table<ShardId, ShardRecord>();
  readonly #clientKeys = new Table<string, ShardId>();
  readonly #names = new Table<string, ShardId>();
  readonly #placedCounts = new Table<HostId, number>();

  get shards(): ReadonlyTable<ShardId, ShardRecord> {
    return this.#shards;
  }
  get operations(): ReadonlyTable<number, Operation> {
    return this.#operations;
  }
  get clientKeys(): ReadonlyTable<string, ShardId> {
    return this.#clientKeys;
  }
  get names(): ReadonlyTable<string, ShardId> {
    return this.#names;
  }

  /**
   * Stores a shard together with its open operation (undefined: none, or as it is in the record), keeping the indexes.
   */
  putShard(record: ShardRecord, operation?: Operation): void {
    const before = this.#shards.get(record.shardId);
    if (before !== undefined) this.#index(before, this.#operations.get(before.operationId), -1);
    if (operation !== undefined) this.#operations.set(operation.operationId, operation);
    else if (before !== undefined && before.operationId !== record.operationId)
      this.#operations.delete(before.operationId);
    this.#shards.set(record.shardId, record);
    this.#index(record, this.#operations.get(record.operationId), 1);
  }

  #index(shard: ShardRecord, operation: Operation | undefined, by: 1 | -1): void {
    for (const hostId of placesOf(shard, operation)) {
      const count = (this.#placedCounts.get(hostId) ?? 0) + by;
      if (count === 0) this.#placedCounts.delete(hostId);
      else this.#placedCounts.set(hostId, count);
    }
    if (shard.clientKey !== "") toggle(this.#clientKeys, shard.clientKey, shard.shardId, by === 1);
    if (shard.spec.name !== "" && !shard.tombstone) toggle(this.#names, shard.spec.name, shard.shardId, by === 1);
  }

  /** The state as it is now, fixed. Cheap; see table.ts. */
  view(): MasterView {
    return {
      revision: this.revision,
      deploymentId: this.deploymentId,
      featureLevel: this.featureLevel,
      nextShardId: this.nextShardId,
      nextReplicaId: this.nextReplicaId,
      nextOperationId: this.nextOperationId,
      nextEventSequence: this.nextEventSequence,
      limits: this.limits,
      hosts: this.hosts.freeze(),
      shards: this.#shards.freeze(),
      operations: this.#operations.freeze(),
      history: this.history,
      events: this.events,
      clientKeys: this.#clientKeys.freeze(),
      names: this.#names.freeze(),
      placedCounts: this.#placedCounts.freeze(),
    };
  }
}

function toggle(table: Table<string, ShardId>, key: string, shardId: ShardId, on: boolean): void {
  if (on) table.set(key, shardId);
  else if (table.get(key) === shardId) table.delete(key);
}

/** Hosts that hold a member of the shard, or are to get one by its open operation. */
export function placesOf(shard: ShardRecord, operation: Operation | undefined): ReadonlySet<HostId> {
  const hosts = new Set<HostId>();
  if (shard.tombstone) return hosts;
  const m = shard.confirmed;
  if (m === undefined) for (const place of shard.bootstrap) hosts.add(place.hostId);
  else for (const group of [m.voters, m.nonVotings, m.witnesses]) for (const host of group.values()) hosts.add(host);
  for (const step of operation?.steps ?? []) {
    if (step.kind === "join") for (const place of step.targets) hosts.add(place.hostId);
  }
  return hosts;
}
