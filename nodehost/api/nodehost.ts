/**
 * NodeHost: one process's replicas and everything asked of them. The public class of the library; it keeps no state of
 * shards itself but hands each call to the engine, the log or the services. `open` makes it of compose.ts's parts.
 *
 * Invariants: what `open` began is undone when it fails; `close` runs once and answers what is still open.
 */
import { OpError } from "../../shared/errors.js";
import type { ClusterInfo } from "../../shared/types/control.js";
import type { HostId, ReplicaId, ShardId, Target } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import {
  type DrainResult,
  type Engine,
  type EngineStats,
  errorOf,
  type LeaderUpdate,
  type ReplicaConfig,
  type RequestState,
  type SnapshotOptions,
} from "../engine/index.js";
import type {
  App,
  ConcurrentStateMachineFactory,
  OnDiskStateMachineFactory,
  Result,
  StateMachineFactory,
} from "../rsm/index.js";
import { Calls, completed } from "./calls.js";
import { openParts, type Parts } from "./compose.js";
import { exporterOf } from "./export.js";
import type { HostIdentity } from "./host-dir.js";
import { type NodeHostState, nodeHostState, replicaInfo, silentPeers } from "./info.js";
import { MembershipCalls } from "./membership-calls.js";
import { type CallOptions, checkOptions, type NodeHostOptions, timeoutOf } from "./options.js";
import { type Services, startServices } from "./services.js";
import { noOpSession, Session } from "./session.js";
import {
  appMachine,
  concurrentMachine,
  memoryMachine,
  onDiskMachine,
  recordedStart,
  startReplica,
  WITNESS,
} from "./starts.js";
import { type ShardStats, shardStats } from "./stats.js";

export class NodeHost extends MembershipCalls implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #options: NodeHostOptions;
  protected readonly calls: Calls;
  #services: Services | undefined;
  #closing: Promise<void> | undefined;

  private constructor(parts: Parts, options: NodeHostOptions) {
    super();
    this.#parts = parts;
    this.#options = options;
    this.calls = new Calls(parts.engine, parts.env, exporterOf(parts));
  }

  /**
   * Opens the directory, recovers the log, listens. Replicas are started by `startReplica` and its kin. Rejects with
   * DL_ERR_INVALID_CONFIG, _INVALID_ADDRESS, _DIRECTORY_LOCKED, _HOST_MISMATCH, _DEPLOYMENT_MISMATCH, _LOGDB_CORRUPT,
   * _ADDRESS_IN_USE, _VERSION; nothing stays open then.
   */
  static async open(options: NodeHostOptions): Promise<NodeHost> {
    checkOptions(options);
    const parts = await openParts(options);
    const host = new NodeHost(parts, options);
    try {
      host.#services = await startServices({
        host,
        env: parts.env,
        files: parts.files,
        refuse: parts.refuse,
        asked: () => parts.engine.whenAsked(),
      });
    } catch (error) {
      await parts.close();
      throw error;
    }
    return host;
  }

  get hostId(): HostId {
    return this.#parts.identity.hostId;
  }
  get identity(): HostIdentity {
    return this.#parts.identity;
  }
  /** As really bound. */
  get raftAddress(): string {
    return this.#parts.raftAddress;
  }
  /** Of the gRPC API as really bound, "" if none. */
  get apiAddress(): string {
    return this.#services?.apiAddress ?? "";
  }
  get options(): NodeHostOptions {
    return this.#options;
  }

  // Replicas.

  /**
   * Starts a replica with an in-memory machine, in one of three forms: all initial members and join = false; no members
   * and join = true (added later); no members and join = false (restart). Resolves when its snapshot is restored.
   * A witness (`isWitness`) joins or restarts, with no factory.
   * DL_ERR_SHARD_ALREADY_EXISTS, _SHARD_NOT_BOOTSTRAPPED, _BOOTSTRAP_MISMATCH, _REPLICA_REMOVED, _LOGDB_CORRUPT;
   * _INVALID_CONFIG for a witness with a factory, and for anybody else without one.
   */
  startReplica(
    initialMembers: ReadonlyMap<ReplicaId, Target>,
    join: boolean,
    factory: StateMachineFactory | undefined,
    config: ReplicaConfig,
  ): Promise<void> {
    const machine = factory === undefined ? WITNESS : memoryMachine(factory, config);
    return startReplica(this.#engine, { initialMembers, join, config, ...machine });
  }

  /** As `startReplica`, for a machine that takes snapshots while updates go on. */
  startConcurrentReplica(
    initialMembers: ReadonlyMap<ReplicaId, Target>,
    join: boolean,
    factory: ConcurrentStateMachineFactory,
    config: ReplicaConfig,
  ): Promise<void> {
    return startReplica(this.#engine, { initialMembers, join, config, ...concurrentMachine(factory, config) });
  }

  /**
   * As `startReplica`, for a machine that keeps its own state. DL_ERR_MACHINE_AHEAD, DL_ERR_MACHINE_BEHIND when its
   * state and the log here are not of one life: the replica does not run then, and is reported as damaged.
   */
  startOnDiskReplica(
    initialMembers: ReadonlyMap<ReplicaId, Target>,
    join: boolean,
    factory: OnDiskStateMachineFactory,
    config: ReplicaConfig,
  ): Promise<void> {
    return startReplica(this.#engine, { initialMembers, join, config, ...onDiskMachine(factory, config) });
  }

  /** As above, for an app's machine: the app's name is kept with the replica. */
  startApp(
    initialMembers: ReadonlyMap<ReplicaId, Target>,
    join: boolean,
    app: App,
    config: ReplicaConfig,
  ): Promise<void> {
    return startReplica(this.#engine, { initialMembers, join, config, ...appMachine(app, config) });
  }

  /** Restarts one replica from what is on disk; its app must be among `apps`, unless it is a witness. */
  async restartReplica(shardId: ShardId, replicaId: ReplicaId, apps: ReadonlyMap<string, App>): Promise<void> {
    const recorded = recordedStart(this.#parts.logDb, { shardId, replicaId }, apps);
    await startReplica(this.#engine, { initialMembers: new Map(), join: false, ...recorded });
  }

  /** Resolves when nothing of the replica runs any more. DL_ERR_SHARD_NOT_FOUND. */
  async stopReplica(shardId: ShardId, replicaId: ReplicaId): Promise<void> {
    await this.#engine.stopReplica(shardId, replicaId);
    this.#parts.leaders.forget(shardId);
  }
  async stopShard(shardId: ShardId): Promise<void> {
    await this.#engine.stopReplica(shardId);
    this.#parts.leaders.forget(shardId);
  }

  /**
   * Deletes log, state, snapshots and machine directory of a stopped replica. Its id can never come back on this host.
   * Of a replica that is still a member it costs the shard a copy: remove it from the membership first.
   */
  removeData(shardId: ShardId, replicaId: ReplicaId): Promise<void> {
    return this.#engine.removeData(shardId, replicaId);
  }

  /** True if the replica was started here before (and not removed). */
  hasNodeInfo(shardId: ShardId, replicaId: ReplicaId): boolean {
    return this.#parts.logDb.state({ shardId, replicaId }) !== undefined;
  }

  // Proposals.

  /** No session: a proposal retried after an unknown outcome may apply twice. */
  getNoOPSession(shardId: ShardId): Session {
    return noOpSession(shardId);
  }

  /** A session that the shard does not know yet: `proposeSession` opens it. `syncGetSession` does both. */
  newSession(shardId: ShardId): Session {
    return Session.prepared(shardId, this.#parts.env.random.hex(8));
  }

  /** Opens a session; see session.ts for its use. On an unknown outcome call again: what is left over is evicted. */
  async syncGetSession(shardId: ShardId, options?: CallOptions): Promise<Session> {
    const session = this.newSession(shardId);
    await completed(this.proposeSession(session, options));
    return session;
  }

  /** Closes a session. DL_ERR_SESSION_NOT_FOUND when it is closed or evicted already. */
  async syncCloseSession(session: Session, options?: CallOptions): Promise<void> {
    if (!session.isClosing) session.prepareForUnregister();
    await completed(this.proposeSession(session, options));
  }

  /** Opens a new session, or closes one that is prepared for it. DL_ERR_INVALID_SESSION for others. */
  proposeSession(session: Session, options?: CallOptions): RequestState {
    return this.calls.proposeSession(session, options);
  }

  /**
   * Proposes one command. The returned state settles once: completed, rejected, dropped, timeout, terminated, aborted.
   * With a session, the same command may be proposed again while the outcome is unknown; one at a time.
   * Throws DL_ERR_INVALID_SESSION; rejected with DL_ERR_SESSION_NOT_FOUND, _SESSION_STALE.
   */
  propose(session: Session, command: Uint8Array, options?: CallOptions): RequestState {
    return this.calls.propose(session, command, options);
  }

  /** Proposes commands in order with one completion, without a session. On `unknown` any prefix of them may apply. */
  proposeBatch(session: Session, commands: readonly Uint8Array[], options?: CallOptions): RequestState {
    return this.calls.proposeBatch(session, commands, options);
  }

  /** Resolves to the machine's result when the command is applied; throws OpError. */
  async syncPropose(session: Session, command: Uint8Array, options?: CallOptions): Promise<Result> {
    const outcome = await this.propose(session, command, options).completed;
    if (outcome.result === undefined) throw errorOf(outcome);
    return outcome.result;
  }

  // Reads.

  /** Asks for a linearizable read point; when completed, `readLocalNode` sees everything acknowledged before. */
  readIndex(shardId: ShardId, options?: CallOptions): RequestState {
    return this.calls.read(shardId, options);
  }

  /** Reads the local machine after a completed `readIndex`. */
  readLocalNode(state: RequestState, query: unknown): unknown {
    if (state.kind !== "readIndex" || state.outcome?.code !== "completed") {
      throw new OpError("DL_ERR_INVALID_OPERATION", "readLocalNode needs a completed readIndex");
    }
    return this.calls.running(state.shardId).rsm.lookup(query);
  }

  /** Linearizable read through any member of the shard on this host. */
  async syncRead(shardId: ShardId, query: unknown, options?: CallOptions): Promise<unknown> {
    const outcome = await this.readIndex(shardId, options).completed;
    if (outcome.code !== "completed") throw errorOf(outcome);
    return this.calls.running(shardId).rsm.lookup(query);
  }

  /** Reads what this replica has now, however old. */
  staleRead(shardId: ShardId, query: unknown): unknown {
    return this.calls.running(shardId).rsm.lookup(query);
  }

  // Snapshots.

  /**
   * Saves a snapshot of what is applied; completes with its index. One at a time per replica. With `exportPath` it is
   * also written, whole, into that new directory on this host: DL_ERR_INVALID_ARGUMENT if it is there already.
   */
  requestSnapshot(shardId: ShardId, snapshot: SnapshotOptions = {}, options?: CallOptions): RequestState {
    return this.calls.snapshot(shardId, snapshot, options);
  }
  async syncRequestSnapshot(shardId: ShardId, snapshot?: SnapshotOptions, options?: CallOptions): Promise<number> {
    return (await completed(this.requestSnapshot(shardId, snapshot, options))).index;
  }

  // What is known here.

  /** Linearizable. */
  async syncGetShardMembership(shardId: ShardId, options?: CallOptions): Promise<Membership> {
    await completed(this.readIndex(shardId, options));
    return this.calls.running(shardId).rsm.membership;
  }

  /** Local knowledge; undefined when no leader is known. */
  getLeaderId(shardId: ShardId): { readonly leaderId: ReplicaId; readonly term: number } | undefined {
    const { raft } = this.calls.running(shardId);
    return raft.leaderId === 0 ? undefined : { leaderId: raft.leaderId, term: raft.term };
  }

  /**
   * Confirms by a round of a quorum that the replica here led when asked, and still leads the same term when this
   * resolves (to that term). DL_ERR_NOT_LEADER.
   */
  verifyLeader(shardId: ShardId, options?: CallOptions): Promise<number> {
    return this.calls.verifyLeader(shardId, options);
  }

  /**
   * Resolves, to its log index, when everything before it is applied here: all that was answered anywhere, and all that
   * this host proposed, before the call. An empty entry in the log, so it also waits for proposals not yet answered,
   * which a linearizable read does not.
   */
  async barrier(shardId: ShardId, options?: CallOptions): Promise<number> {
    return (await completed(this.calls.barrier(shardId, options))).index;
  }

  /** What the replica here knows of the shard and of itself, at this moment. */
  stats(shardId: ShardId): ShardStats {
    return shardStats(this.calls.found(shardId), this.#parts.env.now());
  }

  /** What the engine did so far, and how many replicas it has and lets rest. Costs nothing to ask. */
  engineStats(): EngineStats {
    return this.#engine.stats();
  }

  /** Leadership of one shard or of all shards of this host: current state first, then changes. */
  leaderUpdates(shardId?: ShardId): AsyncIterable<LeaderUpdate> {
    return this.#parts.leaders.subscribe(shardId);
  }

  getShardInfo(shardId: ShardId): ClusterInfo {
    return replicaInfo(this.calls.found(shardId), this.#parts.env.now());
  }

  /** Identity, replicas, and (unless skipped) every replica with data here. */
  getNodeHostInfo(options: { readonly skipLogInfo?: boolean } = {}): NodeHostState {
    return nodeHostState(this.#parts, options);
  }

  /** Hosts whose silence towards leaders here is longer than `overMs`. */
  silentPeers(overMs: number): { readonly target: Target; readonly silentMs: number }[] {
    return silentPeers(this.#engine, this.#parts.env.now(), overMs);
  }

  /** Teaches where a host is (from a registry). */
  learnAddress(hostId: HostId, raftAddress: string, incarnation: number): void {
    this.#parts.addressBook.learn(hostId, raftAddress, incarnation);
  }

  /**
   * Before a planned stop: moves every leadership held here to a caught-up voter elsewhere, and gives up those that
   * could not be moved by `timeoutMs`. Never rejects for a shard. Nothing keeps this host from being elected later.
   */
  drain(options?: Pick<CallOptions, "timeoutMs">): Promise<DrainResult> {
    return this.#engine.moveLeaders(timeoutOf(options));
  }

  /** Stops all replicas and releases everything. Idempotent. Open requests are answered `terminated`. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }
  async #close(): Promise<void> {
    try {
      await this.#services?.close();
    } finally {
      await this.#parts.close();
    }
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #engine(): Engine {
    return this.#parts.engine;
  }
}
