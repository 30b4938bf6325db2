/**
 * Range checks of everything a peer may say, before any rule looks at it. A message that fails is counted and dropped:
 * no content of a message can make the core throw.
 */
import { type EntryBlock, EntryType, entriesOf } from "../../shared/codec/block.js";
import { decodeConfigChange } from "../../shared/codec/membership.js";
import { isSafeUint } from "../../shared/types/ids.js";
import type { ConfigChange } from "../../shared/types/membership.js";
import {
  isWitnessSnapshot,
  type Message,
  MessageType,
  type ReplicateMessage,
  type SnapshotMeta,
} from "../../shared/types/message.js";
import { COUNTER_MAX } from "./constants.js";
import type { RaftState } from "./state.js";

function inRange(value: number): boolean {
  return isSafeUint(value) && value <= COUNTER_MAX;
}

/** True if the message is for this replica and all its numbers are in range. */
export function isPlausible(s: RaftState, m: Message): boolean {
  if (m.shardId !== s.shardId || m.to !== s.id || m.from === s.id) return false;
  if (!isSafeUint(m.from) || m.from === 0 || !inRange(m.term) || !inRange(m.lineage)) return false;
  switch (m.type) {
    case MessageType.PreVote:
    case MessageType.Vote:
    case MessageType.LogAhead:
      return m.term > 0 && inRange(m.lastIndex) && inRange(m.lastTerm) && m.lastTerm <= m.term;
    case MessageType.Replicate:
      return isPlausibleReplicate(s, m);
    case MessageType.ReplicateResp:
      return inRange(m.index) && inRange(m.hintIndex) && inRange(m.hintTerm);
    case MessageType.Heartbeat:
      return m.term > 0 && inRange(m.commit) && isSafeUint(m.round);
    case MessageType.MemoryReport:
      return isSafeUint(m.bytes);
    case MessageType.HeartbeatResp:
      return isSafeUint(m.round);
    case MessageType.InstallSnapshot:
      return m.term > 0 && isPlausibleSnapshot(s, m.snapshot, m.term);
    case MessageType.ReadIndexResp:
      return inRange(m.index);
    case MessageType.Quiesce:
      return m.term > 0 && inRange(m.index);
    case MessageType.Propose:
      return m.body.count > 0 && m.body.firstKey.replicaId === m.from && isSafeUint(m.body.firstKey.sequence);
    case MessageType.ProposeDropped:
    case MessageType.ProposeRefused:
      return isSafeUint(m.firstSequence) && isSafeUint(m.count) && isSafeUint(m.firstSequence + m.count);
    default:
      return true;
  }
}

/** Blocks are of the one kind that this replica holds: metadata if it is a witness, data otherwise (R20). */
function isPlausibleReplicate(s: RaftState, m: ReplicateMessage): boolean {
  if (m.term === 0 || !inRange(m.prevIndex) || !inRange(m.prevTerm) || !inRange(m.commit)) return false;
  let next = m.prevIndex + 1;
  let term = m.prevTerm;
  for (const block of m.blocks) {
    if (block.isMetadata !== s.config.witness) return false;
    if (block.first !== next || !inRange(block.last) || block.last < block.first) return false;
    if (block.first < block.baseIndex || block.last >= block.baseIndex + block.baseCount) return false;
    if (!inRange(block.term) || block.term === 0 || block.term < term) return false;
    term = block.term;
    next = block.last + 1;
  }
  return term <= m.term && (m.prevIndex === 0) === (m.prevTerm === 0);
}

function isPlausibleSnapshot(s: RaftState, meta: SnapshotMeta, term: number): boolean {
  if (meta.shardId !== s.shardId || !inRange(meta.index) || meta.index === 0) return false;
  if (isWitnessSnapshot(meta) !== s.config.witness) return false;
  return inRange(meta.term) && meta.term > 0 && meta.term <= term && meta.membership.voters.size > 0;
}

/** False if a config change among the entries cannot be decoded: it could never be applied. */
export function configsReadable(blocks: readonly EntryBlock[]): boolean {
  for (const block of blocks) if (block.hasConfigChange && configsOf(block) === undefined) return false;
  return true;
}

/** The config changes of the block, undefined if one is unreadable. */
export function configsOf(block: EntryBlock): ConfigChange[] | undefined {
  const changes: ConfigChange[] = [];
  try {
    for (const entry of entriesOf(block)) {
      if (entry.type === EntryType.ConfigChange) changes.push(decodeConfigChange(entry.cmd));
    }
  } catch {
    return undefined;
  }
  return changes;
}
