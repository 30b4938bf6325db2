/**
 * What hosts and masters say to each other over the bus, as plain types (bytes: proto/control.proto, shared/wire).
 *
 * `NodeHostInfo` and `ClusterInfo` carry every field of Dragonboat's IMasterClient (nodeHostAddress, region, API
 * address, cluster list, log info, pending, incomplete, config change index) plus what the planner needs.
 */
import type { DataSetId, HostId, Incarnation, Index, ReplicaId, ShardId, Target, Term, TimeMs } from "./ids.js";
import type { Membership, Role } from "./membership.js";

/** One replica as its host reports it. */
export interface ClusterInfo {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly app: string;
  readonly isLeader: boolean;
  /** Leader this replica follows, 0 = none known. */
  readonly leaderId: ReplicaId;
  readonly term: Term;
  readonly role: Role;
  /** Members as applied here; absent when `incomplete` or `pending`. */
  readonly membership: Membership | undefined;
  /** CCI as applied here. */
  readonly configChangeIndex: Index;
  readonly lineage: number;
  /** Nothing applied yet: membership not known. */
  readonly pending: boolean;
  /** Membership left out to save bandwidth. */
  readonly incomplete: boolean;
  readonly applied: Index;
  readonly commit: Index;
  /** Leaders only: per member, how far it is. */
  readonly progress: readonly MemberProgress[];
  /** Empty, or why the replica does not run: fenced, damaged, removed. */
  readonly fault: string;
  /** Index → state hash, when the machine has one (for the consistency check). Empty otherwise. */
  readonly stateHash: string;
  /**
   * Empty, or what the replica waits for before it takes part in its shard (nodehost/engine/introductions.ts), or why
   * it gets neither votes nor entries (nodehost/raft/hindrance.ts).
   */
  readonly waiting: string;
}

export interface MemberProgress {
  readonly replicaId: ReplicaId;
  readonly match: Index;
  /** Milliseconds since the leader last heard it. */
  readonly silentMs: number;
}

/** A replica with data on this host, running or not. */
export interface LogInfo {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
}

/** One report of a host. */
export interface NodeHostInfo {
  readonly deploymentId: number;
  readonly hostId: HostId;
  readonly dataSetId: DataSetId;
  readonly incarnation: Incarnation;
  /** Counts reports of this incarnation, from 1. */
  readonly sequence: number;
  /** Reserved for delta reports: version and digest of the replica list (0 and empty in full reports). */
  readonly stateVersion: number;
  readonly digest: string;
  readonly raftAddress: string;
  readonly apiAddress: string;
  readonly region: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly apps: readonly string[];
  readonly clusterInfo: readonly ClusterInfo[];
  readonly logInfoIncluded: boolean;
  readonly logInfo: readonly LogInfo[];
  /** Hosts that leaders here have not heard: the second witness of a death. */
  readonly silentPeers: readonly { readonly target: Target; readonly silentMs: number }[];
  /** The host is shutting down in order. */
  readonly stopping: boolean;
  /** Highest master fence seen (see RequestFence). */
  readonly highestMasterTerm: Term;
  /** Empty, or code and reason why nothing in this directory may take part: it is an old copy, or used twice. */
  readonly directoryFault: string;
  /** Log sequence found when this incarnation started. */
  readonly recoveredSequence: number;
  /** Log sequence that is durable now. */
  readonly durableSequence: number;
  readonly load: HostLoad;
}

export interface HostLoad {
  readonly replicas: number;
  readonly leaders: number;
  readonly diskUsedBytes: number;
  readonly diskFreeBytes: number;
  readonly rssBytes: number;
}

/** How a host must run the replicas of a shard. */
export interface ReplicaSettings {
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Automatic snapshot each so many applied entries; 0 = off. */
  readonly snapshotEntries: number;
  readonly compactionOverhead: number;
}

/** Checked by the host before anything is done; a mismatch is DL_ERR_FENCED. */
export interface RequestFence {
  readonly deploymentId: number;
  /** (shard 0 lineage, master term): a host remembers the highest and refuses lower ones. */
  readonly masterLineage: number;
  readonly masterTerm: Term;
  readonly hostId: HostId;
  readonly incarnation: number;
  readonly dataSetId: DataSetId;
  /** Milliseconds after receipt in which it may be begun. */
  readonly ttlMs: number;
}

export type HostAction =
  /** First start of an initial member: fenced CREATE. */
  | {
      readonly kind: "create";
      readonly replicaId: ReplicaId;
      readonly app: string;
      readonly settings: ReplicaSettings;
      readonly initial: ReadonlyMap<ReplicaId, Target>;
    }
  /** First start of a member added later. */
  | { readonly kind: "join"; readonly replicaId: ReplicaId; readonly app: string; readonly settings: ReplicaSettings }
  /** Start again a replica whose data is here. */
  | { readonly kind: "restart"; readonly replicaId: ReplicaId }
  | {
      readonly kind: "addNonVoting";
      readonly replicaId: ReplicaId;
      readonly target: Target;
      readonly configChangeIndex: Index;
    }
  /** Promote a caught-up non-voting member. */
  | {
      readonly kind: "promote";
      readonly replicaId: ReplicaId;
      readonly target: Target;
      readonly configChangeIndex: Index;
    }
  | { readonly kind: "remove"; readonly replicaId: ReplicaId; readonly configChangeIndex: Index }
  /** Stop a replica that is no member (zombie); data stays until `removeData`. */
  | { readonly kind: "stop"; readonly replicaId: ReplicaId }
  /** Stop if needed and delete the data of a replica that is no member. */
  | { readonly kind: "removeData"; readonly replicaId: ReplicaId };

/** One order of a master to one host: at least once, idempotent, fenced. */
export interface HostRequest {
  /** Unique per (operation, step, attempt); a host that has done it answers again without doing it again. */
  readonly requestId: string;
  readonly operationId: number;
  readonly shardId: ShardId;
  readonly fence: RequestFence;
  readonly action: HostAction;
}

/** A hint for the master; only observed state completes a step. */
export interface HostResult {
  readonly requestId: string;
  readonly hostId: HostId;
  readonly ok: boolean;
  /** DL_ERR_… when not ok. */
  readonly code: string;
  readonly detail: string;
}

export interface ReportRefusal {
  /** DL_ERR_DATA_STALE, DL_ERR_HOST_CLONED. */
  readonly code: string;
  readonly detail: string;
}

/** A master's answer to a report. */
export interface ReportReply {
  /** Fence of the leading master, 0 when the answering master does not lead. */
  readonly masterTerm: Term;
  readonly masterLineage: number;
  /** Open requests for this host, repeated until they are done or replaced. */
  readonly requests: readonly HostRequest[];
  /** Set when masters know that the reporting directory is an old copy, or used twice. */
  readonly refusal: ReportRefusal | undefined;
}

/** Registry as every NodeHost and client keeps it: who is where. */
export interface RegistryView {
  readonly revision: number;
  readonly hosts: readonly {
    readonly hostId: HostId;
    readonly raftAddress: string;
    readonly apiAddress: string;
    readonly incarnation: number;
  }[];
  readonly shards: readonly RegistryShard[];
}

export interface RegistryShard {
  readonly shardId: ShardId;
  readonly name: string;
  readonly app: string;
  readonly configChangeIndex: Index;
  readonly leaderReplicaId: ReplicaId;
  readonly leaderTerm: Term;
  readonly replicas: readonly { readonly replicaId: ReplicaId; readonly hostId: HostId; readonly role: Role }[];
}

/** A time on the effective clock of a master (see master/detect). */
export type EffectiveMs = TimeMs;
