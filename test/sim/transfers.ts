/**
 * Operators who move leadership, to good targets and bad ones: the replica itself, learners, removed and unknown
 * replicas, some that are down, frozen or far behind. What may not be done must be refused without any effect.
 */
import type { ReplicaId } from "../../shared/types/ids.js";
import { NODES_MAX, type SimNode, type World } from "./model.js";
import type { Prng } from "./prng.js";

/** Target of the next transfer at `node`, mostly a voter. */
export function drawTarget(world: World, node: SimNode, r: Prng): ReplicaId {
  const { voters, nonVotings, removed } = world.ledger.membership;
  const draw = r.float();
  if (draw < 0.05) return node.id;
  if (draw < 0.1) return r.range(1, NODES_MAX);
  if (draw < 0.15 && removed.size > 0) return r.pick([...removed]);
  if (draw < 0.22 && nonVotings.size > 0) return r.pick([...nonVotings.keys()]);
  const bad = [...voters.keys()].filter((id) => isTroubled(world, world.node(id)));
  if (draw < 0.4 && bad.length > 0) return r.pick(bad);
  return r.pick([...voters.keys()]);
}

function isTroubled(world: World, node: SimNode | undefined): boolean {
  return node?.core === undefined || node.frozenUntil > world.now || node.core.last < world.ledger.commit;
}
