/**
 * Elections: pre-vote, vote, and the answers. Keeps: at most one vote per term, answered only when durable (P07, R10);
 * the own vote counts only when durable; only a log at least as complete as ours gets a vote (R3); while a leader is
 * alive nobody's campaign disturbs it, unless the leader asked for it (P15, P18).
 */
import type { ReplicaId } from "../../shared/types/ids.js";
import {
  MessageType,
  type PreVoteMessage,
  type PreVoteRespMessage,
  type TimeoutNowMessage,
  type VoteMessage,
  type VoteRespMessage,
} from "../../shared/types/message.js";
import { sendLogAhead } from "./hindrance.js";
import { voteResult } from "./quorum.js";
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate, canCampaign, giveVote } from "./roles.js";
import { send } from "./send.js";
import type { RaftState } from "./state.js";

/** Campaigns, by pre-vote first where configured. The caller has checked `canCampaign`. */
export function startElection(s: RaftState): void {
  if (!s.config.preVote) {
    runForLeader(s, false);
    return;
  }
  becomePreCandidate(s);
  s.votes.set(s.id, true);
  const { shardId, id: from, lineage } = s;
  const { last: lastIndex, lastTerm } = s.log;
  const term = s.term + 1;
  for (const to of s.voterIds) {
    if (to !== from) send(s, { type: MessageType.PreVote, shardId, from, to, term, lineage, lastIndex, lastTerm });
  }
  decide(s);
}

function runForLeader(s: RaftState, transfer: boolean): void {
  becomeCandidate(s);
  const { shardId, id: from, term, lineage } = s;
  const { last: lastIndex, lastTerm } = s.log;
  for (const to of s.voterIds) {
    if (to === from) continue;
    send(s, { type: MessageType.Vote, shardId, from, to, term, lineage, lastIndex, lastTerm, transfer });
  }
}

/** Counts the votes of the election under way. Also called when the membership changed or the own vote is durable. */
export function decide(s: RaftState): void {
  if (s.role !== "candidate" && s.role !== "preCandidate") return;
  const result = voteResult(s.voterIds, s.votes);
  if (result === "lost") becomeFollower(s, s.term, 0);
  else if (result === "won" && s.role === "preCandidate") runForLeader(s, false);
  else if (result === "won" && voteIsDurable(s)) becomeLeader(s);
}

/**
 * Stickiness: a live leader was heard within an election timeout, or this is a leader that steps down by itself when
 * it loses its quorum.
 */
export function inLease(s: RaftState, candidate: ReplicaId): boolean {
  if (s.role === "leader") return s.config.checkQuorum;
  if (s.leaderId === 0 || s.leaderId === candidate) return false;
  return s.nowMs - s.leaderContactMs < s.config.electionTimeoutMs;
}

function countVote(s: RaftState, from: ReplicaId, granted: boolean): void {
  if (!s.voterIds.includes(from)) return;
  s.votes.set(from, granted);
  decide(s);
}

function canVoteFor(s: RaftState, candidate: ReplicaId): boolean {
  return s.vote === candidate || (s.vote === 0 && s.leaderId === 0);
}

/** In the same term, after the term rule and stickiness. */
export function handleVote(s: RaftState, m: VoteMessage): void {
  if (canVoteFor(s, m.from) && s.log.isUpToDate(m.lastIndex, m.lastTerm)) {
    giveVote(s, m.from);
    return;
  }
  refuseVote(s, m.from);
  if (!s.log.isUpToDate(m.lastIndex, m.lastTerm)) sendLogAhead(s, m.from);
}

/** Also the answer to a candidate of a lower term: it learns the newer one, whoever else believes in it. */
export function refuseVote(s: RaftState, to: ReplicaId): void {
  const { shardId, id: from, term, lineage } = s;
  send(s, { type: MessageType.VoteResp, shardId, from, to, term, lineage, granted: false });
}

/** Pays the vote that is owed, once it is durable. */
export function payVote(s: RaftState): void {
  const { shardId, id: from, term, lineage, owedVote: to } = s;
  s.owedVote = 0;
  send(s, { type: MessageType.VoteResp, shardId, from, to, term, lineage, granted: true });
}

export function voteIsDurable(s: RaftState): boolean {
  return s.durableTerm === s.term && s.durableVote === s.vote;
}

export function handleVoteResp(s: RaftState, m: VoteRespMessage): void {
  countVote(s, m.from, m.granted);
}

/** Changes nothing here. `m.term` ≥ our term (lower ones are answered by `refusePreVote`). */
export function handlePreVote(s: RaftState, m: PreVoteMessage): void {
  const isUpToDate = s.log.isUpToDate(m.lastIndex, m.lastTerm);
  const granted = (m.term > s.term || canVoteFor(s, m.from)) && isUpToDate;
  if (!granted) {
    refusePreVote(s, m.from);
    if (!isUpToDate) sendLogAhead(s, m.from);
    return;
  }
  const { shardId, id: from, lineage } = s;
  send(s, { type: MessageType.PreVoteResp, shardId, from, to: m.from, term: m.term, lineage, granted });
}

export function refusePreVote(s: RaftState, to: ReplicaId): void {
  const { shardId, id: from, term, lineage } = s;
  send(s, { type: MessageType.PreVoteResp, shardId, from, to, term, lineage, granted: false });
}

export function handlePreVoteResp(s: RaftState, m: PreVoteRespMessage): void {
  if (m.granted && m.term !== s.term + 1) return;
  countVote(s, m.from, m.granted);
}

/** The leader wants this replica to take over at once: no pre-vote, and its voters ignore stickiness. */
export function handleTimeoutNow(s: RaftState, m: TimeoutNowMessage): void {
  if (m.from === s.leaderId && canCampaign(s)) runForLeader(s, true);
}
