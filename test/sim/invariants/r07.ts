/** R7: purged ≤ snapshot ≤ applied ≤ committed ≤ last, and only what is durable here is applied. */
import { type Invariant, Violation, type World } from "../model.js";

export function orderOfIndexes(_world: World): Invariant {
  return {
    id: "R7",
    text: "purged ≤ snapshot, applied ≤ committed ≤ last, applied ≤ durable",
    afterInput(node) {
      const { core } = node;
      if (core === undefined) return;
      if (core.applied > core.commit || core.commit > core.last) {
        throw new Violation("R7", `node ${node.id} applied ${core.applied} commit ${core.commit} last ${core.last}`);
      }
    },
    afterOutput(node) {
      const { disk, core, view } = node;
      if (disk.log.first - 1 > (disk.snapshot?.index ?? 0)) {
        throw new Violation(
          "R7",
          `node ${node.id} purged ${disk.log.first - 1}, snapshot ${disk.snapshot?.index ?? 0}`,
        );
      }
      if (core !== undefined && core.last !== view.last && !core.hasOutput) {
        throw new Violation("R7", `node ${node.id} has last ${core.last}, handed out are ${view.last}`);
      }
    },
    onApply(node, index) {
      const { log } = node.disk;
      if (index > log.last || (index >= log.first && log.term(index) !== node.applier.appliedTerm)) {
        throw new Violation(
          "R7",
          `node ${node.id} applies ${index}@${node.applier.appliedTerm}, which is not durable here`,
        );
      }
    },
  };
}
