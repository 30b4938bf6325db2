/**
 * The end of a leader's log, its only place of growth (R11). Called by proposals (of clients), roles (the first entry
 * of a term) and promotion.
 */
import { type BlockBody, type EntryBlock, sealBlock } from "../../shared/codec/block.js";
import type { RaftState } from "./state.js";

/** Gives a body its place at the end of the log; it is not there yet. */
export function sealNext(s: RaftState, body: BlockBody): EntryBlock {
  return sealBlock(body, { shardId: s.shardId, firstIndex: s.log.last + 1, term: s.term }, s.crc32);
}

/** What `sealNext` sealed goes into the log; it leaves with the next output. */
export function appendSealed(s: RaftState, block: EntryBlock): void {
  s.log.append(block);
  s.replicateDue = true;
  s.activeMs = s.nowMs;
}

/** Appends entries of the leader itself. */
export function appendOwn(s: RaftState, body: BlockBody): void {
  appendSealed(s, sealNext(s, body));
}
