/** Membership changes in a node's log that its state machine has not seen. Asked by invariants. */
import type { Index } from "../../shared/types/ids.js";
import type { SimNode, World } from "./model.js";

/** Index of the first one; undefined if there is none. */
export function unappliedChange(world: World, node: SimNode): Index | undefined {
  const { view, applier } = node;
  for (let index = applier.applied + 1; index <= view.last; index++) {
    const block = view.blockAt(index);
    if (block === undefined || !block.hasConfigChange) continue;
    if (world.decoder.decode(block)[index - block.baseIndex]?.change !== undefined) return index;
  }
  return undefined;
}
