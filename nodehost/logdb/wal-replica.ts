/**
 * What the log keeps in memory of each replica: numbers, small records in both forms (decoded for readers, encoded for
 * checkpoint frames), and where its blocks are. Changed only after the frame that makes the change durable; recovery
 * fills the same structures.
 */
import type { FileHandle } from "../../shared/files/port.js";
import type { ReplicaId, ShardId } from "../../shared/types/ids.js";
import { emptyMembership } from "../../shared/types/membership.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";
import type { BootstrapRecord, RecoveredReplica, ReplicaKey } from "./port.js";
import { type LogRange, ReplicaLog } from "./replica-log.js";
import type { Plan } from "./update-check.js";
import type { SegmentIdentity } from "./wal-format.js";
import type { CheckpointRow } from "./wal-record.js";

/** One segment file in use. */
export interface Segment extends SegmentIdentity {
  readonly fileName: string;
  readonly length: number;
  /** undefined when the file is missing (recovery says so). */
  readonly handle: FileHandle | undefined;
  /** Ranges of live entries in it; it may go when there are none and all older segments are gone. */
  liveRanges: number;
  /** Something in it could not be read: nothing more is written to it, and it is not used again. */
  damaged: boolean;
}

export interface WalRange extends LogRange {
  readonly segment: Segment;
  /** Where the block's bytes are in the segment. */
  readonly offset: number;
  readonly length: number;
}

const NO_BOOTSTRAP: BootstrapRecord = {
  join: true,
  kind: "memory",
  app: "",
  initial: emptyMembership(),
  config: "",
};

export class WalReplica implements ReplicaKey {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  bootstrap: BootstrapRecord = NO_BOOTSTRAP;
  bootstrapBytes: Uint8Array = new Uint8Array(0);
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  snapshot: SnapshotMeta | undefined;
  snapshotBytes: Uint8Array = new Uint8Array(0);
  readonly log: ReplicaLog<WalRange>;
  /** Frame with its newest record. */
  lastSequence = 0;
  damage: string | undefined;
  /** Used while one append is prepared (see update-check.ts); `planSerial` says which. */
  plan: Plan | undefined;
  planSerial = 0;

  constructor(key: ReplicaKey) {
    this.shardId = key.shardId;
    this.replicaId = key.replicaId;
    this.log = new ReplicaLog(rangeDropped);
  }

  addRange(range: WalRange): void {
    range.segment.liveRanges += 1;
    this.log.append(range);
  }

  /** Moves entries it already has to another place. False if the log has no such range. */
  placeRange(range: WalRange): boolean {
    const placed = this.log.place(range);
    if (placed) range.segment.liveRanges += 1;
    return placed;
  }

  recovered(): RecoveredReplica {
    const { shardId, replicaId, bootstrap, hardState, snapshot, damage } = this;
    const { first, last, precedingTerm } = this.log;
    return { shardId, replicaId, bootstrap, hardState, snapshot, first, last, precedingTerm, damage };
  }

  row(): CheckpointRow {
    const { first, last, precedingTerm } = this.log;
    const { hardState, bootstrapBytes, snapshotBytes, damage } = this;
    return { hardState, first, last, precedingTerm, bootstrap: bootstrapBytes, snapshot: snapshotBytes, damage };
  }
}

function rangeDropped(range: WalRange): void {
  range.segment.liveRanges -= 1;
}

/** Replicas by shard and id. A host runs one replica of a shard, rarely two: a short list per shard. */
export class ReplicaTable {
  readonly #shards = new Map<ShardId, WalReplica[]>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get(key: ReplicaKey): WalReplica | undefined {
    const list = this.#shards.get(key.shardId);
    if (list === undefined) return undefined;
    for (const replica of list) if (replica.replicaId === key.replicaId) return replica;
    return undefined;
  }

  add(replica: WalReplica): void {
    const list = this.#shards.get(replica.shardId);
    if (list === undefined) this.#shards.set(replica.shardId, [replica]);
    else list.push(replica);
    this.#count += 1;
  }

  /** Forgets it with all its entries. */
  remove(replica: WalReplica): void {
    const list = this.#shards.get(replica.shardId);
    if (list?.includes(replica) !== true) return;
    const rest = list.filter((r) => r !== replica);
    if (rest.length > 0) this.#shards.set(replica.shardId, rest);
    else this.#shards.delete(replica.shardId);
    this.#count -= 1;
    replica.log.reset(0, 0);
  }

  *values(): Generator<WalReplica> {
    for (const list of this.#shards.values()) yield* list;
  }
}

/** The removed replicas, for ever. */
export class RemovedSet {
  readonly #keys = new Map<string, ReplicaKey>();

  has(key: ReplicaKey): boolean {
    return this.#keys.has(keyText(key));
  }

  add(key: ReplicaKey): void {
    this.#keys.set(keyText(key), { shardId: key.shardId, replicaId: key.replicaId });
  }

  list(): ReplicaKey[] {
    return [...this.#keys.values()];
  }
}

export function keyText(key: ReplicaKey): string {
  return `${key.shardId}/${key.replicaId}`;
}
