/**
 * What a caller holds while a request is under way. A request is settled exactly once: completed, rejected, dropped
 * (certainly not appended), timeout or terminated (unknown), aborted. Promises are made only when asked for, so that
 * the batch path costs none per entry.
 */
import { OpError, type Outcome } from "../../shared/errors.js";
import type { Index, ReplicaId, Term, TimeMs } from "../../shared/types/ids.js";
import type { DropReason } from "../raft/types.js";
import type { Result } from "../rsm/state-machine.js";

/** Dragonboat's result codes. `timeout` and `terminated` are ambiguous: the request may still take effect. */
export type RequestCode = "completed" | "committed" | "rejected" | "dropped" | "timeout" | "terminated" | "aborted";

export interface RequestResult {
  readonly code: RequestCode;
  /** Of a completed single proposal. */
  readonly result?: Result;
  /** Of a completed batch (of any size), one per command. */
  readonly results?: readonly Result[];
  /** Of a completed transfer: who leads now. Normally the target; another voter if that one won the election. */
  readonly leader?: { readonly leaderId: ReplicaId; readonly term: Term };
  /** Log index of the (last) entry, of the read point, of the snapshot; 0 of a transfer. */
  readonly index: Index;
  /** Why not, when not completed. */
  readonly error?: OpError;
}

export type RequestKind =
  | "propose"
  | "proposeBatch"
  | "configChange"
  | "readIndex"
  | "snapshot"
  | "transfer"
  | "promotion"
  | "barrier";

/** Handle of one request. `completed` and `committed` never reject. */
export class RequestState {
  readonly kind: RequestKind;
  readonly shardId: number;
  readonly deadlineMs: TimeMs;
  /** Commands of a batch; 1 for everything else. */
  readonly count: number;
  /** Set when it leaves the queue for the log: from then on an abort is `unknown`. */
  handedOver = false;
  /** An earlier attempt under the same series ended unknown: a refusal of this one says nothing of that one. */
  repeats = false;
  #outcome: RequestResult | undefined;
  #waiting: ((result: RequestResult) => void)[] | undefined;
  #promise: Promise<RequestResult> | undefined;
  #results: Result[] | undefined;
  #arrived = 0;

  constructor(kind: RequestKind, shardId: number, deadlineMs: TimeMs, count = 1) {
    this.kind = kind;
    this.shardId = shardId;
    this.deadlineMs = deadlineMs;
    this.count = count;
  }

  get settled(): boolean {
    return this.#outcome !== undefined;
  }

  /** The outcome if there is one already. */
  get outcome(): RequestResult | undefined {
    return this.#outcome;
  }

  /** Resolves when the request is settled; never rejects. */
  get completed(): Promise<RequestResult> {
    this.#promise ??= new Promise((resolve) => this.onSettled(resolve));
    return this.#promise;
  }

  /** Calls back once, at once if settled already. What the callback throws is thrown outside, never into the engine. */
  onSettled(call: (result: RequestResult) => void): void {
    if (this.#outcome !== undefined) callGuarded(call, this.#outcome);
    else if (this.#waiting === undefined) this.#waiting = [call];
    else this.#waiting.push(call);
  }

  /** One command of it was applied. Settles with the last one. */
  arrive(ordinal: number, index: Index, result: Result): void {
    if (this.#outcome !== undefined) return;
    if (this.kind !== "proposeBatch") {
      this.settle({ code: "completed", result, index });
      return;
    }
    this.#results ??= new Array<Result>(this.count);
    this.#results[ordinal] = result;
    this.#arrived += 1;
    if (this.#arrived === this.count) this.settle({ code: "completed", results: this.#results, index });
  }

  settle(result: RequestResult): boolean {
    if (this.#outcome !== undefined) return false;
    this.#outcome = result;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) for (const call of waiting) callGuarded(call, result);
    return true;
  }

  fail(code: RequestCode, error: OpError): boolean {
    return this.settle({ code, error, index: 0 });
  }

  /**
   * So many of its commands certainly were not appended. That is the outcome only if these are all; of a part of a
   * batch the rest may be in the log, so the outcome is unknown.
   */
  drop(commands: number, error: OpError): boolean {
    if (commands === this.count) return this.fail("dropped", error);
    const what = `${commands} of ${this.count} commands were not appended`;
    return this.fail("terminated", new OpError(error.code, what, { outcome: "unknown", cause: error }));
  }
}

function callGuarded(call: (result: RequestResult) => void, result: RequestResult): void {
  try {
    call(result);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** The error a `syncX` call throws for an outcome that is not `completed`. */
export function errorOf(result: RequestResult): OpError {
  if (result.error !== undefined) return result.error;
  return new OpError(result.code === "timeout" ? "DL_ERR_TIMEOUT" : "DL_ERR_REJECTED", result.code);
}

export function timeoutError(kind: RequestKind, shardId: number): OpError {
  const outcome: Outcome = kind === "readIndex" ? "rejected" : "unknown";
  return new OpError("DL_ERR_TIMEOUT", `${kind} on shard ${shardId}`, { outcome });
}

/** Why the core dropped a request, as its owner is told: it certainly was not appended. */
export function dropError(reason: DropReason): OpError {
  switch (reason) {
    case "configChangePending":
      return new OpError("DL_ERR_CONFIG_CHANGE_PENDING");
    case "busy":
      return new OpError("DL_ERR_SYSTEM_BUSY");
    case "notMember":
      return new OpError("DL_ERR_INVALID_OPERATION", "this replica is no member of the shard (yet)");
    case "notCaughtUp":
      return new OpError("DL_ERR_NOT_CAUGHT_UP");
    case "witness":
      return new OpError("DL_ERR_WITNESS");
    case "transferring":
      return new OpError("DL_ERR_SHARD_NOT_READY", "leadership is being transferred");
    default:
      return new OpError("DL_ERR_SHARD_NOT_READY", reason === "noLeader" ? "no leader is known" : "the leader changed");
  }
}
