/**
 * R5: when an entry is first committed it is durable on a quorum of voters and witnesses, a voter among them, and of
 * the committing leader's term.
 */

import type { ReplicaId } from "../../../shared/types/ids.js";
import { quorumSize } from "../../../shared/types/membership.js";
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
      const holding = (ids: Iterable<ReplicaId>): number => {
        let count = 0;
        for (const id of ids) {
          const log = world.node(id)?.disk.log;
          if (log !== undefined && (log.term(commit) === here || log.first > commit + 1)) count += 1;
        }
        return count;
      };
      const data = holding(voters.keys());
      const all = data + holding(witnesses.keys());
      const needed = quorumSize(core.membership);
      if (all < needed || data === 0) {
        const where = `durable on ${all} members of ${needed}, ${data} of them voters`;
        throw new Violation("R5", `leader ${node.id} commits ${commit}@${here}: ${where}`);
      }
      if (data < needed) ledger.witnessCommits += 1;
    },
  };
}
