/**
 * Operations: open, advance, finish. Called by applyCommand. Every command names the step (and attempt) it was decided
 * for, so a late one of a former leader changes nothing (M2, D15).
 */
import { clip } from "./check.js";
import type { Command } from "./commands.js";
import { NEW_REPLICA } from "./commands.js";
import { type CommandResult, ok, refused } from "./result.js";
import type { MasterState } from "./state.js";
import type { Operation, OperationNote, OperationStep, ReplicaPlace, ShardRecord } from "./types.js";

type Open = Extract<Command, { readonly kind: "openOperation" }>;
type Advance = Extract<Command, { readonly kind: "advanceOperation" }>;
type Finish = Extract<Command, { readonly kind: "finishOperation" }>;

const STEPS_MAX = 16;
const NOTES_MAX = 32;
const ENDED_MAX = 256;

type NewOperation = Pick<Operation, "operationId" | "kind" | "shardId" | "reason" | "steps">;

/** At its first step, tried for the first time. */
export function newOperation(what: NewOperation, atMs: number): Operation {
  const first = { step: 0, attempt: 1, attempts: 1, state: "open", note: "", history: [] } as const;
  return { ...what, ...first, createdAtMs: atMs, updatedAtMs: atMs };
}

export function openOperation(state: MasterState, c: Open): CommandResult {
  const shard = state.shards.get(c.shardId);
  if (shard === undefined || shard.tombstone) return refused("DL_ERR_SHARD_NOT_FOUND", `shard ${c.shardId}`);
  if (shard.operationId !== 0) {
    return refused("DL_ERR_OPERATION_OPEN", `operation ${shard.operationId} of shard ${c.shardId}`, shard.operationId);
  }
  const m = shard.confirmed;
  if (m === undefined || m.lineage !== c.lineage || m.configChangeIndex !== c.cci) {
    return refused("DL_ERR_FENCED", `shard ${c.shardId} is not at lineage ${c.lineage}, membership ${c.cci}`);
  }
  const problem = stepsProblem(state, c);
  if (problem !== undefined) return problem;

  const fresh = c.steps.some((s) => s.targets.some((t) => t.replicaId === NEW_REPLICA));
  const newId = state.nextReplicaId;
  if (fresh) state.nextReplicaId += 1;
  const settle = (t: ReplicaPlace): ReplicaPlace => (t.replicaId === NEW_REPLICA ? { ...t, replicaId: newId } : t);
  const steps = c.steps.map((s, i) => ({ ...expecting(s, i === 0 ? c : NOTHING), targets: s.targets.map(settle) }));
  const { operation: kind, shardId, reason } = c;
  const what = { operationId: state.nextOperationId, kind, shardId, reason: clip(reason), steps };
  const operation = newOperation(what, c.atMs);
  state.nextOperationId += 1;
  state.putShard(withDataSets({ ...shard, operationId: operation.operationId }, steps), operation);
  return ok(operation.operationId);
}

const NOTHING = { lineage: 0, cci: 0 } as const;

function expecting(step: OperationStep, at: { readonly lineage: number; readonly cci: number }): OperationStep {
  return { ...step, expectedLineage: at.lineage, expectedCci: at.cci };
}

/** Remembers on which data set a replica of this operation is first started. */
function withDataSets(shard: ShardRecord, steps: readonly OperationStep[]): ShardRecord {
  const dataSets = new Map(shard.dataSets);
  for (const step of steps) {
    if (step.kind !== "join") continue;
    for (const t of step.targets) if (!dataSets.has(t.replicaId)) dataSets.set(t.replicaId, t.dataSetId);
  }
  return { ...shard, dataSets };
}

function stepsProblem(state: MasterState, c: Open): CommandResult | undefined {
  if (c.operation === "create") return refused("DL_ERR_INVALID_ARGUMENT", "a shard is created by createShard");
  if (c.steps.length < 1 || c.steps.length > STEPS_MAX) {
    return refused("DL_ERR_INVALID_ARGUMENT", `${c.steps.length} steps, expected 1 to ${STEPS_MAX}`);
  }
  for (const step of c.steps) {
    const target = step.targets[0];
    if (step.kind === "create" || target === undefined || step.targets.length !== 1) {
      return refused("DL_ERR_INVALID_ARGUMENT", `step ${step.kind} with ${step.targets.length} targets`);
    }
    if (step.kind === "remove") {
      if (target.replicaId === NEW_REPLICA) return refused("DL_ERR_INVALID_ARGUMENT", "remove of no replica");
      continue;
    }
    const host = state.hosts.get(target.hostId);
    if (host === undefined) return refused("DL_ERR_HOST_NOT_FOUND", target.hostId);
    if (host.removed) return refused("DL_ERR_HOST_REMOVED", target.hostId);
    if (host.dataSetId !== target.dataSetId) return refused("DL_ERR_FENCED", `${target.hostId} has another data set`);
  }
  return undefined;
}

export function advanceOperation(state: MasterState, c: Advance): CommandResult {
  const operation = state.operations.get(c.operationId);
  if (operation === undefined) return refused("DL_ERR_OPERATION_NOT_FOUND", `operation ${c.operationId}`);
  if (operation.step !== c.fromStep || operation.attempt !== c.fromAttempt) {
    return refused(
      "DL_ERR_FENCED",
      `operation ${c.operationId} is at step ${operation.step}, try ${operation.attempt}`,
    );
  }
  if (c.toStep < c.fromStep || c.toStep >= operation.steps.length) {
    return refused("DL_ERR_INVALID_ARGUMENT", `from step ${c.fromStep} to ${c.toStep} of ${operation.steps.length}`);
  }
  const shard = state.shards.get(operation.shardId);
  if (shard === undefined) return refused("DL_ERR_SHARD_NOT_FOUND", `shard ${operation.shardId}`);
  const next: Operation = {
    ...operation,
    steps: operation.steps.map((s, i) => (i === c.toStep ? expecting(s, c) : s)),
    step: c.toStep,
    attempt: c.toStep === c.fromStep ? operation.attempt + 1 : 1,
    attempts: operation.attempts + 1,
    note: clip(c.note),
    updatedAtMs: c.atMs,
    history: noted(operation, c.atMs, c.note),
  };
  state.putShard(shard, next);
  return ok(c.operationId);
}

export function finishOperation(state: MasterState, c: Finish): CommandResult {
  const operation = state.operations.get(c.operationId);
  if (operation === undefined) return refused("DL_ERR_OPERATION_NOT_FOUND", `operation ${c.operationId}`);
  if (c.state === "open") return refused("DL_ERR_INVALID_ARGUMENT", "an operation cannot end as open");
  if (operation.step !== c.fromStep) {
    return refused("DL_ERR_FENCED", `operation ${c.operationId} is at step ${operation.step}`);
  }
  const shard = state.shards.get(operation.shardId);
  if (shard === undefined) return refused("DL_ERR_SHARD_NOT_FOUND", `shard ${operation.shardId}`);
  closed(state, operation, c);
  state.putShard({ ...shard, operationId: 0, failure: failureAfter(shard, operation, c) });
  return ok(c.operationId);
}

function failureAfter(shard: ShardRecord, operation: Operation, c: Finish): ShardRecord["failure"] {
  // Clearing away what a failed operation left is no success of what had failed.
  if (c.state === "done" && operation.kind !== "remove") return undefined;
  if (c.state !== "failed") return shard.failure;
  const target = operation.steps[operation.step]?.targets[0];
  return {
    count: (shard.failure?.count ?? 0) + 1,
    operationId: operation.operationId,
    replicaId: target?.replicaId ?? 0,
    hostId: target?.hostId ?? "",
    reason: clip(c.note),
  };
}

type OperationEnd = Pick<Finish, "state" | "note" | "atMs">;

/** Puts an operation into the history; the caller takes it off its shard. */
export function closed(state: MasterState, operation: Operation, end: OperationEnd): void {
  const { note, atMs } = end;
  const history = noted(operation, atMs, `${end.state}: ${note}`);
  const ended: Operation = { ...operation, state: end.state, note: clip(note), updatedAtMs: atMs, history };
  state.history = [...state.history.slice(1 - ENDED_MAX), ended];
}

function noted(operation: Operation, atMs: number, text: string): readonly OperationNote[] {
  if (text === "") return operation.history;
  return [...operation.history.slice(1 - NOTES_MAX), { atMs, text: clip(text) }];
}
