/** R6: term, commit and applied never go back, not even over a restart below what was durable. */
import { type Invariant, Violation, type World } from "../model.js";

export function neverBack(_world: World): Invariant {
  return {
    id: "R6",
    text: "term, commit, applied never regress",
    onStart(node) {
      const { core, disk } = node;
      if (core === undefined) return;
      const applied = disk.snapshot?.index ?? 0;
      if (core.term < disk.hardState.term || core.commit < disk.hardState.commit || core.applied < applied) {
        throw new Violation(
          "R6",
          `node ${node.id} starts at term ${core.term} commit ${core.commit} applied ${core.applied}`,
        );
      }
    },
    afterInput(node) {
      const { core, seen } = node;
      if (core === undefined) return;
      if (core.term < seen.term || core.commit < seen.commit || core.applied < seen.applied) {
        const before = `${seen.term}/${seen.commit}/${seen.applied}`;
        const after = `${core.term}/${core.commit}/${core.applied}`;
        throw new Violation("R6", `node ${node.id} term/commit/applied went from ${before} to ${after}`);
      }
    },
    beforeDurable(node, update) {
      const { term, commit } = node.disk.hardState;
      const next = update.hardState;
      if (next.term < term || next.commit < commit) {
        const text = `${next.term}/${next.commit} after ${term}/${commit}`;
        throw new Violation("R6", `node ${node.id} writes term/commit ${text}`);
      }
    },
  };
}
