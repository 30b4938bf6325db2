/**
 * Open requests of one replica that only a leader serves and whose end the core reports: transfers of leadership and
 * promotions by policy. Queued until the next turn, so that they come after everything that was asked for before.
 * Used by Replica; deadlines are the caller's to watch.
 */
import type { Logger } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import type { ReplicaId, ShardId, TimeMs } from "../../shared/types/ids.js";
import type { Output, PromotionEnd, PromotionPolicy, PromotionRefusal, RaftCore } from "../raft/types.js";
import type { RequestCode, RequestState } from "./requests.js";
import { notLeaderError, TransferBook } from "./transfer-book.js";

interface OpenPromotion {
  readonly request: RequestState;
  readonly policy: PromotionPolicy;
  begun: boolean;
}

export class LeaderRequests {
  readonly #shardId: ShardId;
  readonly #logger: Logger;
  readonly #transfers = new TransferBook();
  readonly #promotions = new Map<ReplicaId, OpenPromotion>();

  constructor(shardId: ShardId, logger: Logger) {
    this.#shardId = shardId;
    this.#logger = logger;
  }

  transfer(request: RequestState, target: ReplicaId): OpError | undefined {
    return this.#transfers.add(request, target);
  }

  /** A request that is settled meanwhile (timed out, canceled) does not stop the promotion. */
  promote(request: RequestState, member: ReplicaId, policy: PromotionPolicy): OpError | undefined {
    if (this.#promotions.has(member)) return busyError(member);
    this.#promotions.set(member, { request, policy, begun: false });
    return undefined;
  }

  begin(raft: RaftCore, nowMs: TimeMs): void {
    this.#transfers.begin(raft, nowMs);
    for (const [member, open] of this.#promotions) {
      if (open.begun) continue;
      const refusal = open.request.settled ? "busy" : raft.promote(member, open.policy, nowMs);
      if (refusal === undefined) {
        open.begun = true;
        open.request.handedOver = true;
        continue;
      }
      this.#promotions.delete(member);
      open.request.fail("rejected", refusalError(refusal, raft, member));
    }
  }

  ended(out: Output): void {
    if (out.transfer !== undefined) this.#transfers.ended(out.transfer);
    for (const promotion of out.promotions) this.#promotionEnded(promotion);
  }

  #promotionEnded(promotion: PromotionEnd): void {
    const { replicaId: member, reason, index } = promotion;
    const open = this.#promotions.get(member);
    if (open?.begun === true) {
      this.#promotions.delete(member);
      if (reason === undefined) open.request.settle({ code: "completed", index });
      else open.request.fail("aborted", endError(promotion));
    }
    const facts = { shardId: this.#shardId, member, reason };
    if (reason === undefined) this.#logger.info(facts, "a non-voting member became a voter");
    else this.#logger.warn(facts, "the promotion of a non-voting member was given up");
  }

  failAll(code: RequestCode, error: OpError): void {
    this.#transfers.failAll(code, error);
    for (const { request } of this.#promotions.values()) request.fail(code, error);
    this.#promotions.clear();
  }
}

function busyError(member: ReplicaId): OpError {
  return new OpError("DL_ERR_SYSTEM_BUSY", `replica ${member} is being promoted already`);
}

function refusalError(refusal: PromotionRefusal, raft: RaftCore, member: ReplicaId): OpError {
  if (refusal === "notLeader") return notLeaderError(raft);
  if (refusal === "busy") return busyError(member);
  return new OpError("DL_ERR_INVALID_TARGET", `replica ${member} is no non-voting member of the shard`);
}

function endError({ replicaId: member, reason, index }: PromotionEnd): OpError {
  const outcome = index === 0 ? "rejected" : "unknown";
  if (reason === "timeout") {
    return new OpError("DL_ERR_NOT_CAUGHT_UP", `replica ${member} did not catch up in time`, { outcome });
  }
  if (reason === "leaderChanged") return new OpError("DL_ERR_NOT_LEADER", "the leader changed", { outcome });
  if (reason === "memberChanged")
    return new OpError("DL_ERR_INVALID_TARGET", `replica ${member} is no member any more`);
  return new OpError("DL_ERR_REJECTED", `the shard refused the promotion of replica ${member}`);
}
