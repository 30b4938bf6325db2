/**
 * The only place where messages leave the rules: everything that carries the current term waits until that term is
 * durable here, because a message must not say what a crash could undo (R9). Pre-votes, granted pre-votes and notices
 * claim nothing of this replica's own term.
 */
import type { ReplicaId, RequestKey } from "../../shared/types/ids.js";
import { type Message, MessageType } from "../../shared/types/message.js";
import { WAITING_MESSAGES_MAX } from "./constants.js";
import type { RaftState } from "./state.js";
import type { DropReason } from "./types.js";

export function send(s: RaftState, message: Message): void {
  if (s.durableTerm === s.term || !claimsTerm(message)) s.out.messages.push(message);
  else if (s.out.waiting.length < WAITING_MESSAGES_MAX) s.out.waiting.push(message);
  else abandonMessage(s, message, "busy");
}

function claimsTerm(message: Message): boolean {
  switch (message.type) {
    case MessageType.PreVote:
    case MessageType.RemovedNotice:
    case MessageType.Superseded:
      return false;
    case MessageType.PreVoteResp:
      return !message.granted;
    default:
      return true;
  }
}

/** The current term became durable. */
export function releaseWaiting(s: RaftState): void {
  if (s.out.waiting.length === 0) return;
  const waiting = s.out.waiting;
  s.out.waiting = [];
  for (const message of waiting) {
    if (message.term === s.term) s.out.messages.push(message);
    else abandonMessage(s, message, "leaderChanged");
  }
}

/** The term changed: what waited for the old one to be durable is of no use any more. */
export function abandonWaiting(s: RaftState): void {
  if (s.out.waiting.length === 0) return;
  const waiting = s.out.waiting;
  s.out.waiting = [];
  for (const message of waiting) abandonMessage(s, message, "leaderChanged");
}

function abandonMessage(s: RaftState, message: Message, reason: DropReason): void {
  if (message.type !== MessageType.Propose) return;
  dropProposal(s, message.body.firstKey, message.body.count, reason);
}

export function dropProposal(s: RaftState, firstKey: RequestKey, count: number, reason: DropReason): void {
  s.out.dropped.push({ kind: "propose", firstKey, count, reason });
}

export function dropRead(s: RaftState, key: RequestKey, reason: DropReason): void {
  s.out.dropped.push({ kind: "readIndex", firstKey: key, count: 1, reason });
}

export function sendHeartbeatResp(s: RaftState, to: ReplicaId, round: number): void {
  const { shardId, id: from, term, lineage } = s;
  send(s, { type: MessageType.HeartbeatResp, shardId, from, to, term, lineage, round });
}
