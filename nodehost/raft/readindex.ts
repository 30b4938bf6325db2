/**
 * Linearizable read points. A leader confirms its leadership by one heartbeat round per batch of requests; round ids
 * are unique, and an answer to round r confirms all rounds ≤ r, because heartbeat r left after those were begun (P04).
 * Nothing is answered before an entry of the own term is committed (P03): requests wait for it. Others forward to the
 * leader and answer themselves from their own state. Called by dispatch, output and membership.
 */
import type { Index, RequestKey } from "../../shared/types/ids.js";
import { MessageType, type ReadIndexMessage, type ReadIndexRespMessage } from "../../shared/types/message.js";
import { READ_REQUESTS_MAX, READ_ROUNDS_MAX } from "./constants.js";
import { quorumValue } from "./quorum.js";
import type { ReadRequest } from "./read-queue.js";
import { dropRead, send } from "./send.js";
import type { RaftState } from "./state.js";

/** A read asked for by this replica's owner. A witness has nothing to read. */
export function localRead(s: RaftState, key: RequestKey): void {
  if (s.config.witness) {
    dropRead(s, key, "witness");
    return;
  }
  if (s.role === "leader") {
    addRequest(s, { from: s.id, key });
    return;
  }
  if (s.leaderId === 0) {
    dropRead(s, key, "noLeader");
    return;
  }
  const { forwarded } = s.reads;
  if (forwarded.size >= READ_REQUESTS_MAX) {
    const oldest = forwarded.keys().next();
    if (oldest.done !== true) forwarded.delete(oldest.value);
  }
  forwarded.set(key.sequence, key);
  const { shardId, id: from, term, lineage } = s;
  send(s, { type: MessageType.ReadIndex, shardId, from, to: s.leaderId, term, lineage, key });
}

export function handleReadIndex(s: RaftState, m: ReadIndexMessage): void {
  addRequest(s, { from: m.from, key: m.key });
}

export function handleReadIndexResp(s: RaftState, m: ReadIndexRespMessage): void {
  const key = s.reads.forwarded.get(m.key.sequence);
  if (key === undefined || key.incarnation !== m.key.incarnation || key.replicaId !== m.key.replicaId) return;
  s.reads.forwarded.delete(key.sequence);
  if (m.index === 0) dropRead(s, key, "noLeader");
  else s.out.readStates.push({ key, index: m.index });
}

function addRequest(s: RaftState, request: ReadRequest): void {
  s.activeMs = s.nowMs;
  if (s.reads.size < READ_REQUESTS_MAX) s.reads.waiting.push(request);
  else if (request.from === s.id) dropRead(s, request.key, "busy");
  else answer(s, request, 0);
}

/** True if a round could be started now. */
export function readRoundDue(s: RaftState): boolean {
  return (
    s.reads.waiting.length > 0 &&
    s.role === "leader" &&
    !s.cutOff &&
    s.log.commit >= s.termStart &&
    s.reads.rounds.length < READ_ROUNDS_MAX
  );
}

/** Starts one round for everything that waits. A leader alone is its own confirmation. */
export function startReadRound(s: RaftState): void {
  if (!readRoundDue(s)) return;
  const { reads } = s;
  const requests = reads.waiting;
  reads.waiting = [];
  reads.lastRound += 1;
  reads.rounds.push({ round: reads.lastRound, index: s.log.commit, requests });
  reads.inRounds += requests.length;
  confirmRounds(s);
  if (reads.openRound === 0) return;
  for (const id of s.voterIds) if (id !== s.id) sendHeartbeat(s, id);
}

/** Answers every round that a quorum of the applied membership has confirmed. */
export function confirmRounds(s: RaftState): void {
  const { reads, scratch } = s;
  if (reads.rounds.length === 0) return;
  scratch.length = 0;
  for (const id of s.voterIds) {
    scratch.push(id === s.id ? Number.MAX_SAFE_INTEGER : (s.peers.get(id)?.confirmedRound ?? 0));
  }
  const confirmed = quorumValue(scratch);
  while ((reads.rounds[0]?.round ?? Number.POSITIVE_INFINITY) <= confirmed) {
    const round = reads.rounds.shift();
    if (round === undefined) return;
    reads.inRounds -= round.requests.length;
    for (const request of round.requests) answer(s, request, round.index);
  }
}

function answer(s: RaftState, request: ReadRequest, index: Index): void {
  if (request.from === s.id) {
    s.out.readStates.push({ key: request.key, index });
    return;
  }
  const { shardId, id: from, term, lineage } = s;
  const { key } = request;
  send(s, { type: MessageType.ReadIndexResp, shardId, from, to: request.from, term, lineage, key, index });
}

/** Leadership is lost: local requests are reported, others learn it by themselves. */
export function abandonLeaderReads(s: RaftState): void {
  for (const request of s.reads.takeAll()) if (request.from === s.id) dropRead(s, request.key, "leaderChanged");
}

/** The leader that was asked is gone. */
export function abandonForwardedReads(s: RaftState): void {
  for (const key of s.reads.forwarded.values()) dropRead(s, key, "leaderChanged");
  s.reads.forwarded.clear();
}

/** A heartbeat tells nobody more than it has (P02) and carries the newest open round. */
export function sendHeartbeat(s: RaftState, to: number): void {
  const peer = s.peers.get(to);
  if (peer === undefined) return;
  const { shardId, id: from, term, lineage } = s;
  const commit = Math.min(peer.match, s.log.commit);
  send(s, { type: MessageType.Heartbeat, shardId, from, to, term, lineage, commit, round: s.reads.openRound });
}
