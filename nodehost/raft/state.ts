/**
 * All mutable state of one replica's core. Plain data with the few questions everybody asks; the rules live in the
 * files that import it (roles, election, follower, replication, readindex, membership, durability, output). Only class
 * Raft hands it out to them.
 */
import type { Crc32 } from "../../shared/codec/crc32.js";
import type { Index, ReplicaId, ShardId, Term, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { Message, SnapshotMeta } from "../../shared/types/message.js";
import { RaftLog } from "../log/index.js";
import type { Hindrance } from "./hindrance.js";
import type { Progress } from "./progress.js";
import type { Promotion } from "./promotion.js";
import { ReadQueue } from "./read-queue.js";
import type {
  Dropped,
  LogReader,
  PromotionEnd,
  RaftConfig,
  RaftDeps,
  RaftRole,
  RaftStart,
  ReadState,
  SnapshotRequest,
  TransferResult,
} from "./types.js";
import { MetadataBlocks } from "./witness.js";

/** Inputs that were not used, by reason. For tests, metrics and people. */
export interface Counters {
  /** Fields out of range, or not for this replica. */
  malformed: number;
  /** Cannot be true if all members follow the rules. */
  contradictory: number;
  /** Role × message that cannot occur. */
  impossible: number;
  lowerTerm: number;
  removedSender: number;
  lowerLineage: number;
  duplicateProposal: number;
}

/** What the next `takeOutput` will hand over. */
export interface OutputBuffer {
  messages: Message[];
  /** Messages that claim the current term, which is not durable yet. */
  waiting: Message[];
  readStates: ReadState[];
  dropped: Dropped[];
  snapshotRequests: SnapshotRequest[];
  restore: SnapshotMeta | undefined;
  transfer: TransferResult | undefined;
  promotions: PromotionEnd[];
}

/** Highest sequence seen, per member, with its incarnation. */
export type SeenSequences = Map<ReplicaId, { incarnation: number; sequence: number }>;

/** Leadership being handed over. Outlives the leadership until the next leader is known. */
export interface Transfer {
  readonly target: ReplicaId;
  readonly deadlineMs: TimeMs;
  /** TimeoutNow was sent. */
  asked: boolean;
}

export class RaftState {
  readonly config: RaftConfig;
  readonly shardId: ShardId;
  readonly id: ReplicaId;
  readonly reader: LogReader;
  readonly random: () => number;
  readonly crc32: Crc32;
  readonly log: RaftLog;
  readonly counters: Counters = {
    malformed: 0,
    contradictory: 0,
    impossible: 0,
    lowerTerm: 0,
    removedSender: 0,
    lowerLineage: 0,
    duplicateProposal: 0,
  };

  nowMs: TimeMs;
  role: RaftRole = "follower";
  term: Term;
  vote: ReplicaId;
  leaderId: ReplicaId = 0;
  /** Membership as applied. */
  membership: Membership;
  /** Members that count for quorums: voters and witnesses of `membership`. */
  voterIds: readonly ReplicaId[] = [];
  /** Stamped on messages. A replica without a membership (joining) takes the one it hears. */
  lineage: number;
  /** The newest snapshot here, for peers that need compacted entries. */
  snapshot: SnapshotMeta | undefined;

  /** Term and vote that are durable, and those of the last update handed out. */
  durableTerm: Term;
  durableVote: ReplicaId;
  handedTerm: Term;
  handedVote: ReplicaId;
  sequence = 0;
  /** Candidate whose granted vote is not answered yet, 0 = none. */
  owedVote: ReplicaId = 0;

  /** At rest (quiesce.ts). */
  quiesced = false;

  electionDeadlineMs: TimeMs = 0;
  leaderContactMs: TimeMs = Number.NEGATIVE_INFINITY;
  votes = new Map<ReplicaId, boolean>();

  /** Highest index known to match the leader's log in this term. */
  verified: Index = 0;
  /** The leader awaits an acknowledgement of `verified`. */
  ackOwed = false;
  ackedIndex: Index = 0;

  /** Leader only. */
  peers = new Map<ReplicaId, Progress>();
  /** Index of the first entry of the own term. */
  termStart: Index = 0;
  heartbeatDueMs: TimeMs = 0;
  /** Leads without check-quorum, and lost its quorum: silent, but for a heartbeat now and then (timers.ts). */
  cutOff = false;
  /** When something last kept the shard from rest. */
  activeMs: TimeMs = 0;
  /** Before this time the leader asked nobody, so that no silence can be held against anyone. */
  contactSinceMs: TimeMs = Number.NEGATIVE_INFINITY;
  replicateDue = false;
  /** Of forwarded proposals, in this term. */
  forwardedSeen: SeenSequences = new Map();
  readonly reads = new ReadQueue();
  readonly metadataBlocks = new MetadataBlocks();

  transfer: Transfer | undefined;
  /** Leader only. */
  readonly promotions = new Map<ReplicaId, Promotion>();
  /** As leader: proposals are refused. */
  memoryLimited = false;
  /** As follower: the leader's last news of our memory is that it is nearly full. */
  memoryReported = false;
  /** The term led last, and what was seen of forwarded proposals in it. */
  ledBefore: { readonly term: Term; readonly seen: SeenSequences } | undefined;

  /** Snapshot the log was reset to and the state machine has not restored yet. */
  restoring: SnapshotMeta | undefined;
  /** Set until the next update carries it. */
  unsavedSnapshot: SnapshotMeta | undefined;
  removed: "removed" | "superseded" | undefined;
  hindrance: Hindrance | undefined;
  /** What the last output said of leader, term and removal. */
  reportedLeaderId: ReplicaId = 0;
  reportedTerm: Term;
  reportedRemoved: "removed" | "superseded" | undefined;
  readonly noticesSentMs = new Map<ReplicaId, TimeMs>();
  readonly out: OutputBuffer = {
    messages: [],
    waiting: [],
    readStates: [],
    dropped: [],
    snapshotRequests: [],
    restore: undefined,
    transfer: undefined,
    promotions: [],
  };
  /** For quorum arithmetic, reused. */
  readonly scratch: number[] = [];

  constructor(deps: RaftDeps) {
    const { config, start } = deps;
    this.config = config;
    this.shardId = config.shardId;
    this.id = config.replicaId;
    this.reader = deps.reader;
    this.random = deps.random;
    this.crc32 = deps.crc32;
    this.nowMs = deps.nowMs;
    this.term = start.hardState.term;
    this.vote = start.hardState.vote;
    this.reportedTerm = this.term;
    this.durableTerm = this.handedTerm = this.term;
    this.durableVote = this.handedVote = this.vote;
    this.membership = start.membership;
    this.lineage = start.membership.lineage;
    this.snapshot = start.snapshot;
    this.log = new RaftLog({
      first: start.first,
      precedingTerm: start.precedingTerm,
      last: start.last,
      applied: start.applied,
      commit: start.hardState.commit,
      blocks: start.blocks,
      blocksPrecedingTerm: appliedTerm(start, deps.reader),
      cacheBytesMax: config.cacheBytesMax,
    });
  }

  get isVoter(): boolean {
    return this.membership.voters.has(this.id);
  }

  get hasMembership(): boolean {
    return this.voterIds.length > 0;
  }

  /** Since when a peer is silent: it was heard, or at rest and not asked, until then. */
  contactMs(peer: Progress): TimeMs {
    return Math.max(peer.lastContactMs, this.contactSinceMs);
  }

  /** Term at `index`, from memory or disk; undefined if forgotten or beyond the log. */
  termAt(index: Index): Term | undefined {
    return index > this.log.last ? undefined : (this.log.term(index) ?? this.reader.term(index));
  }
}

function appliedTerm(start: RaftStart, reader: LogReader): Term {
  if (start.applied === start.first - 1) return start.precedingTerm;
  if (start.applied === start.snapshot?.index) return start.snapshot.term;
  return reader.term(start.applied) ?? 0;
}
