/**
 * Leader transfer, the leader's side (thesis 3.10): no proposals are taken from the request on, the target is brought
 * up to the end of the log, then it is told to campaign at once (TimeoutNow), again with every heartbeat, because the
 * message or the target's readiness may be missing. Whoever leads next ends it; so does one election timeout without
 * success, after which proposals are taken again (P19). Called by class Raft, timers, output, membership and roles.
 *
 * Keeps (R19): TimeoutNow goes to another voter only, which holds the whole log durably, and never while a membership
 * change is not applied here; a leader's log does not grow while it hands over; every transfer that began is reported
 * once. Reads need no rule of their own: they are confirmed by a round of this term, as always.
 */
import type { ReplicaId } from "../../shared/types/ids.js";
import { MessageType } from "../../shared/types/message.js";
import { send } from "./send.js";
import type { RaftState } from "./state.js";
import type { TransferRefusal, TransferResult } from "./types.js";

export function beginTransfer(s: RaftState, target: ReplicaId): TransferRefusal | undefined {
  if (s.role !== "leader") return "notLeader";
  if (s.transfer !== undefined || s.out.transfer !== undefined) return "busy";
  if (target === s.id || !s.membership.voters.has(target)) return "invalidTarget";
  s.activeMs = s.nowMs;
  s.transfer = { target, deadlineMs: s.nowMs + s.config.electionTimeoutMs, asked: false };
  return undefined;
}

/** True while this leader hands over. */
export function isTransferring(s: RaftState): boolean {
  return s.transfer !== undefined && s.role === "leader";
}

/** True if the target may be told now. */
export function askDue(s: RaftState): boolean {
  const { transfer } = s;
  if (transfer === undefined || transfer.asked || s.role !== "leader") return false;
  return s.log.pendingConfigs.length === 0 && s.peers.get(transfer.target)?.match === s.log.last;
}

export function askTarget(s: RaftState): void {
  if (s.transfer === undefined || !askDue(s)) return;
  s.transfer.asked = true;
  sendTimeoutNow(s, s.transfer.target);
}

/** With every heartbeat. A repeated TimeoutNow does nothing to a target that campaigns already. */
export function askAgain(s: RaftState): void {
  if (s.transfer?.asked === true && s.role === "leader") sendTimeoutNow(s, s.transfer.target);
}

function sendTimeoutNow(s: RaftState, to: ReplicaId): void {
  const { shardId, id: from, term, lineage } = s;
  send(s, { type: MessageType.TimeoutNow, shardId, from, to, term, lineage });
}

/** Gives up what is overdue: proposals are taken again. */
export function expireTransfer(s: RaftState): void {
  if (s.transfer !== undefined && s.nowMs >= s.transfer.deadlineMs) abort(s, "timeout");
}

/** The membership changed. */
export function recheckTarget(s: RaftState): void {
  if (isTransferring(s) && !s.membership.voters.has(s.transfer?.target ?? 0)) abort(s, "targetRemoved");
}

/** A leader is known: this replica again, or another one. */
export function leaderKnown(s: RaftState): void {
  if (s.transfer === undefined) return;
  if (s.leaderId === s.id) abort(s, "leadsAgain");
  else end(s, { outcome: "done", reason: undefined });
}

function abort(s: RaftState, reason: TransferResult["reason"]): void {
  withdraw(s);
  end(s, { outcome: "aborted", reason });
}

/** Who was not told yet is not told any more: the log grows again, and the target would campaign without its end. */
function withdraw(s: RaftState): void {
  const { out } = s;
  out.messages = out.messages.filter((m) => m.type !== MessageType.TimeoutNow);
  out.waiting = out.waiting.filter((m) => m.type !== MessageType.TimeoutNow);
}

function end(s: RaftState, how: Pick<TransferResult, "outcome" | "reason">): void {
  if (s.transfer === undefined) return;
  const { target, asked } = s.transfer;
  s.out.transfer = { target, asked, leaderId: s.leaderId, term: s.term, ...how };
  s.transfer = undefined;
}
