/**
 * The hosts that share shards with this one, and where their members are: membership targets are host ids or addresses,
 * and several targets may be one host. Says when a host is not what it was: started again, or another one in its place.
 * Used by HostWatch. Invariant: a host is here as long as a target of it is, so that strangers cannot fill the memory.
 */
import type { HostId, Target, TimeMs } from "../../shared/types/ids.js";
import { PULSE_GROUPS } from "../../shared/types/pulse.js";
import type { Hello } from "../transport/port.js";
import type { Replica } from "./replica.js";
import { RestRows } from "./rest-rows.js";

/** Where members of shards here are. */
export interface Link {
  readonly target: Target;
  /** Replicas here with a member there, and those of them that may lead a shard at rest. */
  members: number;
  wanting: number;
  host: KnownHost | undefined;
  /** Leaders at rest here without the member there. */
  readonly left: Set<Replica>;
}

export class KnownHost {
  readonly hostId: HostId;
  readonly address: string;
  readonly links = new Set<Link>();
  incarnation: number;
  heardMs: TimeMs;
  /** A pulse came since its last start: it can watch us, and we it. */
  pulsing = false;
  silent = false;
  /** Sequence of the last digest sent to it. */
  told = 0;
  /** Shards at rest led here with a member there, and led there with a member here. */
  readonly led = new RestRows<Replica>();
  readonly followed = new RestRows<Replica>();
  /** When its digest was last right, per group. */
  readonly rightMs = new Float64Array(PULSE_GROUPS).fill(Number.NEGATIVE_INFINITY);

  constructor({ hostId, raftAddress, incarnation }: Hello, nowMs: TimeMs) {
    this.hostId = hostId;
    this.address = raftAddress;
    this.incarnation = incarnation.counter;
    this.heardMs = nowMs;
  }
}

export class HostBook {
  readonly #links = new Map<Target, Link>();
  readonly #hosts = new Map<HostId, KnownHost>();
  readonly #hostAt: (target: Target) => HostId | undefined;
  /** What was true of the host is over. */
  readonly #onLost: (host: KnownHost) => void;

  constructor(hostAt: (target: Target) => HostId | undefined, onLost: (host: KnownHost) => void) {
    this.#hostAt = hostAt;
    this.#onLost = onLost;
  }

  links(): IterableIterator<Link> {
    return this.#links.values();
  }

  hosts(): IterableIterator<KnownHost> {
    return this.#hosts.values();
  }

  link(target: Target): Link | undefined {
    return this.#links.get(target);
  }

  /** Counts one more replica with a member at `target`, or one less. */
  count(target: Target, members: 1 | -1, wanting: boolean): void {
    let link = this.#links.get(target);
    if (link === undefined) {
      link = { target, members: 0, wanting: 0, host: undefined, left: new Set() };
      this.#links.set(target, link);
    }
    link.members += members;
    if (wanting) link.wanting += members;
    if (link.members > 0) return;
    this.#links.delete(target);
    const { host } = link;
    host?.links.delete(link);
    if (host?.links.size === 0) this.#forget(host);
  }

  /** The host of the link's target, if it is known. */
  bind(link: Link): KnownHost | undefined {
    if (link.host !== undefined) return link.host;
    const id = this.#hostAt(link.target);
    for (const host of this.#hosts.values()) {
      if (host.hostId !== link.target && host.address !== link.target && host.hostId !== id) continue;
      link.host = host;
      host.links.add(link);
      break;
    }
    return link.host;
  }

  /**
   * A host gave a sign of life. Undefined for hosts without a member of a shard here, and for what an earlier life of
   * a host said.
   */
  heard(hello: Hello, nowMs: TimeMs): KnownHost | undefined {
    let host = this.#hosts.get(hello.hostId);
    if (host !== undefined && host.address !== hello.raftAddress) {
      if (hello.incarnation.counter < host.incarnation) return undefined;
      this.#forget(host);
      host = undefined;
    }
    host ??= this.#meet(hello, nowMs);
    if (host === undefined || hello.incarnation.counter < host.incarnation) return undefined;
    if (hello.incarnation.counter > host.incarnation) {
      host.incarnation = hello.incarnation.counter;
      host.pulsing = false;
      this.#onLost(host);
    }
    host.heardMs = nowMs;
    host.silent = false;
    return host;
  }

  #meet(hello: Hello, nowMs: TimeMs): KnownHost | undefined {
    const { hostId, raftAddress } = hello;
    const reached = [...this.#links.values()].filter(
      ({ target }) => target === hostId || target === raftAddress || this.#hostAt(target) === hostId,
    );
    if (reached.length === 0) return undefined;
    for (const other of this.#hosts.values()) if (other.address === raftAddress) this.#forget(other);
    const host = new KnownHost(hello, nowMs);
    this.#hosts.set(hostId, host);
    for (const link of reached) this.bind(link);
    return host;
  }

  #forget(host: KnownHost): void {
    this.#onLost(host);
    this.#hosts.delete(host.hostId);
    for (const link of host.links) link.host = undefined;
    host.links.clear();
  }
}
