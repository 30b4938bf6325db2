/** R14: a leader's idea of a follower: match is durable there, never goes back, is below next. Looked at at times. */
import { MessageType } from "../../../shared/types/message.js";
import { type Invariant, Violation, type World } from "../model.js";

const EVERY = 8;

export function progressIsTrue(world: World): Invariant {
  let count = 0;
  /** Highest match seen, by leader's term and peer. */
  const matches = new Map<number, number>();
  return {
    id: "R14",
    text: "match ≤ durable of that peer, match < next",
    onSend(node, message) {
      if (message.type !== MessageType.Replicate && message.type !== MessageType.Heartbeat) return;
      const acked = world.node(message.to)?.disk.log;
      if (message.type === MessageType.Heartbeat && acked !== undefined) {
        const term = world.node(message.to)?.disk.hardState.term ?? 0;
        if (term <= message.term && message.commit > acked.last) {
          throw new Violation(
            "R14",
            `node ${node.id} tells ${message.to} commit ${message.commit}, durable there ${acked.last}`,
          );
        }
      }
      count += 1;
      if (count % EVERY !== 0 || node.core?.role !== "leader") return;
      const { peers, term } = node.core.status();
      for (const peer of peers) {
        const disk = world.node(peer.replicaId)?.disk;
        if (peer.replicaId === node.id) continue;
        const durable = disk?.log.last ?? 0;
        const slot = term * 256 + peer.replicaId;
        if (peer.match < (matches.get(slot) ?? 0)) {
          throw new Violation("R14", `leader ${node.id} takes match of ${peer.replicaId} back to ${peer.match}`);
        }
        matches.set(slot, peer.match);
        if (peer.match >= peer.next || (peer.match > durable && (disk?.hardState.term ?? 0) <= term)) {
          const text = `match ${peer.match} next ${peer.next}, durable ${durable}`;
          throw new Violation("R14", `leader ${node.id} believes of ${peer.replicaId}: ${text}`);
        }
      }
    },
  };
}
