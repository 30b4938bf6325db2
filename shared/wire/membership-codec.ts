/** Membership, members and roles: plain types ↔ generated messages. Used by the other codecs of this folder. */
import { drumline } from "#gen/drumline.js";
import { MalformedError } from "../codec/bytes.js";
import { LIMITS } from "../limits.js";
import type { ReplicaId, Target } from "../types/ids.js";
import type { Membership, Role } from "../types/membership.js";
import { list, name, positive, uint } from "./check.js";

const v1 = drumline.v1;

export function roleToWire(role: Role): drumline.v1.Role {
  switch (role) {
    case "voter":
      return v1.Role.ROLE_VOTER;
    case "nonVoting":
      return v1.Role.ROLE_NON_VOTING;
    case "witness":
      return v1.Role.ROLE_WITNESS;
  }
}

export function roleFromWire(role: drumline.v1.Role | null | undefined): Role {
  switch (role) {
    case v1.Role.ROLE_VOTER:
      return "voter";
    case v1.Role.ROLE_NON_VOTING:
      return "nonVoting";
    case v1.Role.ROLE_WITNESS:
      return "witness";
    default:
      throw new MalformedError(`role is ${role ?? "missing"}, expected 1 to 3`);
  }
}

export function membersToWire(members: ReadonlyMap<ReplicaId, Target>): drumline.v1.Member.$Properties[] {
  return [...members].map(([replicaId, target]) => ({ replicaId, target }));
}

/** Refuses a replica id that occurs twice: `known` holds those of the groups read before. */
export function membersFromWire(
  members: readonly drumline.v1.Member.$Properties[] | null | undefined,
  known: Set<ReplicaId> = new Set(),
): Map<ReplicaId, Target> {
  const result = new Map<ReplicaId, Target>();
  for (const member of list(members, LIMITS.wireMembersMax, "members")) {
    const replicaId = positive(member.replicaId, "replicaId");
    if (known.has(replicaId)) throw new MalformedError(`replica ${replicaId} is a member twice`);
    known.add(replicaId);
    result.set(replicaId, name(member.target, "target"));
  }
  return result;
}

export function membershipToWire(m: Membership): drumline.v1.Membership.$Properties {
  return {
    lineage: m.lineage,
    configChangeIndex: m.configChangeIndex,
    voters: membersToWire(m.voters),
    nonVotings: membersToWire(m.nonVotings),
    witnesses: membersToWire(m.witnesses),
    removed: [...m.removed],
  };
}

export function membershipFromWire(m: drumline.v1.Membership.$Properties): Membership {
  const known = new Set<ReplicaId>();
  const voters = membersFromWire(m.voters, known);
  const nonVotings = membersFromWire(m.nonVotings, known);
  const witnesses = membersFromWire(m.witnesses, known);
  const removed = new Set<ReplicaId>();
  for (const id of list(m.removed, LIMITS.reportShardsMax, "removed replicas")) {
    if (known.has(id)) throw new MalformedError(`replica ${id} is a member and removed`);
    removed.add(positive(id, "removed replica"));
  }
  return {
    lineage: uint(m.lineage, "lineage"),
    configChangeIndex: uint(m.configChangeIndex, "configChangeIndex"),
    voters,
    nonVotings,
    witnesses,
    removed,
  };
}
