/**
 * Where proposals go: into the log of a leader, to the leader from a follower, back to the owner otherwise. A request
 * is reported as dropped only if it certainly was not appended, and what was once refused is never appended later.
 * Forwarded bodies are appended at most once: by term, and by rising sequence of (member, incarnation). A leader that
 * hands over refuses everything (P19).
 */
import type { BlockBody } from "../../shared/codec/block.js";
import { roleOf } from "../../shared/types/membership.js";
import {
  MessageType,
  type ProposeDroppedMessage,
  type ProposeMessage,
  type ProposeRefusedMessage,
  type RefusalReason,
} from "../../shared/types/message.js";
import { appendSealed, sealNext } from "./append.js";
import { BUSY_BYTES_MAX } from "./constants.js";
import { isMemoryLimited } from "./memory-limit.js";
import { isPremature } from "./promotion.js";
import { dropProposal, send } from "./send.js";
import type { RaftState, SeenSequences } from "./state.js";
import { isTransferring } from "./transfer.js";
import { configsOf } from "./validate.js";
import { isLeaving } from "./witness.js";

export function propose(s: RaftState, body: BlockBody): void {
  if (s.role === "leader") {
    const refusal = appendOrRefuse(s, body);
    if (refusal !== undefined) dropProposal(s, body.firstKey, body.count, refusal);
    return;
  }
  if (s.leaderId === 0) {
    dropProposal(s, body.firstKey, body.count, "noLeader");
    return;
  }
  const { shardId, id: from, term, lineage, leaderId: to } = s;
  send(s, { type: MessageType.Propose, shardId, from, to, term, lineage, body });
}

/**
 * Membership changes go one at a time: none while another is not applied, none before this leader has committed in
 * its own term (P11, P12). Each is a block of its own. A member that lags is not made a voter (P21).
 */
function appendOrRefuse(s: RaftState, body: BlockBody): RefusalReason | undefined {
  if (isTransferring(s)) return "transferring";
  if (isLeaving(s)) return "configChangePending";
  if (s.log.busyBytes > BUSY_BYTES_MAX) return "busy";
  if (!body.hasConfigChange) {
    s.memoryLimited = isMemoryLimited(s);
    if (s.memoryLimited) return "busy";
  } else {
    const free = s.log.pendingConfigs.length === 0 && s.log.commit >= s.termStart && body.count === 1;
    if (!free) return "configChangePending";
  }
  const block = sealNext(s, body);
  if (block.hasConfigChange) {
    const change = configsOf(block)?.[0];
    if (change === undefined) return "configChangePending";
    if (isPremature(s, change)) return "notCaughtUp";
  }
  appendSealed(s, block);
  return undefined;
}

export function handlePropose(s: RaftState, m: ProposeMessage): void {
  if (!isNew(s, s.forwardedSeen, m)) return;
  const refusal = appendOrRefuse(s, m.body);
  if (refusal !== undefined) refuse(s, m, refusal);
}

/**
 * Meant for the leadership that ended here. If no copy of it was seen then, none was appended, and none will be: its
 * owner may retry at once. Of all others nothing is known.
 */
export function handleLatePropose(s: RaftState, m: ProposeMessage): void {
  if (s.ledBefore?.term === m.term && isNew(s, s.ledBefore.seen, m)) refuse(s, m, "leaderChanged");
}

/** True for a member's next proposal, which then counts as seen. */
function isNew(s: RaftState, allSeen: SeenSequences, m: ProposeMessage): boolean {
  const { incarnation, sequence } = m.body.firstKey;
  if (roleOf(s.membership, m.from) === undefined) {
    s.counters.contradictory += 1;
    return false;
  }
  const seen = allSeen.get(m.from);
  if (seen !== undefined) {
    const repeated = incarnation === seen.incarnation ? sequence <= seen.sequence : incarnation < seen.incarnation;
    if (repeated) {
      s.counters.duplicateProposal += 1;
      return false;
    }
  }
  allSeen.set(m.from, { incarnation, sequence: sequence + m.body.count - 1 });
  return true;
}

function refuse(s: RaftState, m: ProposeMessage, reason: RefusalReason): void {
  const { shardId, id: from, term, lineage } = s;
  const { incarnation, sequence } = m.body.firstKey;
  send(s, {
    type: MessageType.ProposeRefused,
    shardId,
    from,
    to: m.from,
    term,
    lineage,
    incarnation,
    firstSequence: sequence,
    count: m.body.count,
    reason,
  });
}

export function handleProposeDropped(s: RaftState, m: ProposeDroppedMessage | ProposeRefusedMessage): void {
  const firstKey = { replicaId: s.id, incarnation: m.incarnation, sequence: m.firstSequence };
  dropProposal(s, firstKey, m.count, m.type === MessageType.ProposeRefused ? m.reason : "busy");
}
