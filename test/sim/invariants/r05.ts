/** R5: when an entry is first committed it is durable on a quorum of voters and of the committing leader's term. */
import { type Invariant, Violation, type World } from "../model.js";

export function committedIsDurable(world: World): Invariant {
  return {
    id: "R5",
    text: "first committed on a durable quorum, in the leader's own term",
    onFirstCommit(node) {
      const { core } = node;
      if (core === undefined) return;
      const { commit, term } = core;
      const { ledger } = world;
      if (core.role !== "leader") {
        throw new Violation("R5", `node ${node.id} holds ${commit} as committed, leaders committed ${ledger.commit}`);
      }
      const here = node.view.term(commit);
      if (here !== term)
        throw new Violation("R5", `leader ${node.id} of term ${term} commits ${commit} of term ${here}`);
      const { voters, witnesses } = core.membership;
      let holding = 0;
      for (const id of voters.keys()) {
        const log = world.node(id)?.disk.log;
        if (log !== undefined && (log.term(commit) === here || log.first > commit + 1)) holding += 1;
      }
      const needed = Math.floor((voters.size + witnesses.size) / 2) + 1;
      if (holding < needed) {
        throw new Violation(
          "R5",
          `leader ${node.id} commits ${commit}@${here}: durable on ${holding} voters of ${needed}`,
        );
      }
    },
  };
}
