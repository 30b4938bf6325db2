/**
 * What an applied command is worth telling people: one event in the ring, made at apply, so that all masters have the
 * same. Called by update.ts for every command that was accepted; most say nothing.
 */
import type { Command } from "./commands.js";
import type { CommandResult } from "./result.js";
import type { MasterState } from "./state.js";
import type { HostRecord, Operation, Severity } from "./types.js";

export interface NewEvent {
  readonly severity: Severity;
  readonly event: string;
  readonly subject: string;
  readonly text: string;
  readonly atMs: number;
}

/** What must be known from before the command was applied. */
export interface Before {
  readonly host: HostRecord | undefined;
  readonly operation: Operation | undefined;
}

export function before(state: MasterState, command: Command): Before {
  const hostId =
    command.kind === "registerHost" ? command.host.hostId : command.kind === "removeHost" ? command.hostId : "";
  const host = hostId === "" ? undefined : state.hosts.get(hostId);
  const operation = command.kind === "finishOperation" ? state.operations.get(command.operationId) : undefined;
  return { host, operation };
}

export function eventOf(command: Command, result: CommandResult, was: Before): NewEvent | undefined {
  switch (command.kind) {
    case "registerHost":
      return hostEvent(command, was.host);
    case "removeHost":
      if (was.host?.removed === true) return undefined;
      return event(command.atMs, "warning", "host.removed", { subject: command.hostId, text: command.reason });
    case "setMaintenance": {
      const text = command.untilMs === 0 ? "maintenance ended" : `in maintenance: ${command.reason}`;
      return event(command.atMs, "info", "host.maintenance", { subject: command.hostId, text });
    }
    case "setDraining": {
      const text = command.draining ? "its replicas are to leave" : "draining ended";
      return event(command.atMs, "info", "host.draining", { subject: command.hostId, text });
    }
    case "createShard": {
      const text = `${command.spec.app}, ${command.spec.voters} voters`;
      return event(command.atMs, "info", "shard.created", { subject: `shard:${result.id}`, text });
    }
    case "tombstoneShard":
      return event(command.atMs, "warning", "shard.deleted", {
        subject: `shard:${command.shardId}`,
        text: command.reason,
      });
    case "openOperation": {
      const text = `operation ${result.id} ${command.operation}: ${command.reason}`;
      return event(command.atMs, "info", "operation.opened", { subject: `shard:${command.shardId}`, text });
    }
    case "finishOperation":
      return operationEvent(command, was.operation);
    default:
      return undefined;
  }
}

function hostEvent(
  command: Extract<Command, { kind: "registerHost" }>,
  was: HostRecord | undefined,
): NewEvent | undefined {
  const { host, atMs } = command;
  const { hostId, raftAddress, incarnation, dataSetId } = host;
  const tell = (severity: Severity, kind: string, text: string): NewEvent =>
    event(atMs, severity, kind, { subject: hostId, text });
  if (was === undefined) return tell("info", "host.joined", `at ${raftAddress}`);
  if (was.dataSetId !== dataSetId) return tell("warning", "host.wiped", "came back with another data directory");
  if (was.incarnation.counter !== incarnation.counter) {
    return tell("info", "host.restarted", `start ${incarnation.counter}`);
  }
  if (was.raftAddress !== raftAddress) return tell("info", "host.moved", `from ${was.raftAddress} to ${raftAddress}`);
  return undefined;
}

function operationEvent(
  command: Extract<Command, { kind: "finishOperation" }>,
  operation: Operation | undefined,
): NewEvent | undefined {
  if (operation === undefined) return undefined;
  const { state, note, atMs, operationId } = command;
  const severity = state === "failed" ? "warning" : "info";
  const text = `operation ${operationId} ${operation.kind} ${state}${note === "" ? "" : `: ${note}`}`;
  return event(atMs, severity, `operation.${state}`, { subject: `shard:${operation.shardId}`, text });
}

function event(
  atMs: number,
  severity: Severity,
  kind: string,
  rest: { readonly subject: string; readonly text: string },
): NewEvent {
  return { atMs, severity, event: kind, ...rest };
}
