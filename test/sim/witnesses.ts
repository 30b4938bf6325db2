/**
 * What operators ask of a shard with witnesses: to add and remove them, and, by mistake, to make voters of them, to let
 * them lead, or to make witnesses of those who hold data. What may not be done must be refused without any effect.
 */
import { EntryType } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import type { ReplicaId } from "../../shared/types/ids.js";
import { type ConfigChange, roleOf } from "../../shared/types/membership.js";
import { MessageType } from "../../shared/types/message.js";
import { NODES_MAX, SHARD_ID, type SimNode, type World } from "./model.js";
import type { Prng } from "./prng.js";

const WITNESSES_MAX = 2;

/** Lowest id that was never a member, as far as is applied; undefined when all are used up. */
export function freshId(world: World): ReplicaId | undefined {
  const { membership } = world.ledger;
  for (let id = 1; id <= NODES_MAX; id++) {
    if (roleOf(membership, id) === undefined && !membership.removed.has(id)) return id;
  }
  return undefined;
}

export class WitnessTroubles {
  readonly #world: World;
  readonly #random: Prng;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
  }

  act(node: SimNode): void {
    const r = this.#random;
    if (this.#world.repair.needed) return;
    if (r.chance(this.#world.options.witnessChange)) {
      const change = this.#drawChange();
      if (change !== undefined) propose(node, change);
      return;
    }
    const witnesses = [...this.#world.ledger.membership.witnesses.keys()];
    if (witnesses.length === 0) return;
    const id = r.pick(witnesses);
    const draw = r.float();
    if (draw < 0.35) this.#timeoutNow(id);
    else if (draw < 0.7) node.desk.transfer(id);
    else this.#campaign(id);
  }

  #drawChange(): Change | undefined {
    const r = this.#random;
    const { voters, nonVotings, witnesses, removed } = this.#world.ledger.membership;
    const fresh = freshId(this.#world);
    const draw = r.float();
    if (draw < 0.4 && fresh !== undefined && witnesses.size < WITNESSES_MAX) return add("addWitness", fresh);
    if (draw < 0.7 && witnesses.size > 0)
      return { kind: "remove", replicaId: r.pick([...witnesses.keys()]), target: "" };
    if (draw < 0.8 && witnesses.size > 0) {
      return add(r.pick(["addVoter", "addNonVoting"]), r.pick([...witnesses.keys()]));
    }
    if (draw < 0.95) return add("addWitness", r.pick([...voters.keys(), ...nonVotings.keys()]));
    return removed.size > 0 ? add("addWitness", r.pick([...removed])) : undefined;
  }

  /** As of a leader that takes it for a voter. */
  #timeoutNow(to: ReplicaId): void {
    const leader = this.#world.leader();
    if (leader?.core === undefined || leader.id === to) return;
    const { term, membership } = leader.core;
    const header = { shardId: SHARD_ID, from: leader.id, to, term, lineage: membership.lineage };
    this.#world.network.send({ type: MessageType.TimeoutNow, ...header });
  }

  #campaign(id: ReplicaId): void {
    const node = this.#world.node(id);
    if (node?.core === undefined || node.frozenUntil > this.#world.now) return;
    node.core.campaign(node.clock());
    node.touched();
  }
}

type Change = Pick<ConfigChange, "kind" | "replicaId" | "target">;

function add(kind: ConfigChange["kind"], replicaId: ReplicaId): Change {
  return { kind, replicaId, target: `host-${replicaId}` };
}

function propose(node: SimNode, change: Change): void {
  const full: ConfigChange = { ...change, expectedConfigChangeIndex: 0, bootstrap: false };
  node.desk.propose(EntryType.ConfigChange, [encodeConfigChange(full)]);
}
