/**
 * applyCommand: the only way shard 0 changes. Total: any bytes and any command give a typed result, never a throw
 * (M8, D19: bad input must not take all masters down, now and at each replay), and nothing depends on a clock, on
 * randomness or on insertion order, so every master reaches the same state.
 *
 * Called by MasterDb for each committed entry. Hosts and shards are in this file's helpers update-hosts.ts and
 * update-shards.ts, operations in update-operations.ts.
 */
import { MalformedError } from "../../shared/codec/bytes.js";
import { LIMITS } from "../../shared/limits.js";
import { clip, isReplicaId } from "./check.js";
import { type Command, CommandVersionError, decodeCommand } from "./commands.js";
import { before, eventOf } from "./events.js";
import { type CommandResult, ok, refused } from "./result.js";
import type { MasterState } from "./state.js";
import { registerHost, updateHostRecord } from "./update-hosts.js";
import { advanceOperation, finishOperation, openOperation } from "./update-operations.js";
import { confirmMembership, createShard, tombstoneShard, updateSpec } from "./update-shards.js";

/** Decodes and applies one entry of shard 0's log. */
export function applyBytes(state: MasterState, bytes: Uint8Array): CommandResult {
  let command: Command;
  try {
    command = decodeCommand(bytes);
  } catch (error) {
    if (error instanceof CommandVersionError) return refused("DL_ERR_VERSION", error.message);
    if (error instanceof MalformedError) return refused("DL_ERR_MALFORMED", error.message);
    throw error;
  }
  return applyCommand(state, command);
}

export function applyCommand(state: MasterState, command: Command): CommandResult {
  state.revision += 1;
  const was = before(state, command);
  const result = dispatch(state, command);
  const event = result.code === "ok" ? eventOf(command, result, was) : undefined;
  if (event !== undefined) appendEvent(state, { kind: "appendEvent", ...event });
  return result;
}

function dispatch(state: MasterState, command: Command): CommandResult {
  if (command.kind === "initDeployment") return initDeployment(state, command.deploymentId);
  if (state.deploymentId === 0) return refused("DL_ERR_REJECTED", "the deployment is not initialised");
  switch (command.kind) {
    case "registerHost":
      return registerHost(state, command.host, command.atMs);
    case "setAdmitted":
      return updateHostRecord(state, command.hostId, { admitted: command.admitted });
    case "setMaintenance": {
      const maintenance = { maintenanceUntilMs: command.untilMs, maintenanceReason: clip(command.reason) };
      return updateHostRecord(state, command.hostId, maintenance);
    }
    case "setDraining":
      return updateHostRecord(state, command.hostId, { draining: command.draining });
    case "removeHost":
      return removeHost(state, command);
    case "createShard":
      return createShard(state, command);
    case "updateSpec":
      return updateSpec(state, command.shardId, command.spec);
    case "tombstoneShard":
      return tombstoneShard(state, command);
    case "confirmMembership":
      return confirmMembership(state, command.entries);
    case "openOperation":
      return openOperation(state, command);
    case "advanceOperation":
      return advanceOperation(state, command);
    case "finishOperation":
      return finishOperation(state, command);
    case "appendEvent":
      return appendEvent(state, command);
    case "observeReplicaIds":
      return observeReplicaIds(state, command.highest);
    case "setLimits":
      if (command.limits.requestsPerHostMax < 1)
        return refused("DL_ERR_INVALID_ARGUMENT", "requestsPerHostMax must be ≥ 1");
      state.limits = command.limits;
      return ok();
    case "setFeatureLevel":
      if (command.level < state.featureLevel) return refused("DL_ERR_REJECTED", "the feature level never goes down");
      state.featureLevel = command.level;
      return ok();
  }
}

function initDeployment(state: MasterState, deploymentId: number): CommandResult {
  if (deploymentId < 1) return refused("DL_ERR_INVALID_ARGUMENT", "deployment id must be ≥ 1");
  if (state.deploymentId !== 0 && state.deploymentId !== deploymentId) {
    return refused("DL_ERR_DEPLOYMENT_MISMATCH", `this is deployment ${state.deploymentId}`, state.deploymentId);
  }
  state.deploymentId = deploymentId;
  return ok(deploymentId);
}

function removeHost(state: MasterState, c: Extract<Command, { readonly kind: "removeHost" }>): CommandResult {
  const host = state.hosts.get(c.hostId);
  if (host?.removed === true) return ok();
  return updateHostRecord(state, c.hostId, { removed: true, admitted: false });
}

function appendEvent(state: MasterState, c: Extract<Command, { readonly kind: "appendEvent" }>): CommandResult {
  const { atMs, severity } = c;
  const sequence = state.nextEventSequence;
  const event = { sequence, atMs, severity, kind: clip(c.event), subject: clip(c.subject), text: clip(c.text) };
  state.nextEventSequence += 1;
  state.events = [...state.events.slice(1 - LIMITS.eventRingEntriesMax), event];
  return ok(sequence);
}

function observeReplicaIds(state: MasterState, highest: number): CommandResult {
  if (!isReplicaId(highest)) return refused("DL_ERR_INVALID_ARGUMENT", `replica id ${highest}`);
  state.nextReplicaId = Math.max(state.nextReplicaId, highest + 1);
  return ok();
}
