/**
 * R8: a follower's commit never passes, and its acknowledgements never name, more than the last entry it verified
 * against this leader since it started: by a Replicate whose predecessor matched, or by an installed snapshot.
 */
import { MessageType } from "../../../shared/types/message.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

export function verifiedPrefix(_world: World): Invariant {
  const verified = new Map<number, { term: number; index: number }>();
  const raise = (node: SimNode, term: number, index: number): void => {
    const entry = verified.get(node.id);
    if (entry === undefined) verified.set(node.id, { term, index });
    else if (entry.term === term) entry.index = Math.max(entry.index, index);
    else if (term > entry.term) Object.assign(entry, { term, index });
  };
  const verifiedIn = (node: SimNode, term: number): number => {
    const entry = verified.get(node.id);
    return entry?.term === term ? entry.index : 0;
  };
  return {
    id: "R8",
    text: "a follower commits and acknowledges only what it verified against this leader",
    onStart(node) {
      verified.delete(node.id);
    },
    onDeliver(node, message) {
      if (message.type === MessageType.InstallSnapshot) {
        raise(node, message.term, message.snapshot.index);
      } else if (message.type === MessageType.Replicate) {
        const { prevIndex, prevTerm, blocks, term } = message;
        // With output not yet collected the log is not known here: taken as matching.
        const known = node.view.term(prevIndex) ?? (prevIndex < node.view.first ? prevTerm : -1);
        if (node.behind || known === prevTerm) raise(node, term, blocks.at(-1)?.last ?? prevIndex);
      }
    },
    onSend(node, message) {
      if (message.type !== MessageType.ReplicateResp || message.rejected) return;
      const limit = Math.max(verifiedIn(node, message.term), node.core?.commit ?? 0);
      if (message.index > limit) {
        throw new Violation("R8", `node ${node.id} acknowledges ${message.index}, verified is ${limit}`);
      }
    },
    afterInput(node) {
      const { core, seen } = node;
      if (core === undefined || core.commit <= seen.commit || seen.leaderTerm === core.term) return;
      const limit = verifiedIn(node, core.term);
      if (core.commit > limit) {
        throw new Violation("R8", `node ${node.id} commits ${core.commit} in term ${core.term}, verified is ${limit}`);
      }
    },
  };
}
