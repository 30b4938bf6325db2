/**
 * Tells the hosts of all other members, once a second while this host writes, how far its log is durable. A member
 * hears acknowledgements only of those it leads; with this every member's host knows the newest start of every other
 * and about what it has acknowledged, so that an older copy of its directory is recognised by whoever is asked.
 * Nothing is sent by a host that writes nothing. Used by Engine.
 */
import { LIMITS } from "../../shared/limits.js";
import type { Target, TimeMs } from "../../shared/types/ids.js";
import type { LogDb } from "../logdb/port.js";
import type { Transport } from "../transport/port.js";
import type { Replica } from "./replica.js";

export class PeerBeat {
  readonly #logDb: LogDb;
  readonly #transport: Transport;
  readonly #targets = new Set<Target>();
  #stale = true;
  #toldSequence = -1;
  #nextMs: TimeMs = 0;

  constructor(logDb: LogDb, transport: Transport) {
    this.#logDb = logDb;
    this.#transport = transport;
  }

  /** Replicas came or went, or a membership changed. */
  changed(): void {
    this.#stale = true;
  }

  tick(nowMs: TimeMs, replicas: Iterable<Replica>): void {
    if (nowMs < this.#nextMs) return;
    const sequence = this.#logDb.durableSequence();
    if (sequence <= this.#toldSequence && !this.#stale) return;
    if (this.#stale) this.#collect(replicas);
    this.#stale = false;
    this.#toldSequence = sequence;
    this.#nextMs = nowMs + LIMITS.peerBeatMs;
    for (const target of this.#targets) this.#transport.beat(target);
    this.#transport.flush();
  }

  #collect(replicas: Iterable<Replica>): void {
    this.#targets.clear();
    for (const { replicaId, raft, working } of replicas) {
      if (!working) continue;
      const { voters, nonVotings, witnesses } = raft.membership;
      for (const members of [voters, nonVotings, witnesses]) {
        for (const [id, target] of members) if (id !== replicaId) this.#targets.add(target);
      }
    }
  }
}
