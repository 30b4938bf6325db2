/** What goes into the planner and what comes out. All values; the planner keeps nothing. */
import type { HostRequest, HostResult } from "../../shared/types/control.js";
import type { HostId, ShardId, Term } from "../../shared/types/ids.js";
import type { Command, MasterView } from "../db/index.js";
import type { DetectorView, DetectTiming, ObservationView } from "../detect/index.js";

/** Times and sizes of repair. */
export interface PlanConfig {
  readonly timing: DetectTiming;
  /** A replica within so many entries of its leader's commit is caught up. */
  readonly catchUpEntries: number;
  /** A member its leader has not heard for longer is not live. */
  readonly memberSilentMs: number;
  /** A step without effect is tried again after this, doubled at each try up to `retryMaxMs`. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** A step that can still be given up is given up after so many tries. */
  readonly attemptsMax: number;
  /** Catching up without any progress for so long is given up. */
  readonly catchUpStallMs: number;
  readonly requestTtlMs: number;
}

export function derivePlanConfig(timing: DetectTiming): PlanConfig {
  return {
    timing,
    catchUpEntries: 1_000,
    memberSilentMs: timing.suspectMs,
    retryMs: Math.max(1_000, 2 * timing.reportIntervalMs),
    retryMaxMs: Math.min(300_000, 6 * timing.downMs),
    attemptsMax: 8,
    catchUpStallMs: Math.max(120_000, 2 * timing.downMs),
    requestTtlMs: Math.min(30_000, 2 * timing.downMs),
  };
}

/**
 * When things were first seen, by key, in effective time: what lets a pure function know "for how long already".
 * Give back what the last call returned; empty for a new leader.
 */
export type PlanMemory = ReadonlyMap<string, number>;

export interface PlanView {
  readonly db: MasterView;
  readonly detector: DetectorView;
  readonly image: ObservationView;
  readonly config: PlanConfig;
  /** Fence of this master: (shard 0 lineage, Raft term of its leadership). */
  readonly masterLineage: number;
  readonly masterTerm: Term;
  readonly memory: PlanMemory;
  /** Results by request id that said no: hints for the texts, never a reason to believe a step done (D16). */
  readonly refusals: ReadonlyMap<string, HostResult>;
  /** For the times that people read and the ends of maintenance. */
  readonly wallClockMs: number;
}

export type PlannedAction =
  /** To propose to shard 0. */
  | { readonly kind: "commit"; readonly shardId: ShardId; readonly command: Command; readonly reason: string }
  /** To send (again) to a host; idempotent by `request.requestId`. */
  | {
      readonly kind: "request";
      readonly shardId: ShardId;
      readonly hostId: HostId;
      readonly request: HostRequest;
      readonly reason: string;
    };

export type ShardHealth =
  /** As many live, caught-up members as wanted, and nothing to do. */
  | "healthy"
  | "creating"
  /** Has a quorum, but less than wanted; see `doing` and `waiting`. */
  | "degraded"
  /** No leader known at the moment; a quorum may still come back by itself. */
  | "noLeader"
  /** Fewer live or restartable voters than a quorum: never repaired automatically (D11). */
  | "quorumLost"
  /** Repair is wanted and no host may take a replica. */
  | "unplaceable"
  /** Two replicas fail alike, or two memberships with one index: an operator must look. */
  | "inconsistent"
  | "deleting"
  | "deleted";

/** One line of "what is with this shard": the answer to "why is nothing happening?". */
export interface ShardStatus {
  readonly shardId: ShardId;
  readonly health: ShardHealth;
  /** Live caught-up voters − quorum. */
  readonly margin: number;
  /** What is being done now; empty = nothing. */
  readonly doing: string;
  /** What is not done although it could be wanted, and why; empty = nothing. */
  readonly waiting: string;
}

/** Something not done, and why. `shardId` 0: concerns all. */
export interface Reason {
  readonly shardId: ShardId;
  readonly text: string;
}

export interface Plan {
  readonly actions: readonly PlannedAction[];
  readonly notDone: readonly Reason[];
  /** Every shard that is not healthy. */
  readonly shards: readonly ShardStatus[];
  readonly healthyShards: number;
  readonly memory: PlanMemory;
}
