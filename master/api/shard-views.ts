/** What a master shows of shards: their state, why, and where their replicas are. Pure; used by admin-service.ts. */
import { OpError } from "../../shared/errors.js";
import type { HostId, ReplicaId, ShardId } from "../../shared/types/ids.js";
import type { Role } from "../../shared/types/membership.js";
import type { ShardRecord } from "../db/index.js";
import { explainShard, type Plan, type PlanView, type ShardHealth, type ShardStatus } from "../plan/index.js";

/** States of proto/master.proto. */
export type ShardState = "healthy" | "creating" | "degraded" | "unavailable" | "tombstoned";

const STATES: Readonly<Record<ShardHealth, ShardState>> = {
  healthy: "healthy",
  creating: "creating",
  degraded: "degraded",
  noLeader: "unavailable",
  quorumLost: "unavailable",
  unplaceable: "degraded",
  inconsistent: "degraded",
  deleting: "tombstoned",
  deleted: "tombstoned",
};

/** proto: Role */
const ROLES: Readonly<Record<Role, number>> = { voter: 1, nonVoting: 2, witness: 3 };

interface ShardFilter {
  readonly unhealthyOnly: boolean;
  readonly hostId: HostId;
}

export function shardList(view: PlanView, plan: Plan, filter: ShardFilter) {
  const statuses = new Map(plan.shards.map((status) => [status.shardId, status]));
  const shards = [];
  for (const shard of view.db.shards.values()) {
    const { state, reason } = stateOf(view, shard, statuses.get(shard.shardId));
    if (filter.unhealthyOnly && state === "healthy") continue;
    const shown = shardOf(view, shard, { state, reason });
    if (filter.hostId !== "" && !shown.replicas.some((r) => r.hostId === filter.hostId)) continue;
    shards.push(shown);
  }
  shards.sort((a, b) => a.shardId - b.shardId);
  return { shards, revision: view.db.revision };
}

/** With everything that is known about why it is as it is. DL_ERR_SHARD_NOT_FOUND. */
export function shardDetails(view: PlanView, plan: Plan, shardId: ShardId) {
  const shard = view.db.shards.get(shardId);
  if (shard === undefined) throw new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId} is not known to the masters`);
  const status = plan.shards.find((s) => s.shardId === shardId);
  const { state } = stateOf(view, shard, status);
  const reason = explainShard(view, view.detector.effectiveMs, shardId).join("\n");
  return shardOf(view, shard, { state, reason });
}

/** How many shards are in each state; deleted ones are not counted. */
export function shardCounts(view: PlanView, plan: Plan): Readonly<Record<ShardState, number>> {
  const counts = { healthy: 0, creating: 0, degraded: 0, unavailable: 0, tombstoned: 0 };
  const statuses = new Map(plan.shards.map((status) => [status.shardId, status]));
  for (const shard of view.db.shards.values()) counts[stateOf(view, shard, statuses.get(shard.shardId)).state] += 1;
  return counts;
}

interface StateText {
  readonly state: ShardState;
  readonly reason: string;
}

/** A plan names only what is not healthy; a shard made after the newest plan is still being created. */
function stateOf(view: PlanView, shard: ShardRecord, status: ShardStatus | undefined): StateText {
  if (shard.tombstone) return { state: "tombstoned", reason: reasonOf(status) };
  // A leader whose newer membership is about to be confirmed serves all the same.
  const fresh = (hostId: HostId): boolean => view.detector.hosts.get(hostId)?.fresh === true;
  if (status?.health === "noLeader" && view.image.leaderOf(shard.shardId, fresh) !== undefined) {
    return { state: "degraded", reason: reasonOf({ ...status, health: "degraded" }) };
  }
  if (status !== undefined) return { state: STATES[status.health], reason: reasonOf(status) };
  if (shard.confirmed === undefined) return { state: "creating", reason: "not planned yet" };
  return { state: "healthy", reason: "" };
}

function reasonOf(status: ShardStatus | undefined): string {
  if (status === undefined) return "";
  const { health, doing, waiting } = status;
  const named = STATES[health] === health ? "" : HEALTH_TEXT[health];
  return [named, doing, waiting].filter((t) => t !== undefined && t !== "").join("; ");
}

const HEALTH_TEXT: Partial<Record<ShardHealth, string>> = {
  noLeader: "no leader known",
  quorumLost: "quorum lost",
  unplaceable: "no host may take a replica",
  inconsistent: "inconsistent",
};

function shardOf(view: PlanView, shard: ShardRecord, { state, reason }: StateText) {
  const { shardId, spec, confirmed, operationId } = shard;
  const fresh = (hostId: HostId): boolean => view.detector.hosts.get(hostId)?.fresh === true;
  const claim = view.image.leaderOf(shardId, fresh);
  const replicas = placesOf(shard).map(({ replicaId, hostId, role }) => {
    const info = view.image.replicaOn(hostId, shardId, replicaId);
    const running = info !== undefined && info.fault === "" && fresh(hostId);
    const isLeader = claim?.hostId === hostId && claim.info.replicaId === replicaId;
    const fault = running ? "" : faultOf(view, hostId, info?.fault);
    return { replicaId, hostId, role: ROLES[role], isLeader, applied: info?.applied ?? 0, running, fault };
  });
  return {
    shardId,
    name: spec.name,
    app: spec.app,
    voters: spec.voters,
    nonVotings: spec.nonVotings,
    witnesses: 0,
    state,
    reason,
    configChangeIndex: confirmed?.configChangeIndex ?? 0,
    lineage: confirmed?.lineage ?? 0,
    leaderReplicaId: claim?.info.replicaId ?? 0,
    leaderTerm: claim?.info.term ?? 0,
    replicas,
    operationId,
  };
}

function faultOf(view: PlanView, hostId: HostId, fault: string | undefined): string {
  const host = view.detector.hosts.get(hostId);
  if (host === undefined) return "its host was never heard";
  if (!host.fresh) return `its host is ${host.state}${host.reason === "" ? "" : `: ${host.reason}`}`;
  return fault === undefined ? "its host does not run it" : fault;
}

interface Place {
  readonly replicaId: ReplicaId;
  readonly hostId: HostId;
  readonly role: Role;
}

function placesOf(shard: ShardRecord): Place[] {
  const { confirmed } = shard;
  if (confirmed === undefined) {
    return shard.bootstrap.map(({ replicaId, hostId }) => ({ replicaId, hostId, role: "voter" }));
  }
  const groups: readonly (readonly [Role, ReadonlyMap<ReplicaId, HostId>])[] = [
    ["voter", confirmed.voters],
    ["nonVoting", confirmed.nonVotings],
    ["witness", confirmed.witnesses],
  ];
  const places = groups.flatMap(([role, members]) =>
    [...members].map(([replicaId, hostId]) => ({ replicaId, hostId, role })),
  );
  return places.sort((a, b) => a.replicaId - b.replicaId);
}
