/**
 * Changes of term, vote and role. The only writer of those fields. Keeps: terms never fall (R6), at most one vote per
 * term (R10), nothing owed in an old term is paid in a new one.
 */
import { EntryType, singleBody } from "../../shared/codec/block.js";
import type { ReplicaId, Term } from "../../shared/types/ids.js";
import { appendOwn } from "./append.js";
import { COUNTER_MAX } from "./constants.js";
import { Progress } from "./progress.js";
import { abandonPromotions, recheckPromotions } from "./promotion.js";
import { abandonForwardedReads, abandonLeaderReads } from "./readindex.js";
import { abandonWaiting } from "./send.js";
import type { RaftState } from "./state.js";
import { leaderKnown } from "./transfer.js";

/** T … 2T from now, in milliseconds. */
export function armElection(s: RaftState, extraMs = 0): void {
  const timeoutMs = s.config.electionTimeoutMs;
  s.electionDeadlineMs = s.nowMs + extraMs + timeoutMs + s.random() * timeoutMs;
}

function setTerm(s: RaftState, term: Term, vote: ReplicaId): void {
  s.term = term;
  s.vote = vote;
  s.owedVote = 0;
  s.verified = 0;
  s.ackOwed = false;
  s.ackedIndex = 0;
  abandonWaiting(s);
  setLeader(s, 0);
}

export function setLeader(s: RaftState, leaderId: ReplicaId): void {
  if (s.leaderId === leaderId) return;
  s.leaderId = leaderId;
  s.memoryReported = false;
  abandonForwardedReads(s);
  if (leaderId !== 0) leaderKnown(s);
  if (leaderId !== 0 && s.hindrance?.kind === "logAhead") s.hindrance = undefined;
}

/** Follower of `leaderId` (0 = unknown) in `term`. A follower keeps its election deadline: a vote may be refused. */
export function becomeFollower(s: RaftState, term: Term, leaderId: ReplicaId): void {
  if (s.role === "leader") leaveLeadership(s);
  if (s.role !== "follower") armElection(s);
  s.quiesced = false;
  s.role = "follower";
  if (term > s.term) setTerm(s, term, 0);
  setLeader(s, leaderId);
  s.votes.clear();
}

export function becomePreCandidate(s: RaftState): void {
  s.role = "preCandidate";
  setLeader(s, 0);
  s.votes.clear();
  armElection(s);
}

export function becomeCandidate(s: RaftState): void {
  setTerm(s, s.term + 1, s.id);
  s.role = "candidate";
  s.votes.clear();
  armElection(s);
}

/** Won. Begins the term with an empty entry, so that what earlier terms left can be committed through it (P01). */
export function becomeLeader(s: RaftState): void {
  s.role = "leader";
  s.votes.clear();
  s.memoryLimited = false;
  s.cutOff = false;
  setLeader(s, s.id);
  s.peers = new Map();
  addPeers(s);
  s.heartbeatDueMs = s.nowMs + s.config.heartbeatIntervalMs;
  s.contactSinceMs = s.nowMs;
  s.termStart = s.log.last + 1;
  appendOwn(s, singleBody(EntryType.Noop, { replicaId: 0, incarnation: 0, sequence: 0 }, new Uint8Array(0)));
  recheckPromotions(s);
}

/** Progress for every member that has none. */
export function addPeers(s: RaftState): void {
  const { voters, nonVotings, witnesses } = s.membership;
  for (const group of [voters, nonVotings, witnesses]) {
    for (const id of group.keys()) {
      if (id === s.id || s.peers.has(id)) continue;
      s.peers.set(id, new Progress(id, group === witnesses, s.log.last + 1, s.nowMs));
    }
  }
  s.replicateDue = true;
}

function leaveLeadership(s: RaftState): void {
  abandonLeaderReads(s);
  abandonPromotions(s);
  s.peers = new Map();
  s.ledBefore = { term: s.term, seen: s.forwardedSeen };
  s.forwardedSeen = new Map();
  s.replicateDue = false;
}

/** Grants the vote of the current term; answered when durable. */
export function giveVote(s: RaftState, candidate: ReplicaId): void {
  if (s.role !== "follower") becomeFollower(s, s.term, 0);
  s.vote = candidate;
  s.owedVote = candidate;
  armElection(s);
}

/**
 * True if this replica may start an election: a voter, with its state restored, and no membership change committed
 * that it has not applied (its idea of a quorum could be an old one, P13).
 */
export function canCampaign(s: RaftState): boolean {
  if (!s.isVoter || s.config.witness || s.removed !== undefined || s.restoring !== undefined || s.term >= COUNTER_MAX)
    return false;
  const config = s.log.pendingConfigs[0];
  return config === undefined || config > s.log.commit;
}
