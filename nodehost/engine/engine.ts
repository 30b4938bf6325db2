/**
 * All replicas of one host and the turn that drives them. The engine sequences every effect; it knows log, transport
 * and snapshots only by their ports, and time only by its Env.
 */

import { BlockBuilder } from "../../shared/codec/block.js";
import type { TimerHandle } from "../../shared/env/env.js";
import { type ErrorCode, errorText, isOpError, OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { ReplicaId, ShardId, Target } from "../../shared/types/ids.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import { MachineFailure } from "../rsm/index.js";
import type { Hello, SnapshotHeader } from "../transport/port.js";
import { type DrainResult, moveLeaders } from "./drain.js";
import { HostWatch } from "./host-watch.js";
import { JobQueue } from "./job-queue.js";
import { guardListeners } from "./listeners.js";
import { LogPressure } from "./log-pressure.js";
import { type DirectoryRefusal, refusedFault } from "./peer-memory.js";
import { Peers } from "./peers.js";
import type { EngineOptions, EngineStats, ReplicaPorts } from "./ports.js";
import { RateLimit } from "./rate-limit.js";
import type { Replica } from "./replica.js";
import { type RequestState, timeoutError } from "./requests.js";
import { Sequences } from "./sequences.js";
import { SlowDisk } from "./slow-disk.js";
import { takeSnapshot } from "./snapshot-intake.js";
import { StallWatch } from "./stall.js";
import { appendDurably, type StartSpec, startReplica } from "./start.js";
import type { TurnContext } from "./turn.js";
import { TurnLoop } from "./turn-loop.js";
import { WalQueue } from "./wal-queue.js";

const TURN_BUDGET_MS = 10;
/** What keeps a replica from starting for good: it is reported, to be replaced. */
const DAMAGE: readonly ErrorCode[] = ["DL_ERR_LOGDB_CORRUPT", "DL_ERR_MACHINE_AHEAD", "DL_ERR_MACHINE_BEHIND"];
const RELEASE_AFTER_FATAL_MS = 1_000;

export interface BrokenReplica {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly app: string;
  readonly fault: string;
}

export class Engine {
  readonly #options: EngineOptions;
  readonly #replicas = new Map<ShardId, Replica>();
  /** Shards with a start, stop or removal under way; what `close` waits for. */
  readonly #busy = new Map<ShardId, Promise<void>>();
  /** Replicas with data here that could not be started: they are reported, to be replaced. */
  readonly #broken = new Map<ShardId, BrokenReplica>();
  readonly #wal: WalQueue;
  readonly #ports: ReplicaPorts;
  readonly #pressure: LogPressure;
  readonly #slowDisk: SlowDisk;
  readonly #receiveRate: RateLimit;
  readonly #hosts: HostWatch;
  readonly #turns: TurnLoop;
  readonly #peers: Peers;
  #refusal: DirectoryRefusal | undefined;
  #ticker: TimerHandle | undefined;
  readonly #saves = new JobQueue(LIMITS.snapshotSavesMax);
  readonly #watched = new Set<RequestState>();
  #closed = false;
  #closing: Promise<void> | undefined;

  constructor(options: EngineOptions) {
    const { env, logDb, transport, snapshots, snapshotRates, incarnation, rttMs } = options;
    this.#receiveRate = new RateLimit(env, snapshotRates.receiveBytesPerSecond);
    this.#options = options;
    this.#wal = new WalQueue(logDb, (error) => this.fatal(error));
    const stall = new StallWatch(rttMs, env.now());
    const ready = (replica: Replica): void => this.#turns.add(replica);
    this.#hosts = new HostWatch({ transport, ready });
    const context: TurnContext = {
      now: env.now,
      wal: this.#wal,
      transport,
      applyBudgetMs: LIMITS.applyBudgetMs,
      turnBudgetMs: TURN_BUDGET_MS,
    };
    this.#turns = new TurnLoop({ env, tickMs: rttMs, context, hosts: this.#hosts, stall });
    this.#ports = {
      env,
      logger: env.logger,
      logDb,
      wal: this.#wal,
      snapshots,
      transport,
      incarnation,
      rttMs,
      stall,
      hosts: this.#hosts,
      sendRate: new RateLimit(env, snapshotRates.sendBytesPerSecond),
      peers: options.peers,
      builder: new BlockBuilder(),
      sequences: new Sequences(),
      listeners: guardListeners(options.listeners ?? {}, env.logger),
      ready,
      send: (target, message) => transport.send(target, message),
      membersChanged: (replica, added) => this.#peers.membersChanged(replica, added),
      snapshotJob: (job) => this.#saves.run(job),
    };
    this.#peers = new Peers({ ports: this.#ports, replicas: this.#replicas });
    this.#slowDisk = new SlowDisk({
      rttMs,
      logger: env.logger,
      appendAgeMs: () => logDb.appendAgeMs(),
    });
    this.#pressure = new LogPressure({
      logDb,
      logger: env.logger,
      replica: (shardId) => this.#replicas.get(shardId),
      crowded: (crowded) => {
        this.#wal.crowded = crowded;
      },
    });
  }

  /** Starts the host's tick. */
  start(): void {
    if (this.#options.refusal !== undefined) this.refuseDirectory(this.#options.refusal);
    this.#ticker = this.#options.env.timers.every(this.#options.rttMs, () => this.#tick());
  }

  replica(shardId: ShardId): Replica | undefined {
    return this.#replicas.get(shardId);
  }

  replicas(): IterableIterator<Replica> {
    return this.#replicas.values();
  }

  /** Replicas whose data here is damaged. */
  broken(): Iterable<BrokenReplica> {
    return this.#broken.values();
  }

  /** True after `close` or `fatal` began. */
  get closed(): boolean {
    return this.#closed;
  }

  /** True while the log refuses because the disk is full. */
  get diskFull(): boolean {
    return this.#wal.diskFull;
  }

  /** See start.ts for the three legal forms. Resolves when the replica has restored its snapshot and takes part. */
  async startReplica(spec: StartSpec): Promise<Replica> {
    const { shardId } = spec.config;
    this.#checkOpen();
    this.#checkNotRefused();
    if (this.#replicas.has(shardId) || this.#busy.has(shardId)) {
      throw new OpError("DL_ERR_SHARD_ALREADY_EXISTS", `shard ${shardId}`);
    }
    return this.#occupied(shardId, async () => {
      try {
        const { replica, found, isFirst } = await startReplica(spec, this.#ports, this.#options.machines);
        if (this.#closed || this.#refusal !== undefined) await replica.rsm.close();
        this.#checkOpen();
        this.#checkNotRefused();
        this.#replicas.set(shardId, replica);
        this.#broken.delete(shardId);
        this.#slowDisk.expect(replica);
        this.#peers.started(replica, found, isFirst);
        this.#turns.add(replica);
        return replica;
      } catch (error) {
        this.#noteDamage(spec, error);
        throw error;
      }
    });
  }

  #noteDamage(spec: StartSpec, error: unknown): void {
    const damaged = error instanceof MachineFailure || (isOpError(error) && DAMAGE.includes(error.code));
    if (!damaged) return;
    const { shardId, replicaId } = spec.config;
    this.#broken.set(shardId, { shardId, replicaId, app: spec.app, fault: `damaged: ${errorText(error)}` });
  }

  /** What the engine has done since it was made, and how many replicas rest. */
  stats(): EngineStats {
    return { ...this.#turns.counts, replicas: this.#replicas.size, resting: this.#hosts.resting };
  }

  /** Stops a replica; open requests are answered `terminated`. Resolves when nothing of it runs any more. */
  async stopReplica(shardId: ShardId, replicaId?: ReplicaId): Promise<void> {
    const replica = this.#replicas.get(shardId);
    if (replica === undefined || (replicaId !== undefined && replica.replicaId !== replicaId)) {
      const name = `shard ${shardId}${replicaId === undefined ? "" : ` replica ${replicaId}`}`;
      throw new OpError(this.#closed ? "DL_ERR_CLOSED" : "DL_ERR_SHARD_NOT_FOUND", name, { outcome: "rejected" });
    }
    await this.#occupied(shardId, async () => {
      this.#replicas.delete(shardId);
      this.#peers.ended(replica);
      replica.stop(new OpError("DL_ERR_SHARD_CLOSED", `shard ${shardId}`));
      this.#ports.sequences.ended(replica, Math.max(replica.proposals.nextSequence, replica.reads.nextSequence));
      this.#hosts.track(replica);
      await this.#wal.whenIdle();
      await replica.rsm.close();
      this.#wal.discard(replica);
    });
  }

  /** Deletes log, state, snapshots and machine directory of a stopped replica, for ever: its id cannot come back. */
  async removeData(shardId: ShardId, replicaId: ReplicaId): Promise<void> {
    this.#checkOpen();
    const running = this.#replicas.get(shardId);
    if (running?.replicaId === replicaId || this.#busy.has(shardId)) {
      throw new OpError("DL_ERR_SHARD_NOT_STOPPED", `shard ${shardId} replica ${replicaId}`);
    }
    this.#broken.delete(shardId);
    await this.#occupied(shardId, async () => {
      await appendDurably(this.#ports, { shardId, replicaId, remove: true });
      await this.#ports.peers.setUnproven(shardId, replicaId, false);
      await this.#options.snapshots.removeAll(shardId, replicaId);
      await this.#options.machines.remove({ shardId, replicaId });
    });
  }

  /** Looks after the deadline of a request that no replica keeps a book of. */
  watch(request: RequestState): void {
    this.#watched.add(request);
    request.onSettled(() => this.#watched.delete(request));
  }

  /** Moves all leaderships held here to other replicas; after `timeoutMs` the rest is given up. */
  moveLeaders(timeoutMs: number): Promise<DrainResult> {
    const { now } = this.#options.env;
    const ready = (replica: Replica): void => this.#turns.add(replica);
    const watch = (request: RequestState): void => this.watch(request);
    return moveLeaders(this.#replicas.values(), now() + timeoutMs, { now, watch, ready });
  }

  // From the transport.

  /** A peer that may speak to us, and which start of it. */
  onHello(from: Hello): void {
    this.#hosts.heard(from, this.#options.env.now());
    this.#turns.hostsChanged();
  }

  onPulse(from: Hello, pulse: HostPulse): void {
    this.#hosts.pulse(from, pulse, this.#options.env.now());
    this.#turns.hostsChanged();
  }

  onMessages(from: Hello, messages: readonly WireMessage[]): void {
    this.#hosts.heard(from, this.#options.env.now());
    this.#peers.onMessages(from, messages);
    this.#turns.hostsChanged();
  }

  onConnected(target: Target, peer: Hello): void {
    this.#peers.onConnected(target, peer);
  }

  onUnreachable(target: Target): void {
    this.#peers.onUnreachable(target);
    for (const replica of this.#replicas.values()) {
      if (replica.raft.quiesced) continue;
      const { voters, nonVotings, witnesses } = replica.raft.membership;
      for (const members of [voters, nonVotings, witnesses]) {
        for (const [id, at] of members) if (at === target) replica.raft.unreachable(id);
      }
    }
  }

  /** Lands a snapshot for a replica that runs here, then hands it to its core. */
  async onSnapshot(from: Hello, header: SnapshotHeader, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const replica = this.#replicas.get(header.shardId);
    await this.#peers.admitStream(from, header);
    await takeSnapshot(replica, { from, header, chunks }, this.#ports, this.#receiveRate);
  }

  // Who is who.

  /** Set when peers refuse this directory. */
  get refusal(): DirectoryRefusal | undefined {
    return this.#refusal;
  }

  /** This directory is old, or a copy: nothing in it may take part any more. Every replica ends and is reported. */
  refuseDirectory(refusal: DirectoryRefusal): void {
    if (this.#refusal !== undefined) return;
    this.#refusal = refusal;
    const { logger, metrics } = this.#options.env;
    logger.error({ ...refusal }, "this directory must not be used: no replica of this host runs");
    metrics.gauge("drumline_directory_refused", "1 if peers or masters refuse this directory as old or copied").set(1);
    for (const replica of this.#replicas.values()) {
      replica.fence(refusal.detail, refusal.code);
      this.#peers.ended(replica);
    }
    const { logDb, listeners } = this.#ports;
    for (const key of logDb.list().present) {
      const { shardId, replicaId } = key;
      if (this.#replicas.has(shardId)) continue;
      const app = logDb.state(key)?.bootstrap.app ?? "";
      this.#broken.set(shardId, { shardId, replicaId, app, fault: refusedFault(refusal) });
    }
    listeners.directoryRefused?.(refusal);
  }

  /** Resolves when every replica that was here before has asked its peers, or could not. */
  whenAsked(): Promise<void> {
    return this.#peers.whenAsked();
  }

  #checkNotRefused(): void {
    if (this.#refusal !== undefined) throw new OpError(this.#refusal.code, this.#refusal.detail);
  }

  // Ends.

  /** Durability can no longer be promised: sockets are closed at once, open requests are unknown. */
  fatal(error: unknown): void {
    if (this.#closed) return;
    this.#shutDown(new OpError("DL_ERR_STORAGE_FAILED", undefined, { cause: error }));
    this.#options.transport.close().catch(() => {});
    this.#options.onFatal(error);
  }

  /** Stops every replica and waits for the append in flight. Log, transport and files are closed by their owner. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#closed) {
      // After a storage failure anything that waits for the disk may wait for ever.
      await Promise.race([this.#release(), this.#wait(RELEASE_AFTER_FATAL_MS)]);
      return;
    }
    this.#shutDown(new OpError("DL_ERR_CLOSED"));
    await this.#wal.whenIdle();
    await this.#release();
  }

  async #release(): Promise<void> {
    await Promise.allSettled(this.#busy.values());
    const replicas = [...this.#replicas.values()];
    this.#replicas.clear();
    for (const result of await Promise.allSettled(replicas.map((replica) => replica.rsm.close()))) {
      if (result.status === "rejected") throw result.reason;
    }
  }

  #wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.env.timers.after(delayMs, resolve);
    });
  }

  #shutDown(error: OpError): void {
    this.#closed = true;
    this.#ticker?.cancel();
    this.#turns.stop();
    for (const replica of this.#replicas.values()) replica.stop(error);
    for (const request of [...this.#watched]) request.fail("terminated", error);
  }

  /** While `work` runs no other start, stop or removal of the shard begins, and `close` waits for it. */
  async #occupied<T>(shardId: ShardId, work: () => Promise<T>): Promise<T> {
    const running = work();
    const ended = running.then(
      () => {},
      () => {},
    );
    this.#busy.set(shardId, ended);
    try {
      return await running;
    } finally {
      if (this.#busy.get(shardId) === ended) this.#busy.delete(shardId);
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new OpError("DL_ERR_CLOSED", undefined, { outcome: "rejected" });
  }

  #tick(): void {
    const nowMs = this.#options.env.now();
    this.#wal.retry();
    this.#pressure.check(nowMs);
    this.#peers.tick(nowMs);
    for (const request of this.#watched) {
      if (request.deadlineMs <= nowMs) request.fail("timeout", timeoutError(request.kind, request.shardId));
    }
    this.#turns.tick(nowMs);
    for (const replica of this.#slowDisk.check(this.#replicas.values(), nowMs)) this.#turns.add(replica);
  }
}
