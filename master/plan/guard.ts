/**
 * The guard (M1, D11): refuses every step after which live, caught-up voters and witnesses would be fewer than the
 * quorum of the configuration that results, or before which they already are, and the removal of the last live voter,
 * because witnesses hold no data. It looks at nothing but facts and the change, so it holds whatever the rest believes.
 */
import type { ReplicaId } from "../../shared/types/ids.js";
import type { ShardFacts } from "./facts.js";

export type MembershipStep =
  | { readonly kind: "addNonVoting" }
  | { readonly kind: "promote"; readonly replicaId: ReplicaId }
  | { readonly kind: "remove"; readonly replicaId: ReplicaId };

/** Why the step may not be taken now; undefined = it may. */
export function guardStep(facts: ShardFacts, step: MembershipStep): string | undefined {
  if (facts.leader === undefined) return "no leader at the confirmed membership";
  if (facts.margin < 0) return `${facts.margin + facts.quorum} live voters, quorum is ${facts.quorum}`;
  let voters = facts.voters.length + facts.witnesses.length;
  let live = facts.margin + facts.quorum;
  if (step.kind === "promote") {
    const member = facts.members.find((m) => m.replicaId === step.replicaId);
    if (member === undefined || !member.live) return `replica ${step.replicaId} is not live and caught up (M4)`;
    if (member.role !== "nonVoting") return `replica ${step.replicaId} already votes`;
    voters += 1;
    live += 1;
  }
  if (step.kind === "remove") {
    const member = facts.members.find((m) => m.replicaId === step.replicaId);
    if (member !== undefined && member.role !== "nonVoting") {
      voters -= 1;
      if (member.live) live -= 1;
    }
    if (!facts.voters.some((m) => m.live && m.replicaId !== step.replicaId)) return "no live voter would be left";
  }
  const quorum = Math.floor(voters / 2) + 1;
  if (voters < 1) return "the last voter cannot be removed";
  if (live < quorum) return `afterwards ${live} live voters of ${voters}, quorum ${quorum}`;
  return undefined;
}
