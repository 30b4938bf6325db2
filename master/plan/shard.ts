/**
 * All rules of one shard in one pass: confirm → create or continue or wish → restarts → zombies; and the line that
 * says what is with it. Nothing in here looks at another shard, so none can ever block another (D18).
 * Called by plan.ts for every shard, and by explain.ts for one.
 */
import type { ConfirmEntry, ShardRecord } from "../db/index.js";
import type { PlanContext } from "./context.js";
import { continueOperation } from "./continue.js";
import { continueCreate } from "./create.js";
import { type MemberFacts, type ShardFacts, shardFacts } from "./facts.js";
import { type Housekeeping, restarts, zombies } from "./housekeeping.js";
import { nothing, type OpenWish, type Outcome } from "./outcome.js";
import { decide } from "./repair.js";
import type { PlannedAction, ShardHealth, ShardStatus } from "./types.js";

export interface ShardPass {
  readonly shard: ShardRecord;
  readonly facts: ShardFacts | undefined;
  readonly status: ShardStatus;
  readonly confirm: ConfirmEntry | undefined;
  readonly creates: readonly PlannedAction[];
  readonly restarts: readonly PlannedAction[];
  readonly continues: readonly PlannedAction[];
  readonly zombies: readonly PlannedAction[];
  readonly wish: OpenWish | undefined;
}

interface Step extends Outcome {
  readonly wish: OpenWish | undefined;
}

const CONFIRM_FIRST: Step = { ...nothing, waiting: "a newer membership is confirmed first", wish: undefined };
const NO_HOUSEKEEPING: Housekeeping = { actions: [], doing: [], waiting: [] };

export function passShard(ctx: PlanContext, shard: ShardRecord): ShardPass {
  const { detector } = ctx.view;
  const restarting = detector.mayRestart ? restarts(ctx, shard) : NO_HOUSEKEEPING;
  const clearing = detector.mayPlan ? zombies(ctx, shard) : NO_HOUSEKEEPING;
  if (shard.tombstone) return passTombstone(ctx, shard, clearing);
  const facts = shard.confirmed === undefined ? undefined : shardFacts(ctx, shard, shard.confirmed);
  const confirm = toConfirm(ctx, shard, facts);
  const step: Step = confirm === undefined ? stepOf(ctx, shard, facts) : CONFIRM_FIRST;
  const isCreate = ctx.view.db.operations.get(shard.operationId)?.kind === "create";
  const doing = [step.doing, ...restarting.doing, ...clearing.doing].filter((t) => t !== "");
  const waits = [step.waiting, ...restarting.waiting, ...clearing.waiting, troubles(facts)].filter((t) => t !== "");
  const status: ShardStatus = {
    shardId: shard.shardId,
    health: healthOf(shard, facts, step),
    margin: facts?.margin ?? 0,
    doing: doing.join("; "),
    waiting: waits.join("; "),
  };
  return {
    shard,
    facts,
    status,
    confirm,
    creates: isCreate ? step.actions : [],
    restarts: restarting.actions,
    continues: isCreate ? [] : step.actions,
    zombies: clearing.actions,
    wish: step.wish,
  };
}

function passTombstone(ctx: PlanContext, shard: ShardRecord, clearing: Housekeeping): ShardPass {
  const left = ctx.view.image.replicasOf(shard.shardId).length > 0;
  const health: ShardHealth = left ? "deleting" : "deleted";
  const doing = clearing.doing.join("; ");
  const status = { shardId: shard.shardId, health, margin: 0, doing, waiting: clearing.waiting.join("; ") };
  const none = { creates: [], restarts: [], continues: [], confirm: undefined, wish: undefined };
  return { shard, facts: undefined, status, zombies: clearing.actions, ...none };
}

/** Confirmed membership advances only by a fresh leader's word, and only forward (M6). */
function toConfirm(ctx: PlanContext, shard: ShardRecord, facts: ShardFacts | undefined): ConfirmEntry | undefined {
  if (!ctx.view.detector.mayRestart) return undefined;
  const membership = facts === undefined ? firstMembership(ctx, shard) : facts.toConfirm;
  return membership === undefined ? undefined : { shardId: shard.shardId, membership };
}

function firstMembership(ctx: PlanContext, shard: ShardRecord): ConfirmEntry["membership"] | undefined {
  return ctx.view.image.leaderOf(shard.shardId, ctx.fresh)?.membership;
}

function stepOf(ctx: PlanContext, shard: ShardRecord, facts: ShardFacts | undefined): Step {
  const operation = ctx.view.db.operations.get(shard.operationId);
  if (!ctx.view.detector.mayPlan) {
    const doing = operation === undefined ? "" : `operation ${operation.operationId} ${operation.kind} is paused`;
    return { actions: [], doing, waiting: ctx.view.detector.reasons.join("; "), wish: undefined };
  }
  if (operation?.kind === "create") return { ...continueCreate(ctx, shard, operation), wish: undefined };
  if (facts === undefined) return { ...nothing, waiting: "no leader has reported its membership yet", wish: undefined };
  if (facts.inconsistent !== "") return { ...nothing, waiting: facts.inconsistent, wish: undefined };
  if (operation !== undefined) return { ...continueOperation(ctx, facts, operation), wish: undefined };
  if (facts.leader === undefined) return { ...nothing, waiting: noLeaderText(facts), wish: undefined };
  const decision = decide(ctx, facts);
  if ("wish" in decision) return { ...nothing, wish: decision.wish };
  return { ...nothing, waiting: decision.waiting, wish: undefined };
}

function noLeaderText(facts: ShardFacts): string {
  if (isQuorumLost(facts))
    return "fewer live or restartable voters than a quorum; only an operator may recover it (D11)";
  return "no leader at the confirmed membership";
}

/** Runs or can be restarted: may be part of a quorum again without anybody's help but ours. */
function mayVote(m: MemberFacts): boolean {
  return m.condition === "running" || m.condition === "unconfirmed" || m.condition === "stopped";
}

function isQuorumLost(facts: ShardFacts): boolean {
  return [...facts.voters, ...facts.witnesses].filter(mayVote).length < facts.quorum;
}

function healthOf(shard: ShardRecord, facts: ShardFacts | undefined, step: Step): ShardHealth {
  if (facts === undefined) return "creating";
  if (facts.inconsistent !== "") return "inconsistent";
  if (isQuorumLost(facts)) return "quorumLost";
  if (facts.leader === undefined) return "noLeader";
  const { spec } = shard;
  const exact = facts.voters.length === spec.voters && facts.nonVotings.length === spec.nonVotings;
  const idle = step.wish === undefined && step.actions.length === 0 && step.doing === "";
  return exact && idle && facts.members.every((m) => m.live && !m.leaving) ? "healthy" : "degraded";
}

/** Members that are in trouble and not being replaced, one by one: what nobody would otherwise see. */
function troubles(facts: ShardFacts | undefined): string {
  const texts: string[] = [];
  for (const m of facts?.members ?? []) {
    if (m.live || (m.lost && m.role !== "witness")) continue;
    const text = m.condition === "running" ? `lags at index ${m.match}` : m.condition;
    const why = m.waiting === "" ? "" : ` (${m.waiting})`;
    texts.push(`replica ${m.replicaId} on ${m.hostId}: ${m.role === "witness" ? "witness " : ""}${text}${why}`);
  }
  return texts.join("; ");
}
