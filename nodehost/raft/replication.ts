/**
 * The leader's work: appending, feeding peers, advancing commit. Keeps: a leader never changes its own log (R11),
 * commit moves only by durable matches of a quorum of voters, its own included, and only to an entry of its own term
 * (P01, P09, R5); what witnesses add is in witness.ts, and they are sent metadata only (R20). Peers are fed once per
 * output, so that everything proposed in a turn leaves in one message.
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Index, Term } from "../../shared/types/ids.js";
import { type HeartbeatRespMessage, MessageType, type ReplicateRespMessage } from "../../shared/types/message.js";
import { SNAPSHOT_PATIENCE_TIMEOUTS } from "./constants.js";
import type { Progress } from "./progress.js";
import { countRound } from "./promotion.js";
import { quorumValue } from "./quorum.js";
import { confirmRounds, sendHeartbeat } from "./readindex.js";
import { send } from "./send.js";
import type { RaftState } from "./state.js";
import { commitBound, lastFor } from "./witness.js";

/** Matches changed (a peer's, the own durable index, or the quorum): commit what a quorum of voters holds durably. */
export function maybeCommit(s: RaftState): void {
  if (s.role !== "leader") return;
  const { scratch } = s;
  scratch.length = 0;
  for (const id of s.voterIds) scratch.push(id === s.id ? s.log.durable : (s.peers.get(id)?.match ?? 0));
  const index = Math.min(quorumValue(scratch), commitBound(s));
  if (index >= s.termStart && s.log.commitTo(index)) s.replicateDue = true;
}

/** Sends every peer what its window allows. Called once per output. */
export function feedPeers(s: RaftState): void {
  s.replicateDue = false;
  if (s.cutOff) return;
  for (const peer of s.peers.values()) feed(s, peer);
}

function feed(s: RaftState, peer: Progress): void {
  if (peer.state === "snapshot" || peer.fetching) return;
  if (peer.state === "probe") {
    if (peer.paused) return;
    peer.paused = true;
    sendReplicate(s, peer);
    return;
  }
  const { inflightMessagesMax, inflightBytesMax } = s.config;
  const { inflight } = peer;
  const last = lastFor(s, peer);
  while (peer.next <= last && inflight.count < inflightMessagesMax && inflight.bytes < inflightBytesMax) {
    if (!sendReplicate(s, peer)) return;
  }
  const toldAll = peer.next > last && peer.commitSent >= s.log.commit;
  if (peer.emptyDue || (!toldAll && peer.next > last)) sendEmpty(s, peer);
}

/** One message from `next` on, empty if there is nothing. False if it could not be made. */
function sendReplicate(s: RaftState, peer: Progress): boolean {
  const prevIndex = peer.next - 1;
  const prevTerm = s.termAt(prevIndex);
  if (prevTerm === undefined || peer.next < Math.min(s.log.first, s.log.memoryFirst)) {
    requestSnapshot(s, peer);
    return false;
  }
  const found = collect(s, peer);
  if (found === undefined) return false;
  const blocks = peer.witness ? found.map((block) => s.metadataBlocks.of(s, block)) : found;
  sendBlocks(s, peer, prevTerm, blocks);
  const last = blocks.at(-1);
  if (last !== undefined && peer.state === "replicate") {
    let bytes = 0;
    for (const block of blocks) bytes += block.bytes.length;
    peer.inflight.add(last.last, bytes);
    peer.next = last.last + 1;
  }
  return true;
}

function sendEmpty(s: RaftState, peer: Progress): void {
  const prevTerm = s.termAt(peer.next - 1);
  if (prevTerm === undefined) requestSnapshot(s, peer);
  else sendBlocks(s, peer, prevTerm, []);
}

function sendBlocks(s: RaftState, peer: Progress, prevTerm: Term, blocks: readonly EntryBlock[]): void {
  const { shardId, id: from, term, lineage } = s;
  const commit = s.log.commit;
  const prevIndex = peer.next - 1;
  peer.commitSent = commit;
  peer.emptyDue = false;
  send(s, {
    type: MessageType.Replicate,
    shardId,
    from,
    to: peer.id,
    term,
    lineage,
    prevIndex,
    prevTerm,
    commit,
    blocks,
  });
}

/** Blocks for one message; undefined if they must be fetched or are gone. */
function collect(s: RaftState, peer: Progress): EntryBlock[] | undefined {
  const blocks: EntryBlock[] = [];
  const { log, config } = s;
  const last = lastFor(s, peer);
  if (peer.next > last) return blocks;
  if (peer.next >= log.memoryFirst) {
    log.sliceInto(blocks, peer.next, last, config.replicateBytesMax);
    return blocks;
  }
  const found = s.reader.slice(peer.next, log.memoryFirst - 1, config.replicateBytesMax);
  if (found === "compacted") {
    requestSnapshot(s, peer);
    return undefined;
  }
  let next = peer.next;
  if (found !== "pending") {
    for (const block of found) {
      if (block.first > next || block.last < next) break;
      const part = block.clip(next, log.memoryFirst - 1);
      blocks.push(part);
      next = part.last + 1;
    }
  }
  if (blocks.length > 0) return blocks;
  peer.fetching = true;
  return undefined;
}

/** The peer needs entries that are gone. One request per attempt; then it waits for the stream's end. */
function requestSnapshot(s: RaftState, peer: Progress): void {
  const { snapshot } = s;
  if (snapshot === undefined || snapshot.index < s.log.first - 1 || s.nowMs < peer.snapshotNotBeforeMs) {
    if (peer.state === "replicate") peer.becomeProbe(peer.match + 1);
    peer.paused = true;
    return;
  }
  peer.becomeSnapshot(snapshot.index, s.nowMs);
  s.out.snapshotRequests.push({ to: peer.id, term: s.term, witness: peer.witness });
}

/** Heartbeats to everybody; also frees probes that lost their message. */
export function sendHeartbeats(s: RaftState): void {
  for (const id of s.peers.keys()) sendHeartbeat(s, id);
}

/** True if a quorum, this leader included, was heard within an election timeout (P20). */
export function hasQuorumContact(s: RaftState): boolean {
  const { scratch } = s;
  scratch.length = 0;
  const never = Number.NEGATIVE_INFINITY;
  for (const id of s.voterIds) {
    const peer = s.peers.get(id);
    scratch.push(id === s.id ? s.nowMs : peer === undefined ? never : s.contactMs(peer));
  }
  return quorumValue(scratch) >= s.nowMs - s.config.electionTimeoutMs;
}

export function handleHeartbeatResp(s: RaftState, m: HeartbeatRespMessage): void {
  const peer = s.peers.get(m.from);
  if (peer === undefined) return;
  heard(s, peer);
  peer.paused = false;
  peer.fetching = false;
  peer.verifyCredit = true;
  if (peer.state === "snapshot" && snapshotOverdue(s, peer)) peer.becomeProbe(peer.match + 1);
  if (peer.match < lastFor(s, peer)) peer.emptyDue = true;
  if (peer.emptyDue || peer.state !== "replicate") s.replicateDue = true;
  if (m.round > peer.confirmedRound && m.round <= s.reads.lastRound) {
    peer.confirmedRound = m.round;
    confirmRounds(s);
  }
  countRound(s, peer);
}

function heard(s: RaftState, peer: Progress): void {
  peer.lastContactMs = s.nowMs;
  if (!s.cutOff || !hasQuorumContact(s)) return;
  s.cutOff = false;
  s.heartbeatDueMs = s.nowMs;
  s.replicateDue = true;
}

function snapshotOverdue(s: RaftState, peer: Progress): boolean {
  return s.nowMs - peer.snapshotSinceMs > SNAPSHOT_PATIENCE_TIMEOUTS * s.config.electionTimeoutMs;
}

export function handleReplicateResp(s: RaftState, m: ReplicateRespMessage): void {
  const peer = s.peers.get(m.from);
  if (peer === undefined) return;
  heard(s, peer);
  if (m.rejected) onRejected(s, peer, m);
  else if (m.index > s.log.last) s.counters.contradictory += 1;
  else onAccepted(s, peer, m.index);
  countRound(s, peer);
}

function onAccepted(s: RaftState, peer: Progress, index: Index): void {
  if (index < peer.match) {
    // Late, or the peer restarted and has to verify its log again before it can follow the commit index.
    if (peer.state === "replicate" && peer.next > lastFor(s, peer) && peer.inflight.count === 0 && peer.verifyCredit) {
      peer.verifyCredit = false;
      peer.emptyDue = true;
      s.replicateDue = true;
    }
    return;
  }
  const news = peer.acknowledge(index);
  if (peer.state === "probe") peer.becomeReplicate();
  else if (peer.state === "snapshot" && news && continues(s, peer, index)) peer.becomeReplicate();
  if (peer.next <= s.log.last || peer.commitSent < s.log.commit) s.replicateDue = true;
  if (news && index > s.log.commit) maybeCommit(s);
}

/** The snapshot arrived, or is not needed any more. */
function continues(s: RaftState, peer: Progress, index: Index): boolean {
  return index >= peer.snapshotIndex || index + 1 >= s.log.first;
}

function onRejected(s: RaftState, peer: Progress, m: ReplicateRespMessage): void {
  if (peer.state === "snapshot" || m.index <= peer.match || m.index >= peer.next) return;
  if (peer.state === "probe" && m.index !== peer.next - 1) return;
  const hint = commonIndex(s, Math.min(m.hintIndex, m.index - 1), m.hintTerm);
  peer.becomeProbe(hint + 1);
  s.replicateDue = true;
}

/** Largest index ≤ `index` whose term here is ≤ `term`: the logs cannot agree above it (a term per round trip). */
export function commonIndex(s: RaftState, index: Index, term: Term): Index {
  const inMemory = s.log.findTermAtMost(index, term);
  if (inMemory !== undefined) return inMemory;
  let low = s.log.first - 1;
  let high = Math.min(index, s.log.memoryFirst - 1);
  if (high < low || (s.termAt(low) ?? 0) > term) return Math.max(0, Math.min(index, low - 1));
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const found = s.termAt(middle);
    if (found !== undefined && found > term) high = middle - 1;
    else low = middle;
  }
  return low;
}
