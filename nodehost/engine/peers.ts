/**
 * What an engine does about who its peers are: whose messages count (Origins), whether its own replicas may take part
 * (Introductions), and that others know how far its log is (PeerBeat). Used by Engine.
 */
import type { ReplicaId, ShardId, Target, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import { HostMessageType, type Message, type WireMessage } from "../../shared/types/message.js";
import type { RecoveredReplica } from "../logdb/port.js";
import type { Hello, SnapshotHeader } from "../transport/port.js";
import { Introductions } from "./introductions.js";
import { Origins } from "./origins.js";
import { PeerBeat } from "./peer-beat.js";
import type { ReplicaPorts } from "./ports.js";
import type { Replica } from "./replica.js";

export interface PeersOptions {
  readonly ports: ReplicaPorts;
  readonly replicas: ReadonlyMap<ShardId, Replica>;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #origins: Origins;
  readonly #introductions: Introductions;
  readonly #beat: PeerBeat;

  constructor(options: PeersOptions) {
    this.#options = options;
    const { ports, replicas } = options;
    const flush = (): void => ports.transport.flush();
    const replica = (shardId: ShardId): Replica | undefined => replicas.get(shardId);
    const deliver = (from: Hello, message: Message): void => this.#addressee(message)?.deliver(message, from.hostId);
    this.#origins = new Origins({ ports, replica, deliver, flush });
    this.#introductions = new Introductions({ ports, replica, flush });
    this.#beat = new PeerBeat(ports.logDb, ports.transport);
  }

  /** The replica is in the table and about to run. `isFirst`: nothing of it was here before. */
  started(replica: Replica, found: RecoveredReplica, isFirst: boolean): void {
    const { shardId, replicaId, raft } = replica;
    this.#origins.started(shardId);
    this.#beat.changed();
    if (this.#options.ports.peers.isUnproven(shardId, replicaId)) {
      this.#introductions.begin(replica, found.bootstrap.initial.voters, "unproven");
    } else {
      this.#introductions.begin(replica, membersOf(raft.membership), isFirst ? "free" : "again");
    }
  }

  /** It stopped or failed. */
  ended(replica: Replica): void {
    this.#introductions.end(replica);
    this.#beat.changed();
  }

  /** `added` may not know the replica yet; undefined when a whole membership came. */
  membersChanged(replica: Replica, added: ReplicaId | undefined): void {
    this.#beat.changed();
    for (const [replicaId, target] of membersOf(replica.raft.membership)) {
      if (added === undefined || added === replicaId) this.#introductions.introduce(replica, replicaId, target);
    }
  }

  onMessages(from: Hello, messages: readonly WireMessage[]): void {
    for (const message of messages) {
      if (message.type === HostMessageType.Recall) this.#origins.answer(from, message);
      else if (message.type === HostMessageType.RecallResp) this.#introductions.onAnswer(from, message);
      else {
        const replica = this.#addressee(message);
        if (replica !== undefined && this.#origins.admits(from, message)) replica.deliver(message, from.hostId);
      }
    }
  }

  /** See Origins. */
  admitStream(from: Hello, header: SnapshotHeader): Promise<void> {
    return this.#origins.admitStream(from, header);
  }

  onConnected(target: Target, peer: Hello): void {
    this.#introductions.onConnected(target, peer);
  }

  onUnreachable(target: Target): void {
    this.#introductions.onUnreachable(target);
  }

  /** See Introductions. */
  whenAsked(): Promise<void> {
    return this.#introductions.whenAsked();
  }

  tick(nowMs: TimeMs): void {
    this.#introductions.tick(nowMs);
    this.#beat.tick(nowMs, this.#options.replicas.values());
  }

  #addressee(message: WireMessage): Replica | undefined {
    const replica = this.#options.replicas.get(message.shardId);
    return replica?.replicaId === message.to ? replica : undefined;
  }
}

/** Everybody with a place in the shard, by replica. */
function membersOf({ voters, nonVotings, witnesses }: Membership): Map<ReplicaId, Target> {
  return new Map([...voters, ...nonVotings, ...witnesses]);
}
