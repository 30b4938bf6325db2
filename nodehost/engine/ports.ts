/** What the engine is given by its composition root, and what one replica is given by the engine. */
import type { BlockBuilder } from "../../shared/codec/block.js";
import type { Env, Logger } from "../../shared/env/env.js";
import type { Index, ReplicaId, ShardId, Target, Term } from "../../shared/types/ids.js";
import type { WireMessage } from "../../shared/types/message.js";
import type { LogDb, ReplicaKey } from "../logdb/port.js";
import type { MachinePlace } from "../rsm/state-machine.js";
import type { SnapshotStore } from "../rsm/types.js";
import type { Transport } from "../transport/port.js";
import type { HostWatch } from "./host-watch.js";
import type { DirectoryRefusal, PeerMemory } from "./peer-memory.js";
import type { RateLimit } from "./rate-limit.js";
import type { Replica } from "./replica.js";
import type { Sequences } from "./sequences.js";
import type { StallWatch } from "./stall.js";
import type { WalQueue } from "./wal-queue.js";

export interface EngineOptions {
  readonly env: Env;
  readonly logDb: LogDb;
  readonly transport: Transport;
  readonly snapshots: SnapshotStore;
  readonly machines: MachinePlaces;
  /** Snapshot bytes per second, all streams together; 0 = no limit. */
  readonly snapshotRates: { readonly sendBytesPerSecond: number; readonly receiveBytesPerSecond: number };
  /** Length of a tick. */
  readonly rttMs: number;
  /** Incarnation counter of this start of the host. */
  readonly incarnation: number;
  readonly peers: PeerMemory;
  /** Set when peers refused this directory at an earlier start: no replica runs. */
  readonly refusal?: DirectoryRefusal | undefined;
  /** The log failed: sockets are closed already, pending requests are unknown. */
  readonly onFatal: (error: unknown) => void;
  readonly listeners?: EngineListeners;
}

/** Where on-disk machines keep their state. */
export interface MachinePlaces {
  /** The replica's own directory, which exists when this resolves. */
  prepare(key: ReplicaKey): Promise<MachinePlace>;
  remove(key: ReplicaKey): Promise<void>;
}

export interface LeaderUpdate {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  /** 0 = none known. */
  readonly leaderId: ReplicaId;
  readonly term: Term;
}

export interface EngineStats {
  /** Of the host's clock, turns, and replicas that took part in them, since the host was opened. */
  readonly ticks: number;
  readonly turns: number;
  readonly steps: number;
  readonly replicas: number;
  /** Replicas at rest: idle ones that cost neither heartbeats nor timers. */
  readonly resting: number;
}

/** Called from the turn: must be quick. What they throw is logged and goes no further. */
export interface EngineListeners {
  leaderUpdated?(update: LeaderUpdate): void;
  /** Peers refuse this directory (DL_ERR_DATA_STALE, DL_ERR_HOST_CLONED): no replica of this host runs any more. */
  directoryRefused?(refusal: DirectoryRefusal): void;
  /** A replica stopped working by itself: removed, superseded, refused, or fenced after a failure. */
  replicaFaulted?(shardId: ShardId, replicaId: ReplicaId, fault: string): void;
  membershipChanged?(shardId: ShardId, replicaId: ReplicaId, configChangeIndex: Index): void;
  snapshotCreated?(shardId: ShardId, replicaId: ReplicaId, index: Index): void;
  /** A snapshot is being sent to replica `to`; it ends in exactly one of the two after it. */
  snapshotSendStarted?(shardId: ShardId, replicaId: ReplicaId, to: ReplicaId, index: Index): void;
  snapshotSendCompleted?(shardId: ShardId, replicaId: ReplicaId, to: ReplicaId, index: Index): void;
  /** Also of one that could not even be started. It is tried again while the receiver needs it. */
  snapshotSendAborted?(shardId: ShardId, replicaId: ReplicaId, to: ReplicaId, index: Index, why: string): void;
  /** A snapshot landed here. */
  snapshotReceived?(shardId: ShardId, replicaId: ReplicaId, index: Index): void;
  /** The machine has taken over a received snapshot. */
  snapshotRecovered?(shardId: ShardId, replicaId: ReplicaId, index: Index): void;
}

/** The engine as one replica sees it. */
export interface ReplicaPorts {
  readonly env: Env;
  readonly logger: Logger;
  readonly logDb: LogDb;
  readonly wal: WalQueue;
  readonly snapshots: SnapshotStore;
  readonly transport: Transport;
  readonly incarnation: number;
  readonly rttMs: number;
  readonly stall: StallWatch;
  readonly hosts: HostWatch;
  readonly sendRate: RateLimit;
  readonly peers: PeerMemory;
  /** Empty between uses, which are synchronous: one for all replicas. */
  readonly builder: BlockBuilder;
  readonly sequences: Sequences;
  readonly listeners: EngineListeners;
  /** Puts the replica into the next turn. */
  ready(replica: Replica): void;
  send(target: Target, message: WireMessage): void;
  /** The replica's membership changed: `replicaId` may not know it yet; undefined when a whole membership came. */
  membersChanged(replica: Replica, added: ReplicaId | undefined): void;
  /** Runs a snapshot job when one of the host's few places is free. */
  snapshotJob(job: () => Promise<void>): void;
}
