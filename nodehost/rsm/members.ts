/**
 * What a config change entry does to the membership. Pure: every replica computes the same from the same log, so a
 * refusal is an outcome like any other and is decided here, at apply, not at propose.
 *
 * Invariants: an accepted change sets configChangeIndex to its index (a shrink keeps it and raises the lineage), a
 * refused one changes nothing; an id is in at most one group and never in `removed` as well; who is a witness stays one
 * until removed; there is always a voter once there was one; no two members share a target (the initial members are
 * checked by whoever starts the shard). Called by Rsm and WitnessRsm; a proposer may call it to refuse early.
 */

import { assertNever } from "../../shared/assert.js";
import type { Entry } from "../../shared/codec/block.js";
import { decodeConfigChange, encodeMembership } from "../../shared/codec/membership.js";
import { errorText } from "../../shared/errors.js";
import type { Index, ReplicaId, Target } from "../../shared/types/ids.js";
import { type ConfigChange, type Membership, type Role, roleOf, targetOf } from "../../shared/types/membership.js";
import { hash64 } from "./hash.js";

export interface ConfigChangeOutcome {
  /** In force after the entry; the given object itself if refused. */
  readonly membership: Membership;
  /** Why the change was refused, undefined if accepted. */
  readonly refusal: string | undefined;
}

/** Applies the change at log index `index`. */
export function applyConfigChange(membership: Membership, change: ConfigChange, index: Index): ConfigChangeOutcome {
  const refusal = change.bootstrap ? bootstrapRefusal(membership, change) : refusalOf(membership, change);
  if (refusal !== undefined) return { membership, refusal };
  return { membership: changed(membership, change, index), refusal: undefined };
}

/** Stands for a config change entry that cannot be read: it is refused, alike on every replica. */
const UNREADABLE_CHANGE: ConfigChange = {
  kind: "remove",
  replicaId: 0,
  target: "",
  expectedConfigChangeIndex: 0,
  bootstrap: false,
};

/** Applies a config change entry. */
export function applyConfigEntry(
  membership: Membership,
  { cmd, index }: Pick<Entry, "cmd" | "index">,
): ConfigChangeOutcome & { readonly change: ConfigChange } {
  let change: ConfigChange;
  try {
    change = decodeConfigChange(cmd);
  } catch (error) {
    return { change: UNREADABLE_CHANGE, membership, refusal: `the change cannot be read: ${errorText(error)}` };
  }
  return { change, ...applyConfigChange(membership, change, index) };
}

/**
 * Why the change can never be accepted, whatever is applied meanwhile: who is a witness stays one, who holds data never
 * becomes one. For who proposes.
 */
export function kindRefusal(
  m: Membership,
  { kind, replicaId }: Pick<ConfigChange, "kind" | "replicaId">,
): string | undefined {
  const role = roleOf(m, replicaId);
  if (role === undefined || kind === "remove") return undefined;
  return (role === "witness") === (kind === "addWitness") ? undefined : alreadyText(replicaId, role);
}

function alreadyText(replicaId: ReplicaId, role: Role): string {
  return `replica ${replicaId} is a ${role} member already`;
}

/** Equal on two replicas exactly when their memberships are (lineage, CCI, members, targets, removed ids). */
export function membershipHash(membership: Membership): string {
  return hash64(encodeMembership(membership));
}

/** Targets are compared trimmed and without case: "Host:1 " is "host:1". */
export function normalizedTarget(target: Target): Target {
  return target.trim().toLowerCase();
}

/** The initial members are given, not asked for: no rule but that they are additions and new to the shard. */
function bootstrapRefusal(m: Membership, change: ConfigChange): string | undefined {
  if (change.kind === "remove" || change.kind === "shrink") return "a bootstrap entry cannot remove members";
  return m.removed.has(change.replicaId) ? `replica ${change.replicaId} was removed` : undefined;
}

function refusalOf(m: Membership, change: ConfigChange): string | undefined {
  const { replicaId, expectedConfigChangeIndex: expected } = change;
  if (expected !== 0 && expected !== m.configChangeIndex) {
    return `config change index is ${m.configChangeIndex}, expected ${expected}`;
  }
  if (replicaId < 1) return `replica id ${replicaId} is not valid, expected at least 1`;
  if (change.kind === "remove") return removeRefusal(m, replicaId);
  if (change.kind === "shrink") return shrinkRefusal(m, replicaId);
  return addRefusal(m, change);
}

function removeRefusal(m: Membership, replicaId: ReplicaId): string | undefined {
  if (m.removed.has(replicaId)) return `replica ${replicaId} is removed already`;
  if (roleOf(m, replicaId) === undefined) return `replica ${replicaId} is not a member`;
  // Witnesses and non-votings cannot lead: without a voter the shard would be dead for ever (P26).
  if (m.voters.has(replicaId) && m.voters.size === 1) return `replica ${replicaId} is the only voter`;
  return undefined;
}

function shrinkRefusal(m: Membership, replicaId: ReplicaId): string | undefined {
  const role = roleOf(m, replicaId);
  if (role === "voter" || role === "nonVoting") return undefined;
  // A witness has no data.
  return `replica ${replicaId} is ${role === undefined ? "not a member" : `a ${role}`}`;
}

function addRefusal(m: Membership, change: ConfigChange): string | undefined {
  const { kind, replicaId, target } = change;
  if (m.removed.has(replicaId)) return `replica ${replicaId} was removed; its id cannot be used again`;
  const role = roleOf(m, replicaId);
  // Promotion: the target stays, the given one is ignored.
  if (role === "nonVoting" && kind === "addVoter") return undefined;
  if (role !== undefined) return alreadyText(replicaId, role);
  const wanted = normalizedTarget(target);
  if (wanted === "") return `replica ${replicaId} has no target`;
  for (const group of [m.voters, m.nonVotings, m.witnesses]) {
    for (const [id, used] of group) {
      if (normalizedTarget(used) === wanted) return `target ${wanted} is used by replica ${id}`;
    }
  }
  return undefined;
}

function changed(m: Membership, change: ConfigChange, index: Index): Membership {
  const { replicaId } = change;
  const voters = new Map(m.voters);
  const nonVotings = new Map(m.nonVotings);
  const witnesses = new Map(m.witnesses);
  const removed = new Set(m.removed);
  const promotedTarget = change.bootstrap ? undefined : m.nonVotings.get(replicaId);
  for (const group of [voters, nonVotings, witnesses]) group.delete(replicaId);
  switch (change.kind) {
    case "addVoter":
      voters.set(replicaId, promotedTarget ?? change.target);
      break;
    case "addNonVoting":
      nonVotings.set(replicaId, change.target);
      break;
    case "addWitness":
      witnesses.set(replicaId, change.target);
      break;
    case "remove":
      removed.add(replicaId);
      break;
    case "shrink":
      return shrunk(m, replicaId, change.target);
    default:
      assertNever(change.kind);
  }
  return { lineage: m.lineage, configChangeIndex: index, voters, nonVotings, witnesses, removed };
}

/** What is left when everybody else is given up for lost. */
function shrunk(m: Membership, replicaId: ReplicaId, target: Target): Membership {
  const removed = new Set(m.removed);
  for (const group of [m.voters, m.nonVotings, m.witnesses]) {
    for (const id of group.keys()) if (id !== replicaId) removed.add(id);
  }
  const place = target === "" ? (targetOf(m, replicaId) ?? "") : target;
  return {
    lineage: m.lineage + 1,
    configChangeIndex: m.configChangeIndex,
    voters: new Map([[replicaId, place]]),
    nonVotings: new Map(),
    witnesses: new Map(),
    removed,
  };
}
