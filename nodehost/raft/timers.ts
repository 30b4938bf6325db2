/** What is due by time: heartbeats, check-quorum, a transfer's end; elections of everybody else. Called by Raft. */
import type { TimeMs } from "../../shared/types/ids.js";
import { CUT_OFF_TIMEOUTS } from "./constants.js";
import { startElection } from "./election.js";
import { expirePromotions, promotionsEndMs } from "./promotion.js";
import { hasQuorumContact, sendHeartbeats } from "./replication.js";
import { armElection, becomeFollower, canCampaign } from "./roles.js";
import type { RaftState } from "./state.js";
import { askAgain, expireTransfer } from "./transfer.js";

/** Time at which `tick` next has something to do. */
export function deadlineMs(s: RaftState): TimeMs {
  const never = Number.POSITIVE_INFINITY;
  if (s.quiesced) return never;
  if (s.role === "leader") return Math.min(s.heartbeatDueMs, s.transfer?.deadlineMs ?? never, promotionsEndMs(s));
  return s.isVoter && s.removed === undefined ? s.electionDeadlineMs : never;
}

export function tick(s: RaftState): void {
  if (s.nowMs < deadlineMs(s)) return;
  if (s.role === "leader") leaderTick(s);
  else if (canCampaign(s)) startElection(s);
  else armElection(s);
}

function leaderTick(s: RaftState): void {
  expireTransfer(s);
  expirePromotions(s);
  if (s.nowMs < s.heartbeatDueMs) return;
  s.cutOff = !hasQuorumContact(s);
  if (s.cutOff && s.config.checkQuorum) {
    becomeFollower(s, s.term, 0);
    return;
  }
  // Without check-quorum it leads on, and must not keep those who still hear it from electing another (P17): between
  // two heartbeats their loyalty and their election timeouts run out.
  const intervalMs = s.cutOff ? CUT_OFF_TIMEOUTS * s.config.electionTimeoutMs : s.config.heartbeatIntervalMs;
  s.heartbeatDueMs = s.nowMs + intervalMs;
  sendHeartbeats(s);
  askAgain(s);
}

/** Gives up leadership and lets others win the next election. */
export function stepDown(s: RaftState): void {
  if (s.role === "follower") return;
  becomeFollower(s, s.term, 0);
  armElection(s, 2 * s.config.electionTimeoutMs);
}
