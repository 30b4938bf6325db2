/**
 * The calls of a NodeHost that change who is a member of a shard and who leads it. Base of class NodeHost only.
 */
import type { ReplicaId, ShardId, Target } from "../../shared/types/ids.js";
import { type AutoPromote, errorOf, type RequestState } from "../engine/index.js";
import { type Calls, completed } from "./calls.js";
import type { CallOptions } from "./options.js";

export abstract class MembershipCalls {
  protected abstract readonly calls: Calls;

  // `configChangeIndex` 0 = do not check; otherwise the change is rejected unless it is the current one.

  /**
   * Adds a voter, or makes one of a non-voting member: DL_ERR_NOT_CAUGHT_UP while that one is silent or lags by more
   * than `promotionMaxLagEntries`.
   */
  requestAddReplica(
    shardId: ShardId,
    replicaId: ReplicaId,
    target: Target,
    configChangeIndex: number,
    options?: CallOptions,
  ): RequestState {
    return this.calls.change("addVoter", { shardId, replicaId, target, configChangeIndex }, options);
  }
  /**
   * With `autoPromote`, at the leader: when the member is added, `requestPromotion` follows by itself. How that goes is
   * in `stats` and in the log.
   */
  requestAddNonVoting(
    shardId: ShardId,
    replicaId: ReplicaId,
    target: Target,
    configChangeIndex: number,
    options?: CallOptions & { readonly autoPromote?: AutoPromote },
  ): RequestState {
    const { autoPromote, ...callOptions } = options ?? {};
    if (autoPromote !== undefined) this.calls.checkPromotion(shardId, autoPromote);
    const step = { shardId, replicaId, target, configChangeIndex };
    const request = this.calls.change("addNonVoting", step, callOptions);
    if (autoPromote === undefined) return request;
    request.onSettled(({ code }) => {
      if (code === "completed") this.requestPromotion(shardId, replicaId, autoPromote);
    });
    return request;
  }
  requestDeleteReplica(
    shardId: ShardId,
    replicaId: ReplicaId,
    configChangeIndex: number,
    options?: CallOptions,
  ): RequestState {
    return this.calls.change("remove", { shardId, replicaId, target: "", configChangeIndex }, options);
  }
  /**
   * Makes a voter of a non-voting member when it has caught up; to be asked of the leader. Completes with the index of
   * the change. Rejected: DL_ERR_NOT_LEADER, _INVALID_TARGET, _SYSTEM_BUSY (asked for already), _INVALID_OPERATION (a
   * master manages the shard). Aborted: DL_ERR_NOT_CAUGHT_UP when the policy's time is over, DL_ERR_NOT_LEADER (outcome
   * `unknown` if the change was appended). A canceled or timed-out call does not stop the promotion.
   */
  requestPromotion(
    shardId: ShardId,
    replicaId: ReplicaId,
    policy: AutoPromote = {},
    options?: CallOptions,
  ): RequestState {
    return this.calls.promote(shardId, replicaId, policy, options);
  }
  /**
   * Adds a witness: it counts for quorums and holds no data. Start it there with `isWitness` and join. It stays one
   * until it is removed, and no other member becomes one: DL_ERR_REJECTED. Only when every host of the shard runs 0.2
   * or later.
   */
  requestAddWitness(
    shardId: ShardId,
    replicaId: ReplicaId,
    target: Target,
    configChangeIndex: number,
    options?: CallOptions,
  ): RequestState {
    return this.calls.change("addWitness", { shardId, replicaId, target, configChangeIndex }, options);
  }
  /**
   * Hands leadership of the shard, held here, over to another voter. Completes when another replica leads: `leader` of
   * the result names it and its term. Proposals are dropped (retryable) meanwhile, for an election timeout at most.
   * Rejected: DL_ERR_NOT_LEADER, _INVALID_TARGET (not another voter), _SYSTEM_BUSY (one is under way). Aborted after an
   * election timeout: DL_ERR_TIMEOUT, outcome `rejected` if the target did not catch up, `unknown` if it was told.
   */
  requestLeaderTransfer(shardId: ShardId, targetReplicaId: ReplicaId, options?: CallOptions): RequestState {
    return this.calls.transfer(shardId, targetReplicaId, options);
  }

  async syncRequestAddReplica(...args: Parameters<MembershipCalls["requestAddReplica"]>): Promise<void> {
    await completed(this.requestAddReplica(...args));
  }
  async syncRequestAddNonVoting(...args: Parameters<MembershipCalls["requestAddNonVoting"]>): Promise<void> {
    await completed(this.requestAddNonVoting(...args));
  }
  async syncRequestAddWitness(...args: Parameters<MembershipCalls["requestAddWitness"]>): Promise<void> {
    await completed(this.requestAddWitness(...args));
  }
  async syncRequestDeleteReplica(...args: Parameters<MembershipCalls["requestDeleteReplica"]>): Promise<void> {
    await completed(this.requestDeleteReplica(...args));
  }

  /** Resolves to who leads now: the target, or another voter that won the election. */
  async syncRequestLeaderTransfer(
    ...args: Parameters<MembershipCalls["requestLeaderTransfer"]>
  ): Promise<{ readonly leaderId: ReplicaId; readonly term: number }> {
    const outcome = await this.requestLeaderTransfer(...args).completed;
    if (outcome.leader === undefined) throw errorOf(outcome);
    return outcome.leader;
  }
}
