/** R1: at most one leader per term, ever. */
import { type Invariant, Violation, type World } from "../model.js";

export function electionSafety(world: World): Invariant {
  return {
    id: "R1",
    text: "at most one leader per term, ever",
    onLeader(node) {
      const term = node.core?.term ?? 0;
      const known = world.ledger.leaders.get(term);
      if (known === undefined) world.ledger.leaders.set(term, node.id);
      else if (known !== node.id) throw new Violation("R1", `term ${term} has leaders ${known} and ${node.id}`);
      else throw new Violation("R1", `node ${node.id} became leader of term ${term} twice`);
    },
  };
}
