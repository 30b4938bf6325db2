/**
 * One replica: its Raft core, its state machine, its open requests. The turn (turn.ts) calls `step`, `emit`, `apply`
 * in that order; everything else only queues and asks for a turn. An error inside one replica fences that replica and
 * leaves the host running.
 */
import type { EntrySession, EntryType } from "../../shared/codec/block.js";
import type { TimerHandle } from "../../shared/env/env.js";
import { type ErrorCode, errorText, OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { Index, ReplicaId, RequestKey, ShardId, TimeMs } from "../../shared/types/ids.js";
import { type ConfigChange, type Membership, type Role, roleOf } from "../../shared/types/membership.js";
import type { Message, SnapshotMeta } from "../../shared/types/message.js";
import type { SessionRefusal } from "../../shared/types/session.js";
import type { Dropped, Output, RaftCore, RaftStatus, RaftUpdate } from "../raft/types.js";
import type { Result } from "../rsm/state-machine.js";
import { MachineFailure, type ReplicaStateMachine, type RsmSink } from "../rsm/types.js";
import { ApplyLoop } from "./apply-loop.js";
import type { FullReplicaConfig } from "./config.js";
import { type Timed, UNARMED } from "./deadlines.js";
import { Watched } from "./host-watch.js";
import { LeaderRequests } from "./leader-requests.js";
import { refusedFault } from "./peer-memory.js";
import { ProposalBook, ReadBook } from "./pending.js";
import type { ReplicaPorts } from "./ports.js";
import { admissionError, ProposalQueue, witnessRefusal } from "./proposal-queue.js";
import { dropError, type RequestState } from "./requests.js";
import { Restorer } from "./restorer.js";
import { Routes } from "./routes.js";
import { Snapshotter } from "./snapshotter.js";

const LINGER_ELECTION_TIMEOUTS = 10;

/** The parts a replica is made of; made by start.ts. `raft` and `rsm` exist before the first turn. */
export interface ReplicaParts {
  readonly config: FullReplicaConfig;
  readonly app: string;
  readonly raft: RaftCore;
  readonly rsm: ReplicaStateMachine;
  readonly snapshot: SnapshotMeta | undefined;
}

export class Replica implements RsmSink, Timed {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly config: FullReplicaConfig;
  readonly app: string;
  readonly raft: RaftCore;
  readonly rsm: ReplicaStateMachine;
  readonly proposals: ProposalBook;
  readonly reads: ReadBook;
  readonly #leading: LeaderRequests;
  readonly snapshotter: Snapshotter;
  /** In the set of the next turn. */
  scheduled = false;
  armedSlot = UNARMED;
  readonly watched = new Watched();
  /** Empty, or why this replica no longer works: it only waits to be stopped. */
  fault = "";
  /** Empty, or what this replica waits for before it takes part in its shard (see Introductions). */
  hold = "";
  #faultCode: ErrorCode = "DL_ERR_REPLICA_FENCED";
  readonly #name: string;
  readonly #ports: ReplicaPorts;
  readonly #queue: ProposalQueue;
  readonly #routes = new Routes();
  #inbox: Message[] = [];
  readonly #applyLoop: ApplyLoop;
  readonly #restorer: Restorer;
  /** Removed from the shard, but still answering peers for a while, so that they learn of the removal and can elect. */
  #lingering = false;
  #lingerEnd: TimerHandle | undefined;
  #stopped = false;
  #reportedApplied: Index;

  constructor(parts: ReplicaParts, ports: ReplicaPorts) {
    this.config = parts.config;
    this.shardId = parts.config.shardId;
    this.replicaId = parts.config.replicaId;
    this.app = parts.app;
    this.raft = parts.raft;
    this.rsm = parts.rsm;
    this.#name = `shard ${this.shardId} replica ${this.replicaId}`;
    this.#ports = ports;
    const restored = (meta: SnapshotMeta): void => this.#restored(meta);
    this.#restorer = new Restorer(parts.rsm, restored, (error) => this.#failed(error));
    this.#applyLoop = new ApplyLoop(parts.rsm, {
      applied: () => this.#afterApply(),
      ready: () => ports.ready(this),
      failed: (error) => this.#failed(error),
    });
    this.#queue = new ProposalQueue(ports.builder);
    this.proposals = new ProposalBook(ports.sequences.first(this));
    this.reads = new ReadBook(this.electionTimeoutMs, ports.sequences.first(this));
    this.#leading = new LeaderRequests(this.shardId, ports.logger);
    this.#reportedApplied = parts.rsm.applied;
    this.snapshotter = new Snapshotter(this, ports, parts.snapshot);
  }

  get working(): boolean {
    return this.fault === "" && !this.#stopped;
  }

  /** Works and takes part. */
  get serving(): boolean {
    return this.working && this.hold === "";
  }

  get role(): Role | undefined {
    return roleOf(this.raft.membership, this.replicaId);
  }

  get electionTimeoutMs(): number {
    return this.config.electionTicks * this.#ports.rttMs;
  }

  /** Takes part in the shard's protocol. */
  get #talking(): boolean {
    return this.serving || this.#lingering;
  }

  /** As the core's, with the peers of a leader at rest as their hosts show them. */
  status(): RaftStatus {
    return this.#ports.hosts.statusOf(this);
  }

  // Inputs: queue and ask for a turn.

  /** A message of a peer; dropped when the inbox is full (peers repeat what matters). */
  deliver(message: Message, fromHost: string): void {
    if (!this.#talking || this.#inbox.length >= LIMITS.inboxMessagesMax) return;
    this.#routes.learn(this.raft.membership, message.from, fromHost);
    this.#inbox.push(message);
    this.#ports.ready(this);
  }

  /** Queues commands under one request. Refuses before anything is queued when a bound is hit. */
  propose(
    request: RequestState,
    type: EntryType,
    commands: readonly Uint8Array[],
    session?: EntrySession,
  ): OpError | undefined {
    if (!this.serving) return this.whyNotWorking();
    const room = { log: this.#ports.wal.refusal(), queuedBytes: this.#queue.bytes, open: this.proposals.size };
    const refusal = witnessRefusal(this.config, type) ?? admissionError(request, commands, room);
    if (refusal !== undefined) return refusal;
    this.#queue.add({ request, type, firstSequence: this.proposals.add(request), commands, session });
    this.#ports.ready(this);
    return undefined;
  }

  read(request: RequestState): OpError | undefined {
    if (!this.serving) return this.whyNotWorking();
    if (this.reads.size >= LIMITS.readIndexQueueMax) return new OpError("DL_ERR_SYSTEM_BUSY", "too many reads wait");
    this.reads.add(request);
    this.#ports.ready(this);
    return undefined;
  }

  /** Adds a request that only a leader serves; its deadline is the caller's to watch. */
  askLeader(add: (requests: LeaderRequests) => OpError | undefined): OpError | undefined {
    if (!this.serving) return this.whyNotWorking();
    this.#ports.ready(this);
    return add(this.#leading);
  }

  /** What it waited for has happened. It hears others for a whole election timeout before it campaigns. */
  admit(nowMs: TimeMs): void {
    this.hold = "";
    this.raft.yieldElection(nowMs);
    this.#ports.ready(this);
  }

  /** When `tick` next has something to do. */
  get deadlineMs(): TimeMs {
    const raftMs = this.#talking ? this.raft.deadlineMs : Number.POSITIVE_INFINITY;
    return Math.min(raftMs, this.proposals.deadlineMs, this.reads.deadlineMs);
  }

  /** Something is due: deadlines of requests, or of the core. */
  tick(nowMs: TimeMs): void {
    this.proposals.expire(nowMs);
    if (this.reads.expire(nowMs)) this.#ports.ready(this);
    if (this.#talking && this.raft.deadlineMs <= nowMs) this.#ports.ready(this);
  }

  // The turn.

  /** Phase 1: everything that arrived goes through the core. */
  step(nowMs: TimeMs): void {
    if (!this.#talking) return;
    try {
      const inbox = this.#inbox;
      this.#inbox = [];
      if (this.raft.quiesced && inbox.length > 0) this.raft.leaderHeard(this.#ports.hosts.leaderHeardMs(this));
      for (const message of inbox) this.raft.receive(message, nowMs);
      this.#tickRaft(nowMs);
      this.#queue.pack(
        (sequence) => this.#key(sequence),
        (body) => this.raft.propose(body, nowMs),
      );
      const sequence = this.reads.takeBatch(nowMs);
      if (sequence > 0) this.raft.readIndex(this.#key(sequence), nowMs);
      this.#leading.begin(this.raft, nowMs);
    } catch (error) {
      this.fence(errorText(error));
    }
  }

  #tickRaft(nowMs: TimeMs): void {
    const { deadlineMs } = this.raft;
    if (deadlineMs > nowMs) return;
    if (this.raft.role === "leader" && this.#ports.hosts.rest(this, nowMs)) return;
    if (this.#ports.stall.excuses(deadlineMs, this.electionTimeoutMs)) this.raft.yieldElection(nowMs);
    if (this.raft.deadlineMs <= nowMs) this.raft.tick(nowMs);
  }

  /** Phase 2: what the core wants done is handed to log, transport, state machine and callers. */
  emit(): void {
    while (this.#talking && this.raft.hasOutput) {
      try {
        const out = this.raft.takeOutput();
        this.#perform(out);
      } catch (error) {
        this.#failed(error);
        return;
      }
    }
  }

  /** Phase 3: applies for at most `budgetMs`. True if more is waiting. */
  apply(budgetMs: number): boolean {
    return this.working && !this.#restorer.busy && this.#applyLoop.run(budgetMs);
  }

  // Answers of the state machine (RsmSink).

  onResult(sequence: number, index: Index, result: Result): void {
    this.proposals.arrive(sequence, index, result);
  }

  onRejected(sequence: number, _index: Index, code: SessionRefusal): void {
    this.proposals.refuse(sequence, code);
  }

  onConfigChange(
    index: Index,
    change: ConfigChange,
    membership: Membership,
    key: RequestKey,
    refusal: string | undefined,
  ): void {
    if (!this.working) return;
    this.raft.configChangeApplied(index, membership);
    if (this.#isOwn(key)) {
      if (refusal === undefined) this.proposals.arrive(key.sequence, index, { value: index });
      else this.proposals.fail(key.sequence, "rejected", new OpError("DL_ERR_REJECTED", refusal));
    }
    if (refusal !== undefined) return;
    this.#ports.listeners.membershipChanged?.(this.shardId, this.replicaId, index);
    this.#ports.membersChanged(this, change.replicaId);
    if (change.kind === "remove" && change.replicaId === this.replicaId) this.#leave();
  }

  // Ends.

  /** Stops working after a failure of its own, or because it must not take part (`code`); the host goes on. */
  fence(why: string, code: ErrorCode = "DL_ERR_REPLICA_FENCED"): void {
    this.#lingering = false;
    if (!this.working) return;
    this.#ports.logger.error({ shardId: this.shardId, replicaId: this.replicaId, code, why }, "replica fenced");
    this.#endAs(code === "DL_ERR_REPLICA_FENCED" ? `fenced: ${why}` : refusedFault({ code, detail: why }), code);
  }

  /** Our own removal is applied: no more service here, but peers are still answered for a while (see #lingering). */
  #leave(): void {
    this.#lingering = true;
    const lingerMs = LINGER_ELECTION_TIMEOUTS * this.electionTimeoutMs;
    this.#lingerEnd = this.#ports.env.timers.after(lingerMs, () => {
      this.#lingering = false;
    });
    this.#endAs("removed", "DL_ERR_REPLICA_REMOVED");
  }

  /** No further effects; every open request is answered `terminated`. */
  stop(error: OpError): void {
    this.#stopped = true;
    this.#lingering = false;
    this.#lingerEnd?.cancel();
    this.#failAll(error);
    this.snapshotter.cancel();
  }

  #endAs(fault: string, code: ErrorCode): void {
    this.fault = fault;
    this.#faultCode = code;
    this.#failAll(new OpError(code, `${this.#name}: ${fault}`, { outcome: "unknown" }));
    this.snapshotter.cancel();
    this.#ports.ready(this);
    this.#ports.listeners.replicaFaulted?.(this.shardId, this.replicaId, fault);
  }

  #failAll(error: OpError): void {
    this.#inbox = [];
    this.#queue.clear();
    this.proposals.failAll("terminated", error);
    this.reads.failAll("terminated", error);
    this.#leading.failAll("terminated", error);
  }

  #failed(error: unknown): void {
    if (error instanceof MachineFailure) this.fence(`${error.errorHash} at index ${error.index}: ${error.message}`);
    else this.fence(errorText(error));
  }

  /** What a call is answered that comes when the replica no longer works. */
  whyNotWorking(): OpError {
    if (this.#stopped) return new OpError("DL_ERR_SHARD_CLOSED", this.#name, { outcome: "rejected" });
    if (this.fault === "") return new OpError("DL_ERR_SHARD_NOT_READY", `${this.#name} ${this.hold}`);
    return new OpError(this.#faultCode, `${this.#name}: ${this.fault}`);
  }

  #key(sequence: number): RequestKey {
    return { replicaId: this.replicaId, incarnation: this.#ports.incarnation, sequence };
  }

  #perform(out: Output): void {
    if (out.update !== undefined) this.#persist(out.update);
    if (out.restore !== undefined) this.#restorer.begin(out.restore);
    for (const message of out.messages) this.#send(message);
    if (out.committed.length > 0 && this.working) this.rsm.enqueue(out.committed);
    for (const read of out.readStates) this.reads.confirm(read.key.sequence, read.index);
    if (out.readStates.length > 0) this.reads.release(this.rsm.applied);
    for (const dropped of out.dropped) if (this.#isOwn(dropped.firstKey)) this.#drop(dropped);
    this.#leading.ended(out);
    for (const request of out.snapshotRequests) this.snapshotter.send(request);
    if (out.leader !== undefined && this.working) {
      const { leaderId, term } = out.leader;
      this.#ports.listeners.leaderUpdated?.({ shardId: this.shardId, replicaId: this.replicaId, leaderId, term });
    }
    if (out.removed === undefined || !this.working) return;
    this.#endAs(out.removed, out.removed === "removed" ? "DL_ERR_REPLICA_REMOVED" : "DL_ERR_REPLICA_FENCED");
  }

  #persist(update: RaftUpdate): void {
    const { hardState, blocks, snapshot } = update;
    const parts = { shardId: this.shardId, replicaId: this.replicaId, hardState, blocks };
    if (snapshot !== undefined) this.snapshotter.installing(snapshot.meta);
    this.#ports.wal.add(snapshot === undefined ? parts : { ...parts, snapshot }, () => {
      if (!this.#talking) return;
      try {
        this.raft.persisted(update.sequence);
      } catch (error) {
        this.fence(errorText(error));
        return;
      }
      this.#ports.ready(this);
    });
  }

  #restored(meta: SnapshotMeta): void {
    if (!this.working) return;
    this.#reportedApplied = this.rsm.applied;
    this.raft.restored(meta);
    this.#ports.membersChanged(this, undefined);
    this.snapshotter.installed(meta);
    this.reads.release(this.rsm.applied);
    this.#ports.ready(this);
  }

  #send(message: Message): void {
    const target = this.#routes.target(this.raft.membership, message.to);
    if (target !== undefined) this.#ports.send(target, message);
  }

  #isOwn({ replicaId, incarnation }: RequestKey): boolean {
    return replicaId === this.replicaId && incarnation === this.#ports.incarnation;
  }

  #drop({ kind, firstKey: { sequence }, count, reason }: Dropped): void {
    if (kind === "readIndex") this.reads.drop(sequence, dropError(reason));
    else this.proposals.drop(sequence, count, dropError(reason));
  }

  #afterApply(): void {
    if (!this.working) return;
    const { applied } = this.rsm;
    if (applied > this.#reportedApplied) {
      this.#reportedApplied = applied;
      this.raft.appliedTo(applied);
      this.reads.release(applied);
      this.snapshotter.applied(applied);
    }
    if (this.#talking && this.raft.hasOutput) this.#ports.ready(this);
  }
}
