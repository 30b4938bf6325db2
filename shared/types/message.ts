/**
 * Everything one replica says to another. All inputs of the Raft core that come from peers are one of these.
 * `term` is the sender's term when the message was made, except in PreVote (the term it would campaign in).
 * Forwarded requests (Propose, ReadIndex) name the term of the leader they are meant for: a leader of another term
 * drops them, so that a late duplicate can never be appended twice.
 */
import type { BlockBody, EntryBlock } from "../codec/block.js";
import type { Index, ReplicaId, RequestKey, ShardId, Term } from "./ids.js";
import type { Membership } from "./membership.js";

export const MessageType = {
  PreVote: 1,
  PreVoteResp: 2,
  Vote: 3,
  VoteResp: 4,
  Replicate: 5,
  ReplicateResp: 6,
  Heartbeat: 7,
  HeartbeatResp: 8,
  InstallSnapshot: 9,
  ReadIndex: 10,
  ReadIndexResp: 11,
  Propose: 12,
  ProposeDropped: 13,
  TimeoutNow: 14,
  RemovedNotice: 15,
  Superseded: 16,
  Quiesce: 17,
  ProposeRefused: 18,
  MemoryReport: 19,
  LogAhead: 26,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** Said by engines about their replicas; never reaches a Raft core. One sequence of numbers with MessageType. */
export const HostMessageType = {
  Recall: 24,
  RecallResp: 25,
} as const;
export type HostMessageType = (typeof HostMessageType)[keyof typeof HostMessageType];

interface Header<T extends MessageType | HostMessageType> {
  readonly type: T;
  readonly shardId: ShardId;
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  readonly term: Term;
  /** Lineage of the sender's membership. A lower one is answered Superseded. */
  readonly lineage: number;
}

/** Would you vote for me in `term`? Changes nothing at the receiver. */
export interface PreVoteMessage extends Header<typeof MessageType.PreVote> {
  readonly lastIndex: Index;
  readonly lastTerm: Term;
}
/** On a grant `term` echoes the asked term; on a refusal it is the receiver's own. */
export interface PreVoteRespMessage extends Header<typeof MessageType.PreVoteResp> {
  readonly granted: boolean;
}
export interface VoteMessage extends Header<typeof MessageType.Vote> {
  readonly lastIndex: Index;
  readonly lastTerm: Term;
  /** Campaign asked for by the leader (TimeoutNow): passes leader stickiness. */
  readonly transfer: boolean;
}
export interface VoteRespMessage extends Header<typeof MessageType.VoteResp> {
  readonly granted: boolean;
}
/**
 * Entries after (prevIndex, prevTerm). Blocks are contiguous; the first may begin at or before prevIndex + 1 only in
 * its unclipped bytes: the clipped range [first, last] starts exactly at prevIndex + 1.
 */
export interface ReplicateMessage extends Header<typeof MessageType.Replicate> {
  readonly prevIndex: Index;
  readonly prevTerm: Term;
  readonly commit: Index;
  readonly blocks: readonly EntryBlock[];
}
export interface ReplicateRespMessage extends Header<typeof MessageType.ReplicateResp> {
  /** Accepted: highest index durable here and verified to match the leader's log. Rejected: the prevIndex refused. */
  readonly index: Index;
  readonly rejected: boolean;
  /** Rejected only: the largest index at which the logs might agree, and the term this replica has there. */
  readonly hintIndex: Index;
  readonly hintTerm: Term;
}
/** `commit` ≤ match of the receiver. `round` > 0 asks for confirmation of a ReadIndex round (unique in the term). */
export interface HeartbeatMessage extends Header<typeof MessageType.Heartbeat> {
  readonly commit: Index;
  readonly round: number;
}
export interface HeartbeatRespMessage extends Header<typeof MessageType.HeartbeatResp> {
  readonly round: number;
}
/** Sent on the snapshot lane; reaches the core of the receiver only when all its files are synced and renamed. */
export interface InstallSnapshotMessage extends Header<typeof MessageType.InstallSnapshot> {
  readonly snapshot: SnapshotMeta;
}
export interface ReadIndexMessage extends Header<typeof MessageType.ReadIndex> {
  readonly key: RequestKey;
}
/** index 0 = refused (no leader here, or nothing committed in its term yet); ask again. */
export interface ReadIndexRespMessage extends Header<typeof MessageType.ReadIndexResp> {
  readonly key: RequestKey;
  readonly index: Index;
}
export interface ProposeMessage extends Header<typeof MessageType.Propose> {
  readonly body: BlockBody;
}
/** The leader certainly did not append these: sequences [first, first + count) of (to, incarnation). */
export interface ProposeDroppedMessage extends Header<typeof MessageType.ProposeDropped> {
  readonly incarnation: number;
  readonly firstSequence: number;
  readonly count: number;
}
/** Why a leader did not append a forwarded proposal. On the wire its place in this list: only appended to. */
export const REFUSAL_REASONS = ["busy", "configChangePending", "transferring", "leaderChanged", "notCaughtUp"] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];
/** As ProposeDropped, with the reason. Wire version 2. */
export interface ProposeRefusedMessage extends Header<typeof MessageType.ProposeRefused> {
  readonly incarnation: number;
  readonly firstSequence: number;
  readonly count: number;
  readonly reason: RefusalReason;
}
/** Entries in the sender's memory that are not yet both applied and durable there. Wire version 2. */
export interface MemoryReportMessage extends Header<typeof MessageType.MemoryReport> {
  readonly bytes: number;
}
export interface TimeoutNowMessage extends Header<typeof MessageType.TimeoutNow> {}
/** You were removed from this shard (the receiver's id is in the sender's applied Removed set). */
export interface RemovedNoticeMessage extends Header<typeof MessageType.RemovedNotice> {}
/** Your membership has a lower lineage than mine (`lineage`): fence yourself. */
export interface SupersededMessage extends Header<typeof MessageType.Superseded> {}

/** The leader and its whole log, which ends at `index` and is committed, are at rest. Wire version 2. */
export interface QuiesceMessage extends Header<typeof MessageType.Quiesce> {
  readonly index: Index;
}

/** Beside the refusal of a vote: the sender's log ends here, after the candidate's. For people. Wire version 2. */
export interface LogAheadMessage extends Header<typeof MessageType.LogAhead> {
  readonly lastIndex: Index;
  readonly lastTerm: Term;
}

export type Message =
  | PreVoteMessage
  | PreVoteRespMessage
  | VoteMessage
  | VoteRespMessage
  | ReplicateMessage
  | ReplicateRespMessage
  | HeartbeatMessage
  | HeartbeatRespMessage
  | InstallSnapshotMessage
  | ReadIndexMessage
  | ReadIndexRespMessage
  | ProposeMessage
  | ProposeDroppedMessage
  | ProposeRefusedMessage
  | MemoryReportMessage
  | TimeoutNowMessage
  | RemovedNoticeMessage
  | SupersededMessage
  | QuiesceMessage
  | LogAheadMessage;

/**
 * "Here I am, on the data directory of this connection: do you know me on another one?" Said by a replica to every
 * other member at each start, until answered. Wire version 2.
 */
export interface RecallMessage extends Header<typeof HostMessageType.Recall> {
  /** Of this start of the replica: an answer to an earlier one does not count. Below 2^48. */
  readonly nonce: number;
}
/** On the wire its place in this list: only appended to. */
export const RECALL_VERDICTS = [
  /** Not known on another directory, and nobody has voted or acknowledged anything here. */
  "unknown",
  /** The same, but this member has taken part in the shard already. */
  "unknownButActive",
  /** Known, on another directory: what it voted and acknowledged there is lost. */
  "known",
  /** It was removed from the shard. */
  "removed",
] as const;
export type RecallVerdict = (typeof RECALL_VERDICTS)[number];
export interface RecallRespMessage extends Header<typeof HostMessageType.RecallResp> {
  /** Of the Recall answered; 0 when nobody asked (a message of a replica that is known elsewhere was refused). */
  readonly nonce: number;
  readonly verdict: RecallVerdict;
}

export type HostMessage = RecallMessage | RecallRespMessage;
/** Everything that travels on the message lane of a connection. */
export type WireMessage = Message | HostMessage;

/** What a snapshot claims: state and membership as of (index, term). */
export interface SnapshotMeta {
  readonly shardId: ShardId;
  /** The replica that made it. */
  readonly replicaId: ReplicaId;
  readonly index: Index;
  readonly term: Term;
  /** As of `index`. */
  readonly membership: Membership;
  /** Bytes of the snapshot file; 0 = there is none: the snapshot of a witness, which is what is said here. */
  readonly sizeBytes: number;
  /** Name of the snapshot's directory below the replica's snapshot directory; "" without a file. */
  readonly directory: string;
}

/** True for a snapshot of or for a witness: position and membership, no state, no sessions, no file. */
export function isWitnessSnapshot(meta: SnapshotMeta): boolean {
  return meta.sizeBytes === 0;
}

/** What a witness is sent in the place of a snapshot. */
export function witnessSnapshot(meta: SnapshotMeta): SnapshotMeta {
  return { ...meta, sizeBytes: 0, directory: "" };
}

/** Durable per replica, in every WAL frame that carries entries of it. */
export interface HardState {
  readonly term: Term;
  /** 0 = none. */
  readonly vote: ReplicaId;
  readonly commit: Index;
}
