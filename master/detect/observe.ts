/**
 * ObservationImage: what hosts last reported, indexed by shard. Volatile; every master replica keeps one. It believes
 * any report it is given: FailureDetector.onReport judges first. Whether an observation is current is the detector's
 * `fresh` of its host.
 *
 * Cost: one pass over a report's entries; no copy of anything that did not change.
 */
import type { ClusterInfo, NodeHostInfo } from "../../shared/types/control.js";
import type { HostId, ReplicaId, ShardId } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";

/** A host's own word that it leads a shard: of all fresh ones the highest (lineage, term, CCI) counts. */
export interface LeaderClaim {
  readonly hostId: HostId;
  readonly info: ClusterInfo;
  /** Absent when the report left it out to save bandwidth. */
  readonly membership: Membership | undefined;
}

export interface ReplicaObservation {
  readonly hostId: HostId;
  readonly replicaId: ReplicaId;
  /** Undefined: data only, nothing loaded. */
  readonly info: ClusterInfo | undefined;
}

/** Read side for the planner. */
export interface ObservationView {
  readonly highestReplicaId: ReplicaId;
  reports(): IterableIterator<NodeHostInfo>;
  report(hostId: HostId): NodeHostInfo | undefined;
  /** Every replica of the shard that some host runs or stores. */
  replicasOf(shardId: ShardId): readonly ReplicaObservation[];
  /** Length of `replicasOf`. */
  countOf(shardId: ShardId): number;
  /** A replica as its host reports it. */
  replicaOn(hostId: HostId, shardId: ShardId, replicaId: ReplicaId): ClusterInfo | undefined;
  /** Ids of the shard's replicas with data on the host; undefined: the host has not told yet. */
  dataOn(hostId: HostId, shardId: ShardId): readonly ReplicaId[] | undefined;
  /** Among hosts that `fresh` accepts. */
  leaderOf(shardId: ShardId, fresh: (hostId: HostId) => boolean): LeaderClaim | undefined;
}

interface HostImage {
  readonly info: NodeHostInfo;
  readonly byShard: ReadonlyMap<ShardId, ClusterInfo>;
  /** Further replicas of a shard already in `byShard`: never in order, hence rare, and kept apart. */
  readonly doubles: readonly ClusterInfo[];
  /** Stored replicas; undefined until the host listed them in this start. */
  readonly stored: Map<ShardId, ReplicaId[]> | undefined;
  /** Shards under which this host is in the index. */
  readonly indexed: Set<ShardId>;
}

const NO_IDS: readonly ReplicaId[] = [];
const NO_HOSTS: readonly HostId[] = [];

export class ObservationImage implements ObservationView {
  readonly #hosts = new Map<HostId, HostImage>();
  readonly #shardHosts = new Map<ShardId, HostId[]>();
  #highestReplicaId = 0;

  get highestReplicaId(): ReplicaId {
    return this.#highestReplicaId;
  }

  /** An accepted report replaces the host's earlier one. */
  onReport(info: NodeHostInfo): void {
    const before = this.#hosts.get(info.hostId);
    const byShard = new Map<ShardId, ClusterInfo>();
    const doubles: ClusterInfo[] = [];
    for (const replica of info.clusterInfo) {
      if (byShard.has(replica.shardId)) doubles.push(replica);
      else byShard.set(replica.shardId, replica);
      if (replica.replicaId > this.#highestReplicaId) this.#highestReplicaId = replica.replicaId;
    }
    const indexed = before?.indexed ?? new Set();
    const image: HostImage = { info, byShard, doubles, stored: this.#stored(info, before), indexed };
    this.#hosts.set(info.hostId, image);
    this.#reindex(info.hostId, image);
  }

  /** Stored replicas: the list of this report; or the earlier one of the same start, and what was loaded since. */
  #stored(info: NodeHostInfo, before: HostImage | undefined): Map<ShardId, ReplicaId[]> | undefined {
    const stored = info.logInfoIncluded ? new Map<ShardId, ReplicaId[]>() : sameStart(info, before);
    if (stored === undefined) return undefined;
    for (const log of info.logInfoIncluded ? info.logInfo : []) {
      add(stored, log.shardId, log.replicaId);
      if (log.replicaId > this.#highestReplicaId) this.#highestReplicaId = log.replicaId;
    }
    if (!info.logInfoIncluded) {
      // Loaded by now, so it has data, although the list in hand is older.
      for (const replica of info.clusterInfo) add(stored, replica.shardId, replica.replicaId);
    }
    return stored;
  }

  #reindex(hostId: HostId, now: HostImage): void {
    const { indexed } = now;
    let held = 0;
    for (const shardId of shardsOf(now)) {
      held += 1;
      if (indexed.has(shardId)) continue;
      indexed.add(shardId);
      const hosts = this.#shardHosts.get(shardId);
      if (hosts === undefined) this.#shardHosts.set(shardId, [hostId]);
      else hosts.push(hostId);
    }
    if (indexed.size === held) return;
    for (const shardId of indexed) {
      if (holds(now, shardId)) continue;
      indexed.delete(shardId);
      const left = (this.#shardHosts.get(shardId) ?? []).filter((h) => h !== hostId);
      if (left.length === 0) this.#shardHosts.delete(shardId);
      else this.#shardHosts.set(shardId, left);
    }
  }

  reports(): IterableIterator<NodeHostInfo> {
    return [...this.#hosts.values()].map((image) => image.info).values();
  }

  report(hostId: HostId): NodeHostInfo | undefined {
    return this.#hosts.get(hostId)?.info;
  }

  replicasOf(shardId: ShardId): readonly ReplicaObservation[] {
    const found: ReplicaObservation[] = [];
    for (const hostId of this.#shardHosts.get(shardId) ?? NO_HOSTS) {
      const image = this.#hosts.get(hostId);
      if (image === undefined) continue;
      for (const info of infosOf(image, shardId)) found.push({ hostId, replicaId: info.replicaId, info });
      for (const replicaId of image.stored?.get(shardId) ?? NO_IDS) {
        if (infoOf(image, shardId, replicaId) === undefined) found.push({ hostId, replicaId, info: undefined });
      }
    }
    return found;
  }

  countOf(shardId: ShardId): number {
    let count = 0;
    for (const hostId of this.#shardHosts.get(shardId) ?? NO_HOSTS) {
      const image = this.#hosts.get(hostId);
      if (image === undefined) continue;
      if (image.byShard.has(shardId)) count += 1;
      for (const double of image.doubles) if (double.shardId === shardId) count += 1;
      for (const id of image.stored?.get(shardId) ?? NO_IDS) if (infoOf(image, shardId, id) === undefined) count += 1;
    }
    return count;
  }

  replicaOn(hostId: HostId, shardId: ShardId, replicaId: ReplicaId): ClusterInfo | undefined {
    const image = this.#hosts.get(hostId);
    return image === undefined ? undefined : infoOf(image, shardId, replicaId);
  }

  dataOn(hostId: HostId, shardId: ShardId): readonly ReplicaId[] | undefined {
    const image = this.#hosts.get(hostId);
    return image?.stored === undefined ? undefined : (image.stored.get(shardId) ?? NO_IDS);
  }

  leaderOf(shardId: ShardId, fresh: (hostId: HostId) => boolean): LeaderClaim | undefined {
    let best: LeaderClaim | undefined;
    for (const hostId of this.#shardHosts.get(shardId) ?? NO_HOSTS) {
      const image = this.#hosts.get(hostId);
      const first = image?.byShard.get(shardId);
      if (image === undefined || first === undefined) continue;
      for (const info of image.doubles.length === 0 ? [first] : infosOf(image, shardId)) {
        if (!info.isLeader || info.pending || info.fault !== "" || !fresh(hostId)) continue;
        if (best === undefined || compareClaims(info, best.info) > 0)
          best = { hostId, info, membership: info.membership };
      }
    }
    return best;
  }
}

function compareClaims(a: ClusterInfo, b: ClusterInfo): number {
  return a.lineage - b.lineage || a.term - b.term || a.configChangeIndex - b.configChangeIndex;
}

function sameStart(info: NodeHostInfo, before: HostImage | undefined): Map<ShardId, ReplicaId[]> | undefined {
  const was = before?.info;
  const same =
    was !== undefined &&
    was.dataSetId === info.dataSetId &&
    was.incarnation.counter === info.incarnation.counter &&
    was.incarnation.nonce === info.incarnation.nonce;
  return same ? before?.stored : undefined;
}

function add(stored: Map<ShardId, ReplicaId[]>, shardId: ShardId, replicaId: ReplicaId): void {
  const ids = stored.get(shardId);
  if (ids === undefined) stored.set(shardId, [replicaId]);
  else if (!ids.includes(replicaId)) ids.push(replicaId);
}

function infoOf(image: HostImage, shardId: ShardId, replicaId: ReplicaId): ClusterInfo | undefined {
  const first = image.byShard.get(shardId);
  if (first === undefined || first.replicaId === replicaId) return first;
  return image.doubles.find((i) => i.shardId === shardId && i.replicaId === replicaId);
}

function infosOf(image: HostImage, shardId: ShardId): readonly ClusterInfo[] {
  const first = image.byShard.get(shardId);
  return first === undefined ? [] : [first, ...image.doubles.filter((i) => i.shardId === shardId)];
}

function holds(image: HostImage, shardId: ShardId): boolean {
  return image.byShard.has(shardId) || image.stored?.has(shardId) === true;
}

function* shardsOf(image: HostImage): Generator<ShardId> {
  yield* image.byShard.keys();
  for (const shardId of image.stored?.keys() ?? []) if (!image.byShard.has(shardId)) yield shardId;
}
