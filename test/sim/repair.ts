/**
 * The operator of a run: a replica that will never run again (its disk is damaged, lost or stale) is removed by a
 * membership change, and a fresh one joins, as the master does with real hosts. Until then nothing else is changed and
 * nothing else is damaged: the fault budget is a minority at a time (storage-nemesis.ts).
 */
import { EntryType } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import type { ReplicaId } from "../../shared/types/ids.js";
import type { ConfigChange, Membership } from "../../shared/types/membership.js";
import { NODES_MAX, type RepairPort, type SimNode, type World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

export class Repair implements RepairPort {
  readonly #world: World;
  readonly #random: Prng;
  /** Lost replica → the one that was asked to take its place. */
  readonly #successors = new Map<ReplicaId, ReplicaId>();
  #armed = false;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
  }

  get needed(): boolean {
    return this.#members().some((node) => node.refused !== undefined || node.disk.damaged !== undefined);
  }

  /** Nobody who can still run could be elected: whatever is promised, the shard must stand still. */
  get hopeless(): boolean {
    if (!this.#canServe(this.#world.ledger.membership, undefined)) return true;
    return this.#views().every((membership) => !this.#canServe(membership, undefined));
  }

  /**
   * Membership changes are in force at apply: what each replica believes of the quorum counts, not only the newest.
   * Beside a witness a voter may be the only one that holds what is committed, or will be until its damage is noticed.
   */
  canDoWithout(node: SimNode): boolean {
    return [this.#world.ledger.membership, ...this.#views()].every((membership) => {
      const needed = membership.witnesses.size > 0 && membership.voters.has(node.id);
      return !needed && this.#canServe(membership, node);
    });
  }

  /** Some voter would get a quorum of votes, by the logs on the disks. Who was never started has none. */
  #canServe({ voters, witnesses }: Membership, without: SimNode | undefined): boolean {
    const able = [...voters.keys(), ...witnesses.keys()].filter((id) => {
      const node = this.#world.node(id);
      // One that was removed and has stopped does not vote either.
      return node !== without && node?.refused === undefined && (node?.retired !== true || node.alive);
    });
    const quorum = Math.floor((voters.size + witnesses.size) / 2) + 1;
    return able.some((id) => voters.has(id) && able.filter((other) => this.#isUpToDate(id, other)).length >= quorum);
  }

  #isUpToDate(candidate: ReplicaId, voter: ReplicaId): boolean {
    const [a, b] = [this.#lastOf(candidate), this.#lastOf(voter)];
    return a.term > b.term || (a.term === b.term && a.index >= b.index);
  }

  #lastOf(id: ReplicaId): { readonly term: number; readonly index: number } {
    const log = this.#world.node(id)?.disk.log;
    return { term: log?.term(log.last) ?? 0, index: log?.last ?? 0 };
  }

  /** Of the voters that can still run. */
  #views(): Membership[] {
    const able = this.#members().filter((node) => node.refused === undefined);
    return able.map((node) => node.membership).filter((membership) => membership.voters.size > 0);
  }

  /** Some replica was refused: from now on it is looked after. */
  begin(): void {
    if (this.#armed) return;
    this.#armed = true;
    const { electionTimeoutMs } = this.#world.options;
    this.#world.after(1 + this.#random.int(electionTimeoutMs), EventKind.Nemesis, undefined, () => {
      this.#armed = false;
      this.#act();
      if (this.needed) this.begin();
    });
  }

  #members(): SimNode[] {
    const { voters, nonVotings, witnesses } = this.#world.ledger.membership;
    const ids = [...voters.keys(), ...nonVotings.keys(), ...witnesses.keys()];
    return ids.map((id) => this.#world.node(id)).filter((node) => node !== undefined);
  }

  #act(): void {
    const lost = this.#members().find((node) => node.refused !== undefined);
    const leader = this.#world.leader();
    if (lost === undefined || leader === undefined) return;
    const { voters, witnesses } = this.#world.ledger.membership;
    const successor = this.#successors.get(lost.id) ?? this.#freshId();
    const r = this.#random;
    if (successor !== undefined && this.#world.node(successor) === undefined && r.chance(0.5)) {
      this.#successors.set(lost.id, successor);
      const like = voters.has(lost.id) ? "addVoter" : witnesses.has(lost.id) ? "addWitness" : "addNonVoting";
      const kind = r.chance(0.5) ? like : "addNonVoting";
      this.#propose(leader, { kind, replicaId: successor, target: `host-${successor}` });
    } else this.#propose(leader, { kind: "remove", replicaId: lost.id, target: "" });
  }

  #propose(leader: SimNode, change: Pick<ConfigChange, "kind" | "replicaId" | "target">): void {
    const full: ConfigChange = { ...change, expectedConfigChangeIndex: 0, bootstrap: false };
    leader.desk.propose(EntryType.ConfigChange, [encodeConfigChange(full)]);
  }

  #freshId(): ReplicaId | undefined {
    for (let id = 1; id <= NODES_MAX; id++) {
      if (this.#world.node(id) === undefined && !this.#world.ledger.membership.removed.has(id)) return id;
    }
    return undefined;
  }
}
