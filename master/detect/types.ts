/** What detection says, as read-only values for the planner, the dashboard and the API. */
import type { DataSetId, HostId, Incarnation } from "../../shared/types/ids.js";
import type { MasterView } from "../db/index.js";

/**
 * Up, Restarted: heard lately. Suspect: overdue, or back from a silence a moment ago. Disconnected: silent for long,
 * or for very long without a leader missing it. Down: its replicas are lost. Unknown: not heard since listening began.
 * Wiped: reports another data set than the registry has. Stopping, Maintenance, Removed: said by host or operator.
 * Refused: its directory is an old copy, or a copy of one in use; peers, or these masters, know a newer one. Cloned: it
 * is heard, and a second process with its identity is refused.
 */
export type HostState =
  | "Unknown"
  | "Up"
  | "Suspect"
  | "Disconnected"
  | "Down"
  | "Restarted"
  | "Wiped"
  | "Refused"
  | "Cloned"
  | "Stopping"
  | "Maintenance"
  | "Removed";

/** By age and evidence alone, whatever operator or host say. */
export type Liveness = "unknown" | "up" | "suspect" | "disconnected" | "down";

export interface HostView {
  readonly hostId: HostId;
  readonly state: HostState;
  readonly liveness: Liveness;
  /** Heard within Suspect time: what it reports is current. */
  readonly fresh: boolean;
  readonly ageMs: number;
  /** Effective time when `state` was entered. */
  readonly sinceMs: number;
  /** Of its last report; undefined if never heard. */
  readonly incarnation: Incarnation | undefined;
  readonly dataSetId: DataSetId | undefined;
  /** Another host's leaders miss it. */
  readonly missedByPeers: boolean;
  readonly reason: string;
}

/** standby: does not lead. warming, observer: no plans, see reasons. braked: few repairs at a time (D7). */
export type Mode = "standby" | "warming" | "normal" | "braked" | "observer";

export interface DetectorView {
  /** Now, on the effective clock: the planner's `nowMs`. */
  readonly effectiveMs: number;
  readonly mode: Mode;
  /** Why not normal; one line each. */
  readonly reasons: readonly string[];
  /** Leads, and the bus link works. */
  readonly connected: boolean;
  /** Restarting replicas where their data is (safe at any time) is allowed. */
  readonly mayRestart: boolean;
  /** Repairs, creation, removal of zombies are allowed. */
  readonly mayPlan: boolean;
  /** Part of the normal number of repairs that may be opened, 0 to 1. */
  readonly repairFraction: number;
  readonly hosts: ReadonlyMap<HostId, HostView>;
}

/** What the registry says of a host, as detection needs it. */
export interface RegisteredHost {
  readonly hostId: HostId;
  readonly raftAddress: string;
  readonly dataSetId: DataSetId;
  readonly pastDataSets: readonly DataSetId[];
  readonly incarnation: Incarnation;
  readonly maintenance: boolean;
  readonly removed: boolean;
}

/** The registry of shard 0 for FailureDetector.setHosts. `wallClockMs` only decides whether maintenance has ended. */
export function* registeredHosts(db: MasterView, wallClockMs: number): Generator<RegisteredHost> {
  for (const host of db.hosts.values()) {
    const { hostId, raftAddress, dataSetId, pastDataSets, incarnation, removed } = host;
    const maintenance = host.maintenanceUntilMs > wallClockMs;
    yield { hostId, raftAddress, dataSetId, pastDataSets, incarnation, removed, maintenance };
  }
}
