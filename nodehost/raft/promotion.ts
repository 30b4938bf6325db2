/**
 * Promotion of non-voting members by policy, the leader's side (thesis 4.2.1). A round is the time in which a member
 * comes to hold everything that was in the leader's log when the round began. A member is caught up when several
 * rounds in a row each took no longer than an election timeout and ended within a bound of entries; then the leader
 * appends its promotion. It gives up, with a reason, when time is over, when it no longer leads, or when the member is
 * no non-voting member any more. Called by class Raft, replication, membership, roles, timers and output.
 *
 * Keeps (R22): nobody becomes a voter through this leader that is silent or lags more than the bound, neither by
 * policy nor by request (`isPremature`, P21): a lagging voter raises the quorum and cannot fill it.
 */
import { EntryType, singleBody } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import type { Index, ReplicaId, TimeMs } from "../../shared/types/ids.js";
import type { ConfigChange } from "../../shared/types/membership.js";
import { appendOwn } from "./append.js";
import type { Progress } from "./progress.js";
import type { RaftState } from "./state.js";
import { isTransferring } from "./transfer.js";
import type { PromotionEnd, PromotionPolicy, PromotionRefusal, PromotionStatus } from "./types.js";

/** One member that is to become a voter. Lives as long as the leadership, so that an end by time stays an end. */
export interface Promotion {
  readonly policy: PromotionPolicy;
  readonly deadlineMs: TimeMs;
  roundEnd: Index;
  roundSinceMs: TimeMs;
  /** Rounds in a row that were good. */
  goodRounds: number;
  /** Index of the change, 0 = not appended. */
  appendedAt: Index;
  /** Gave up: nothing more is done for this member under this leadership. */
  gaveUp: boolean;
}

export function beginPromotion(s: RaftState, id: ReplicaId, policy: PromotionPolicy): PromotionRefusal | undefined {
  if (s.role !== "leader") return "notLeader";
  if (!s.membership.nonVotings.has(id)) return "notNonVoting";
  if (s.promotions.get(id)?.gaveUp === false) return "busy";
  s.promotions.set(id, {
    policy,
    deadlineMs: s.nowMs + policy.timeoutMs,
    roundEnd: s.log.last,
    roundSinceMs: s.nowMs,
    goodRounds: 0,
    appendedAt: 0,
    gaveUp: false,
  });
  return undefined;
}

/** The membership in use changed under this leader, or it was just elected. */
export function recheckPromotions(s: RaftState): void {
  const { voters, nonVotings } = s.membership;
  for (const [id, promotion] of s.promotions) {
    const { appendedAt, gaveUp } = promotion;
    if (!nonVotings.has(id)) {
      s.promotions.delete(id);
      if (!gaveUp) end(s, id, promotion, voters.has(id) ? undefined : "memberChanged");
    } else if (appendedAt !== 0 && !gaveUp && !s.log.pendingConfigs.includes(appendedAt)) {
      // It went through the state machine and was refused there.
      giveUp(s, id, promotion, "refused");
    }
  }
  const policy = s.config.autoPromote;
  if (policy === undefined) return;
  for (const id of nonVotings.keys()) if (!s.promotions.has(id)) beginPromotion(s, id, policy);
}

/** `peer` answered. Ends its round if it has caught up with the round's end. */
export function countRound(s: RaftState, peer: Progress): void {
  const promotion = s.promotions.get(peer.id);
  if (promotion === undefined || promotion.gaveUp || promotion.appendedAt !== 0) return;
  if (s.nowMs >= promotion.deadlineMs) {
    giveUp(s, peer.id, promotion, "timeout");
    return;
  }
  if (peer.match < promotion.roundEnd) return;
  const { maxLagEntries, rounds } = promotion.policy;
  const tookMs = s.nowMs - promotion.roundSinceMs;
  const good = tookMs <= s.config.electionTimeoutMs && s.log.last - peer.match <= maxLagEntries;
  promotion.goodRounds = good ? promotion.goodRounds + 1 : 0;
  promotion.roundEnd = s.log.last;
  promotion.roundSinceMs = s.nowMs;
  if (promotion.goodRounds >= rounds) append(s, peer.id, promotion);
}

/** Appends the change, unless another one is in flight: then the next good round tries again. */
function append(s: RaftState, replicaId: ReplicaId, promotion: Promotion): void {
  if (isTransferring(s) || s.log.pendingConfigs.length > 0 || s.log.commit < s.termStart) return;
  const change: ConfigChange = {
    kind: "addVoter",
    replicaId,
    target: s.membership.nonVotings.get(replicaId) ?? "",
    expectedConfigChangeIndex: s.membership.configChangeIndex,
    bootstrap: false,
  };
  const nobody = { replicaId: 0, incarnation: 0, sequence: 0 };
  appendOwn(s, singleBody(EntryType.ConfigChange, nobody, encodeConfigChange(change)));
  promotion.appendedAt = s.log.last;
}

/** True if `change` would make a voter of a member that is silent or lags more than the configured bound. */
export function isPremature(s: RaftState, change: ConfigChange): boolean {
  if (change.kind !== "addVoter" || !s.membership.nonVotings.has(change.replicaId)) return false;
  const peer = s.peers.get(change.replicaId);
  // match 0: it never answered this leader.
  if (peer === undefined || peer.match === 0) return true;
  if (s.nowMs - s.contactMs(peer) > s.config.electionTimeoutMs) return true;
  return s.log.last - peer.match > s.config.promotionLagEntriesMax;
}

/** When the next one is overdue. */
export function promotionsEndMs(s: RaftState): TimeMs {
  let endMs = Number.POSITIVE_INFINITY;
  if (s.promotions.size === 0) return endMs;
  for (const { gaveUp, appendedAt, deadlineMs } of s.promotions.values()) {
    if (!gaveUp && appendedAt === 0) endMs = Math.min(endMs, deadlineMs);
  }
  return endMs;
}

/** Gives up what is overdue. What is appended cannot be called back: it ends when it is applied. */
export function expirePromotions(s: RaftState): void {
  for (const [id, promotion] of s.promotions) {
    if (promotion.gaveUp || promotion.appendedAt !== 0 || s.nowMs < promotion.deadlineMs) continue;
    giveUp(s, id, promotion, "timeout");
  }
}

/** True while a member is to become a voter. */
export function isPromoting(s: RaftState): boolean {
  for (const { gaveUp } of s.promotions.values()) if (!gaveUp) return true;
  return false;
}

/** Leadership is lost. */
export function abandonPromotions(s: RaftState): void {
  for (const [id, promotion] of s.promotions) if (!promotion.gaveUp) end(s, id, promotion, "leaderChanged");
  s.promotions.clear();
}

function giveUp(s: RaftState, id: ReplicaId, promotion: Promotion, reason: PromotionEnd["reason"]): void {
  promotion.gaveUp = true;
  end(s, id, promotion, reason);
}

function end(s: RaftState, replicaId: ReplicaId, promotion: Promotion, reason: PromotionEnd["reason"]): void {
  s.out.promotions.push({ replicaId, reason, index: promotion.appendedAt });
}

export function promotionStatus(s: RaftState): PromotionStatus[] {
  const all: PromotionStatus[] = [];
  for (const [replicaId, { goodRounds, appendedAt, gaveUp, deadlineMs, policy }] of s.promotions) {
    const state = gaveUp ? "gaveUp" : appendedAt === 0 ? "catchingUp" : "appended";
    const lagEntries = s.log.last - (s.peers.get(replicaId)?.match ?? 0);
    all.push({ replicaId, state, goodRounds, lagEntries, deadlineMs, policy });
  }
  return all;
}
