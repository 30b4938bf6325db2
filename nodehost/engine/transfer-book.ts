/**
 * The open request for a leader transfer of one replica (there is one at a time), and the choice of a target when
 * nobody named one. Used by Replica, drain.ts and slow-disk.ts.
 */
import { OpError } from "../../shared/errors.js";
import type { ReplicaId, TimeMs } from "../../shared/types/ids.js";
import type { RaftCore, RaftStatus, TransferRefusal, TransferResult } from "../raft/types.js";
import type { RequestCode, RequestState } from "./requests.js";

/** A voter this many entries behind the commit index is brought up to date within a transfer's time. */
const CAUGHT_UP_ENTRIES = 1_000;

export class TransferBook {
  #open: { readonly request: RequestState; readonly target: ReplicaId; begun: boolean } | undefined;

  /** Queues; refuses while another is open. */
  add(request: RequestState, target: ReplicaId): OpError | undefined {
    if (this.#open?.request.settled === false) return busyError();
    this.#open = { request, target, begun: false };
    return undefined;
  }

  /** In the turn, after everything that was asked for before. */
  begin(raft: RaftCore, nowMs: TimeMs): void {
    if (this.#open === undefined || this.#open.begun) return;
    const { request, target } = this.#open;
    if (request.settled) {
      this.#open = undefined;
      return;
    }
    const refusal = raft.transferLeadership(target, nowMs);
    if (refusal === undefined) {
      this.#open.begun = true;
      request.handedOver = true;
      return;
    }
    this.#open = undefined;
    request.fail("rejected", refusalError(refusal, raft, target));
  }

  ended(result: TransferResult): void {
    if (this.#open?.begun !== true) return;
    const { request } = this.#open;
    this.#open = undefined;
    const { leaderId, term } = result;
    if (result.outcome === "done") request.settle({ code: "completed", index: 0, leader: { leaderId, term } });
    else request.fail("aborted", abortError(result));
  }

  failAll(code: RequestCode, error: OpError): void {
    this.#open?.request.fail(code, error);
    this.#open = undefined;
  }
}

function busyError(): OpError {
  return new OpError("DL_ERR_SYSTEM_BUSY", "leadership is being transferred already");
}

function refusalError(refusal: TransferRefusal, raft: RaftCore, target: ReplicaId): OpError {
  if (refusal === "busy") return busyError();
  if (refusal === "invalidTarget") {
    return new OpError("DL_ERR_INVALID_TARGET", `replica ${target} is no other voter of the shard`);
  }
  return notLeaderError(raft);
}

/** For calls that only a leader can serve. */
export function notLeaderError({ leaderId }: RaftCore): OpError {
  return new OpError("DL_ERR_NOT_LEADER", leaderId === 0 ? "no leader is known" : `replica ${leaderId} leads`);
}

/** Certain only if the target was never told to campaign. */
function abortError({ target, reason, asked }: TransferResult): OpError {
  if (reason === "targetRemoved") return new OpError("DL_ERR_INVALID_TARGET", `replica ${target} is no voter any more`);
  if (reason === "leadsAgain") return new OpError("DL_ERR_REJECTED", "this replica was elected again");
  const what = asked ? "did not take over" : "did not catch up";
  const outcome = asked ? "unknown" : "rejected";
  return new OpError("DL_ERR_TIMEOUT", `replica ${target} ${what} within an election timeout`, { outcome });
}

export interface TargetChoice {
  /** Already tried. */
  readonly tried?: ReadonlySet<ReplicaId>;
  /** Leaderships given to a host so far: equal candidates share them. */
  readonly given?: ReadonlyMap<string, number>;
}

/** The best voter to take over from this leader: heard of lately and caught up; undefined if there is none. */
export function bestTarget(status: RaftStatus, choice: TargetChoice = {}): ReplicaId | undefined {
  const { voters } = status.membership;
  const candidates = [];
  for (const { replicaId, match, active, state } of status.peers) {
    const host = voters.get(replicaId);
    if (host === undefined || !active || state === "snapshot" || choice.tried?.has(replicaId) === true) continue;
    const behind = Math.max(0, status.commit - match);
    const lag = behind <= CAUGHT_UP_ENTRIES ? 0 : behind;
    candidates.push({ replicaId, lag, given: choice.given?.get(host) ?? 0 });
  }
  candidates.sort((a, b) => a.lag - b.lag || a.given - b.given || a.replicaId - b.replicaId);
  return candidates[0]?.replicaId;
}
