/**
 * The pure Raft core of one replica: a synchronous reducer (see types.ts for its contract). This class is only the
 * door; the rules are functions over RaftState, one file per concern. The engine and the simulator call it.
 */
import type { BlockBody } from "../../shared/codec/block.js";
import type { Index, ReplicaId, RequestKey, Term, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { Message, SnapshotMeta } from "../../shared/types/message.js";
import { receive } from "./dispatch.js";
import { persisted } from "./durability.js";
import { startElection } from "./election.js";
import { fingerprint, type Inspection, inspect } from "./invariants.js";
import { configChangeApplied, refreshMembership, restored } from "./membership.js";
import { isMemoryLimited } from "./memory-limit.js";
import { hasOutput, takeOutput } from "./output.js";
import { beginPromotion, promotionStatus } from "./promotion.js";
import { propose } from "./proposals.js";
import { leaderGone, leaderHeard, quiesce, wake } from "./quiesce.js";
import { localRead } from "./readindex.js";
import { armElection, canCampaign } from "./roles.js";
import { snapshotCreated, snapshotSent } from "./snapshots.js";
import { RaftState } from "./state.js";
import { deadlineMs, stepDown, tick } from "./timers.js";
import { beginTransfer } from "./transfer.js";
import type {
  Output,
  PeerStatus,
  PromotionPolicy,
  PromotionRefusal,
  RaftCore,
  RaftDeps,
  RaftRole,
  RaftStatus,
  TransferRefusal,
} from "./types.js";

export class Raft implements RaftCore {
  readonly #s: RaftState;

  constructor(deps: RaftDeps) {
    const s = new RaftState(deps);
    this.#s = s;
    refreshMembership(s);
    s.log.commitEarlierConfigs();
    armElection(s);
  }

  get deadlineMs(): TimeMs {
    return deadlineMs(this.#s);
  }
  get role(): RaftRole {
    return this.#s.role;
  }
  get term(): Term {
    return this.#s.term;
  }
  get leaderId(): ReplicaId {
    return this.#s.leaderId;
  }
  get commit(): Index {
    return this.#s.log.commit;
  }
  get applied(): Index {
    return this.#s.log.applied;
  }
  get last(): Index {
    return this.#s.log.last;
  }
  get memoryBytes(): number {
    return this.#s.log.busyBytes;
  }
  get membership(): Membership {
    return this.#s.membership;
  }
  get quiesced(): boolean {
    return this.#s.quiesced;
  }
  get hasOutput(): boolean {
    return hasOutput(this.#s);
  }

  tick(nowMs: TimeMs): void {
    this.#advance(nowMs);
    tick(this.#s);
  }

  receive(message: Message, nowMs: TimeMs): void {
    this.#advance(nowMs);
    receive(this.#s, message);
  }

  propose(body: BlockBody, nowMs: TimeMs): void {
    this.#rouse(nowMs);
    propose(this.#s, body);
  }

  readIndex(key: RequestKey, nowMs: TimeMs): void {
    this.#rouse(nowMs);
    localRead(this.#s, key);
  }

  persisted(sequence: number): void {
    persisted(this.#s, sequence);
  }

  appliedTo(index: Index): void {
    this.#s.log.appliedTo(index);
  }

  configChangeApplied(index: Index, membership: Membership): void {
    configChangeApplied(this.#s, index, membership);
  }

  restored(meta: SnapshotMeta): void {
    restored(this.#s, meta);
  }

  snapshotCreated(meta: SnapshotMeta, compactTo: Index): void {
    snapshotCreated(this.#s, meta, compactTo);
  }

  snapshotSent(to: ReplicaId, index: Index, ok: boolean): void {
    snapshotSent(this.#s, to, index, ok);
  }

  entriesFetched(): void {
    for (const peer of this.#s.peers.values()) peer.fetching = false;
    if (this.#s.role === "leader") this.#s.replicateDue = true;
  }

  unreachable(replica: ReplicaId): void {
    const peer = this.#s.peers.get(replica);
    if (peer?.state !== "replicate") return;
    peer.becomeProbe(peer.match + 1);
    peer.paused = true;
  }

  campaign(nowMs: TimeMs): void {
    this.#rouse(nowMs);
    if (this.#s.role !== "leader" && canCampaign(this.#s)) startElection(this.#s);
  }

  transferLeadership(target: ReplicaId, nowMs: TimeMs): TransferRefusal | undefined {
    this.#rouse(nowMs);
    return beginTransfer(this.#s, target);
  }

  yieldElection(nowMs: TimeMs): void {
    this.#advance(nowMs);
    if (this.#s.role !== "leader") armElection(this.#s);
  }

  promote(replicaId: ReplicaId, policy: PromotionPolicy, nowMs: TimeMs): PromotionRefusal | undefined {
    this.#rouse(nowMs);
    return beginPromotion(this.#s, replicaId, policy);
  }

  stepDown(nowMs: TimeMs): void {
    this.#advance(nowMs);
    stepDown(this.#s);
  }

  quiesce(nowMs: TimeMs, isWatched: (member: ReplicaId) => boolean): boolean {
    this.#advance(nowMs);
    return quiesce(this.#s, isWatched);
  }

  wake(nowMs: TimeMs): void {
    this.#rouse(nowMs);
  }

  leaderGone(nowMs: TimeMs): void {
    this.#advance(nowMs);
    leaderGone(this.#s);
  }

  leaderHeard(atMs: TimeMs): void {
    leaderHeard(this.#s, atMs);
  }

  takeOutput(): Output {
    return takeOutput(this.#s);
  }

  status(): RaftStatus {
    const s = this.#s;
    const { shardId, id: replicaId, role, term, vote, leaderId, membership, log } = s;
    const { commit, applied, first, last, lastTerm, durable } = log;
    const activeSinceMs = s.nowMs - s.config.electionTimeoutMs;
    const transferTarget = s.transfer?.target ?? 0;
    const peers: PeerStatus[] = [];
    for (const peer of s.peers.values()) {
      const { id, match, next, state } = peer;
      const lastContactMs = s.contactMs(peer);
      const active = s.quiesced || lastContactMs >= activeSinceMs;
      peers.push({ replicaId: id, match, next, state, active, lastContactMs });
    }
    const promotions = promotionStatus(s);
    const memory = { memoryBytes: log.busyBytes, memoryLimited: role === "leader" && isMemoryLimited(s) };
    const head = { shardId, replicaId, role, term, vote, leaderId, quiesced: s.quiesced };
    const tail = { membership, hindrance: s.hindrance, transferTarget, ...memory, peers, promotions };
    return { ...head, commit, applied, first, last, lastTerm, durable, ...tail };
  }

  /** What the invariant checks and tests look at; not for the engine. */
  inspect(): Inspection {
    return inspect(this.#s);
  }

  /** See invariants.ts; not for the engine. */
  fingerprint(): string {
    return fingerprint(this.#s);
  }

  /** For inputs that a replica at rest must not sleep through. */
  #rouse(nowMs: TimeMs): void {
    this.#advance(nowMs);
    wake(this.#s);
  }

  /** Time never runs backwards here. */
  #advance(nowMs: TimeMs): void {
    if (nowMs > this.#s.nowMs) this.#s.nowMs = nowMs;
  }
}
