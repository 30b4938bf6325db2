/**
 * The bound on entries in memory that are not yet both applied and durable. Above it a leader refuses proposals until
 * enough of them are gone (hysteresis), so that a machine or a disk that is too slow holds up its clients and not the
 * memory of all hosts. Voters whose own memory is nearly full tell the leader with every heartbeat; what one said
 * counts for an election timeout, so that a member that fell silent does not hold the shard up for ever. Non-voting
 * members do not count: they catch up from disk or by a snapshot. Called by proposals, follower and dispatch.
 *
 * Keeps (R23): no client's entry is appended while the leader's or a voter's memory is above the bound. Membership
 * changes are always taken: repair must not wait for load.
 */
import { type MemoryReportMessage, MessageType } from "../../shared/types/message.js";
import { send } from "./send.js";
import type { RaftState } from "./state.js";

/** Limited until below this part of the bound; from here on members report. */
const RELEASE_RATIO = 0.7;

/** True if a leader may take no proposals of clients now. The caller keeps the answer in `memoryLimited`. */
export function isMemoryLimited(s: RaftState): boolean {
  const { maxInMemLogBytes: max } = s.config;
  if (max === 0) return false;
  let bytes = s.log.busyBytes;
  for (const peer of s.peers.values()) {
    if (peer.memoryBytes <= bytes || !s.voterIds.includes(peer.id)) continue;
    if (s.nowMs - peer.memoryReportedMs <= s.config.electionTimeoutMs) bytes = peer.memoryBytes;
  }
  return bytes > (s.memoryLimited ? max * RELEASE_RATIO : max);
}

/** To the leader, as long as it matters and once when it no longer does. */
export function reportMemory(s: RaftState): void {
  const { maxInMemLogBytes: max } = s.config;
  if (max === 0) return;
  const bytes = s.log.busyBytes;
  const matters = bytes > max * RELEASE_RATIO;
  if (!matters && !s.memoryReported) return;
  s.memoryReported = matters;
  const { shardId, id: from, leaderId: to, term, lineage } = s;
  send(s, { type: MessageType.MemoryReport, shardId, from, to, term, lineage, bytes });
}

export function handleMemoryReport(s: RaftState, m: MemoryReportMessage): void {
  const peer = s.peers.get(m.from);
  if (peer === undefined) return;
  peer.memoryBytes = m.bytes;
  peer.memoryReportedMs = s.nowMs;
}
