/** What is due by time: heartbeats, check-quorum, a transfer's end; elections of everybody else. Called by Raft. */
import type { TimeMs } from "../../shared/types/ids.js";
import { startElection } from "./election.js";
import { expirePromotions } from "./promotion.js";
import { hasQuorumContact, sendHeartbeats } from "./replication.js";
import { armElection, becomeFollower, canCampaign } from "./roles.js";
import type { RaftState } from "./state.js";
import { askAgain, expireTransfer } from "./transfer.js";

/** Time at which `tick` next has something to do. */
export function deadlineMs(s: RaftState): TimeMs {
  if (s.quiesced) return Number.POSITIVE_INFINITY;
  if (s.role === "leader") return Math.min(s.heartbeatDueMs, s.transfer?.deadlineMs ?? Number.POSITIVE_INFINITY);
  return s.isVoter && s.removed === undefined ? s.electionDeadlineMs : Number.POSITIVE_INFINITY;
}

export function tick(s: RaftState): void {
  if (s.nowMs < deadlineMs(s)) return;
  if (s.role === "leader") leaderTick(s);
  else if (canCampaign(s)) startElection(s);
  else armElection(s);
}

function leaderTick(s: RaftState): void {
  expireTransfer(s);
  if (s.nowMs < s.heartbeatDueMs) return;
  if (s.config.checkQuorum && !hasQuorumContact(s)) {
    becomeFollower(s, s.term, 0);
    return;
  }
  s.heartbeatDueMs = s.nowMs + s.config.heartbeatIntervalMs;
  expirePromotions(s);
  sendHeartbeats(s);
  askAgain(s);
}

/** Gives up leadership and lets others win the next election. */
export function stepDown(s: RaftState): void {
  if (s.role === "follower") return;
  becomeFollower(s, s.term, 0);
  armElection(s, 2 * s.config.electionTimeoutMs);
}
