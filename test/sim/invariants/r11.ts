/** R11: a leader never overwrites or deletes entries of its own log. */
import { type Invariant, Violation, type World } from "../model.js";

export function leaderAppendOnly(_world: World): Invariant {
  /** Term in which each node already led when its last output was taken. */
  const led = new Map<number, number>();
  return {
    id: "R11",
    text: "a leader only appends to its log; nobody truncates committed entries",
    onStart(node) {
      led.delete(node.id);
    },
    beforeAppend(node, update) {
      const { core, view } = node;
      const first = update.blocks[0]?.first;
      if (core === undefined) return;
      const leads = core.role === "leader" && led.get(node.id) === core.term;
      if (leads && (update.snapshot !== undefined || (first !== undefined && first !== view.last + 1))) {
        throw new Violation(
          "R11",
          `leader ${node.id} rewrites its log at ${first ?? "a snapshot"}, last is ${view.last}`,
        );
      }
      if (first !== undefined && first <= node.seen.applied) {
        throw new Violation("R11", `node ${node.id} truncates at ${first}, applied is ${node.seen.applied}`);
      }
    },
    afterOutput(node) {
      if (node.core?.role === "leader") led.set(node.id, node.core.term);
    },
  };
}
