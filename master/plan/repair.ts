/**
 * Which operation a shard without one needs, most urgent first: clear away what is in the way → make up missing voters
 * → replace lost ones → replace leaving ones → remove extra ones → non-voting members. A decision is only a wish:
 * plan.ts opens wishes in the order of margin, as far as limits allow.
 *
 * Replacing never weakens: add as non-voting → join → catch up → promote → remove. A learner left over by a canceled
 * operation is taken on rather than copied again.
 */
import type { HostId, ReplicaId } from "../../shared/types/ids.js";
import type { OperationKind, OperationStep, ReplicaPlace, StepKind } from "../db/index.js";
import type { PlanContext } from "./context.js";
import { hostsHolding, type MemberFacts, type ShardFacts } from "./facts.js";
import { guardStep } from "./guard.js";
import type { OpenWish } from "./outcome.js";
import { crowdingOf, placeReplica } from "./placement.js";
import { backoffMs } from "./requests.js";

export type Decision =
  | { readonly wish: OpenWish }
  /** Something is wanted that may not be done now; empty = nothing is wanted. */
  | { readonly waiting: string };

const NOTHING: Decision = { waiting: "" };

export function decide(ctx: PlanContext, facts: ShardFacts): Decision {
  const { voters, nonVotings, shard } = facts;
  const { spec } = shard;
  const stray = nonVotings.find((m) => m.lost || m.leaving || m.replicaId === shard.failure?.replicaId);
  if (stray !== undefined) return removing(facts, stray, `non-voting member ${describe(stray)}`);

  const lost = voters.filter((m) => m.lost);
  const first = lost[0];
  if (first !== undefined && voters.length > spec.voters) return removing(facts, first, `lost ${describe(first)}`);
  if (voters.length < spec.voters) {
    return adding(ctx, facts, { kind: "makeUp", reason: `${voters.length} of ${spec.voters} voters` });
  }
  if (first !== undefined)
    return adding(ctx, facts, { kind: "replace", reason: `lost ${describe(first)}`, victim: first });
  const leaving = voters.find((m) => m.leaving);
  if (leaving !== undefined && voters.length > spec.voters)
    return removing(facts, leaving, `leaving ${describe(leaving)}`);
  if (leaving !== undefined)
    return adding(ctx, facts, { kind: "replace", reason: `leaving ${describe(leaving)}`, victim: leaving });
  if (voters.length > spec.voters) {
    const extra = extraVoter(ctx, facts);
    const reason = `${voters.length} voters, wanted ${spec.voters}`;
    return extra === undefined ? NOTHING : removing(facts, extra, reason);
  }
  const surplus = nonVotings.at(-1);
  if (nonVotings.length > spec.nonVotings && surplus !== undefined) {
    return removing(facts, surplus, `${nonVotings.length} non-voting members, wanted ${spec.nonVotings}`);
  }
  if (nonVotings.length < spec.nonVotings) {
    return adding(ctx, facts, {
      kind: "addNonVoting",
      reason: `${nonVotings.length} of ${spec.nonVotings} non-voting members`,
    });
  }
  return NOTHING;
}

function describe(m: MemberFacts): string {
  const why = m.leaving && !m.lost ? "the host is to be left" : m.condition + (m.fault === "" ? "" : `: ${m.fault}`);
  return `replica ${m.replicaId} on ${m.hostId} (${why})`;
}

/** The extra voter whose going helps the spread most; not the leader if another will do; the older one. */
function extraVoter(ctx: PlanContext, facts: ShardFacts): MemberFacts | undefined {
  const rank = (m: MemberFacts): readonly number[] => {
    const others = facts.voters.filter((o) => o !== m).map((o) => o.hostId);
    const leads = facts.leader?.info.replicaId === m.replicaId ? 1 : 0;
    return [m.live ? 1 : 0, leads, -crowdingOf(ctx, m.hostId, others), -ctx.load(m.hostId), m.replicaId];
  };
  const ranked = facts.voters.map((m) => ({ m, rank: rank(m) }));
  ranked.sort((a, b) => {
    for (let i = 0; i < a.rank.length; i++) {
      const difference = (a.rank[i] ?? 0) - (b.rank[i] ?? 0);
      if (difference !== 0) return difference;
    }
    return 0;
  });
  return ranked[0]?.m;
}

function removing(facts: ShardFacts, victim: MemberFacts, reason: string): Decision {
  const refusal = guardStep(facts, { kind: "remove", replicaId: victim.replicaId });
  if (refusal !== undefined) return { waiting: `not removing replica ${victim.replicaId}: ${refusal}` };
  const steps = [step("remove", placeOf(facts, victim))];
  return { wish: { kind: "remove", reason, build: () => ({ kind: "remove", steps }) } };
}

interface Need {
  readonly kind: OperationKind;
  readonly reason: string;
  readonly victim?: MemberFacts;
}

function adding(ctx: PlanContext, facts: ShardFacts, { kind, reason, victim }: Need): Decision {
  const refusal = guardStep(facts, { kind: "addNonVoting" });
  if (refusal !== undefined) return { waiting: `${reason}; not adding a replica: ${refusal}` };
  const failure = facts.shard.failure;
  if (failure !== undefined) {
    const key = `failure.${facts.shard.shardId}.${failure.count}`;
    if (!ctx.held(key, backoffMs(ctx, failure.count))) {
      return { waiting: `${reason}; trying again later, operation ${failure.operationId} failed: ${failure.reason}` };
    }
  }
  const build: OpenWish["build"] = () => {
    const taken = hostsHolding(ctx, facts);
    const adopted = kind === "addNonVoting" ? undefined : adoptable(facts);
    const old = victim && placeOf(facts, victim);
    if (adopted !== undefined) return { kind, steps: stepsFor(kind, placeOf(facts, adopted), old) };
    const stay = facts.voters.filter((m) => m !== victim && !m.lost).map((m) => m.hostId);
    const wish = { shardId: facts.shard.shardId, spec: facts.shard.spec, taken, staying: stay, limited: true };
    const placement = placeReplica(ctx, { ...wish, avoid: failure?.hostId ?? "" });
    if ("place" in placement) return { kind, steps: stepsFor(kind, placement.place, old) };
    if (placement.temporary || old === undefined || !makesRoom(facts, victim)) return placement;
    return { kind: "remove", steps: [step("remove", old)] };
  };
  return { wish: { kind, reason, build } };
}

/**
 * With no other host left, a voter whose host lives but whose data is gone may go first, so that its own host can take
 * the new one (two members never share a host). That costs nothing: it could not have helped any quorum again. A voter
 * on a silent host stays: it may return with its data.
 */
function makesRoom(facts: ShardFacts, victim: MemberFacts | undefined): boolean {
  if (victim === undefined || !victim.lost) return false;
  const gone = victim.condition === "wiped" || victim.condition === "absent" || victim.condition === "faulty";
  return gone && guardStep(facts, { kind: "remove", replicaId: victim.replicaId }) === undefined;
}

/** A surplus learner on a live host: data already copied is not copied again. */
function adoptable(facts: ShardFacts): MemberFacts | undefined {
  if (facts.nonVotings.length <= facts.shard.spec.nonVotings) return undefined;
  const works = (m: MemberFacts): boolean =>
    (m.condition === "running" || m.condition === "stopped") && facts.shard.dataSets.has(m.replicaId);
  return facts.nonVotings.find(works);
}

/** All steps of an operation. `place` with replica id 0 stands for a replica to be made. */
export function stepsFor(kind: OperationKind, place: ReplicaPlace, victim?: ReplicaPlace): OperationStep[] {
  const kinds: StepKind[] = ["addNonVoting", "join", "catchUp"];
  if (kind !== "addNonVoting") kinds.push("promote");
  const steps = kinds.map((k) => step(k, place));
  if (victim !== undefined) steps.push(step("remove", victim));
  return steps;
}

function step(kind: StepKind, place: ReplicaPlace): OperationStep {
  return { kind, targets: [place], expectedLineage: 0, expectedCci: 0 };
}

function placeOf(facts: ShardFacts, m: { readonly replicaId: ReplicaId; readonly hostId: HostId }): ReplicaPlace {
  const dataSetId = facts.shard.dataSets.get(m.replicaId) ?? "";
  return { replicaId: m.replicaId, hostId: m.hostId, dataSetId };
}
