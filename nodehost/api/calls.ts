/**
 * The calls of a NodeHost as requests: made with their deadline and cancellation, refused before anything is queued
 * when they cannot be served, handed to the replica otherwise. Used by class NodeHost only.
 */
import { EntryType } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import type { Env } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import { isSafeUint, type ReplicaId, type ShardId, type Target } from "../../shared/types/ids.js";
import type { ConfigChange, ConfigChangeKind } from "../../shared/types/membership.js";
import {
  type Engine,
  errorOf,
  type Replica,
  type RequestKind,
  RequestState,
  type SnapshotOptions,
} from "../engine/index.js";
import { type CallOptions, timeoutOf } from "./options.js";
import type { Session } from "./session.js";

export interface ChangeStep {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly target: Target;
  /** 0 = do not check. */
  readonly configChangeIndex: number;
}

interface Opened {
  readonly request: RequestState;
  /** Undefined when the request is settled already. */
  readonly replica: Replica | undefined;
}

export class Calls {
  readonly #engine: Engine;
  readonly #env: Env;

  constructor(engine: Engine, env: Env) {
    this.#engine = engine;
    this.#env = env;
  }

  /** DL_ERR_SHARD_NOT_FOUND. */
  found(shardId: ShardId): Replica {
    const replica = this.#engine.replica(shardId);
    if (replica === undefined) throw new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId}`);
    return replica;
  }

  /** As `found`, and DL_ERR_REPLICA_FENCED for one that no longer works. */
  running(shardId: ShardId): Replica {
    const replica = this.found(shardId);
    if (!replica.working) throw new OpError("DL_ERR_REPLICA_FENCED", `shard ${shardId}: ${replica.fault}`);
    return replica;
  }

  propose(session: Session, commands: readonly Uint8Array[], options?: CallOptions): RequestState {
    if (session.seriesId !== 0) throw new OpError("DL_ERR_NOT_IMPLEMENTED", "client sessions");
    const { request, replica } = this.#open("propose", session.shardId, options, commands.length);
    if (replica !== undefined) refuse(request, replica.propose(request, EntryType.Application, commands));
    return request;
  }

  read(shardId: ShardId, options?: CallOptions): RequestState {
    const { request, replica } = this.#open("readIndex", shardId, options);
    if (replica !== undefined) refuse(request, replica.read(request));
    return request;
  }

  snapshot(shardId: ShardId, snapshot: SnapshotOptions, options?: CallOptions): RequestState {
    const { request, replica } = this.#open("snapshot", shardId, options);
    if (replica === undefined) return request;
    replica.snapshotter.request(snapshot).then(
      (index) => request.settle({ code: "completed", index }),
      (error: unknown) => {
        const why = error instanceof OpError ? error : new OpError("DL_ERR_REJECTED", String(error));
        request.fail("rejected", why);
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
    if (kind !== "remove" && target.trim() === "") throw new OpError("DL_ERR_INVALID_TARGET", "an empty target");
    const expectedConfigChangeIndex = configChangeIndex;
    const change: ConfigChange = { kind, replicaId, target, expectedConfigChangeIndex, bootstrap: false };
    const { request, replica } = this.#open("configChange", shardId, options);
    if (replica !== undefined) {
      refuse(request, replica.propose(request, EntryType.ConfigChange, [encodeConfigChange(change)]));
    }
    return request;
  }

  #open(kind: RequestKind, shardId: ShardId, options?: CallOptions, count = 1): Opened {
    const deadlineMs = this.#env.now() + timeoutOf(options);
    const request = new RequestState(kind, shardId, deadlineMs, count);
    if (options?.signal !== undefined) cancelWith(request, options.signal);
    const replica = this.#engine.replica(shardId);
    if (replica === undefined) refuse(request, new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId}`));
    return { request, replica: request.settled ? undefined : replica };
  }
}

/** Waits; throws the OpError of anything but `completed`. */
export async function completed(request: RequestState): Promise<{ readonly index: number }> {
  const outcome = await request.completed;
  if (outcome.code !== "completed") throw errorOf(outcome);
  return outcome;
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
