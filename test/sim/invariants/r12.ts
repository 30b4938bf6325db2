/**
 * R12: a leader appends a config change only when none above its applied index is in its log and it has committed in
 * its own term; quorums of consecutive configurations intersect.
 */
import { quorumSize } from "../../../shared/types/membership.js";
import { type Invariant, Violation, type World } from "../model.js";

export function oneChangeAtATime(world: World): Invariant {
  return {
    id: "R12",
    text: "one un-applied config change at a time, none before a commit in the leader's term",
    beforeAppend(node, update) {
      const { core, view } = node;
      if (core?.role !== "leader" || node.seen.leaderTerm !== core.term) return;
      for (const block of update.blocks) {
        if (!block.hasConfigChange || block.term !== core.term) continue;
        for (let index = core.applied + 1; index <= view.last; index++) {
          const old = view.blockAt(index);
          if (old === undefined || !old.hasConfigChange || old === block) continue;
          if (world.decoder.decode(old)[index - old.baseIndex]?.change === undefined) continue;
          throw new Violation("R12", `leader ${node.id} appends a change at ${block.first}, ${index} is not applied`);
        }
        if (view.term(core.commit) !== core.term) {
          throw new Violation("R12", `leader ${node.id} appends a change before a commit in term ${core.term}`);
        }
      }
    },
    onChange(node) {
      const before = world.ledger.membership;
      const after = node.membership;
      if (after.configChangeIndex <= before.configChangeIndex || before.configChangeIndex < world.bootstrapBlock.last)
        return;
      const groups = [before.voters, before.witnesses, after.voters, after.witnesses];
      const all = new Set(groups.flatMap((group) => [...group.keys()]));
      if (quorumSize(before) + quorumSize(after) <= all.size) {
        throw new Violation(
          "R12",
          `configurations ${before.configChangeIndex} and ${after.configChangeIndex} do not intersect`,
        );
      }
    },
  };
}
