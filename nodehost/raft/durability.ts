/**
 * What has to become durable, and what may be said once it is. Claims are never stored as messages: they are derived
 * from state when `persisted` tells that it is durable (P07–P10, R9, R10).
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import { decide, payVote, voteIsDurable } from "./election.js";
import { ackIndex, payAck } from "./follower.js";
import { maybeCommit } from "./replication.js";
import { releaseWaiting } from "./send.js";
import type { RaftState } from "./state.js";
import type { RaftUpdate } from "./types.js";

/**
 * A changed commit index alone asks for no update: it is learned again from the leader after a restart. It travels in
 * every update there is.
 */
export function updateDue(s: RaftState): boolean {
  if (s.term !== s.handedTerm || s.vote !== s.handedVote) return true;
  return s.log.hasUnsaved || s.unsavedSnapshot !== undefined;
}

export function takeUpdate(s: RaftState): RaftUpdate | undefined {
  if (!updateDue(s)) return undefined;
  const { term, vote, unsavedSnapshot: meta } = s;
  s.sequence += 1;
  s.handedTerm = term;
  s.handedVote = vote;
  s.unsavedSnapshot = undefined;
  const sequence = s.sequence;
  const blocks: readonly EntryBlock[] = s.log.takeUnsaved({ sequence, term, vote, snapshotIndex: meta?.index ?? 0 });
  const hardState = { term, vote, commit: s.log.commit };
  if (meta === undefined) return { hardState, blocks, sequence };
  return { hardState, snapshot: { meta, reset: true }, blocks, sequence };
}

export function persisted(s: RaftState, sequence: number): void {
  const write = s.log.persisted(sequence);
  if (write === undefined) return;
  s.durableTerm = write.term;
  s.durableVote = write.vote;
  const { restoring } = s;
  if (restoring !== undefined && restoring.index === write.snapshotIndex) s.out.restore = restoring;
  if (s.durableTerm === s.term) releaseWaiting(s);
  if (s.role === "leader") {
    maybeCommit(s);
    // Witnesses are sent what is durable.
    if (s.membership.witnesses.size > 0) s.replicateDue = true;
  } else if (s.role === "candidate" && voteIsDurable(s)) {
    s.votes.set(s.id, true);
    decide(s);
  }
}

/** True if something is owed that is durable by now. */
export function claimDue(s: RaftState): boolean {
  return (s.owedVote !== 0 && voteIsDurable(s)) || ackIndex(s) !== undefined;
}

/** Pays what is owed and durable: the vote, and the acknowledgement to the leader. */
export function payClaims(s: RaftState): void {
  if (s.owedVote !== 0 && voteIsDurable(s)) payVote(s);
  if (s.ackOwed) payAck(s);
}
