/**
 * What hosts tell each other of shards at rest, reduced to one shard: a model of what nodehost/engine does between
 * hosts. Each node sends a pulse to every other one: which start of it this is, and the term in which it leads the
 * receiver at rest. Silence, a new start and a claim that is twice not true for the receiver wake. Pulses are lost,
 * late and overtaken as messages are. Without the knob `quiesceAfterMs` there are none.
 */
import type { ReplicaId, Term, TimeMs } from "../../shared/types/ids.js";
import { roleOf } from "../../shared/types/membership.js";
import type { SimNode, World } from "./model.js";
import { EventKind } from "./queue.js";

interface Pulse {
  readonly from: ReplicaId;
  readonly epoch: number;
  /** Term in which the sender leads the receiver at rest, 0 = it does not. */
  readonly claim: Term;
}

interface Heard {
  /** 0 = no pulse of it came yet. */
  epoch: number;
  atMs: TimeMs;
  silent: boolean;
}

/** The pulses of one node in one life of it. */
export class PulseWatch {
  readonly #node: SimNode;
  readonly #everyMs: number;
  readonly #heard = new Map<ReplicaId, Heard>();
  /** Whom it told that it rests. */
  #told = new Set<ReplicaId>();
  /** Whose last pulse did not agree. Here a pulse may overtake what it speaks of; on one connection it cannot. */
  readonly #doubted = new Set<ReplicaId>();
  #lastMs: TimeMs;

  constructor(node: SimNode) {
    this.#node = node;
    this.#everyMs = Math.ceil(node.world.options.electionTimeoutMs / 5);
    this.#lastMs = node.clock();
  }

  begin(): void {
    const { world } = this.#node;
    if (world.options.quiesceAfterMs === 0) return;
    world.after(this.#everyMs, EventKind.Pulse, this.#node, () => {
      this.#beat();
      this.begin();
    });
  }

  /** Whoever was told to rest, when this node did so last. */
  get told(): ReadonlySet<ReplicaId> {
    return this.#told;
  }

  isWatched(id: ReplicaId): boolean {
    const heard = this.#heard.get(id);
    return (
      heard !== undefined && heard.epoch !== 0 && !heard.silent && this.#node.clock() - heard.atMs < this.#timeoutMs
    );
  }

  /** A leader that may rest does, instead of beating again. */
  rest(): void {
    const { core, world } = this.#node;
    if (core?.role !== "leader" || world.options.quiesceAfterMs === 0) return;
    const told = new Set([...this.#heard.keys()].filter((id) => this.isWatched(id)));
    if (!core.quiesce(this.#node.clock(), (id) => told.has(id))) return;
    this.#told = told;
    world.ledger.rests += 1;
  }

  get #timeoutMs(): number {
    return this.#node.world.options.electionTimeoutMs;
  }

  #beat(): void {
    const node = this.#node;
    const { core, world } = node;
    if (core === undefined) return;
    const nowMs = node.clock();
    if (nowMs - this.#lastMs > 2 * this.#everyMs) for (const heard of this.#heard.values()) heard.atMs = nowMs;
    this.#lastMs = nowMs;
    for (const [id, heard] of this.#heard) {
      if (heard.silent || nowMs - heard.atMs <= this.#timeoutMs + 2 * this.#everyMs) continue;
      heard.silent = true;
      this.#lost(id);
    }
    const leads = core.quiesced && core.role === "leader";
    for (const to of world.nodes.keys()) {
      if (to === node.id) continue;
      const claim = leads && this.#told.has(to) ? core.term : 0;
      const pulse = { from: node.id, epoch: node.epoch, claim };
      world.network.carry(node.id, to, (receiver) => receiver.pulse?.onPulse(pulse));
    }
    node.touched();
  }

  /** Any message is a sign of life: who is told to rest by a host has heard it. */
  onMessage(from: ReplicaId): void {
    const heard = this.#heard.get(from);
    const atMs = this.#node.clock();
    if (heard === undefined) this.#heard.set(from, { epoch: 0, atMs, silent: false });
    else Object.assign(heard, { atMs, silent: false });
  }

  /** The host of `id` is silent, or was started again. */
  #lost(id: ReplicaId): void {
    const { core } = this.#node;
    if (core === undefined) return;
    const nowMs = this.#node.clock();
    if (core.role !== "leader" && core.leaderId === id) core.leaderGone(nowMs);
    else if (core.role === "leader") core.wake(nowMs);
  }

  onPulse(pulse: Pulse): void {
    const node = this.#node;
    const { core } = node;
    if (core === undefined) return;
    const nowMs = node.clock();
    const { from, epoch, claim } = pulse;
    const heard = this.#heard.get(from);
    if (heard !== undefined && epoch < heard.epoch) return;
    this.#heard.set(from, { epoch, atMs: nowMs, silent: false });
    if (heard !== undefined && heard.epoch !== 0 && epoch > heard.epoch) this.#lost(from);
    // It is back, and does not know that the others rest.
    if (heard?.silent === true && core.role === "leader" && !this.#told.has(from)) core.wake(nowMs);
    const believed = core.quiesced && core.role === "follower" && core.leaderId === from ? core.term : 0;
    if (believed === claim) {
      this.#doubted.delete(from);
      if (claim !== 0) core.leaderHeard(nowMs);
    } else if (this.#doubted.delete(from)) this.#differ(from, believed, claim);
    else this.#doubted.add(from);
    node.touched();
  }

  #differ(leader: ReplicaId, believed: Term, claim: Term): void {
    const node = this.#node;
    if (believed !== 0) node.core?.wake(node.clock());
    if (claim === 0) return;
    node.world.network.carry(node.id, leader, (receiver) => {
      const { core } = receiver;
      if (core?.quiesced !== true || core.role !== "leader" || core.term !== claim) return;
      core.wake(receiver.clock());
      receiver.touched();
    });
  }
}

/** True if every member rests. */
export function allRest(world: World): boolean {
  for (const node of world.nodes.values()) {
    if (roleOf(world.ledger.membership, node.id) !== undefined && node.core?.quiesced !== true) return false;
  }
  return true;
}
