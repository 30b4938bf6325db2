/** R9: what a message claims is durable when it is sent: own vote, granted vote, acknowledged entries, led term. */
import { MessageType, type ReplicateRespMessage } from "../../../shared/types/message.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

export function claimsAreDurable(world: World): Invariant {
  const ackIsTrue = (node: SimNode, message: ReplicateRespMessage): void => {
    const { log, hardState } = node.disk;
    if (message.rejected || hardState.term > message.term) return;
    const here = log.term(message.index);
    if (message.index > log.last) {
      throw new Violation("R9", `node ${node.id} acknowledges ${message.index}, durable are ${log.last}`);
    }
    const leader = world.node(message.to);
    if (here === undefined || leader?.core?.role !== "leader" || leader.core.term !== message.term || leader.behind)
      return;
    if (message.index > leader.view.last) {
      throw new Violation(
        "R9",
        `node ${node.id} acknowledges ${message.index}, the leader's log ends at ${leader.view.last}`,
      );
    }
    const there = leader.view.term(message.index);
    if (there !== undefined && there !== here) {
      throw new Violation("R9", `node ${node.id} acknowledges ${message.index}@${here}, the leader has term ${there}`);
    }
  };
  return {
    id: "R9",
    text: "an acknowledging message's claims are durable",
    onSend(node, message) {
      const { disk } = node;
      switch (message.type) {
        case MessageType.Vote:
        case MessageType.Replicate:
        case MessageType.Heartbeat:
          if (disk.votes.get(message.term) !== node.id) {
            throw new Violation(
              "R9",
              `node ${node.id} campaigns or leads in term ${message.term}, its own vote is not durable`,
            );
          }
          break;
        case MessageType.VoteResp:
          if (message.granted && disk.votes.get(message.term) !== message.to) {
            throw new Violation(
              "R9",
              `node ${node.id} grants term ${message.term} to ${message.to}, which is not durable`,
            );
          }
          break;
        case MessageType.ReplicateResp:
          ackIsTrue(node, message);
          break;
        default:
      }
    },
  };
}
