/**
 * Requests to hosts and what wraps them. The fence names the start and the data set of the host as last reported, so a
 * request can never reach another start, another disk, or be obeyed after a newer master spoke (D15, M5).
 */
import type { HostAction, HostRequest } from "../../shared/types/control.js";
import type { HostId, ShardId } from "../../shared/types/ids.js";
import type { Command, Operation } from "../db/index.js";
import type { PlanContext } from "./context.js";
import type { PlannedAction } from "./types.js";

export interface RequestWish {
  readonly hostId: HostId;
  readonly shardId: ShardId;
  /** 0: not part of an operation (restart, zombie). */
  readonly operationId: number;
  readonly requestId: string;
  readonly action: HostAction;
  readonly reason: string;
}

/** Undefined when the host has not reported, or its request slots of this pass are taken. */
export function requestTo(ctx: PlanContext, wish: RequestWish): PlannedAction | undefined {
  const report = ctx.view.image.report(wish.hostId);
  if (report === undefined || !ctx.takeRequest(wish.hostId)) return undefined;
  const request: HostRequest = {
    requestId: wish.requestId,
    operationId: wish.operationId,
    shardId: wish.shardId,
    fence: {
      deploymentId: ctx.view.db.deploymentId,
      masterLineage: ctx.view.masterLineage,
      masterTerm: ctx.view.masterTerm,
      hostId: wish.hostId,
      incarnation: report.incarnation.counter,
      dataSetId: report.dataSetId,
      ttlMs: ctx.view.config.requestTtlMs,
    },
    action: wish.action,
  };
  return { kind: "request", shardId: wish.shardId, hostId: wish.hostId, request, reason: wish.reason };
}

/** The same at each repetition of one try of one step: a host does it once (level-triggered, at least once). */
export function stepRequestId(operation: Operation, replicaId: number): string {
  return `${operation.operationId}.${operation.step}.${operation.attempt}.${replicaId}`;
}

/** Waiting time before try `attempt + 1`. */
export function backoffMs(ctx: PlanContext, attempt: number): number {
  const { retryMs, retryMaxMs } = ctx.view.config;
  return Math.min(retryMaxMs, retryMs * 2 ** Math.min(attempt - 1, 16));
}

export function commit(shardId: ShardId, command: Command, reason: string): PlannedAction {
  return { kind: "commit", shardId, command, reason };
}

export function advance(
  ctx: PlanContext,
  operation: Operation,
  to: { readonly step: number; readonly lineage: number; readonly cci: number; readonly note: string },
): PlannedAction {
  const command: Command = {
    kind: "advanceOperation",
    operationId: operation.operationId,
    fromStep: operation.step,
    fromAttempt: operation.attempt,
    toStep: to.step,
    lineage: to.lineage,
    cci: to.cci,
    note: to.note,
    atMs: ctx.view.wallClockMs,
  };
  return commit(operation.shardId, command, to.note);
}

export function finish(
  ctx: PlanContext,
  operation: Operation,
  state: "done" | "canceled" | "failed",
  note: string,
): PlannedAction {
  const { operationId, step: fromStep } = operation;
  const command: Command = { kind: "finishOperation", operationId, fromStep, state, note, atMs: ctx.view.wallClockMs };
  return commit(operation.shardId, command, note);
}
