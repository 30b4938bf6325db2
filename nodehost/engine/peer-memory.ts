/** What the engine asks of the host's durable memory of others. Implemented by nodehost/api/peer-register.ts. */
import type { ErrorCode } from "../../shared/errors.js";
import type { DataSetId, ReplicaId, ShardId } from "../../shared/types/ids.js";

/** The data directory on which a replica of a peer lives. A replica never moves to another one. */
export interface ReplicaOrigin {
  readonly dataSetId: DataSetId;
  /** Of the replica's membership when it was first heard: a forced membership may name it anew. */
  readonly lineage: number;
  /** Durable: only then what the replica says may count. */
  readonly saved: boolean;
}

export interface PeerMemory {
  /** Undefined if the replica was never heard here. */
  originOf(shardId: ShardId, replicaId: ReplicaId): ReplicaOrigin | undefined;
  /**
   * Resolves when it is durable, also called again after a rejection: DL_ERR_SYSTEM_BUSY when very many replicas are
   * remembered, DL_ERR_DISK_FULL, or an error of the disk.
   */
  setOrigin(shardId: ShardId, replicaId: ReplicaId, dataSetId: DataSetId, lineage: number): Promise<void>;
  /** A replica of this host that was started as new and may not take part yet (see Introductions). */
  isUnproven(shardId: ShardId, replicaId: ReplicaId): boolean;
  /** Resolves when it is durable. */
  setUnproven(shardId: ShardId, replicaId: ReplicaId, unproven: boolean): Promise<void>;
}

/** What is reported as the fault of a replica that must not take part. */
export function refusedFault(refusal: DirectoryRefusal): string {
  return `refused: ${refusal.code}: ${refusal.detail}`;
}

/** Peers said that this directory must not be used: it is an old copy, or another process uses it too. */
export interface DirectoryRefusal {
  readonly code: ErrorCode;
  /** Who said what, and what to do. */
  readonly detail: string;
}
