/**
 * What a follower does with its leader's messages. Keeps: commit never passes what is verified to match this leader
 * (P02, R8); an acknowledgement says only what is durable and verified (P08, R9); committed entries are never removed
 * (P28); a snapshot not newer than commit changes nothing (P32). Contradictions are counted and ignored.
 */
import type { Index, ReplicaId } from "../../shared/types/ids.js";
import {
  type HeartbeatMessage,
  type InstallSnapshotMessage,
  MessageType,
  type ReplicateMessage,
} from "../../shared/types/message.js";
import { BUSY_BYTES_MAX } from "./constants.js";
import { reportMemory } from "./memory-limit.js";
import { commonIndex } from "./replication.js";
import { armElection, becomeFollower } from "./roles.js";
import { send, sendHeartbeatResp } from "./send.js";
import type { RaftState } from "./state.js";
import { configsReadable } from "./validate.js";

/** The sender leads this term. False if another one already does. */
export function follow(s: RaftState, leaderId: ReplicaId): boolean {
  if (s.leaderId !== 0 && s.leaderId !== leaderId) {
    s.counters.contradictory += 1;
    return false;
  }
  if (s.role !== "follower" || s.leaderId !== leaderId) becomeFollower(s, s.term, leaderId);
  s.leaderContactMs = s.nowMs;
  armElection(s);
  // Every leader has all committed entries.
  if (s.verified < s.log.commit) s.verified = s.log.commit;
  return true;
}

export function handleHeartbeat(s: RaftState, m: HeartbeatMessage): void {
  if (!follow(s, m.from)) return;
  s.log.commitTo(Math.min(m.commit, s.verified));
  sendHeartbeatResp(s, m.from, m.round);
  reportMemory(s);
  // The leader knows a match that this replica cannot prove since its restart: ask for a Replicate to verify against.
  if (m.commit > s.verified) sendAck(s, Math.min(s.log.durable, s.verified));
}

export function handleReplicate(s: RaftState, m: ReplicateMessage): void {
  if (!follow(s, m.from)) return;
  const { log } = s;
  if (m.prevIndex > log.last || (m.prevIndex >= log.commit && s.termAt(m.prevIndex) !== m.prevTerm)) {
    if (m.prevIndex <= log.commit) s.counters.contradictory += 1;
    else reject(s, m);
    return;
  }
  if (m.blocks.length > 0 && log.busyBytes > BUSY_BYTES_MAX) return;
  if (!configsReadable(m.blocks)) {
    s.counters.malformed += 1;
    return;
  }
  const lastNew = m.blocks.at(-1)?.last ?? m.prevIndex;
  if (log.appendFrom(m.blocks, s.verified) === "contradiction") {
    s.counters.contradictory += 1;
    return;
  }
  if (s.verified < lastNew) s.verified = lastNew;
  if (m.blocks.length > 0) s.hindrance = undefined;
  log.commitEarlierConfigs();
  log.commitTo(Math.min(m.commit, s.verified));
  s.ackOwed = true;
}

function reject(s: RaftState, m: ReplicateMessage): void {
  const { log } = s;
  const hintIndex = Math.max(log.commit, commonIndex(s, Math.min(m.prevIndex, log.last), m.prevTerm));
  const { shardId, id: from, term, lineage } = s;
  send(s, {
    type: MessageType.ReplicateResp,
    shardId,
    from,
    to: m.from,
    term,
    lineage,
    index: m.prevIndex,
    rejected: true,
    hintIndex,
    hintTerm: s.termAt(hintIndex) ?? 0,
  });
}

/** What may be acknowledged now, or undefined if there is no news for the leader. */
export function ackIndex(s: RaftState): Index | undefined {
  if (!s.ackOwed || s.leaderId === 0 || s.durableTerm !== s.term) return undefined;
  const index = Math.min(s.log.durable, s.verified);
  return index >= s.verified || index > s.ackedIndex ? index : undefined;
}

/** Acknowledges what is durable. One acknowledgement covers everything before it. */
export function payAck(s: RaftState): void {
  const index = ackIndex(s);
  if (index === undefined) return;
  s.ackOwed = index < s.verified;
  s.ackedIndex = index;
  sendAck(s, index);
}

function sendAck(s: RaftState, index: Index): void {
  const { shardId, id: from, term, lineage, leaderId: to } = s;
  send(s, {
    type: MessageType.ReplicateResp,
    shardId,
    from,
    to,
    term,
    lineage,
    index,
    rejected: false,
    hintIndex: 0,
    hintTerm: 0,
  });
}

/** The files of `m.snapshot` are here. The log begins after it, unless it holds that entry already. */
export function handleInstallSnapshot(s: RaftState, m: InstallSnapshotMessage): void {
  const { snapshot: meta } = m;
  const { log } = s;
  if (!follow(s, m.from)) return;
  s.ackOwed = true;
  if (meta.index <= log.commit || meta.membership.lineage < s.membership.lineage) return;
  if (meta.membership.removed.has(s.id)) {
    s.removed ??= "removed";
    return;
  }
  if (log.term(meta.index) === meta.term) {
    log.commitTo(meta.index);
    if (s.verified < meta.index) s.verified = meta.index;
    return;
  }
  log.reset(meta.index, meta.term);
  s.verified = meta.index;
  s.restoring = meta;
  s.unsavedSnapshot = meta;
}
