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
  /** A replica as its host reports it. */
  replicaOn(hostId: HostId, shardId: ShardId, replicaId: ReplicaId): ClusterInfo | undefined;
  /** Ids of the shard's replicas with data on the host; undefined: the host has not told yet. */
  dataOn(hostId: HostId, shardId: ShardId): readonly ReplicaId[] | undefined;
  /** Among hosts that `fresh` accepts. */
  leaderOf(shardId: ShardId, fresh: (hostId: HostId) => boolean): LeaderClaim | undefined;
}

interface HostImage {
  readonly info: NodeHostInfo;
  readonly byShard: ReadonlyMap<ShardId, readonly ClusterInfo[]>;
  /** Stored replicas; undefined until the host listed them in this start. */
  readonly stored: Map<ShardId, ReplicaId[]> | undefined;
}

const NO_IDS: readonly ReplicaId[] = [];
const NO_INFO: readonly ClusterInfo[] = [];

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
    const byShard = new Map<ShardId, ClusterInfo[]>();
    for (const replica of info.clusterInfo) {
      const known = byShard.get(replica.shardId);
      if (known === undefined) byShard.set(replica.shardId, [replica]);
      else known.push(replica);
      if (replica.replicaId > this.#highestReplicaId) this.#highestReplicaId = replica.replicaId;
    }
    const image: HostImage = { info, byShard, stored: this.#stored(info, before) };
    this.#hosts.set(info.hostId, image);
    this.#reindex(info.hostId, before, image);
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

  #reindex(hostId: HostId, before: HostImage | undefined, now: HostImage): void {
    for (const shardId of shardsOf(before)) {
      if (holds(now, shardId)) continue;
      const left = (this.#shardHosts.get(shardId) ?? []).filter((h) => h !== hostId);
      if (left.length === 0) this.#shardHosts.delete(shardId);
      else this.#shardHosts.set(shardId, left);
    }
    for (const shardId of shardsOf(now)) {
      const hosts = this.#shardHosts.get(shardId);
      if (hosts === undefined) this.#shardHosts.set(shardId, [hostId]);
      else if (!hosts.includes(hostId)) hosts.push(hostId);
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
    for (const hostId of this.#shardHosts.get(shardId) ?? []) {
      const image = this.#hosts.get(hostId);
      const infos = image?.byShard.get(shardId) ?? NO_INFO;
      for (const info of infos) found.push({ hostId, replicaId: info.replicaId, info });
      for (const replicaId of image?.stored?.get(shardId) ?? NO_IDS) {
        if (!infos.some((i) => i.replicaId === replicaId)) found.push({ hostId, replicaId, info: undefined });
      }
    }
    return found;
  }

  replicaOn(hostId: HostId, shardId: ShardId, replicaId: ReplicaId): ClusterInfo | undefined {
    return this.#hosts
      .get(hostId)
      ?.byShard.get(shardId)
      ?.find((i) => i.replicaId === replicaId);
  }

  dataOn(hostId: HostId, shardId: ShardId): readonly ReplicaId[] | undefined {
    const image = this.#hosts.get(hostId);
    return image?.stored === undefined ? undefined : (image.stored.get(shardId) ?? NO_IDS);
  }

  leaderOf(shardId: ShardId, fresh: (hostId: HostId) => boolean): LeaderClaim | undefined {
    let best: LeaderClaim | undefined;
    for (const hostId of this.#shardHosts.get(shardId) ?? []) {
      for (const info of this.#hosts.get(hostId)?.byShard.get(shardId) ?? NO_INFO) {
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

function holds(image: HostImage, shardId: ShardId): boolean {
  return image.byShard.has(shardId) || image.stored?.has(shardId) === true;
}

function* shardsOf(image: HostImage | undefined): Generator<ShardId> {
  if (image === undefined) return;
  yield* image.byShard.keys();
  if (image.stored !== undefined)
    for (const shardId of image.stored.keys()) if (!image.byShard.has(shardId)) yield shardId;
}
