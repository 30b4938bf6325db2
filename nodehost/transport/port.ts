/**
 * Host-to-host traffic: a lossy lane for Raft messages and a flow-controlled lane for snapshots.
 *
 * Messages may be dropped, duplicated and reordered (across connections), never corrupted: every frame and every block
 * is checked before it is handed up. Each connection starts with a hello in both directions; a mismatch is a typed
 * error on both sides. Hosts are reached by target: a hostId (looked up in the address book) or `host:port`.
 * Implementations: TCP (`tcp-transport.ts`), simulated (`sim-transport.ts`); both pass `suite.ts`.
 */
import type { OpError } from "../../shared/errors.js";
import type { DataSetId, HostId, Incarnation, ReplicaId, ShardId, Target, Term } from "../../shared/types/ids.js";
import type { SnapshotMeta, WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";

/** Who speaks. The first thing said on every connection. */
export interface Hello {
  readonly wireVersionMin: number;
  readonly wireVersionMax: number;
  readonly deploymentId: number;
  readonly hostId: HostId;
  readonly dataSetId: DataSetId;
  readonly incarnation: Incarnation;
  /** Highest WAL sequence found at the sender's last start. */
  readonly recoveredWalSequence: number;
  /** Where the sender accepts connections: feeds the receiver's address book. */
  readonly raftAddress: string;
}

/** Describes one snapshot being sent; the files' bytes follow as a stream of chunks. */
export interface SnapshotHeader {
  readonly shardId: ShardId;
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  readonly term: Term;
  readonly lineage: number;
  readonly snapshot: SnapshotMeta;
}

export interface TransportHandler {
  /**
   * Messages of one frame, in order; none if it was a beat. `durableSequence` is the sender's durable WAL sequence when
   * it sent the frame.
   */
  onMessages(from: Hello, messages: readonly WireMessage[], durableSequence: number): void;
  /** What the sender says of shards at rest; comes after the messages that it sent before on this connection. */
  onPulse(from: Hello, pulse: HostPulse): void;
  /** Decides whether to talk to this peer; throws OpError to refuse (the code travels to the other side). */
  onHello(hello: Hello): void;
  /** Nothing can be sent to this target now (connection refused or broken). Called once per failure. */
  onUnreachable(target: Target): void;
  /** What is sent to this target now goes to `peer`: a connection that this host made has been accepted. */
  onConnected?(target: Target, peer: Hello): void;
  /**
   * A connection was refused, at the handshake or later, by the peer (`byPeer`) or by this host: another deployment or
   * version, an `onHello` threw, bytes were malformed. `peer` is the target for connections this host made, else the
   * host id. Comes besides `onUnreachable`.
   */
  onRefused?(peer: Target, error: OpError, byPeer: boolean): void;
  /**
   * Takes one snapshot. Reading `chunks` is the backpressure. Resolves when the snapshot is safely stored; a rejection
   * ends the stream and reaches the sender as an error.
   */
  onSnapshot(from: Hello, header: SnapshotHeader, chunks: AsyncIterable<Uint8Array>): Promise<void>;
}

/** Translates targets; durable behind it where it must be. */
export interface AddressBook {
  /** `host:port` for a target, or undefined when not known (yet). */
  resolve(target: Target): string | undefined;
  /** Learned from a handshake or the registry. A higher incarnation wins. */
  learn(hostId: HostId, raftAddress: string, incarnation: number): void;
}

export interface TransportStats {
  readonly connections: number;
  readonly messagesSent: number;
  readonly messagesDropped: number;
  readonly messagesReceived: number;
  readonly bytesSent: number;
  readonly snapshotsSent: number;
  readonly snapshotsReceived: number;
}

export interface Transport {
  /** Listens and accepts. Resolves to the address really bound; DL_ERR_ADDRESS_IN_USE, DL_ERR_INVALID_ADDRESS. */
  start(handler: TransportHandler): Promise<{ readonly raftAddress: string }>;
  /** Buffers for the peer; never blocks, never throws; drops when the peer is unreachable or its buffer is full. */
  send(target: Target, message: WireMessage): void;
  /**
   * The next flush sends at least an empty frame: the peer hears that this host lives, which start of it, and how far
   * its log is durable. As `send` without a message.
   */
  beat(target: Target): void;
  /**
   * Buffers a pulse, behind the messages. Dropped while there is no connection to the peer, which is then attempted,
   * and if the peer is of an older wire version.
   */
  pulse(target: Target, pulse: HostPulse): void;
  /** Who answers at `target`, while a connection to it is open. */
  hostAt(target: Target): HostId | undefined;
  /** Sends what was buffered: one Buffer per peer per turn. Called at the end of each turn. */
  flush(): void;
  /**
   * Streams a snapshot; resolves when the receiver has stored it. Rejects with an OpError (DL_ERR_UNREACHABLE,
   * DL_ERR_SYSTEM_BUSY when too many streams run, the receiver's own code, DL_ERR_CANCELED).
   */
  sendSnapshot(
    target: Target,
    header: SnapshotHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<void>;
  stats(): TransportStats;
  /** Closes sockets at once; nothing is delivered afterwards. Idempotent. */
  close(): Promise<void>;
}
