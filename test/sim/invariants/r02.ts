/**
 * R2: the same (index, term) names the same entry with the same predecessor, in every log that ever was. A witness
 * holds it as metadata of that entry.
 */
import { type EntryBlock, EntryType } from "../../../shared/codec/block.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

/** One entry as first seen. Entries of other terms at the same index hang on `next`. */
interface Known {
  readonly term: number;
  readonly block: EntryBlock;
  readonly previousTerm: number;
  readonly next: Known | undefined;
}

/** The same object as a rule; another one once it was read from a disk. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || Buffer.compare(a, b) === 0;
}

export function logMatching(world: World): Invariant {
  const known: (Known | undefined)[] = [];
  const isSame = (node: SimNode, index: number, ours: EntryBlock, theirs: EntryBlock): boolean => {
    if (!node.witness) return sameBytes(ours.bytes, theirs.bytes);
    const here = world.decoder.decode(ours)[index - ours.baseIndex];
    const there = world.decoder.decode(theirs)[index - theirs.baseIndex];
    if (there?.type === EntryType.ConfigChange) return here?.fingerprint === there.fingerprint;
    return here?.type === EntryType.Metadata;
  };
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
            if (!node.witness) known[index] = { term: block.term, block, previousTerm: previous, next: first };
            else if (index > world.bootstrapBlock.last) {
              throw new Violation(
                "R2",
                `witness ${node.id} has entry ${index} of term ${block.term}, nobody else had it`,
              );
            }
          } else if (!isSame(node, index, block, found.block) || found.previousTerm !== previous) {
            throw new Violation("R2", `node ${node.id} has another entry ${index} of term ${block.term}`);
          }
          previous = block.term;
        }
      }
    },
  };
}
