/**
 * The end of a run: links heal, faults stop, everyone who is a member runs again. Within 20 election timeouts there
 * must be one leader, a fresh write and a fresh read must succeed, and all members must come to hold the same log. As
 * long as members visibly catch up the clock starts anew: a long log through a narrow window takes its time.
 */
import { roleOf } from "../../shared/types/membership.js";
import { type SimNode, Violation, type World } from "./model.js";

const TIMEOUTS = 20;
/** Safety net against endless progress. */
const STEPS_MAX = 200_000;

export class Liveness {
  readonly #world: World;
  #acked = 0;
  #reads = 0;
  #progress = -1;
  #deadline = 0;
  #nextTry = 0;
  #served = false;
  #tries = 0;

  constructor(world: World) {
    this.#world = world;
  }

  async run(): Promise<void> {
    const world = this.#world;
    const T = world.options.electionTimeoutMs;
    const stepsMax = world.steps + STEPS_MAX;
    world.faults = false;
    world.network.heal();
    for (const node of world.nodes.values()) {
      if (node.frozenUntil > world.now) node.thaw();
      node.disk.heal();
      if (this.#isMember(node)) node.start();
    }
    if (world.stirred) await world.settle();
    this.#deadline = world.now + TIMEOUTS * this.#slowest(T);
    this.#acked = world.ledger.ackedCount;
    this.#reads = world.ledger.readCount;
    this.#nextTry = world.now;
    while (!this.#done()) {
      if (!world.step() || world.now > this.#deadline || world.steps > stepsMax) {
        if (world.repair.hopeless) {
          world.ledger.faults.add("standstills");
          return;
        }
        if (this.#stranded()) {
          world.ledger.stranded += 1;
          return;
        }
        throw new Violation("L1", `no recovery within ${TIMEOUTS} election timeouts: ${this.#describe()}`);
      }
      this.#watch(T);
      if (world.stirred) await world.settle();
    }
  }

  /** Slow clocks make timeouts longer in real time. */
  #slowest(T: number): number {
    return Math.ceil(T / (1 - this.#world.options.clockSkew));
  }

  #isMember(node: SimNode): boolean {
    return roleOf(this.#world.ledger.membership, node.id) !== undefined;
  }

  /** Every timeout: ask again, and give more time to those who catch up. */
  #watch(T: number): void {
    const world = this.#world;
    if (world.now < this.#nextTry) return;
    this.#nextTry = world.now + T;
    for (const node of world.nodes.values()) if (this.#isMember(node)) node.start();
    const leader = world.leader();
    if (leader?.core === undefined) return;
    const { ackedCount, readCount } = world.ledger;
    if (ackedCount > this.#acked && readCount > this.#reads) this.#served = true;
    let progress = 0;
    for (const node of world.nodes.values()) {
      if (this.#isMember(node)) progress += node.applier.applied + (node === leader ? 0 : node.disk.log.last);
    }
    if (progress > this.#progress) this.#deadline = world.now + TIMEOUTS * this.#slowest(T);
    this.#progress = progress;
    if (this.#served || this.#tries++ % 4 !== 0) return;
    world.workload.write(leader);
    world.workload.read(leader);
  }

  #done(): boolean {
    const leader = this.#world.leader();
    if (!this.#served || leader?.core === undefined) return false;
    const { commit, last, term } = leader.core;
    if (commit !== last || leader.applier.applied !== commit) return false;
    for (const node of this.#world.nodes.values()) {
      if (!this.#isMember(node)) continue;
      const { core, applier } = node;
      if (core === undefined || core.term !== term || core.leaderId !== leader.id) return false;
      if (core.last !== last || applier.applied !== commit) return false;
      if (!node.witness && applier.hash !== leader.applier.hash) return false;
    }
    return true;
  }

  /**
   * The one end that Raft with changes at apply cannot avoid: of two members that count one was removed and stopped,
   * and the other never heard that this is committed, so it asks a replica that is gone for its vote.
   */
  #stranded(): boolean {
    const { membership } = this.#world.ledger;
    if (membership.voters.size !== 1 || membership.witnesses.size > 0) return false;
    for (const id of membership.voters.keys()) {
      const known = this.#world.node(id)?.core?.membership;
      if (known === undefined || known.voters.size + known.witnesses.size !== 2) return false;
      for (const other of [...known.voters.keys(), ...known.witnesses.keys()]) {
        if (this.#world.node(other)?.core === undefined) return true;
      }
    }
    return false;
  }

  #describe(): string {
    const lines = [`served ${this.#served}, acked ${this.#world.ledger.acked}, commit ${this.#world.ledger.commit}`];
    for (const node of this.#world.nodes.values()) lines.push(describeNode(node, this.#isMember(node)));
    return lines.join("\n  ");
  }
}

/** State of one node in one line. */
export function describeNode(node: SimNode, member: boolean): string {
  const { core, applier, disk } = node;
  const who = `n${node.id}${node.witness ? " (witness)" : ""}${member ? "" : " (no member)"}`;
  const { hardState, log } = disk;
  const durable = `disk term ${hardState.term} vote ${hardState.vote} log ${log.first}..${log.last}`;
  if (core === undefined) return `${who} down, ${durable}`;
  const volatile = `${core.role} term ${core.term} leader ${core.leaderId} commit ${core.commit} last ${core.last}`;
  const peers = core.status().peers.map((p) => `${p.replicaId}:${p.state} ${p.match}/${p.next}`);
  const members = [...applier.membership.voters.keys()].join(",");
  const learners = [...applier.membership.nonVotings.keys()].join(",");
  const witnesses = [...applier.membership.witnesses.keys()].join(",");
  const shape = `applied ${applier.applied} voters ${members}; non-voting ${learners}; witnesses ${witnesses}`;
  return `${who} ${volatile} ${shape}; ${durable} ${peers.join(", ")}`;
}
