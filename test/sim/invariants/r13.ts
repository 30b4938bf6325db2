/**
 * R13: only voters of the applied membership campaign and lead, and only when all that is committed of the membership
 * is applied; only voters and witnesses are counted; only removed replicas are told so.
 */

import { quorumSize } from "../../../shared/types/membership.js";
import { MessageType } from "../../../shared/types/message.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

export function onlyVotersCount(world: World): Invariant {
  /** Granted votes that reached each node, of the newest term asked. */
  const grants = new Map<number, { readonly term: number; readonly from: Set<number> }>();
  /** Nodes in a campaign: only its beginning is looked at. */
  const campaigning = new Set<number>();
  const mustKnowItsQuorum = (node: SimNode): void => {
    const { core, view } = node;
    if (core !== undefined && core.applied < view.first - 1) {
      throw new Violation("R13", `node ${node.id} campaigns before snapshot ${view.first - 1} is restored`);
    }
    for (let index = node.applier.applied + 1; core !== undefined && index <= core.commit; index++) {
      const block = view.blockAt(index);
      if (block === undefined || !block.hasConfigChange) continue;
      if (world.decoder.decode(block)[index - block.baseIndex]?.change === undefined) continue;
      throw new Violation("R13", `node ${node.id} campaigns with the committed change ${index} not applied`);
    }
  };
  return {
    id: "R13",
    text: "removed and non-voting replicas are never counted, never campaign, never lead",
    onDeliver(node, message) {
      if (message.type !== MessageType.VoteResp || !message.granted) return;
      let known = grants.get(node.id);
      if (known === undefined || known.term < message.term) {
        known = { term: message.term, from: new Set() };
        grants.set(node.id, known);
      }
      if (known.term === message.term) known.from.add(message.from);
    },
    onLeader(node) {
      const { core } = node;
      if (core === undefined) return;
      const { voters, witnesses } = core.membership;
      const known = grants.get(node.id);
      let votes = 0;
      for (const id of [...voters.keys(), ...witnesses.keys()]) {
        if (id === node.id ? node.disk.votes.get(core.term) === id : known?.term === core.term && known.from.has(id)) {
          votes += 1;
        }
      }
      if (votes < quorumSize(core.membership)) {
        const all = `${voters.size} voters and ${witnesses.size} witnesses`;
        throw new Violation("R13", `node ${node.id} leads term ${core.term} with ${votes} votes of ${all}`);
      }
    },
    afterInput(node) {
      const { core } = node;
      if (core === undefined || core.role === "follower") {
        campaigning.delete(node.id);
        return;
      }
      if (!core.membership.voters.has(node.id)) {
        throw new Violation("R13", `node ${node.id} is ${core.role} without being a voter`);
      }
      if (core.role === "leader" || campaigning.has(node.id)) return;
      campaigning.add(node.id);
      mustKnowItsQuorum(node);
    },
    onRemoved(node, why) {
      if (why !== "removed" || !world.ledger.membership.removed.has(node.id)) {
        throw new Violation("R13", `node ${node.id} stops as ${why} and is a member`);
      }
    },
  };
}
