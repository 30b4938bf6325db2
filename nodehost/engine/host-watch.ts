/**
 * Watches hosts in place of shards at rest: a shard at rest sends nothing and has no timer, so its replicas must learn
 * from their hosts that something is wrong. Hosts that share shards send each other a pulse every fifth of an election
 * timeout: a sign of life with a digest of the shards that the sender leads at rest for the receiver. What wakes:
 *   silence    no frame of a host for an election timeout: shards led from there elect, shards led here beat
 *   restart    a new incarnation of a host, or another host in its place: the same, at once
 *   difference the digest is not what the receiver holds at rest: the rows that differ are told, those shards wake
 *   return     a pulse of a host without which a shard here went to rest
 * A pulse costs the same for any number of shards; an idle shard costs nothing. Wakes are queued, so many per turn.
 *
 * Invariants: a leader rests only if every member's host is heard and sends pulses, or is silent as its member is; a
 * replica at rest is in the rows of its leader's host, or woken; rows change only in `track`, which follows every turn.
 * Used by Engine.
 */
import { LIMITS } from "../../shared/limits.js";
import type { ReplicaId, Target, TimeMs } from "../../shared/types/ids.js";
import { emptyMembership, type Membership, targetOf } from "../../shared/types/membership.js";
import { type HostPulse, PULSE_GROUPS } from "../../shared/types/pulse.js";
import type { PeerStatus, RaftStatus } from "../raft/types.js";
import type { Hello, Transport } from "../transport/port.js";
import { HostBook, type KnownHost, type Link } from "./host-book.js";
import type { Replica } from "./replica.js";
import { groupOf } from "./rest-rows.js";

const PULSES_PER_TIMEOUT = 5;
const NO_MEMBERS = emptyMembership();
const NO_SUMS = new Uint32Array(2 * PULSE_GROUPS);

export interface HostWatchPorts {
  readonly transport: Pick<Transport, "pulse" | "hostAt">;
  /** Puts the replica into the next turn. */
  ready(replica: Replica): void;
}

/** What the watch keeps with each replica. */
export class Watched {
  membership: Membership = NO_MEMBERS;
  /** Members that were told to rest, by the last word of this leader. */
  told: readonly ReplicaId[] = [];
  /** Set while the rows say that it rests. */
  rest: { readonly hosts: readonly KnownHost[]; readonly links: readonly Link[] } | undefined;
  /** It is in the queue of wakes. */
  waking = false;
}

interface Wake {
  readonly replica: Replica;
  /** Its leader's host is gone. */
  readonly gone: boolean;
}

export class HostWatch {
  readonly #ports: HostWatchPorts;
  readonly #book: HostBook;
  readonly #received: { readonly host: KnownHost; readonly pulse: HostPulse }[] = [];
  #wakes: Wake[] = [];
  #sequence = 0;
  #pulsedMs: TimeMs = Number.NEGATIVE_INFINITY;
  /** Of the replicas that were ever here. */
  #shortestTimeoutMs = Number.POSITIVE_INFINITY;
  #longestTimeoutMs = 0;
  #resting = 0;
  #answered = false;

  constructor(ports: HostWatchPorts) {
    this.#ports = ports;
    const { transport } = ports;
    this.#book = new HostBook(
      (target) => transport.hostAt(target),
      (host) => this.#wakeAll(host),
    );
  }

  /** Replicas here at rest. */
  get resting(): number {
    return this.#resting;
  }

  /** True if a turn has something to do for the watch. */
  get pending(): boolean {
    return this.#received.length > 0 || this.#wakes.length > 0;
  }

  // Replicas.

  /** After every turn of a replica, and once more when it has ended. */
  track(replica: Replica): void {
    const { watched, serving } = replica;
    const membership = serving ? replica.raft.membership : NO_MEMBERS;
    if (membership !== watched.membership) this.#link(replica, membership);
    const rests = serving && replica.raft.quiesced;
    if (rests && watched.rest === undefined) this.#settle(replica);
    else if (!rests && watched.rest !== undefined) this.#unsettle(replica);
  }

  /** Lets a leader rest if it may. */
  rest(replica: Replica, nowMs: TimeMs): boolean {
    const told: ReplicaId[] = [];
    const isWatched = (id: ReplicaId): boolean => {
      const host = this.#hostOf(replica, id);
      const watched = host?.pulsing === true && nowMs - host.heardMs < replica.electionTimeoutMs;
      if (watched) told.push(id);
      return watched;
    };
    if (!replica.raft.quiesce(nowMs, isWatched)) return false;
    replica.watched.told = told;
    return true;
  }

  /** When the host of this resting replica's leader last said that it still leads it. */
  leaderHeardMs(replica: Replica): TimeMs {
    const [host] = replica.watched.rest?.hosts ?? [];
    return host?.rightMs[groupOf(replica.shardId)] ?? Number.NEGATIVE_INFINITY;
  }

  /** Of the core; the peers of a leader at rest are heard through their hosts. */
  statusOf(replica: Replica): RaftStatus {
    const status = replica.raft.status();
    if (!status.quiesced) return status;
    return { ...status, peers: status.peers.map((peer) => this.#peerAtRest(replica, peer)) };
  }

  #peerAtRest(replica: Replica, peer: PeerStatus): PeerStatus {
    const { watched } = replica;
    const host = watched.told.includes(peer.replicaId) ? this.#hostOf(replica, peer.replicaId) : undefined;
    if (watched.rest === undefined || host === undefined) return { ...peer, active: false };
    return { ...peer, lastContactMs: Math.max(peer.lastContactMs, host.heardMs), active: !host.silent };
  }

  #link(replica: Replica, membership: Membership): void {
    const { watched, electionTimeoutMs, replicaId } = replica;
    const wants = replica.config.quiesce;
    if (wants) this.#shortestTimeoutMs = Math.min(this.#shortestTimeoutMs, electionTimeoutMs);
    this.#longestTimeoutMs = Math.max(this.#longestTimeoutMs, electionTimeoutMs);
    for (const target of targetsOf(membership, replicaId)) this.#book.count(target, 1, wants);
    for (const target of targetsOf(watched.membership, replicaId)) this.#book.count(target, -1, wants);
    watched.membership = membership;
  }

  #settle(replica: Replica): void {
    const { raft, watched, shardId, replicaId } = replica;
    const { term, leaderId } = raft;
    const hosts: KnownHost[] = [];
    const links: Link[] = [];
    this.#resting += 1;
    watched.rest = { hosts, links };
    if (raft.role !== "leader") {
      const host = this.#hostOf(replica, leaderId);
      // Whoever cannot be watched must not be waited for.
      if (host === undefined || host.silent) this.#wake(replica, host !== undefined);
      if (host === undefined) return;
      host.followed.add({ shardId, term, leaderId, memberId: replicaId }, replica, 0);
      hosts.push(host);
      return;
    }
    for (const memberId of membersOf(watched.membership)) {
      const link = memberId === replicaId ? undefined : this.#linkOf(replica, memberId);
      if (link === undefined) continue;
      const host = watched.told.includes(memberId) ? this.#book.bind(link) : undefined;
      if (host === undefined) {
        link.left.add(replica);
        links.push(link);
      } else {
        host.led.add({ shardId, term, leaderId, memberId }, replica, this.#sequence + 1);
        hosts.push(host);
      }
    }
  }

  #unsettle(replica: Replica): void {
    const { watched, shardId } = replica;
    for (const host of watched.rest?.hosts ?? []) {
      host.led.delete(shardId);
      host.followed.delete(shardId);
    }
    for (const link of watched.rest?.links ?? []) link.left.delete(replica);
    watched.rest = undefined;
    this.#resting -= 1;
  }

  #linkOf(replica: Replica, id: ReplicaId): Link | undefined {
    const target = targetOf(replica.raft.membership, id);
    return target === undefined ? undefined : this.#book.link(target);
  }

  #hostOf(replica: Replica, id: ReplicaId): KnownHost | undefined {
    const link = this.#linkOf(replica, id);
    return link === undefined ? undefined : this.#book.bind(link);
  }

  // Hosts.

  /** A frame came, or a handshake was made. */
  heard(from: Hello, nowMs: TimeMs): void {
    this.#book.heard(from, nowMs);
  }

  /** To be settled after the turn that takes the messages which came before it. */
  pulse(from: Hello, pulse: HostPulse, nowMs: TimeMs): void {
    const host = this.#book.heard(from, nowMs);
    if (host !== undefined) this.#received.push({ host, pulse });
  }

  /** Sends pulses, and looks who is silent. True if something is to be flushed. After a stall nobody is. */
  tick(nowMs: TimeMs, stalled: boolean): boolean {
    const intervalMs = this.#shortestTimeoutMs / PULSES_PER_TIMEOUT;
    for (const host of this.#book.hosts()) {
      if (stalled) host.heardMs = nowMs;
      if (host.silent || nowMs - host.heardMs <= this.#longestTimeoutMs + intervalMs) continue;
      host.silent = true;
      this.#wakeAll(host);
    }
    if (nowMs - this.#pulsedMs < intervalMs) return false;
    this.#pulsedMs = nowMs;
    this.#sequence += 1;
    let sent = false;
    for (const link of this.#book.links()) {
      const host = this.#book.bind(link);
      if (link.wanting === 0 || host?.told === this.#sequence) continue;
      if (host !== undefined) host.told = this.#sequence;
      const { count, sums } = host?.led ?? { count: 0, sums: NO_SUMS };
      const digest = { kind: "digest", sequence: this.#sequence, count, sums: sums.slice() } as const;
      this.#ports.transport.pulse(link.target, digest);
      sent = true;
    }
    return sent;
  }

  /** What was true of the host is over: it is silent, started again, or another one. */
  #wakeAll(host: KnownHost): void {
    for (const replica of host.followed.owners()) this.#wake(replica, true);
    for (const replica of host.led.owners()) this.#wake(replica, false);
  }

  #wake(replica: Replica, gone: boolean): void {
    if (replica.watched.waking) return;
    replica.watched.waking = true;
    this.#wakes.push({ replica, gone });
  }

  // Turns.

  /** Before a turn: some of those that are to wake do. */
  wakeSome(nowMs: TimeMs): void {
    for (const { replica, gone } of this.#wakes.splice(0, LIMITS.restWakesPerTurnMax)) {
      replica.watched.waking = false;
      if (!replica.serving || !replica.raft.quiesced) continue;
      if (gone) replica.raft.leaderGone(nowMs);
      else replica.raft.wake(nowMs);
      this.#ports.ready(replica);
    }
  }

  /** After a turn, when rows are true again: what the pulses that came say. True if something is to be flushed. */
  settlePulses(nowMs: TimeMs): boolean {
    this.#answered = false;
    for (const { host, pulse } of this.#received.splice(0)) {
      if (pulse.kind === "digest") this.#onDigest(host, pulse.sequence, pulse.sums, nowMs);
      else if (pulse.kind === "held") this.#onHeld(host, pulse);
      else {
        for (const row of pulse.rows) {
          const replica = host.followed.ownerOf(row);
          if (replica !== undefined) this.#wake(replica, false);
        }
      }
    }
    return this.#answered;
  }

  #onDigest(host: KnownHost, sequence: number, sums: Uint32Array, nowMs: TimeMs): void {
    host.pulsing = true;
    for (const link of host.links) for (const replica of link.left) this.#wake(replica, false);
    const groups = host.followed.differs(sums);
    for (let group = 0; group < PULSE_GROUPS; group++) if ((groups & (1 << group)) === 0) host.rightMs[group] = nowMs;
    if (groups !== 0) this.#answer(host, { kind: "held", sequence, groups, rows: host.followed.rowsIn(groups) });
  }

  #onHeld(host: KnownHost, { rows, groups, sequence }: Extract<HostPulse, { readonly kind: "held" }>): void {
    for (const replica of host.led.missingFrom(rows, groups, sequence)) this.#wake(replica, false);
    const stale = rows.filter((row) => host.led.ownerOf(row) === undefined);
    if (stale.length > 0) this.#answer(host, { kind: "stale", rows: stale });
  }

  #answer(host: KnownHost, pulse: HostPulse): void {
    const [link] = host.links;
    if (link === undefined) return;
    this.#ports.transport.pulse(link.target, pulse);
    this.#answered = true;
  }
}

function membersOf({ voters, nonVotings, witnesses }: Membership): ReplicaId[] {
  return [...voters.keys(), ...nonVotings.keys(), ...witnesses.keys()];
}

function targetsOf(membership: Membership, self: ReplicaId): Set<Target> {
  const targets = new Set<Target>();
  for (const id of membersOf(membership)) {
    const target = id === self ? undefined : targetOf(membership, id);
    if (target !== undefined) targets.add(target);
  }
  return targets;
}
