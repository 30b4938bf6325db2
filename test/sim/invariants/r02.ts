/** R2: the same (index, term) names the same entry with the same predecessor, in every log that ever was. */
import { type Invariant, Violation, type World } from "../model.js";

/** One entry as first seen. Entries of other terms at the same index hang on `next`. */
interface Known {
  readonly term: number;
  readonly bytes: Uint8Array;
  readonly previousTerm: number;
  readonly next: Known | undefined;
}

/** The same object as a rule; another one once it was read from a disk. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || Buffer.compare(a, b) === 0;
}

export function logMatching(_world: World): Invariant {
  const known: (Known | undefined)[] = [];
  return {
    id: "R2",
    text: "same (index, term) means same entry and same prefix",
    beforeAppend(node, update) {
      const { view } = node;
      const snapshot = update.snapshot?.meta;
      for (const [i, block] of update.blocks.entries()) {
        let previous: number | undefined = update.blocks[i - 1]?.term;
        if (previous === undefined) {
          const before = block.first - 1;
          previous = snapshot !== undefined && snapshot.index === before ? snapshot.term : view.term(before);
        }
        if (previous === undefined)
          throw new Violation("R2", `node ${node.id} appends ${block.first} after ${view.last}`);
        for (let index = block.first; index <= block.last; index++) {
          const first = known[index];
          let found = first;
          while (found !== undefined && found.term !== block.term) found = found.next;
          if (found === undefined) {
            known[index] = { term: block.term, bytes: block.bytes, previousTerm: previous, next: first };
          } else if (!sameBytes(found.bytes, block.bytes) || found.previousTerm !== previous) {
            throw new Violation("R2", `node ${node.id} has another entry ${index} of term ${block.term}`);
          }
          previous = block.term;
        }
      }
    },
  };
}
