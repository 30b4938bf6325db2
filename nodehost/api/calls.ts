/**
 * The calls of a NodeHost as requests: made with their deadline and cancellation, refused before anything is queued
 * when they cannot be served, handed to the replica otherwise. Used by class NodeHost only.
 */
import { EntryType } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import {
  type Index,
  isSafeUint,
  type ReplicaId,
  type ShardId,
  type Target,
  type Term,
} from "../../shared/types/ids.js";
import type { ConfigChange, ConfigChangeKind } from "../../shared/types/membership.js";
import {
  type AutoPromote,
  checkLag,
  completePolicy,
  type Engine,
  errorOf,
  managedError,
  notLeaderError,
  type Replica,
  type RequestKind,
  type RequestResult,
  RequestState,
  type SnapshotOptions,
} from "../engine/index.js";
import { kindRefusal } from "../rsm/index.js";
import { type CallOptions, checkTarget, timeoutOf } from "./options.js";
import type { Session } from "./session.js";

const NOTHING = new Uint8Array(0);

export interface ChangeStep {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly target: Target;
  /** 0 = do not check. */
  readonly configChangeIndex: number;
}

/** Saves a snapshot and exports it; resolves to its index. */
export type Exporter = (replica: Replica, options: SnapshotOptions) => Promise<Index>;

interface Opened {
  readonly request: RequestState;
  /** Undefined when the request is settled already. */
  readonly replica: Replica | undefined;
}

export class Calls {
  readonly #engine: Engine;
  readonly #env: Env;
  readonly #exporter: Exporter;

  constructor(engine: Engine, env: Env, exporter: Exporter) {
    this.#engine = engine;
    this.#env = env;
    this.#exporter = exporter;
  }

  /** DL_ERR_SHARD_NOT_FOUND. */
  found(shardId: ShardId): Replica {
    const replica = this.#engine.replica(shardId);
    if (replica === undefined) throw this.#notHere(shardId);
    return replica;
  }

  #notHere(shardId: ShardId): OpError {
    if (this.#engine.closed) return new OpError("DL_ERR_CLOSED", undefined, { outcome: "rejected" });
    return new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId}`);
  }

  /** As `found`, and DL_ERR_REPLICA_REMOVED, _REPLICA_FENCED for one that no longer works. */
  running(shardId: ShardId): Replica {
    const replica = this.found(shardId);
    if (!replica.working) throw replica.whyNotWorking();
    return replica;
  }

  propose(session: Session, command: Uint8Array, options?: CallOptions): RequestState {
    if (session.isNoOp) return this.#propose("propose", session, [command], options);
    timeoutOf(options); // throws before the session is taken
    const repeats = session.beginProposal(`${command.length}-${this.#env.crc32(command)}`);
    const { request, replica } = this.#open("propose", session.shardId, options);
    request.repeats = repeats;
    if (replica !== undefined) refuse(request, replica.propose(request, EntryType.Application, [command], session));
    request.onSettled((outcome) => session.endProposal(failureOf(outcome), repeats));
    return request;
  }

  /** Opens or closes the session. */
  proposeSession(session: Session, options?: CallOptions): RequestState {
    timeoutOf(options);
    session.beginTransition();
    const { request, replica } = this.#open("propose", session.shardId, options);
    if (replica !== undefined) refuse(request, replica.propose(request, EntryType.Application, [NOTHING], session));
    request.onSettled(({ result }) => session.endTransition(result?.value));
    return request;
  }

  proposeBatch(session: Session, commands: readonly Uint8Array[], options?: CallOptions): RequestState {
    if (commands.length === 0) throw new OpError("DL_ERR_INVALID_ARGUMENT", "an empty batch");
    if (!session.isNoOp) throw new OpError("DL_ERR_INVALID_SESSION", "a series is one command: a batch has no session");
    return this.#propose("proposeBatch", session, commands, options);
  }

  #propose(
    kind: "propose" | "proposeBatch",
    session: Session,
    commands: readonly Uint8Array[],
    options?: CallOptions,
  ): RequestState {
    const { request, replica } = this.#open(kind, session.shardId, options, commands.length);
    if (replica !== undefined) refuse(request, replica.propose(request, EntryType.Application, commands));
    return request;
  }

  read(shardId: ShardId, options?: CallOptions): RequestState {
    const { request, replica } = this.#open("readIndex", shardId, options);
    if (replica !== undefined) refuse(request, replica.read(request));
    return request;
  }

  snapshot(shardId: ShardId, snapshot: SnapshotOptions, options?: CallOptions): RequestState {
    const { compactionOverhead } = snapshot;
    if (compactionOverhead !== undefined && !isSafeUint(compactionOverhead)) {
      const what = `compactionOverhead is ${String(compactionOverhead)}, expected a number of entries`;
      throw new OpError("DL_ERR_INVALID_ARGUMENT", what);
    }
    const { request, replica } = this.#open("snapshot", shardId, options);
    if (replica === undefined) return request;
    if (!replica.working) {
      refuse(request, replica.whyNotWorking());
      return request;
    }
    const { exportPath } = snapshot;
    const saved = exportPath === undefined ? replica.snapshotter.request(snapshot) : this.#exporter(replica, snapshot);
    saved.then(
      (index) => request.settle({ code: "completed", index }),
      (error: unknown) => {
        request.fail("rejected", isOpError(error) ? error : new OpError("DL_ERR_REJECTED", errorText(error)));
      },
    );
    this.#engine.watch(request);
    return request;
  }

  change(kind: ConfigChangeKind, step: ChangeStep, options?: CallOptions): RequestState {
    const { shardId, replicaId, target, configChangeIndex } = step;
    if (!isSafeUint(replicaId) || replicaId < 1) {
      throw new OpError("DL_ERR_INVALID_ARGUMENT", `replicaId is ${String(replicaId)}, expected an integer from 1`);
    }
    if (!isSafeUint(configChangeIndex)) {
      throw new OpError("DL_ERR_INVALID_ARGUMENT", `configChangeIndex is ${String(configChangeIndex)}`);
    }
    if (kind !== "remove") checkTarget(target);
    const expectedConfigChangeIndex = configChangeIndex;
    const change: ConfigChange = { kind, replicaId, target, expectedConfigChangeIndex, bootstrap: false };
    const { request, replica } = this.#open("configChange", shardId, options);
    if (replica === undefined) return request;
    const never = kindRefusal(replica.rsm.membership, change);
    if (never !== undefined) refuse(request, new OpError("DL_ERR_REJECTED", never));
    else refuse(request, replica.propose(request, EntryType.ConfigChange, [encodeConfigChange(change)]));
    return request;
  }

  transfer(shardId: ShardId, target: ReplicaId, options?: CallOptions): RequestState {
    const { request, replica } = this.#open("transfer", shardId, options);
    if (replica === undefined) return request;
    this.#engine.watch(request);
    refuse(
      request,
      replica.askLeader((requests) => requests.transfer(request, target)),
    );
    return request;
  }

  /** Throws what would keep `promote` from beginning. */
  checkPromotion(shardId: ShardId, policy: AutoPromote): void {
    const { config, raft } = this.running(shardId);
    const refusal = config.managed ? managedError(shardId) : checkLag(completePolicy("autoPromote", policy), config);
    if (refusal !== undefined) throw refusal;
    if (raft.role !== "leader") throw notLeaderError(raft);
  }

  promote(shardId: ShardId, replicaId: ReplicaId, policy: AutoPromote, options?: CallOptions): RequestState {
    const full = completePolicy("policy", policy);
    const { request, replica } = this.#open("promotion", shardId, { timeoutMs: full.timeoutMs, ...options });
    if (replica === undefined) return request;
    const refusal = replica.config.managed ? managedError(shardId) : checkLag(full, replica.config);
    this.#engine.watch(request);
    refuse(request, refusal ?? replica.askLeader((requests) => requests.promote(request, replicaId, full)));
    return request;
  }

  /** An empty entry, behind everything that was proposed through this host before. */
  barrier(shardId: ShardId, options?: CallOptions): RequestState {
    const { request, replica } = this.#open("barrier", shardId, options);
    if (replica !== undefined) refuse(request, replica.propose(request, EntryType.Noop, [new Uint8Array(0)]));
    return request;
  }

  /** A ReadIndex round that this replica began, and ended, as leader of one term. */
  async verifyLeader(shardId: ShardId, options?: CallOptions): Promise<Term> {
    const { raft } = this.running(shardId);
    const { term } = raft;
    if (raft.role !== "leader") throw notLeaderError(raft);
    await completed(this.read(shardId, options));
    if (raft.role !== "leader" || raft.term !== term) throw notLeaderError(raft);
    return term;
  }

  #open(kind: RequestKind, shardId: ShardId, options?: CallOptions, count = 1): Opened {
    const deadlineMs = this.#env.now() + timeoutOf(options);
    const request = new RequestState(kind, shardId, deadlineMs, count);
    if (options?.signal !== undefined) cancelWith(request, options.signal);
    const replica = this.#engine.replica(shardId);
    if (replica === undefined) refuse(request, this.#notHere(shardId));
    return { request, replica: request.settled ? undefined : replica };
  }
}

/** Waits; throws the OpError of anything but `completed`. */
export async function completed(request: RequestState): Promise<{ readonly index: number }> {
  const outcome = await request.completed;
  if (outcome.code !== "completed") throw errorOf(outcome);
  return outcome;
}

function failureOf(outcome: RequestResult): OpError | undefined {
  return outcome.code === "completed" ? undefined : errorOf(outcome);
}

function refuse(request: RequestState, error: OpError | undefined): void {
  if (error !== undefined) request.fail("rejected", error);
}

/** Before it is handed to the log an abort has no effect on the shard; afterwards the outcome is unknown. */
function cancelWith(request: RequestState, signal: AbortSignal): void {
  const abort = (): void => {
    if (request.handedOver) request.fail("terminated", new OpError("DL_ERR_CANCELED"));
    else request.fail("aborted", new OpError("DL_ERR_ABORTED"));
  };
  if (signal.aborted) {
    abort();
    return;
  }
  signal.addEventListener("abort", abort, { once: true });
  request.onSettled(() => signal.removeEventListener("abort", abort));
}
