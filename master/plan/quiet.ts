/**
 * The fast path: is a shard exactly as wanted, with nothing of it anywhere it should not be? Nearly all shards are,
 * nearly always, and a pass over 300,000 of them must not build the facts of each. "Yes" here must mean that
 * passShard would say healthy and do nothing (a test holds them together); "no" means nothing.
 */
import type { ClusterInfo } from "../../shared/types/control.js";
import type { HostId, ReplicaId } from "../../shared/types/ids.js";
import type { ShardRecord } from "../db/index.js";
import type { LeaderClaim } from "../detect/index.js";
import type { PlanContext } from "./context.js";

export function isQuiet(ctx: PlanContext, shard: ShardRecord): boolean {
  const { confirmed: m, spec } = shard;
  if (m === undefined || shard.tombstone || shard.operationId !== 0 || shard.failure !== undefined) return false;
  if (m.voters.size !== spec.voters || m.nonVotings.size !== spec.nonVotings || m.witnesses.size > 0) return false;
  const { image } = ctx.view;
  if (image.countOf(shard.shardId) !== m.voters.size + m.nonVotings.size) return false;
  const leader = image.leaderOf(shard.shardId, ctx.fresh);
  if (leader === undefined) return false;
  const { info, membership } = leader;
  if (info.configChangeIndex !== m.configChangeIndex || info.lineage !== m.lineage) return false;
  if (membership !== undefined && membership !== m && !(sameSize(membership, m) && sameIn(membership, m))) return false;
  const around = { ctx, shard, leader };
  for (const [id, hostId] of m.voters) if (!isFine(around, id, hostId)) return false;
  for (const [id, hostId] of m.nonVotings) if (!isFine(around, id, hostId)) return false;
  return true;
}

interface Around {
  readonly ctx: PlanContext;
  readonly shard: ShardRecord;
  readonly leader: LeaderClaim;
}

/** Runs where it should, on the disk it was started on, heard by its leader and caught up. */
function isFine({ ctx, shard, leader }: Around, replicaId: ReplicaId, hostId: HostId): boolean {
  const dataSetId = ctx.steadyDataSet(hostId);
  if (dataSetId === undefined) return false;
  const startedOn = shard.dataSets.get(replicaId);
  if (startedOn !== undefined && startedOn !== dataSetId) return false;
  const here = ctx.view.image.replicaOn(hostId, shard.shardId, replicaId);
  if (here === undefined || here.fault !== "") return false;
  return (leader.hostId === hostId && leader.info.replicaId === replicaId) || keepsUp(ctx, leader.info, replicaId);
}

function keepsUp(ctx: PlanContext, info: ClusterInfo, replicaId: ReplicaId): boolean {
  const { memberSilentMs, catchUpEntries } = ctx.view.config;
  for (const p of info.progress) {
    if (p.replicaId !== replicaId) continue;
    return p.match > 0 && p.silentMs <= memberSilentMs && p.match + catchUpEntries >= info.commit;
  }
  return false;
}

type Members = Pick<NonNullable<ShardRecord["confirmed"]>, "voters" | "nonVotings" | "witnesses">;

function sameSize(a: Members, b: Members): boolean {
  return a.voters.size === b.voters.size && a.nonVotings.size === b.nonVotings.size && a.witnesses.size === 0;
}

function sameIn(a: Members, b: Members): boolean {
  for (const [id, hostId] of a.voters) if (b.voters.get(id) !== hostId) return false;
  for (const [id, hostId] of a.nonVotings) if (b.nonVotings.get(id) !== hostId) return false;
  return true;
}
