/** R3: a new leader holds every entry that a leader of a lower term committed. */
import { type Invariant, Violation, type World } from "../model.js";

export function leaderCompleteness(world: World): Invariant {
  return {
    id: "R3",
    text: "a new leader holds every committed entry",
    onLeader(node) {
      const term = node.core?.term ?? 0;
      const index = world.ledger.mustHold(term);
      const { view } = node;
      if (index < view.first - 1) return; // in its snapshot, whose content R4 checks
      const here = view.term(index);
      if (here !== world.ledger.terms[index]) {
        const { terms, committedIn } = world.ledger;
        const text = `entry ${index} of term ${terms[index]}, committed in term ${committedIn[index]}`;
        throw new Violation("R3", `node ${node.id} leads term ${term} without ${text} (has term ${here})`);
      }
    },
  };
}
