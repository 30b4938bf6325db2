/**
 * Every change of shard 0 is one of these commands. Bytes: version u8, kind u8, body. The bytes are in the Raft log of
 * shard 0 for ever: kinds are only appended, a changed body needs a new version.
 *
 * Commands carry their own conditions (expected step, attempt, lineage, CCI), because a proposal of a master that lost
 * its leadership may still be committed after its successor's. Built by master/plan, master/loop and master/api.
 */
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { readMembership, writeMembership } from "../../shared/codec/membership.js";
import type { HostId, Index, ReplicaId, ShardId } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import {
  readHostFacts,
  readLimits,
  readList,
  readOperationKind,
  readOperationState,
  readPlace,
  readSeverity,
  readSpec,
  readStep,
  writeHostFacts,
  writeLimits,
  writeList,
  writeOperationKind,
  writeOperationState,
  writePlace,
  writeSeverity,
  writeSpec,
  writeStep,
} from "./records.js";
import type {
  HostFacts,
  MasterLimits,
  OperationKind,
  OperationState,
  OperationStep,
  ReplicaPlace,
  Severity,
  ShardSpec,
} from "./types.js";

export const COMMAND_VERSION = 1;

/** A replica id of 0 in a step to open is replaced by a fresh one, the same throughout the operation. */
export const NEW_REPLICA = 0;

export type Command =
  | { readonly kind: "initDeployment"; readonly deploymentId: number; readonly atMs: number }
  /** First sight of a host, or anything new about it (address, labels, apps, incarnation, data set). */
  | { readonly kind: "registerHost"; readonly host: HostFacts; readonly atMs: number }
  | { readonly kind: "setAdmitted"; readonly hostId: HostId; readonly admitted: boolean; readonly atMs: number }
  | {
      readonly kind: "setMaintenance";
      readonly hostId: HostId;
      /** Wall clock; 0 ends it. */
      readonly untilMs: number;
      readonly reason: string;
      readonly atMs: number;
    }
  | { readonly kind: "setDraining"; readonly hostId: HostId; readonly draining: boolean; readonly atMs: number }
  /** The host is gone for ever; its id may not come back. */
  | { readonly kind: "removeHost"; readonly hostId: HostId; readonly reason: string; readonly atMs: number }
  /** Places come from plan/placement; ids are allotted at apply. Opens the `create` operation too. */
  | {
      readonly kind: "createShard";
      readonly clientKey: string;
      readonly spec: ShardSpec;
      /** `replicaId` is ignored. */
      readonly places: readonly ReplicaPlace[];
      readonly atMs: number;
    }
  | { readonly kind: "updateSpec"; readonly shardId: ShardId; readonly spec: ShardSpec; readonly atMs: number }
  | { readonly kind: "tombstoneShard"; readonly shardId: ShardId; readonly reason: string; readonly atMs: number }
  | { readonly kind: "confirmMembership"; readonly entries: readonly ConfirmEntry[]; readonly atMs: number }
  | {
      readonly kind: "openOperation";
      readonly operation: OperationKind;
      readonly shardId: ShardId;
      readonly reason: string;
      readonly steps: readonly OperationStep[];
      /** The confirmed membership the plan was made for. */
      readonly lineage: number;
      readonly cci: Index;
      readonly atMs: number;
    }
  /** Enters a later step, or tries the current one again (`toStep` = `fromStep`). */
  | {
      readonly kind: "advanceOperation";
      readonly operationId: number;
      readonly fromStep: number;
      readonly fromAttempt: number;
      readonly toStep: number;
      readonly lineage: number;
      readonly cci: Index;
      readonly note: string;
      readonly atMs: number;
    }
  | {
      readonly kind: "finishOperation";
      readonly operationId: number;
      readonly fromStep: number;
      readonly state: OperationState;
      readonly note: string;
      readonly atMs: number;
    }
  | {
      readonly kind: "appendEvent";
      readonly severity: Severity;
      readonly event: string;
      readonly subject: string;
      readonly text: string;
      readonly atMs: number;
    }
  /** Keeps the counter above ids that hosts report. */
  | { readonly kind: "observeReplicaIds"; readonly highest: ReplicaId }
  | { readonly kind: "setLimits"; readonly limits: MasterLimits }
  | { readonly kind: "setFeatureLevel"; readonly level: number };

export interface ConfirmEntry {
  readonly shardId: ShardId;
  readonly membership: Membership;
}

type Kind = Command["kind"];

/** The position is the number on disk: append only. */
const KINDS: readonly Kind[] = [
  "initDeployment",
  "registerHost",
  "setAdmitted",
  "setMaintenance",
  "setDraining",
  "removeHost",
  "createShard",
  "updateSpec",
  "tombstoneShard",
  "confirmMembership",
  "openOperation",
  "advanceOperation",
  "finishOperation",
  "appendEvent",
  "observeReplicaIds",
  "setLimits",
  "setFeatureLevel",
];

export function encodeCommand(command: Command): Uint8Array {
  const w = new ByteWriter(256).u8(COMMAND_VERSION).u8(KINDS.indexOf(command.kind));
  writeBody(w, command);
  return w.finish();
}

function writeBody(w: ByteWriter, c: Command): void {
  switch (c.kind) {
    case "initDeployment":
      return void w.u64(c.deploymentId).u64(c.atMs);
    case "registerHost":
      writeHostFacts(w, c.host);
      return void w.u64(c.atMs);
    case "setAdmitted":
      return void w
        .text(c.hostId)
        .u8(c.admitted ? 1 : 0)
        .u64(c.atMs);
    case "setMaintenance":
      return void w.text(c.hostId).u64(c.untilMs).text(c.reason).u64(c.atMs);
    case "setDraining":
      return void w
        .text(c.hostId)
        .u8(c.draining ? 1 : 0)
        .u64(c.atMs);
    case "removeHost":
      return void w.text(c.hostId).text(c.reason).u64(c.atMs);
    case "createShard":
      w.text(c.clientKey);
      writeSpec(w, c.spec);
      writeList(w, c.places, writePlace);
      return void w.u64(c.atMs);
    case "updateSpec":
      writeSpec(w.u64(c.shardId), c.spec);
      return void w.u64(c.atMs);
    case "tombstoneShard":
      return void w.u64(c.shardId).text(c.reason).u64(c.atMs);
    case "confirmMembership":
      writeList(w, c.entries, (to, e) => writeMembership(to.u64(e.shardId), e.membership));
      return void w.u64(c.atMs);
    default:
      writeRest(w, c);
      return;
  }
}

type Early =
  | "initDeployment"
  | "registerHost"
  | "setAdmitted"
  | "setMaintenance"
  | "setDraining"
  | "removeHost"
  | "createShard"
  | "updateSpec"
  | "tombstoneShard"
  | "confirmMembership";

function writeRest(w: ByteWriter, c: Exclude<Command, { readonly kind: Early }>): void {
  switch (c.kind) {
    case "openOperation":
      writeOperationKind(w, c.operation);
      w.u64(c.shardId).text(c.reason);
      writeList(w, c.steps, writeStep);
      return void w.u64(c.lineage).u64(c.cci).u64(c.atMs);
    case "advanceOperation":
      w.u64(c.operationId).u64(c.fromStep).u64(c.fromAttempt).u64(c.toStep).u64(c.lineage).u64(c.cci);
      return void w.text(c.note).u64(c.atMs);
    case "finishOperation":
      writeOperationState(w.u64(c.operationId).u64(c.fromStep), c.state);
      return void w.text(c.note).u64(c.atMs);
    case "appendEvent":
      writeSeverity(w, c.severity);
      return void w.text(c.event).text(c.subject).text(c.text).u64(c.atMs);
    case "observeReplicaIds":
      return void w.u64(c.highest);
    case "setLimits":
      writeLimits(w, c.limits);
      return;
    case "setFeatureLevel":
      return void w.u64(c.level);
  }
}

/** A version this build does not know. */
export class CommandVersionError extends Error {
  override readonly name = "CommandVersionError";
}

/** Throws MalformedError or CommandVersionError, nothing else. */
export function decodeCommand(bytes: Uint8Array): Command {
  const r = new ByteReader(bytes);
  const version = r.u8();
  if (version !== COMMAND_VERSION)
    throw new CommandVersionError(`command version ${version}, known is ${COMMAND_VERSION}`);
  const number = r.u8();
  const kind = KINDS[number];
  if (kind === undefined) throw new MalformedError(`command kind ${number}`);
  const command = READERS[kind](r);
  r.end();
  return command;
}

/** Object literals are evaluated left to right: the order of the fields is the order of the bytes. */
const READERS: { readonly [K in Kind]: (r: ByteReader) => Command } = {
  initDeployment: (r) => ({ kind: "initDeployment", deploymentId: r.u64(), atMs: r.u64() }),
  registerHost: (r) => ({ kind: "registerHost", host: readHostFacts(r), atMs: r.u64() }),
  setAdmitted: (r) => ({ kind: "setAdmitted", hostId: r.text(), admitted: r.bool(), atMs: r.u64() }),
  setMaintenance: (r) => ({
    kind: "setMaintenance",
    hostId: r.text(),
    untilMs: r.u64(),
    reason: r.text(),
    atMs: r.u64(),
  }),
  setDraining: (r) => ({ kind: "setDraining", hostId: r.text(), draining: r.bool(), atMs: r.u64() }),
  removeHost: (r) => ({ kind: "removeHost", hostId: r.text(), reason: r.text(), atMs: r.u64() }),
  createShard: (r) => ({
    kind: "createShard",
    clientKey: r.text(),
    spec: readSpec(r),
    places: readList(r, readPlace),
    atMs: r.u64(),
  }),
  updateSpec: (r) => ({ kind: "updateSpec", shardId: r.u64(), spec: readSpec(r), atMs: r.u64() }),
  tombstoneShard: (r) => ({ kind: "tombstoneShard", shardId: r.u64(), reason: r.text(), atMs: r.u64() }),
  confirmMembership: (r) => ({
    kind: "confirmMembership",
    entries: readList(r, (from) => ({ shardId: from.u64(), membership: readMembership(from) })),
    atMs: r.u64(),
  }),
  openOperation: (r) => ({
    kind: "openOperation",
    operation: readOperationKind(r),
    shardId: r.u64(),
    reason: r.text(),
    steps: readList(r, readStep),
    lineage: r.u64(),
    cci: r.u64(),
    atMs: r.u64(),
  }),
  advanceOperation: (r) => ({
    kind: "advanceOperation",
    operationId: r.u64(),
    fromStep: r.u64(),
    fromAttempt: r.u64(),
    toStep: r.u64(),
    lineage: r.u64(),
    cci: r.u64(),
    note: r.text(),
    atMs: r.u64(),
  }),
  finishOperation: (r) => ({
    kind: "finishOperation",
    operationId: r.u64(),
    fromStep: r.u64(),
    state: readOperationState(r),
    note: r.text(),
    atMs: r.u64(),
  }),
  appendEvent: (r) => ({
    kind: "appendEvent",
    severity: readSeverity(r),
    event: r.text(),
    subject: r.text(),
    text: r.text(),
    atMs: r.u64(),
  }),
  observeReplicaIds: (r) => ({ kind: "observeReplicaIds", highest: r.u64() }),
  setLimits: (r) => ({ kind: "setLimits", limits: readLimits(r) }),
  setFeatureLevel: (r) => ({ kind: "setFeatureLevel", level: r.u64() }),
};
