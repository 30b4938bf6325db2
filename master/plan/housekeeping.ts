/**
 * Requests that need no operation, because they change no membership and may be repeated at any time:
 * restarting a replica where its data is, and stopping and clearing away zombies (replicas that are no members).
 *
 * A restart can harm nobody: same id, same data set, same host. It is the first remedy, allowed in a large outage too.
 * A zombie is touched only if the shard's leader confirms, at an index not below the zombie's own, that it is no
 * member (D14): stopped at once, its data removed after the hold.
 */
import type { HostAction } from "../../shared/types/control.js";
import type { HostId, ReplicaId } from "../../shared/types/ids.js";
import { roleOf } from "../../shared/types/membership.js";
import { compareMembership, type ShardRecord } from "../db/index.js";
import type { LeaderClaim, ReplicaObservation } from "../detect/index.js";
import type { PlanContext } from "./context.js";
import { requestTo } from "./requests.js";
import type { PlannedAction } from "./types.js";

export interface Housekeeping {
  readonly actions: readonly PlannedAction[];
  readonly doing: readonly string[];
  readonly waiting: readonly string[];
}

/** Members that do not run although their host lives and has their data. */
export function restarts(ctx: PlanContext, shard: ShardRecord): Housekeeping {
  const actions: PlannedAction[] = [];
  const doing: string[] = [];
  const waiting: string[] = [];
  if (shard.tombstone) return { actions, doing, waiting };
  for (const [replicaId, hostId] of membersOf(shard)) {
    if (!isRestartable(ctx, shard, replicaId, hostId)) continue;
    if (!ctx.takeRestart(hostId)) {
      waiting.push(`replica ${replicaId} waits: host ${hostId} is at its limit of restarts`);
      continue;
    }
    const text = `restarting replica ${replicaId} on ${hostId}, its data is there`;
    const wish = { ctx, shard, hostId, replicaId, text, key: "restart" };
    const action = repeated(wish, { kind: "restart", replicaId });
    if (action !== undefined) actions.push(action);
    doing.push(text);
  }
  return { actions, doing, waiting };
}

function* membersOf(shard: ShardRecord): Generator<readonly [ReplicaId, HostId]> {
  const m = shard.confirmed;
  if (m === undefined) for (const place of shard.bootstrap) yield [place.replicaId, place.hostId];
  else for (const group of [m.voters, m.witnesses, m.nonVotings]) yield* group;
}

function isRestartable(ctx: PlanContext, shard: ShardRecord, replicaId: ReplicaId, hostId: HostId): boolean {
  if (!ctx.fresh(hostId) || ctx.host(hostId)?.state === "Stopping") return false;
  const { image, db } = ctx.view;
  // Never under its old id on another data set (D: Wiped).
  const startedOn = shard.dataSets.get(replicaId);
  const dataSetId = image.report(hostId)?.dataSetId;
  if (dataSetId === undefined || dataSetId !== db.hosts.get(hostId)?.dataSetId) return false;
  if (startedOn !== undefined && startedOn !== dataSetId) return false;
  if (image.replicaOn(hostId, shard.shardId, replicaId) !== undefined) return false;
  return image.dataOn(hostId, shard.shardId)?.includes(replicaId) === true;
}

interface Wish {
  readonly ctx: PlanContext;
  readonly shard: ShardRecord;
  readonly hostId: HostId;
  readonly replicaId: ReplicaId;
  readonly text: string;
  readonly key: string;
}

/** No operation counts these tries, so the id changes with time: one per `retryMs` × 8, and per start of the host. */
function repeated({ ctx, shard, hostId, replicaId, text, key }: Wish, action: HostAction): PlannedAction | undefined {
  const incarnation = ctx.view.image.report(hostId)?.incarnation.counter ?? 0;
  const name = `${key}.${shard.shardId}.${replicaId}.${incarnation}`;
  const sinceMs = ctx.since(`${name}.${hostId}`);
  const attempt = 1 + Math.floor((ctx.nowMs - sinceMs) / (ctx.view.config.retryMs * 8));
  // The term keeps ids of two masters apart, whose counts of tries know nothing of each other.
  const requestId = `${name}.${ctx.view.masterTerm}.${attempt}`;
  return requestTo(ctx, { hostId, shardId: shard.shardId, operationId: 0, requestId, action, reason: text });
}

/** Replicas that some host runs or stores and that are no members. */
export function zombies(ctx: PlanContext, shard: ShardRecord): Housekeeping {
  const actions: PlannedAction[] = [];
  const doing: string[] = [];
  const waiting: string[] = [];
  const leader = ctx.view.image.leaderOf(shard.shardId, ctx.fresh);
  for (const seen of ctx.view.image.replicasOf(shard.shardId)) {
    if (!ctx.fresh(seen.hostId) || isWanted(ctx, shard, seen)) continue;
    const name = `replica ${seen.replicaId} on ${seen.hostId}`;
    const doubt = whyNotZombie(shard, seen, leader);
    if (doubt !== undefined) {
      waiting.push(`${name} is no member, left alone: ${doubt}`);
      continue;
    }
    const { hostId, replicaId } = seen;
    const over = ctx.held(`zombie.${shard.shardId}.${replicaId}.${hostId}`, ctx.view.config.timing.zombieHoldMs);
    const runs = seen.info !== undefined && seen.info.fault === "";
    if (!over && !runs) {
      doing.push(`data of ${name} is removed after the hold`);
      continue;
    }
    const kind = over ? "removeData" : "stop";
    const text = over ? `removing ${name}, no member` : `stopping ${name}, no member`;
    const action = repeated({ ctx, shard, hostId, replicaId, text, key: `zombie-${kind}` }, { kind, replicaId });
    if (action !== undefined) actions.push(action);
    doing.push(text);
  }
  return { actions, doing, waiting };
}

/** A member where it should be, or about to be one. */
function isWanted(ctx: PlanContext, shard: ShardRecord, seen: ReplicaObservation): boolean {
  if (shard.tombstone) return false;
  for (const [replicaId, hostId] of membersOf(shard)) {
    if (replicaId === seen.replicaId && hostId === seen.hostId) return true;
  }
  const operation = ctx.view.db.operations.get(shard.operationId);
  const coming = operation?.steps.some(
    (s) => s.kind !== "remove" && s.targets.some((t) => t.replicaId === seen.replicaId),
  );
  return coming === true && shard.confirmed?.removed.has(seen.replicaId) !== true;
}

function whyNotZombie(
  shard: ShardRecord,
  seen: ReplicaObservation,
  leader: LeaderClaim | undefined,
): string | undefined {
  // A deleted shard is decided by shard 0 alone.
  if (shard.tombstone) return undefined;
  const m = shard.confirmed;
  if (m === undefined) return "the membership is not confirmed yet";
  if (leader === undefined) return "no leader confirms it";
  const { lineage, configChangeIndex } = leader.info;
  if (compareMembership({ lineage, configChangeIndex }, m) !== 0) return "its leader's membership is not confirmed yet";
  if (roleOf(m, seen.replicaId) !== undefined) return "the id is a member on another host";
  const own = seen.info;
  if (
    own !== undefined &&
    compareMembership({ lineage: own.lineage, configChangeIndex: own.configChangeIndex }, m) > 0
  ) {
    return "it knows a newer membership";
  }
  return undefined;
}
