/**
 * Bringing a new shard to life: CREATE to every initial member until all run. The initial set is fixed (shard 0 holds
 * it before the first CREATE); a host that cannot start its replica is later replaced by membership change.
 *
 * A CREATE is fenced with the data set the place was chosen for, and is never sent to a replica that ran before: an
 * initial member that lost its data must not vote again under its old id.
 */
import type { HostAction } from "../../shared/types/control.js";
import type { Operation, ReplicaPlace, ShardRecord } from "../db/index.js";
import type { LeaderClaim } from "../detect/index.js";
import type { PlanContext } from "./context.js";
import { acting, type Outcome, waiting } from "./outcome.js";
import { advance, backoffMs, finish, requestTo, stepRequestId } from "./requests.js";
import type { PlannedAction } from "./types.js";

type Readiness = "running" | "askable" | "waiting" | "unable";

export function continueCreate(ctx: PlanContext, shard: ShardRecord, operation: Operation): Outcome {
  const leader = ctx.view.image.leaderOf(shard.shardId, ctx.fresh);
  const doing = `operation ${operation.operationId} create: starting ${shard.bootstrap.length} initial members`;
  const all = shard.bootstrap.map((place) => ({ place, ...readiness(ctx, shard, place, leader) }));
  const missing = all.filter((m) => m.ready !== "running");
  const texts = missing.map((m) => `replica ${m.place.replicaId} on ${m.place.hostId}: ${m.why}`);
  if (shard.confirmed !== undefined && leader !== undefined && missing.every((m) => m.ready === "unable")) {
    const note = missing.length === 0 ? "all initial members run" : `started; to be replaced: ${texts.join("; ")}`;
    return acting(finish(ctx, operation, "done", note), doing);
  }
  const askable = missing.filter((m) => m.ready === "askable");
  if (askable.length === 0) return waiting(doing, hopeless(shard, missing.length, texts) ?? texts.join("; "));
  const key = `step.${operation.operationId}.${operation.step}.${operation.attempt}`;
  if (ctx.held(key, backoffMs(ctx, operation.attempt))) {
    const note = `not all run yet (${texts.join("; ")}), trying again`;
    return acting(advance(ctx, operation, { step: operation.step, lineage: 0, cci: 0, note }), doing);
  }
  const actions: PlannedAction[] = [];
  for (const { place } of askable) {
    const request = requestTo(ctx, {
      hostId: place.hostId,
      shardId: shard.shardId,
      operationId: operation.operationId,
      requestId: stepRequestId(operation, place.replicaId),
      action: createAction(shard, place),
      reason: doing,
    });
    if (request !== undefined) actions.push(request);
  }
  const refusals = askable.map((m) => ctx.view.refusals.get(stepRequestId(operation, m.place.replicaId)));
  const saidNo = refusals.filter((r) => r !== undefined).map((r) => `${r.hostId} answered ${r.code}: ${r.detail}`);
  return { actions, doing, waiting: [...saidNo, ...texts].join("; ") };
}

function createAction(shard: ShardRecord, place: ReplicaPlace): HostAction {
  const initial = new Map(shard.bootstrap.map((p) => [p.replicaId, p.hostId]));
  const { app, settings } = shard.spec;
  return { kind: "create", replicaId: place.replicaId, app, settings, initial };
}

function readiness(
  ctx: PlanContext,
  shard: ShardRecord,
  place: ReplicaPlace,
  leader: LeaderClaim | undefined,
): { readonly ready: Readiness; readonly why: string } {
  const record = ctx.view.db.hosts.get(place.hostId);
  const host = ctx.host(place.hostId);
  const m = shard.confirmed;
  if (m !== undefined && !m.voters.has(place.replicaId)) return { ready: "running", why: "no member any more" };
  if (record === undefined || record.removed) return { ready: "unable", why: "the host was removed" };
  if (record.dataSetId !== place.dataSetId) return { ready: "unable", why: "the host lost its data set" };
  if (host?.liveness === "down") return { ready: "unable", why: "the host is Down" };
  if (!ctx.fresh(place.hostId)) return { ready: "waiting", why: `the host is ${host?.state ?? "Unknown"}` };
  const info = ctx.view.image.replicaOn(place.hostId, shard.shardId, place.replicaId);
  if (info !== undefined) {
    return info.fault === "" ? { ready: "running", why: "" } : { ready: "unable", why: info.fault };
  }
  const stored = ctx.view.image.dataOn(place.hostId, shard.shardId);
  if (stored === undefined) return { ready: "waiting", why: "the host has not listed its data yet" };
  if (stored.includes(place.replicaId)) return { ready: "waiting", why: "restarting where its data is" };
  const match = leader?.info.progress.find((p) => p.replicaId === place.replicaId)?.match ?? 0;
  if (match > 0 && ctx.held(`ran.${shard.shardId}.${place.replicaId}`, ctx.view.config.timing.suspectMs)) {
    return { ready: "unable", why: "it ran before and its data is gone" };
  }
  if (match > 0) return { ready: "waiting", why: "its leader hears it already" };
  return { ready: "askable", why: "not started yet" };
}

/** A majority that can never start: nothing here may repair that. */
function hopeless(shard: ShardRecord, missing: number, texts: readonly string[]): string | undefined {
  const quorum = Math.floor(shard.bootstrap.length / 2) + 1;
  if (shard.confirmed !== undefined || shard.bootstrap.length - missing >= quorum) return undefined;
  return `cannot start yet (${texts.join("; ")}); if these hosts are lost, delete the shard and create it anew`;
}
