/** R10: a vote is given at most once per term: on disk, and in what was ever sent. */
import { MessageType } from "../../../shared/types/message.js";
import { type Invariant, Violation, type World } from "../model.js";

export function oneVotePerTerm(_world: World): Invariant {
  /** Replica and term → candidate. */
  const granted = new Map<number, number>();
  return {
    id: "R10",
    text: "one vote per term, durable before the reply",
    beforeDurable(node, update) {
      const { vote, term } = update.hardState;
      const known = node.disk.votes.get(term);
      if (known !== undefined && known !== vote) {
        throw new Violation("R10", `node ${node.id} votes for ${vote} in term ${term}, durable is ${known}`);
      }
    },
    onSend(node, message) {
      if (message.type !== MessageType.VoteResp || !message.granted) return;
      const slot = message.term * 256 + node.id;
      const known = granted.get(slot);
      if (known === undefined) granted.set(slot, message.to);
      else if (known !== message.to) {
        throw new Violation("R10", `node ${node.id} granted term ${message.term} to ${known} and ${message.to}`);
      }
    },
  };
}
