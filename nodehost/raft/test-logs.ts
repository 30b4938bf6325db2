/**
 * Replicas whose logs are given by the terms of their entries, and messages about such logs: for the tests that follow
 * the Raft paper and for golden traces. An entry's text is "e<index>t<term>".
 */
import { type EntryBlock, EntryType, sealBlock, singleBody } from "../../shared/codec/block.js";
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";
import type { ReplicateRespMessage, VoteMessage, VoteRespMessage } from "../../shared/types/message.js";
import { type HeartbeatMessage, MessageType, type ReplicateMessage } from "../../shared/types/message.js";
import { type Disk, Net, SHARD } from "./test-net.js";
import type { RaftConfig } from "./types.js";

/** What a disk holds at the start. */
export interface InitialDisk {
  /** Of the entries 1, 2, … */
  readonly terms: readonly Term[];
  readonly term: Term;
  readonly vote?: ReplicaId;
  readonly commit?: Index;
}

export function entryOfTerm(index: Index, term: Term): EntryBlock {
  const key = { replicaId: 1, incarnation: 1, sequence: 1000 + index };
  const body = singleBody(EntryType.Application, key, new TextEncoder().encode(`e${index}t${term}`));
  return sealBlock(body, { shardId: SHARD, firstIndex: index, term });
}

/** Entries from `first` on. */
export function entriesOfTerms(first: Index, terms: readonly Term[]): EntryBlock[] {
  return terms.map((term, i) => entryOfTerm(first + i, term));
}

export function fillDisk(disk: Disk, { terms, term, vote = 0, commit = 0 }: InitialDisk): void {
  disk.hardState = { term, vote, commit };
  disk.blocks = entriesOfTerms(1, terms);
}

/** Voters 1, 2, … with these disks. */
export function netOfDisks(disks: readonly InitialDisk[], config: Partial<RaftConfig> = {}): Net {
  const prepare = (id: ReplicaId, disk: Disk) => {
    const initial = disks[id - 1];
    if (initial !== undefined) fillDisk(disk, initial);
  };
  return new Net({ voters: disks.map((_, i) => i + 1), config, prepare });
}

/** The log of a replica whose writes are all durable. */
export function termsOf(net: Net, id: ReplicaId): Term[] {
  return net.node(id).disk.blocks.flatMap((b) => Array<Term>(b.last - b.first + 1).fill(b.term));
}

/** Who, to whom, in which term. */
export type Way = readonly [from: ReplicaId, to: ReplicaId, term: Term];
/** Index and term of an entry. */
export type At = readonly [index: Index, term: Term];

function header([from, to, term]: Way) {
  return { shardId: SHARD, from, to, term, lineage: 0 };
}

export function voteOf(way: Way, [lastIndex, lastTerm]: At, transfer = false): VoteMessage {
  return { type: MessageType.Vote, ...header(way), lastIndex, lastTerm, transfer };
}

export function voteRespOf(way: Way, granted: boolean): VoteRespMessage {
  return { type: MessageType.VoteResp, ...header(way), granted };
}

/** Entries after `prev`, by their terms. */
export function replicateOf(way: Way, prev: At, terms: readonly Term[], commit = 0): ReplicateMessage {
  const [prevIndex, prevTerm] = prev;
  const blocks = entriesOfTerms(prevIndex + 1, terms);
  return { type: MessageType.Replicate, ...header(way), prevIndex, prevTerm, commit, blocks };
}

export function ackOf(way: Way, index: Index): ReplicateRespMessage {
  const none = { rejected: false, hintIndex: 0, hintTerm: 0 };
  return { type: MessageType.ReplicateResp, ...header(way), index, ...none };
}

export function heartbeatOf(way: Way, commit = 0): HeartbeatMessage {
  return { type: MessageType.Heartbeat, ...header(way), commit, round: 0 };
}
