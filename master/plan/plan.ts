/**
 * plan(view, nowMs, seed): what the master should do now, and what not and why. A pure function, used alike by the
 * live loop, `plan --dry-run`, the simulator and tests. Level-triggered: it looks at the state, not at what happened,
 * so any action may be lost and comes again.
 *
 * Order: registry and confirmed membership → create → restart in place → go on with open operations → open new ones by
 * margin → zombies. Nothing at all unless this master leads and its link works; see DetectorView for the rest.
 */
import type { ShardId } from "../../shared/types/ids.js";
import { type Command, type ConfirmEntry, isReplicaId } from "../db/index.js";
import { PlanContext } from "./context.js";
import { isQuiet } from "./quiet.js";
import { registrations } from "./registry.js";
import { commit } from "./requests.js";
import { passShard, type ShardPass } from "./shard.js";
import type { Plan, PlannedAction, PlanView, Reason, ShardStatus } from "./types.js";

const SHARDS_PER_SLICE = 64;
const WISHES_PER_SLICE = 4;
const CONFIRM_BATCH = 64;

export function plan(view: PlanView, nowMs: number, seed: number): Plan {
  const slices = planSliced(view, nowMs, seed);
  for (;;) {
    const slice = slices.next();
    if (slice.done === true) return slice.value;
  }
}

interface Wanting {
  readonly pass: ShardPass;
  readonly sinceMs: number;
}

/** The same in slices of some milliseconds: the live loop gives way to the event loop at each `yield`. */
export function* planSliced(view: PlanView, nowMs: number, seed: number): Generator<void, Plan, undefined> {
  const { detector } = view;
  if (!detector.connected) {
    const notDone = detector.reasons.map((text) => ({ shardId: 0, text }));
    return { actions: [], notDone, shards: [], healthyShards: 0, memory: new Map() };
  }
  const ctx = new PlanContext(view, nowMs, seed);
  const notDone: Reason[] = detector.reasons.map((text) => ({ shardId: 0, text }));
  const passes: ShardPass[] = [];
  const statuses = new Map<ShardId, ShardStatus>();
  let healthyShards = 0;
  let count = 0;
  for (const shard of view.db.shards.values()) {
    count += 1;
    if (count % SHARDS_PER_SLICE === 0) yield;
    if (isQuiet(ctx, shard)) {
      healthyShards += 1;
      continue;
    }
    const pass = passShard(ctx, shard);
    const { health, doing, waiting } = pass.status;
    const quiet = (health === "healthy" || health === "deleted") && doing === "" && waiting === "";
    if (health === "healthy") healthyShards += 1;
    if (!quiet || pass.confirm !== undefined) {
      passes.push(pass);
      statuses.set(shard.shardId, pass.status);
    }
  }
  const news = [...registrations(ctx), ...replicaIds(view)];
  const wanting = wishesInOrder(ctx, passes);
  const opened: PlannedAction[] = [];
  // Ids seen beyond the counter are committed before any id is allotted.
  if (replicaIds(view).length === 0) {
    for (const [i, { pass }] of wanting.entries()) {
      opened.push(...openWish(ctx, pass, statuses));
      // Each choice of a host looks at all hosts.
      if (i % WISHES_PER_SLICE === 0) yield;
    }
  }
  const actions: PlannedAction[] = [
    ...news,
    ...confirms(ctx, passes),
    ...passes.flatMap((p) => p.creates),
    ...passes.flatMap((p) => p.restarts),
    ...byMargin(passes).flatMap((p) => p.continues),
    ...opened,
    ...passes.flatMap((p) => p.zombies),
  ];
  const shards = [...statuses.values()].sort((a, b) => a.shardId - b.shardId);
  for (const s of shards) if (s.waiting !== "") notDone.push({ shardId: s.shardId, text: s.waiting });
  return { actions, notDone, shards, healthyShards, memory: ctx.memory };
}

function replicaIds(view: PlanView): PlannedAction[] {
  const highest = view.image.highestReplicaId;
  if (highest < view.db.nextReplicaId || !isReplicaId(highest)) return [];
  return [commit(0, { kind: "observeReplicaIds", highest }, `replica id ${highest} was reported`)];
}

function confirms(ctx: PlanContext, passes: readonly ShardPass[]): PlannedAction[] {
  const entries = passes.map((p) => p.confirm).filter((e): e is ConfirmEntry => e !== undefined);
  const actions: PlannedAction[] = [];
  for (let at = 0; at < entries.length; at += CONFIRM_BATCH) {
    const batch = entries.slice(at, at + CONFIRM_BATCH);
    const command: Command = { kind: "confirmMembership", entries: batch, atMs: ctx.view.wallClockMs };
    actions.push(commit(batch[0]?.shardId ?? 0, command, "leaders report a newer membership"));
  }
  return actions;
}

function byMargin(passes: readonly ShardPass[]): ShardPass[] {
  return [...passes].sort((a, b) => a.status.margin - b.status.margin || a.shard.shardId - b.shard.shardId);
}

/** Least margin first, then who has waited longest. */
function wishesInOrder(ctx: PlanContext, passes: readonly ShardPass[]): Wanting[] {
  const wanting = passes
    .filter((pass) => pass.wish !== undefined)
    .map((pass) => ({ pass, sinceMs: ctx.since(`want.${pass.shard.shardId}`) }));
  return wanting.sort(
    (a, b) =>
      a.pass.status.margin - b.pass.status.margin ||
      a.sinceMs - b.sinceMs ||
      a.pass.shard.shardId - b.pass.shard.shardId,
  );
}

function openWish(ctx: PlanContext, pass: ShardPass, statuses: Map<ShardId, ShardStatus>): PlannedAction[] {
  const { wish, shard, facts, status } = pass;
  if (wish === undefined || facts === undefined) return [];
  const { limits } = ctx.view.db;
  const fraction = ctx.view.detector.repairFraction;
  const max = Math.max(1, Math.floor(limits.repairsMax * fraction));
  const settle = (change: Partial<ShardStatus>): void => {
    const waiting = [change.waiting ?? "", status.waiting].filter((t) => t !== "").join("; ");
    statuses.set(shard.shardId, { ...status, ...change, waiting });
  };
  if (ctx.repairsOpen >= max) {
    settle({ waiting: `${wish.reason}; waits: ${max} repairs are going on` });
    return [];
  }
  const built = wish.build();
  if (!("steps" in built)) {
    settle({ health: built.temporary ? status.health : "unplaceable", waiting: `${wish.reason}; ${built.reason}` });
    return [];
  }
  ctx.repairsOpen += 1;
  const joins = built.steps.find((s) => s.kind === "join")?.targets[0];
  if (joins !== undefined) ctx.noteIncoming(joins.hostId);
  settle({ doing: `opening ${built.kind}: ${wish.reason}` });
  const { lineage, configChangeIndex: cci } = facts.membership;
  const { shardId } = shard;
  const base = { operation: built.kind, shardId, reason: wish.reason, steps: built.steps };
  const command: Command = { kind: "openOperation", ...base, lineage, cci, atMs: ctx.view.wallClockMs };
  return [commit(shardId, command, wish.reason)];
}
