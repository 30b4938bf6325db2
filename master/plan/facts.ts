/**
 * What is known of one shard now: its confirmed membership, its leader's word, and for every member whether it is
 * live, may come back, or is lost. Everything the planner decides about a shard starts here.
 *
 * Two questions are kept apart. `live` is for safety: only members proven live and caught up count towards a quorum.
 * `lost` is for repair: only what certainly will not come back with its data is replaced. Most troubled members are
 * neither, and the planner waits.
 */
import type { MemberProgress } from "../../shared/types/control.js";
import type { HostId, ReplicaId } from "../../shared/types/ids.js";
import { type Membership, quorumSize, type Role } from "../../shared/types/membership.js";
import { compareMembership, type Operation, type ShardRecord } from "../db/index.js";
import type { LeaderClaim } from "../detect/index.js";
import type { PlanContext } from "./context.js";

export type MemberCondition =
  /** Runs, and its leader hears it. */
  | "running"
  /** Runs by its host's report, but no leader confirms it. */
  | "unconfirmed"
  /** Its data is on its host, which lives, but it does not run. */
  | "stopped"
  /** Its host lives and has nothing of it. */
  | "absent"
  /** Its host's data set was replaced (D: Wiped). */
  | "wiped"
  /** Its host's directory is an old copy, or used twice (D: Refused). */
  | "refused"
  /** Its host reports that it cannot run. */
  | "faulty"
  /** Its host is silent, not for long enough to be lost. */
  | "silent"
  /** Its host is Down, and the leader of this shard misses it too. */
  | "down"
  /** Its host was removed by the operator. */
  | "removed"
  /** Its host is silent in maintenance. */
  | "maintenance";

export interface MemberFacts {
  readonly replicaId: ReplicaId;
  readonly hostId: HostId;
  readonly role: Role;
  readonly condition: MemberCondition;
  /** Runs, is heard by the leader, and is within the catch-up bound: counts towards a quorum (M1). */
  readonly live: boolean;
  /** Will not come back with its data. */
  readonly lost: boolean;
  /** The operator wants it off its host. */
  readonly leaving: boolean;
  readonly match: number;
  readonly fault: string;
  /** What it says of itself when it does not get on. */
  readonly waiting: string;
}

export interface ShardFacts {
  readonly shard: ShardRecord;
  readonly operation: Operation | undefined;
  readonly membership: Membership;
  /** Fresh, and at the confirmed membership; without one nothing is changed. */
  readonly leader: LeaderClaim | undefined;
  /** A fresh leader's membership is newer than the confirmed one: confirm first. */
  readonly toConfirm: Membership | undefined;
  readonly inconsistent: string;
  readonly members: readonly MemberFacts[];
  readonly voters: readonly MemberFacts[];
  readonly nonVotings: readonly MemberFacts[];
  /** Added by hand: they count, and are left as they are. */
  readonly witnesses: readonly MemberFacts[];
  /** Of voters and witnesses. */
  readonly quorum: number;
  /** Live voters and witnesses − quorum. */
  readonly margin: number;
}

/** Facts of a shard whose membership is confirmed. */
export function shardFacts(ctx: PlanContext, shard: ShardRecord, membership: Membership): ShardFacts {
  const claim = ctx.view.image.leaderOf(shard.shardId, ctx.fresh);
  const order = claim === undefined ? 0 : compareMembership(stampOf(claim), membership);
  const leader = claim !== undefined && order === 0 ? claim : undefined;
  const toConfirm = claim !== undefined && order > 0 ? claim.membership : undefined;
  const members: MemberFacts[] = [];
  const groups = [
    ["voter", membership.voters],
    ["witness", membership.witnesses],
    ["nonVoting", membership.nonVotings],
  ] as const;
  for (const [role, group] of groups) {
    for (const [replicaId, target] of group) {
      members.push(memberFacts({ ctx, shard, leader }, { replicaId, hostId: target, role }));
    }
  }
  members.sort((a, b) => a.replicaId - b.replicaId);
  const quorum = quorumSize(membership);
  return {
    shard,
    operation: ctx.view.db.operations.get(shard.operationId),
    membership,
    leader,
    toConfirm,
    inconsistent: inconsistency(leader, membership, members),
    members,
    voters: members.filter((m) => m.role === "voter"),
    nonVotings: members.filter((m) => m.role === "nonVoting"),
    witnesses: members.filter((m) => m.role === "witness"),
    quorum,
    margin: members.filter((m) => m.live && m.role !== "nonVoting").length - quorum,
  };
}

function stampOf(claim: LeaderClaim): { readonly lineage: number; readonly configChangeIndex: number } {
  return { lineage: claim.info.lineage, configChangeIndex: claim.info.configChangeIndex };
}

/** D19: what cannot be is shown and left alone. */
function inconsistency(leader: LeaderClaim | undefined, m: Membership, members: readonly MemberFacts[]): string {
  if (leader?.membership !== undefined && !sameMembers(leader.membership, m)) {
    return `the leader on ${leader.hostId} reports other members than confirmed at the same index`;
  }
  const faults = new Map<string, number>();
  for (const { condition, fault } of members) {
    if (condition !== "faulty" || !fault.startsWith("fenced")) continue;
    const count = (faults.get(fault) ?? 0) + 1;
    if (count > 1) return `two replicas failed alike (${fault}): an entry no replica can apply`;
    faults.set(fault, count);
  }
  return "";
}

function sameMembers(a: Membership, b: Membership): boolean {
  const same = (x: ReadonlyMap<number, string>, y: ReadonlyMap<number, string>): boolean =>
    x.size === y.size && [...x].every(([id, target]) => y.get(id) === target);
  return same(a.voters, b.voters) && same(a.nonVotings, b.nonVotings) && same(a.witnesses, b.witnesses);
}

interface Around {
  readonly ctx: PlanContext;
  readonly shard: ShardRecord;
  readonly leader: LeaderClaim | undefined;
}

type Member = Pick<MemberFacts, "replicaId" | "hostId" | "role">;

function memberFacts(around: Around, member: Member): MemberFacts {
  const { ctx, shard, leader } = around;
  const { hostId, replicaId } = member;
  const progress = leader?.info.progress.find((p) => p.replicaId === replicaId);
  const leads = leader !== undefined && leader.hostId === hostId && leader.info.replicaId === replicaId;
  const condition = conditionOf(around, member, leads, progress);
  const caughtUp = leads || (progress !== undefined && leader !== undefined && isCaughtUp(ctx, leader, progress));
  const record = ctx.view.db.hosts.get(hostId);
  const info = ctx.view.image.replicaOn(hostId, shard.shardId, replicaId);
  return {
    ...member,
    condition,
    live: condition === "running" && caughtUp,
    lost: isLost(ctx, shard, member, condition),
    leaving: record?.draining === true || record?.removed === true,
    match: leads ? (leader?.info.commit ?? 0) : (progress?.match ?? 0),
    fault: info?.fault ?? "",
    waiting: info?.waiting ?? "",
  };
}

/** Within the bound of what its leader has committed. */
export function isCaughtUp(ctx: PlanContext, leader: LeaderClaim, progress: MemberProgress): boolean {
  return progress.match + ctx.view.config.catchUpEntries >= leader.info.commit && progress.match > 0;
}

function conditionOf(
  { ctx, shard }: Around,
  { hostId, replicaId }: Member,
  leads: boolean,
  progress: MemberProgress | undefined,
): MemberCondition {
  const host = ctx.host(hostId);
  if (isWiped(ctx, shard, replicaId, hostId)) return "wiped";
  if (host?.state === "Refused") return "refused";
  if (host === undefined || !host.fresh) {
    if (host?.state === "Removed" || ctx.view.db.hosts.get(hostId)?.removed === true) return "removed";
    if (host?.state === "Maintenance") return "maintenance";
    // D: Down counts for a shard only if its own leader misses the member too.
    const missed = progress !== undefined && progress.silentMs >= ctx.view.config.timing.peerEvidenceMs;
    return host?.liveness === "down" && missed ? "down" : "silent";
  }
  const info = ctx.view.image.replicaOn(hostId, shard.shardId, replicaId);
  if (info !== undefined) {
    if (info.fault !== "") return "faulty";
    const heard = leads || (progress !== undefined && progress.silentMs <= ctx.view.config.memberSilentMs);
    return heard ? "running" : "unconfirmed";
  }
  const stored = ctx.view.image.dataOn(hostId, shard.shardId);
  if (stored === undefined) return "silent";
  return stored.includes(replicaId) ? "stopped" : "absent";
}

/** The host's data set is not the one this replica was started on. */
function isWiped(ctx: PlanContext, shard: ShardRecord, replicaId: ReplicaId, hostId: HostId): boolean {
  const startedOn = shard.dataSets.get(replicaId);
  const registered = ctx.view.db.hosts.get(hostId)?.dataSetId;
  return startedOn !== undefined && registered !== undefined && startedOn !== registered;
}

function isLost(ctx: PlanContext, shard: ShardRecord, member: Member, condition: MemberCondition): boolean {
  switch (condition) {
    case "wiped":
    case "refused":
    case "faulty":
    case "down":
    case "removed":
      return true;
    case "absent":
      // A report may be older than the start of the replica: absence must last.
      return ctx.held(`absent.${shard.shardId}.${member.replicaId}`, ctx.view.config.timing.suspectMs);
    default:
      return false;
  }
}

/** Every host that runs, stores or is a member of the shard: no place for another replica of it. */
export function hostsHolding(ctx: PlanContext, facts: Pick<ShardFacts, "shard" | "members">): Set<HostId> {
  const hosts = new Set<HostId>(facts.members.map((m) => m.hostId));
  for (const seen of ctx.view.image.replicasOf(facts.shard.shardId)) hosts.add(seen.hostId);
  return hosts;
}
