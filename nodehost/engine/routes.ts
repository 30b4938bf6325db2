/** Where the messages of one replica go. Used by Replica. */
import type { ReplicaId, Target } from "../../shared/types/ids.js";
import { type Membership, targetOf } from "../../shared/types/membership.js";

/** Peers outside of the membership whose host is remembered: one that makes up ids must not fill the memory. */
const ROUTES_MAX = 64;

export class Routes {
  /** How to answer a replica that is not in our membership (yet): the host it spoke from. Made when first needed. */
  #strangers: Map<ReplicaId, Target> | undefined;

  /** A message of `peer` came from this host. */
  learn(membership: Membership, peer: ReplicaId, hostId: Target): void {
    if (targetOf(membership, peer) !== undefined) return;
    this.#strangers ??= new Map();
    if (this.#strangers.has(peer) || this.#strangers.size < ROUTES_MAX) this.#strangers.set(peer, hostId);
  }

  target(membership: Membership, peer: ReplicaId): Target | undefined {
    return targetOf(membership, peer) ?? this.#strangers?.get(peer);
  }
}
