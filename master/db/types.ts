/**
 * What shard 0 remembers: hosts, shards, operations, events, limits. Plain immutable records; a change replaces the
 * record. Heartbeats, leaders, load and ages are not here: they are volatile (master/detect).
 *
 * Times named `…AtMs` and `…UntilMs` are wall-clock milliseconds given by the proposer, for people to read; the only
 * one that decides anything is `maintenanceUntilMs`.
 */
import type { ReplicaSettings } from "../../shared/types/control.js";
import type { DataSetId, HostId, Incarnation, Index, ReplicaId, ShardId } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";

/** What a host says of itself; committed when it changes. */
export interface HostFacts {
  readonly hostId: HostId;
  readonly raftAddress: string;
  readonly apiAddress: string;
  readonly region: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly apps: readonly string[];
  /** Highest ever committed of the present data set. */
  readonly incarnation: Incarnation;
  readonly dataSetId: DataSetId;
}

export interface HostRecord extends HostFacts {
  /** Data sets this host had before, newest last. One that comes back is stale and refused. */
  readonly pastDataSets: readonly DataSetId[];
  /** Repair is suppressed until then; 0 = not in maintenance. */
  readonly maintenanceUntilMs: number;
  readonly maintenanceReason: string;
  /** Its replicas are to leave. */
  readonly draining: boolean;
  /** Terminal for this hostId. */
  readonly removed: boolean;
  /** May be given replicas. */
  readonly admitted: boolean;
  readonly registeredAtMs: number;
}

/** What the operator wants of a shard. */
export interface ShardSpec {
  readonly name: string;
  readonly app: string;
  readonly voters: number;
  readonly nonVotings: number;
  readonly settings: ReplicaSettings;
  /** Only hosts of this region; empty = any. */
  readonly region: string;
}

/** A replica at a place: the host, and the data set it was, or is to be, started on. */
export interface ReplicaPlace {
  readonly replicaId: ReplicaId;
  readonly hostId: HostId;
  readonly dataSetId: DataSetId;
}

/** Why the last operation of a shard failed; for back-off and for the answer to "why is nothing happening?". */
export interface ShardFailure {
  readonly count: number;
  readonly operationId: number;
  readonly replicaId: ReplicaId;
  readonly hostId: HostId;
  readonly reason: string;
}

export interface ShardRecord {
  readonly shardId: ShardId;
  /** A second create with this key returns this shard. Empty = none. */
  readonly clientKey: string;
  readonly spec: ShardSpec;
  /** The initial members, committed before the first CREATE, never edited. */
  readonly bootstrap: readonly ReplicaPlace[];
  /** Highest (lineage, CCI) that a leader reported; undefined until the first. */
  readonly confirmed: Membership | undefined;
  /** Data set each managed replica was started on: the same replica on another data set has lost its data. */
  readonly dataSets: ReadonlyMap<ReplicaId, DataSetId>;
  /** The shard is deleted: all its replicas are to go. */
  readonly tombstone: boolean;
  readonly failure: ShardFailure | undefined;
  /** The open operation, 0 = none. */
  readonly operationId: number;
  readonly createdAtMs: number;
}

/**
 * create: first start of the initial members. makeUp: one voter more. replace: one voter more, then one out.
 * addNonVoting: one non-voting member more. remove: one member out.
 */
export type OperationKind = "create" | "makeUp" | "replace" | "addNonVoting" | "remove";
export type StepKind = "create" | "addNonVoting" | "join" | "catchUp" | "promote" | "remove";
export type OperationState = "open" | "done" | "canceled" | "failed";

export interface OperationStep {
  readonly kind: StepKind;
  /** `create`: all initial members; else exactly one. */
  readonly targets: readonly ReplicaPlace[];
  /** Membership this step starts from; set when the step is entered or tried again. */
  readonly expectedLineage: number;
  readonly expectedCci: Index;
}

/** A plan for one shard. At most one is open per shard. */
export interface Operation {
  readonly operationId: number;
  readonly kind: OperationKind;
  readonly shardId: ShardId;
  readonly reason: string;
  readonly steps: readonly OperationStep[];
  /** Index of the current step. */
  readonly step: number;
  /** Tries of the current step, from 1. Part of every request id. */
  readonly attempt: number;
  /** Tries of all steps together. */
  readonly attempts: number;
  readonly state: OperationState;
  /** Why it ended or what it waits for. */
  readonly note: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly history: readonly OperationNote[];
}

export interface OperationNote {
  readonly atMs: number;
  readonly text: string;
}

export type Severity = "info" | "warning" | "alert";

export interface EventRecord {
  readonly sequence: number;
  readonly atMs: number;
  readonly severity: Severity;
  /** Dotted word, as `host.wiped`. */
  readonly kind: string;
  /** Host id, `shard:7`, or empty. */
  readonly subject: string;
  readonly text: string;
}

/** How much may go on at once. */
export interface MasterLimits {
  /** Open repair operations in the deployment. */
  readonly repairsMax: number;
  /** Operations that bring a replica to one host. */
  readonly repairsPerHostMax: number;
  /** Restarts requested of one host at once. */
  readonly restartsPerHostMax: number;
  /** Requests repeated to one host at once. */
  readonly requestsPerHostMax: number;
}

export const DEFAULT_LIMITS: MasterLimits = {
  repairsMax: 64,
  repairsPerHostMax: 8,
  restartsPerHostMax: 64,
  requestsPerHostMax: 256,
};
