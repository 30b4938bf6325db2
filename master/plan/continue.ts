/**
 * Carrying an open membership operation one step on. Only observed state (confirmed membership, reports) completes a
 * step; results never do (D16). So a new leader, with nothing but shard 0 and fresh reports, goes on where the old one
 * stopped, under the same operation id (V7).
 */
import type { HostAction } from "../../shared/types/control.js";
import { roleOf } from "../../shared/types/membership.js";
import type { Operation, OperationStep, ReplicaPlace } from "../db/index.js";
import type { PlanContext } from "./context.js";
import type { MemberFacts, ShardFacts } from "./facts.js";
import { guardStep } from "./guard.js";
import { acting, type Outcome, waiting } from "./outcome.js";
import { advance, backoffMs, finish, requestTo, stepRequestId } from "./requests.js";

interface Going {
  readonly ctx: PlanContext;
  readonly facts: ShardFacts;
  readonly operation: Operation;
  readonly doing: string;
}

export function continueOperation(ctx: PlanContext, facts: ShardFacts, operation: Operation): Outcome {
  const going: Going = { ctx, facts, operation, doing: describe(operation) };
  const current = operation.steps[operation.step];
  if (current === undefined) return acting(finish(ctx, operation, "failed", "no such step"), going.doing);
  const m = facts.membership;
  if (current.expectedLineage !== m.lineage) {
    return acting(finish(ctx, operation, "canceled", "the membership was forced meanwhile"), going.doing);
  }
  if (facts.leader === undefined) return waiting(going.doing, "no leader at the confirmed membership");
  const end = whyEnd(going);
  if (end !== undefined) return acting(finish(ctx, operation, end.state, end.note), going.doing);

  let next = operation.step;
  while (next < operation.steps.length && isDone(facts, operation.steps[next])) next += 1;
  if (next >= operation.steps.length) return acting(finish(ctx, operation, "done", "all steps observed"), going.doing);
  const at = { lineage: m.lineage, cci: m.configChangeIndex };
  if (next > operation.step) {
    const note = `${current.kind} observed, next: ${operation.steps[next]?.kind ?? ""}`;
    return acting(advance(ctx, operation, { step: next, ...at, note }), going.doing);
  }
  const changes = current.kind === "addNonVoting" || current.kind === "promote" || current.kind === "remove";
  if (changes && current.expectedCci !== m.configChangeIndex) {
    const note = `membership is at ${m.configChangeIndex} now, trying again from there`;
    return acting(advance(ctx, operation, { step: next, ...at, note }), going.doing);
  }
  return perform(going, current);
}

function describe(operation: Operation): string {
  const { operationId, kind, step, steps, reason } = operation;
  const current = steps[step];
  const target = current?.targets[0];
  const where = target === undefined ? "" : ` replica ${target.replicaId} on ${target.hostId}`;
  const doing = `step ${step + 1} of ${steps.length}, ${current?.kind ?? "?"}${where}`;
  return `operation ${operationId} ${kind} (${reason}): ${doing}`;
}

/** Step done, as far as anybody can see. */
function isDone(facts: ShardFacts, step: OperationStep | undefined): boolean {
  const target = step?.targets[0];
  if (step === undefined || target === undefined) return true;
  const role = roleOf(facts.membership, target.replicaId);
  const member = memberOf(facts, target);
  switch (step.kind) {
    case "addNonVoting":
      return role !== undefined;
    case "join":
      return role === "voter" || member?.condition === "running" || member?.condition === "unconfirmed";
    case "catchUp":
      return role === "voter" || member?.live === true;
    case "promote":
      return role === "voter";
    case "remove":
      return role === undefined;
    case "create":
      return false;
  }
}

function memberOf(facts: ShardFacts, place: ReplicaPlace): MemberFacts | undefined {
  return facts.members.find((m) => m.replicaId === place.replicaId);
}

interface End {
  readonly state: "done" | "canceled" | "failed";
  readonly note: string;
}

/** Why the operation should not go on at all; asked again in every pass. */
function whyEnd(going: Going): End | undefined {
  const { facts, operation } = going;
  const newcomer = targetOf(operation, "join");
  const victim = targetOf(operation, "remove");
  if (newcomer === undefined) return whyNotRemove(going, victim);
  const promoted = facts.membership.voters.has(newcomer.replicaId);
  if (promoted) return whyEndAfterPromotion(facts, newcomer, victim);
  if (facts.membership.removed.has(newcomer.replicaId)) return { state: "failed", note: "the new member was removed" };
  const unfit = newcomerUnfit(going, newcomer);
  if (unfit !== undefined) return unfit;
  if (operation.kind === "makeUp" && facts.voters.length >= facts.shard.spec.voters) {
    return { state: "canceled", note: "there are voters enough now" };
  }
  const back = victim === undefined ? undefined : memberOf(facts, victim);
  if (operation.kind === "replace" && back === undefined && facts.voters.length >= facts.shard.spec.voters) {
    return { state: "canceled", note: "the replica to replace is gone, and there are voters enough" };
  }
  // D13: before the promotion a host that returns is better than a copy.
  if (back !== undefined && back.condition === "running" && !back.leaving) {
    return { state: "canceled", note: `replica ${back.replicaId} on ${back.hostId} is back` };
  }
  return undefined;
}

function newcomerUnfit({ ctx, facts, operation }: Going, newcomer: ReplicaPlace): End | undefined {
  const host = ctx.view.db.hosts.get(newcomer.hostId);
  const member = memberOf(facts, newcomer);
  const started =
    operation.steps[operation.step]?.kind !== "addNonVoting" && operation.steps[operation.step]?.kind !== "join";
  if (host === undefined || host.removed || host.draining)
    return { state: "canceled", note: "the new host is to be left" };
  if (host.dataSetId !== newcomer.dataSetId) return { state: "canceled", note: "the new host lost its data set" };
  // Nobody may miss a host that had no replica yet, so its silence alone is enough to choose another.
  if (isSilentTooLong(ctx, newcomer)) return { state: "canceled", note: "the new host is silent" };
  if (member?.condition === "faulty") return { state: "failed", note: `the new replica failed: ${member.fault}` };
  if (started && member?.lost === true) return { state: "failed", note: "the new replica lost its data" };
  return undefined;
}

function isSilentTooLong(ctx: PlanContext, newcomer: ReplicaPlace): boolean {
  const host = ctx.host(newcomer.hostId);
  return host === undefined || (!host.fresh && host.ageMs > ctx.view.config.timing.downMs);
}

/** Keep new, delete old (D13) — unless the new one died and the old one lives. */
function whyEndAfterPromotion(
  facts: ShardFacts,
  newcomer: ReplicaPlace,
  victim: ReplicaPlace | undefined,
): End | undefined {
  const old = victim === undefined ? undefined : memberOf(facts, victim);
  if (old === undefined || !old.live || old.leaving) return undefined;
  if (memberOf(facts, newcomer)?.live === true) return undefined;
  return { state: "canceled", note: `the new replica is not live and replica ${old.replicaId} is back` };
}

function whyNotRemove({ facts, operation }: Going, victim: ReplicaPlace | undefined): End | undefined {
  const member = victim === undefined ? undefined : memberOf(facts, victim);
  if (member === undefined || operation.step > 0) return undefined;
  const { spec, failure } = facts.shard;
  const mustGo = member.lost || member.leaving || member.replicaId === failure?.replicaId;
  if (member.role === "nonVoting") {
    const surplus = facts.nonVotings.length > spec.nonVotings;
    return mustGo || surplus ? undefined : { state: "canceled", note: "the member is wanted again" };
  }
  return member.lost || facts.voters.length > spec.voters
    ? undefined
    : { state: "canceled", note: "there is no voter to spare any more" };
}

function targetOf(operation: Operation, kind: OperationStep["kind"]): ReplicaPlace | undefined {
  return operation.steps.find((s) => s.kind === kind)?.targets[0];
}

function perform(going: Going, step: OperationStep): Outcome {
  const { ctx, facts, operation, doing } = going;
  const target = step.targets[0];
  const leader = facts.leader;
  if (target === undefined || leader === undefined) return waiting(doing, "no leader");
  const { replicaId } = target;
  const cci = { configChangeIndex: facts.membership.configChangeIndex };
  switch (step.kind) {
    case "addNonVoting": {
      if (!ctx.fresh(target.hostId)) return waiting(doing, `host ${target.hostId} is silent`);
      const refusal = guardStep(facts, { kind: "addNonVoting" });
      if (refusal !== undefined) return waiting(doing, refusal);
      return ask(going, leader.hostId, replicaId, { kind: "addNonVoting", replicaId, target: target.hostId, ...cci });
    }
    case "join":
      return join(going, target);
    case "catchUp":
      return catchUp(going, target);
    case "promote": {
      const refusal = guardStep(facts, { kind: "promote", replicaId });
      if (refusal !== undefined) return waiting(doing, refusal);
      return ask(going, leader.hostId, replicaId, { kind: "promote", replicaId, target: target.hostId, ...cci });
    }
    case "remove": {
      const refusal = guardStep(facts, { kind: "remove", replicaId });
      if (refusal !== undefined) return waiting(doing, refusal);
      return ask(going, leader.hostId, replicaId, { kind: "remove", replicaId, ...cci });
    }
    case "create":
      return acting(finish(ctx, operation, "failed", "a create step in a membership operation"), doing);
  }
}

function join(going: Going, target: ReplicaPlace): Outcome {
  const { ctx, facts, doing } = going;
  if (!ctx.fresh(target.hostId)) return waiting(doing, `host ${target.hostId} is silent`);
  const stored = ctx.view.image.dataOn(target.hostId, facts.shard.shardId);
  if (stored === undefined) return waiting(doing, `host ${target.hostId} has not listed its data yet`);
  // Its data is there: restarting in place is the rule for that (restart.ts).
  if (stored.includes(target.replicaId)) return waiting(doing, "waiting for its restart");
  const { app, settings } = facts.shard.spec;
  const { replicaId } = target;
  return ask(going, target.hostId, replicaId, { kind: "join", replicaId, app, settings });
}

/** Given up by progress, not by time: a large snapshot may take long, a learner that stands still is stuck. */
function catchUp(going: Going, target: ReplicaPlace): Outcome {
  const { ctx, facts, operation, doing } = going;
  const member = memberOf(facts, target);
  const match = member?.match ?? 0;
  const key = `catchUp.${operation.operationId}.${match}`;
  if (member !== undefined && ctx.fresh(member.hostId) && ctx.held(key, ctx.view.config.catchUpStallMs)) {
    return acting(finish(ctx, operation, "failed", `no progress beyond index ${match}`), doing);
  }
  return waiting(doing, `at index ${match} of ${facts.leader?.info.commit ?? 0}`);
}

/** Sends, and after a while without effect tries again under a new request id. */
function ask(going: Going, hostId: string, replicaId: number, action: HostAction): Outcome {
  const { ctx, facts, operation, doing } = going;
  const requestId = stepRequestId(operation, replicaId);
  const refusal = ctx.view.refusals.get(requestId);
  const saidNo = refusal === undefined ? "" : `${refusal.hostId} answered ${refusal.code}: ${refusal.detail}`;
  const key = `step.${operation.operationId}.${operation.step}.${operation.attempt}`;
  if (ctx.held(key, backoffMs(ctx, operation.attempt))) {
    if (operation.attempt >= ctx.view.config.attemptsMax && action.kind !== "remove") {
      return acting(finish(ctx, operation, "failed", `no effect after ${operation.attempt} tries. ${saidNo}`), doing);
    }
    const { lineage, configChangeIndex: cci } = facts.membership;
    const note = saidNo === "" ? "no effect so far, trying again" : saidNo;
    return acting(advance(ctx, operation, { step: operation.step, lineage, cci, note }), doing);
  }
  const { shardId, operationId } = operation;
  const request = requestTo(ctx, { hostId, shardId, operationId, requestId, action, reason: doing });
  const outcome = acting(request, doing);
  return saidNo === "" ? outcome : { ...outcome, waiting: saidNo };
}
