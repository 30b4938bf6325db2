/**
 * Collects what happened since the last output into one. Everything in `messages` is already true: claims are paid
 * from durable state, the rest waited for its term (see send.ts).
 */
import { COMMITTED_BYTES_MAX } from "./constants.js";
import { claimDue, payClaims, takeUpdate, updateDue } from "./durability.js";
import { readRoundDue, startReadRound } from "./readindex.js";
import { feedPeers } from "./replication.js";
import type { RaftState } from "./state.js";
import { askDue, askTarget } from "./transfer.js";
import type { Output } from "./types.js";

/** May be true although nothing comes of it (a peer's window is full); never false when something would. */
export function hasOutput(s: RaftState): boolean {
  const { out } = s;
  if (out.messages.length > 0 || s.replicateDue || updateDue(s) || claimDue(s) || committedDue(s)) return true;
  if (out.transfer !== undefined || out.promotions.length > 0 || askDue(s)) return true;
  if (out.readStates.length > 0 || out.dropped.length > 0 || out.snapshotRequests.length > 0) return true;
  return out.restore !== undefined || s.removed !== s.reportedRemoved || leaderChanged(s) || readRoundDue(s);
}

function committedDue(s: RaftState): boolean {
  return s.restoring === undefined && s.log.hasCommitted;
}

function leaderChanged(s: RaftState): boolean {
  return s.leaderId !== s.reportedLeaderId || s.term !== s.reportedTerm;
}

export function takeOutput(s: RaftState): Output {
  payClaims(s);
  startReadRound(s);
  if (s.replicateDue) feedPeers(s);
  askTarget(s);
  const { out } = s;
  const leader = leaderChanged(s) ? { leaderId: s.leaderId, term: s.term } : undefined;
  const output: Output = {
    update: takeUpdate(s),
    messages: out.messages,
    committed: committedDue(s) ? s.log.takeCommitted(COMMITTED_BYTES_MAX) : [],
    readStates: out.readStates,
    dropped: out.dropped,
    snapshotRequests: out.snapshotRequests,
    leader,
    restore: out.restore,
    transfer: out.transfer,
    promotions: out.promotions,
    removed: s.removed,
  };
  s.reportedLeaderId = s.leaderId;
  s.reportedTerm = s.term;
  s.reportedRemoved = s.removed;
  if (out.messages.length > 0) out.messages = [];
  if (out.readStates.length > 0) out.readStates = [];
  if (out.dropped.length > 0) out.dropped = [];
  if (out.snapshotRequests.length > 0) out.snapshotRequests = [];
  if (out.promotions.length > 0) out.promotions = [];
  out.restore = undefined;
  out.transfer = undefined;
  return output;
}
