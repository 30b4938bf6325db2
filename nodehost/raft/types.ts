/**
 * The doors of the Raft core: what it is given and the one thing it gives back.
 *
 * The core is a synchronous reducer. Inputs: `tick`, `receive`, `propose`, `readIndex`, `persisted`, `applied`,
 * `configChangeApplied`, `snapshotSent`, … ; nothing happens outside of them. After any inputs the engine calls
 * `takeOutput()` once and does what it says, in this order:
 *   1 hand `update` (if any) to the log store, merged with other replicas', and call `persisted(sequence)` when it is
 *     durable; 2 send `messages` at once (everything in them is already true); 3 apply `committed`; 4 answer
 *     `readStates` whose index is applied, report `dropped`.
 * Claims that need durability (votes, acks, the leader's own match) are derived by the core when `persisted` is called
 * and leave with the next output: no message ever waits outside the core.
 */
import type { BlockBody, EntryBlock } from "../../shared/codec/block.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import type { Index, ReplicaId, RequestKey, ShardId, Term, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { HardState, Message, RefusalReason, SnapshotMeta } from "../../shared/types/message.js";
import type { Hindrance } from "./hindrance.js";

export type RaftRole = "follower" | "preCandidate" | "candidate" | "leader";

/** When a non-voting member becomes a voter by itself. */
export interface PromotionPolicy {
  /** Lag at the end of a round, in entries, that still counts as caught up. */
  readonly maxLagEntries: number;
  /** Good rounds in a row that are asked for. */
  readonly rounds: number;
  /** Given up after this time. */
  readonly timeoutMs: number;
}

export interface RaftConfig {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  /** T: a follower campaigns after a silence of T … 2T (drawn in milliseconds). */
  readonly electionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  /**
   * This replica is a witness, for life: it votes and acknowledges, takes only metadata blocks and empty snapshots, and
   * never leads. Everybody else takes neither of the two.
   */
  readonly witness: boolean;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /** A leader idle for so long may rest (`quiesce`); 0 = never. */
  readonly quiesceAfterMs: number;
  readonly inflightBytesMax: number;
  readonly inflightMessagesMax: number;
  readonly replicateBytesMax: number;
  /** Durable, applied entries kept in memory for slow followers, in bytes. */
  readonly cacheBytesMax: number;
  /** Unapplied entries in memory, here or at a voter, above which a leader refuses proposals. 0 = no such bound. */
  readonly maxInMemLogBytes: number;
  /** A leader refuses to make a voter of a non-voting member that lags by more entries. */
  readonly promotionLagEntriesMax: number;
  /** Of every non-voting member, by whoever leads. */
  readonly autoPromote: PromotionPolicy | undefined;
}

/** Older entries than the core keeps in memory. */
export interface LogReader {
  /**
   * Blocks from `first` on, not beyond `last`, about `maxBytes`; "pending" when they must be fetched (the owner then
   * calls `Raft.entriesFetched`), "compacted" when they are gone (the core sends a snapshot instead).
   */
  slice(first: Index, last: Index, maxBytes: number): readonly EntryBlock[] | "pending" | "compacted";
  /** Term at `index`, undefined if not known any more. */
  term(index: Index): Term | undefined;
}

/** State a replica starts from. */
export interface RaftStart {
  readonly hardState: HardState;
  /** Membership as of `applied`. */
  readonly membership: Membership;
  /** Index up to which the state machine is (the snapshot's, at start). */
  readonly applied: Index;
  /** First index in the log, and the term at first − 1. */
  readonly first: Index;
  readonly precedingTerm: Term;
  /** Entries from max(first, applied + 1) to the last: the core keeps all unapplied entries in memory. */
  readonly blocks: readonly EntryBlock[];
  readonly last: Index;
  /** The newest snapshot, if any: sent to followers that need compacted entries. */
  readonly snapshot: SnapshotMeta | undefined;
}

export interface RaftDeps {
  readonly config: RaftConfig;
  readonly start: RaftStart;
  readonly reader: LogReader;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly crc32: Crc32;
  readonly nowMs: TimeMs;
}

/** What must become durable, in the order of its fields; merged by the engine into its next append. */
export interface RaftUpdate {
  readonly hardState: HardState;
  /** The log is reset to this snapshot (installed from a leader). */
  readonly snapshot?: { readonly meta: SnapshotMeta; readonly reset: boolean };
  /** An append at i removes all ≥ i. */
  readonly blocks: readonly EntryBlock[];
  /** Given back to `persisted`. Grows by one per update. */
  readonly sequence: number;
}

export interface ReadState {
  readonly key: RequestKey;
  /** The read may be answered from local state once applied ≥ index. */
  readonly index: Index;
}

export type DropReason = "noLeader" | "notMember" | "witness" | RefusalReason;

/** Requests that certainly were not appended by this replica's doing: their owner may retry. */
export interface Dropped {
  readonly kind: "propose" | "readIndex";
  readonly firstKey: RequestKey;
  readonly count: number;
  readonly reason: DropReason;
}

/** A follower needs entries that are compacted: stream the newest snapshot to it, then call `snapshotSent`. */
export interface SnapshotRequest {
  readonly to: ReplicaId;
  readonly term: Term;
  /** It is a witness: what it gets is `witnessSnapshot` of the newest one, and no bytes. */
  readonly witness: boolean;
}

/** Why a transfer did not begin: nothing happened. */
export type TransferRefusal = "notLeader" | "busy" | "invalidTarget";

/** The end of a transfer that began here. */
export interface TransferResult {
  readonly target: ReplicaId;
  /**
   * done: another replica leads, the target as a rule, another one if it won the election.
   * aborted: this replica leads on, or again, and takes proposals.
   */
  readonly outcome: "done" | "aborted";
  /** Set when aborted. */
  readonly reason: "timeout" | "targetRemoved" | "leadsAgain" | undefined;
  /** The target was told to campaign: after an abort it may still do so and win. */
  readonly asked: boolean;
  /** Who leads now, in which term. */
  readonly leaderId: ReplicaId;
  readonly term: Term;
}

/** Why a promotion did not begin: nothing happened. */
export type PromotionRefusal = "notLeader" | "notNonVoting" | "busy";

/** The end of a promotion by policy that began here. */
export interface PromotionEnd {
  readonly replicaId: ReplicaId;
  /**
   * Undefined: it is a voter now. memberChanged: it was removed. refused: the state machine refused the change.
   * leaderChanged: this replica no longer leads; if the change was appended it may still take effect.
   */
  readonly reason: "timeout" | "leaderChanged" | "memberChanged" | "refused" | undefined;
  /** Of the change, 0 if it was not appended. */
  readonly index: Index;
}

export interface PromotionStatus {
  readonly replicaId: ReplicaId;
  readonly state: "catchingUp" | "appended" | "gaveUp";
  /** In a row. */
  readonly goodRounds: number;
  readonly lagEntries: number;
  readonly deadlineMs: TimeMs;
  readonly policy: PromotionPolicy;
}

export interface Output {
  readonly update: RaftUpdate | undefined;
  readonly messages: readonly Message[];
  /** Committed and durable here, in order, each entry once. */
  readonly committed: readonly EntryBlock[];
  readonly readStates: readonly ReadState[];
  readonly dropped: readonly Dropped[];
  readonly snapshotRequests: readonly SnapshotRequest[];
  /** Set when leader or term changed since the last output. leaderId 0 = none known. */
  readonly leader: { readonly leaderId: ReplicaId; readonly term: Term } | undefined;
  /**
   * A snapshot was installed into the log and its record is durable: the state machine must restore it before anything
   * else is applied.
   */
  readonly restore: SnapshotMeta | undefined;
  /** A transfer begun by `transferLeadership` ended. Each is reported once, if this replica lives to see its end. */
  readonly transfer: TransferResult | undefined;
  /** Promotions by policy that ended, each once. */
  readonly promotions: readonly PromotionEnd[];
  /** This replica is in the applied Removed set of a peer, or its lineage is superseded: the owner stops it. */
  readonly removed: "removed" | "superseded" | undefined;
}

export interface PeerStatus {
  readonly replicaId: ReplicaId;
  readonly match: Index;
  readonly next: Index;
  readonly state: "probe" | "replicate" | "snapshot";
  /** Answered within the last election timeout, or is at rest. */
  readonly active: boolean;
  readonly lastContactMs: TimeMs;
}

export interface RaftStatus {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly role: RaftRole;
  readonly quiesced: boolean;
  readonly term: Term;
  readonly vote: ReplicaId;
  readonly leaderId: ReplicaId;
  readonly commit: Index;
  readonly applied: Index;
  readonly first: Index;
  readonly last: Index;
  readonly lastTerm: Term;
  /** Highest index durable here. */
  readonly durable: Index;
  readonly membership: Membership;
  /** Why this replica does not get on, as far as others said so. */
  readonly hindrance: Hindrance | undefined;
  /** Target of the transfer under way, 0 = none. On a leader: proposals are refused. */
  readonly transferTarget: ReplicaId;
  /** Entries in memory that are not yet both applied and durable here, in bytes. */
  readonly memoryBytes: number;
  /** On a leader: its memory or that of a voter is full, proposals are refused. */
  readonly memoryLimited: boolean;
  /** Filled on the leader only. */
  readonly peers: readonly PeerStatus[];
  /** Members that are to become voters by policy. On the leader only. */
  readonly promotions: readonly PromotionStatus[];
}

/** The pure core of one replica, as the engine and the simulator see it. Implemented by class Raft. */
export interface RaftCore {
  /** Time at which `tick` next has something to do. */
  readonly deadlineMs: TimeMs;
  readonly role: RaftRole;
  readonly term: Term;
  readonly leaderId: ReplicaId;
  readonly commit: Index;
  readonly applied: Index;
  readonly last: Index;
  /** As in RaftStatus. */
  readonly memoryBytes: number;
  readonly membership: Membership;
  /** At rest: no heartbeats, no election timer. The owner watches the members' hosts, and calls `wake` in doubt. */
  readonly quiesced: boolean;
  /** True when `takeOutput` would return something. */
  readonly hasOutput: boolean;
  tick(nowMs: TimeMs): void;
  /** A message of a peer, already checked for form. Can never throw on its content. */
  receive(message: Message, nowMs: TimeMs): void;
  /** Takes over `body`. Appended (leader), forwarded (follower), or reported in `dropped`. */
  propose(body: BlockBody, nowMs: TimeMs): void;
  /** Asks for a linearizable read point. Answered in `readStates` or `dropped`, or lost (the owner times out). */
  readIndex(key: RequestKey, nowMs: TimeMs): void;
  persisted(sequence: number): void;
  /** All entries ≤ index went through the state machine. */
  appliedTo(index: Index): void;
  /** A config change entry went through the state machine; `membership` is the result, also when it was refused. */
  configChangeApplied(index: Index, membership: Membership): void;
  /** The state machine has restored `meta` (see Output.restore). */
  restored(meta: SnapshotMeta): void;
  /** A snapshot of ours was recorded durably: `compactTo` may be forgotten from the log. */
  snapshotCreated(meta: SnapshotMeta, compactTo: Index): void;
  /** The stream to `to` ended. */
  snapshotSent(to: ReplicaId, index: Index, ok: boolean): void;
  /** Entries asked for through LogReader ("pending") are there now. */
  entriesFetched(): void;
  unreachable(replica: ReplicaId): void;
  /** Start an election now (tests, transfer). Ignored by non-voters. */
  campaign(nowMs: TimeMs): void;
  /**
   * Hand leadership over to another voter. Returns why not, or nothing: then proposals are dropped ("transferring")
   * until it ends, within one election timeout, by `Output.transfer`.
   */
  transferLeadership(target: ReplicaId, nowMs: TimeMs): TransferRefusal | undefined;
  /** An election that is due waits once more, for a whole timeout: this process stood still and heard nobody. */
  yieldElection(nowMs: TimeMs): void;
  /**
   * Make a voter of a non-voting member when it has caught up. Returns why not, or nothing: then `Output.promotions`
   * tells the end.
   */
  promote(replicaId: ReplicaId, policy: PromotionPolicy, nowMs: TimeMs): PromotionRefusal | undefined;
  /** A leader idle for long enough goes to rest, if its state allows it; see quiesce.ts for `isWatched`. */
  quiesce(nowMs: TimeMs, isWatched: (member: ReplicaId) => boolean): boolean;
  /** At work again, in doubt whether all members rest. Nothing happens to a replica that does not. */
  wake(nowMs: TimeMs): void;
  /** The host of the leader is gone: a replica at rest elects another one. */
  leaderGone(nowMs: TimeMs): void;
  /** The leader's host was heard at `atMs`, and still leads this replica at rest: counts as contact (stickiness). */
  leaderHeard(atMs: TimeMs): void;
  /** Give up leadership: no heartbeats, no proposals, follower without leader. */
  stepDown(nowMs: TimeMs): void;
  takeOutput(): Output;
  status(): RaftStatus;
}
