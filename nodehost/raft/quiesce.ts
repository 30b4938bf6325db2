/**
 * Idle shards at rest. A leader that had nothing to do for a while, and whose every reachable member holds its whole
 * log and talks to it, tells them so (Quiesce) and then neither beats nor counts contact; a member that finds it true
 * stops its election timer. From then on the hosts watch each other, not the shard (nodehost/engine): what makes them
 * doubt wakes it, and so does every input but a late answer without news.
 *
 * Keeps (R21): at rest a replica's log is wholly committed and durable, with nothing under way; a member rests only
 * under the leader of its own term, at exactly the index it was told; who wakes either beats at once or begins a whole
 * election timeout. Reads need no rule of their own: a resting leader wakes and confirms them by a round of its term.
 * Called by class Raft, dispatch, timers, roles and what counts as activity.
 */
import type { ReplicaId, TimeMs } from "../../shared/types/ids.js";
import { type Message, MessageType, type QuiesceMessage } from "../../shared/types/message.js";
import { startElection } from "./election.js";
import { follow } from "./follower.js";
import type { Progress } from "./progress.js";
import { isPromoting } from "./promotion.js";
import { quorumValue } from "./quorum.js";
import { sendHeartbeats } from "./replication.js";
import { armElection, canCampaign, setLeader } from "./roles.js";
import { send } from "./send.js";
import type { RaftState } from "./state.js";

/** True if a leader has been idle for long enough. */
export function quiesceDue(s: RaftState): boolean {
  const { quiesceAfterMs } = s.config;
  if (s.role !== "leader" || s.quiesced || quiesceAfterMs === 0) return false;
  return s.nowMs - s.activeMs >= quiesceAfterMs && isAtRest(s) && s.log.commit >= s.termStart;
}

/** Nothing is under way here: everything is committed, durable, and settled. */
function isAtRest(s: RaftState): boolean {
  const { log } = s;
  if (log.commit !== log.last || log.durable !== log.last || s.durableTerm !== s.term) return false;
  if (log.pendingConfigs.length > 0 || s.restoring !== undefined || s.removed !== undefined) return false;
  return s.transfer === undefined && s.out.transfer === undefined && s.reads.size === 0 && !isPromoting(s);
}

/**
 * Goes to rest, if that is due and true. `isWatched` tells of a member's host whether it is heard of itself: such a
 * member must be at the end of the log and talk to us; any other must be silent, or it could not be told. False if not.
 */
export function quiesce(s: RaftState, isWatched: (member: ReplicaId) => boolean): boolean {
  if (!quiesceDue(s)) return false;
  const { scratch } = s;
  const resting = new Set<ReplicaId>();
  const silentSinceMs = s.nowMs - s.config.electionTimeoutMs;
  for (const peer of s.peers.values()) {
    const talks = peer.lastContactMs >= silentSinceMs;
    const watched = isWatched(peer.id);
    if (watched !== talks || (watched && !isAtEnd(s, peer))) return false;
    if (watched) resting.add(peer.id);
  }
  scratch.length = 0;
  for (const id of s.voterIds) scratch.push(id === s.id || resting.has(id) ? 1 : 0);
  if (quorumValue(scratch) === 0) return false;
  const { shardId, id: from, term, lineage } = s;
  for (const to of resting) send(s, { type: MessageType.Quiesce, shardId, from, to, term, lineage, index: s.log.last });
  s.quiesced = true;
  return true;
}

function isAtEnd(s: RaftState, peer: Progress): boolean {
  return peer.state === "replicate" && peer.match === s.log.last && !peer.fetching && !peer.emptyDue;
}

/** The leader rests, and so does who is at the end of its log. For everybody else it is one more heartbeat. */
export function handleQuiesce(s: RaftState, m: QuiesceMessage): void {
  if (!follow(s, m.from)) return;
  s.log.commitTo(Math.min(m.index, s.verified));
  s.quiesced = m.index === s.log.last && s.verified >= m.index && isAtRest(s);
}

/** False for what a leader at rest may still be sent on account of its last heartbeat: nobody needs it awake. */
export function rouses(s: RaftState, m: Message): boolean {
  if (m.type === MessageType.Quiesce) return false;
  if (s.role !== "leader" || m.term !== s.term) return true;
  if (m.type === MessageType.HeartbeatResp || m.type === MessageType.MemoryReport) return false;
  return m.type !== MessageType.ReplicateResp || m.rejected || m.index !== s.log.last;
}

/** At work again: a leader beats at once and counts contact from now on, everybody else begins a whole timeout. */
export function wake(s: RaftState): void {
  if (!s.quiesced) return;
  s.quiesced = false;
  if (s.role !== "leader") {
    armElection(s);
    return;
  }
  s.activeMs = s.nowMs;
  s.contactSinceMs = s.nowMs;
  s.heartbeatDueMs = s.nowMs + s.config.heartbeatIntervalMs;
  sendHeartbeats(s);
}

/** The host of the leader of this resting replica is gone: the preferred candidate campaigns, the others wait. */
export function leaderGone(s: RaftState): void {
  if (!s.quiesced || s.role === "leader") return;
  const candidate = preferredCandidate(s);
  wake(s);
  setLeader(s, 0);
  if (candidate === s.id && canCampaign(s)) startElection(s);
}

/** The leader's host was heard at that time, and that it still leads this resting replica: it counts as contact. */
export function leaderHeard(s: RaftState, atMs: TimeMs): void {
  if (s.quiesced && s.role === "follower" && s.leaderContactMs < atMs) s.leaderContactMs = atMs;
}

/** The same for all members, and a different one for different shards: a dead host's shards are spread. */
function preferredCandidate(s: RaftState): ReplicaId {
  const others = [...s.membership.voters.keys()].filter((id) => id !== s.leaderId).sort((a, b) => a - b);
  return others[(s.shardId + s.term) % Math.max(1, others.length)] ?? 0;
}
