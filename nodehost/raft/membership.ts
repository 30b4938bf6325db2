/**
 * Membership as applied, and the doors that look at it before any term does: removed senders (P15, P58), lineages, and
 * the two notices by which a replica learns that it has no place any more. Changes take effect at apply.
 */
import type { Index, ReplicaId } from "../../shared/types/ids.js";
import { type Membership, roleOf } from "../../shared/types/membership.js";
import {
  type Message,
  MessageType,
  type RemovedNoticeMessage,
  type SnapshotMeta,
  type SupersededMessage,
} from "../../shared/types/message.js";
import { NOTICES_MAX } from "./constants.js";
import { decide } from "./election.js";
import { recheckPromotions } from "./promotion.js";
import { confirmRounds } from "./readindex.js";
import { maybeCommit } from "./replication.js";
import { addPeers, armElection, becomeFollower } from "./roles.js";
import { send } from "./send.js";
import type { RaftState } from "./state.js";
import { recheckTarget } from "./transfer.js";

/** Takes a membership into use if it is not older than the one in use. */
export function setMembership(s: RaftState, membership: Membership): void {
  const old = s.membership;
  if (membership.lineage < old.lineage) return;
  if (membership.lineage === old.lineage && membership.configChangeIndex < old.configChangeIndex) return;
  const wasVoter = s.isVoter;
  s.membership = membership;
  refreshMembership(s);
  if (!wasVoter && s.isVoter) armElection(s);
}

/** Brings everything derived from the membership up to date. */
export function refreshMembership(s: RaftState): void {
  const { membership } = s;
  s.voterIds = [...membership.voters.keys(), ...membership.witnesses.keys()];
  if (s.voterIds.length > 0) s.lineage = membership.lineage;
  if (membership.removed.has(s.id)) s.removed ??= "removed";
  if (!s.isVoter && s.role !== "follower") becomeFollower(s, s.term, 0);
  if (s.role === "leader") {
    for (const id of s.peers.keys()) if (roleOf(membership, id) === undefined) s.peers.delete(id);
    for (const id of s.forwardedSeen.keys()) if (roleOf(membership, id) === undefined) s.forwardedSeen.delete(id);
    addPeers(s);
    s.activeMs = s.nowMs;
    recheckTarget(s);
    recheckPromotions(s);
    maybeCommit(s);
    confirmRounds(s);
  } else {
    decide(s);
  }
}

/** A config change went through the state machine, accepted or refused (P41). */
export function configChangeApplied(s: RaftState, index: Index, membership: Membership): void {
  s.log.configsAppliedTo(index);
  setMembership(s, membership);
}

/** The state machine is at `meta` now. */
export function restored(s: RaftState, meta: SnapshotMeta): void {
  if (s.restoring !== undefined && meta.index >= s.restoring.index) s.restoring = undefined;
  if (s.restoring === undefined && meta.index <= s.log.commit) s.log.appliedTo(meta.index);
  s.log.configsAppliedTo(meta.index);
  if (s.snapshot === undefined || s.snapshot.index < meta.index) s.snapshot = meta;
  setMembership(s, meta.membership);
  if (s.role !== "leader") armElection(s);
}

/** True if the sender was removed: its message is not looked at, it is told so from time to time. */
export function isFromRemoved(s: RaftState, m: Message): boolean {
  if (!s.membership.removed.has(m.from)) return false;
  s.counters.removedSender += 1;
  if (mayNotify(s, m.from)) notify(s, m.from, MessageType.RemovedNotice);
  return true;
}

/** True if the sender's membership is of an older lineage than ours. A replica without one takes what it hears. */
export function isOutdatedLineage(s: RaftState, m: Message): boolean {
  if (!s.hasMembership) {
    if (m.lineage > s.lineage) s.lineage = m.lineage;
    return false;
  }
  if (m.lineage >= s.lineage) return false;
  s.counters.lowerLineage += 1;
  if (mayNotify(s, m.from)) notify(s, m.from, MessageType.Superseded);
  return true;
}

/** Notices are believed from members only, and never answered. Terms do not matter. */
export function handleNotice(s: RaftState, m: RemovedNoticeMessage | SupersededMessage): void {
  if (m.lineage < s.lineage || roleOf(s.membership, m.from) === undefined) return;
  if (m.lineage > s.lineage) s.removed = "superseded";
  else if (m.type === MessageType.RemovedNotice) s.removed ??= "removed";
  if (s.removed !== undefined && s.role !== "follower") becomeFollower(s, s.term, 0);
}

/** One notice per election timeout and id. */
function mayNotify(s: RaftState, to: ReplicaId): boolean {
  const sentMs = s.noticesSentMs.get(to);
  if (sentMs !== undefined && s.nowMs - sentMs < s.config.electionTimeoutMs) return false;
  if (s.noticesSentMs.size >= NOTICES_MAX) s.noticesSentMs.clear();
  s.noticesSentMs.set(to, s.nowMs);
  return true;
}

function notify(s: RaftState, to: ReplicaId, type: 15 | 16): void {
  const { shardId, id: from, durableTerm: term, lineage } = s;
  send(s, { type, shardId, from, to, term, lineage });
}
