/**
 * R16: a linearizable read's index is at least everything that was committed when the read began; and the leader that
 * gave it was confirmed by a quorum of answers to rounds it began after it got the read.
 */
import type { RequestKey } from "../../../shared/types/ids.js";
import { quorumSize } from "../../../shared/types/membership.js";
import { MessageType } from "../../../shared/types/message.js";
import { keyNumber } from "../machine.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

/** What one leader did in one term, as seen on the network. */
interface Leadership {
  readonly term: number;
  /** Highest round it sent. */
  sent: number;
  /** Highest round each peer answered, as delivered to it. */
  readonly answered: Map<number, number>;
  /** Highest round sent when it got each read, and its configuration then. */
  readonly asked: Map<number, { readonly round: number; readonly configChangeIndex: number }>;
}

export function readsAreFresh(world: World): Invariant {
  const leaderships = new Map<number, Leadership>();
  const current = (node: SimNode): Leadership => {
    const term = node.core?.term ?? 0;
    const known = leaderships.get(node.id);
    if (known?.term === term) return known;
    const fresh: Leadership = { term, sent: 0, answered: new Map(), asked: new Map() };
    leaderships.set(node.id, fresh);
    return fresh;
  };
  const asked = (node: SimNode, key: RequestKey): void => {
    if (node.core?.role !== "leader") return;
    const now = current(node);
    const { configChangeIndex } = node.core.membership;
    const number = keyNumber(key);
    if (!now.asked.has(number)) now.asked.set(number, { round: now.sent, configChangeIndex });
  };
  const mustBeConfirmed = (node: SimNode, key: RequestKey): void => {
    if (node.core?.role !== "leader") return;
    const { membership } = node.core;
    const now = current(node);
    const request = now.asked.get(keyNumber(key));
    if (request === undefined || request.configChangeIndex !== membership.configChangeIndex) return;
    let confirmed = 0;
    for (const id of [...membership.voters.keys(), ...membership.witnesses.keys()]) {
      if (id === node.id || (now.answered.get(id) ?? 0) > request.round) confirmed += 1;
    }
    if (confirmed < quorumSize(membership)) {
      throw new Violation("R16", `leader ${node.id} answers read ${key.sequence}, confirmed by ${confirmed} voters`);
    }
  };
  return {
    id: "R16",
    text: "ReadIndex ≥ every index committed before the read began, given by a confirmed leader",
    onRead: asked,
    onSend(node, message) {
      if (message.type === MessageType.Heartbeat) {
        const now = current(node);
        if (message.term === now.term && message.round > now.sent) now.sent = message.round;
      } else if (message.type === MessageType.ReadIndexResp && message.index > 0) {
        mustBeConfirmed(node, message.key);
      }
    },
    onDeliver(node, message) {
      if (message.type === MessageType.ReadIndex) asked(node, message.key);
      if (message.type !== MessageType.HeartbeatResp || message.term !== node.core?.term) return;
      const { answered } = current(node);
      if (message.round > (answered.get(message.from) ?? 0)) answered.set(message.from, message.round);
    },
    onReadState(node, read) {
      const floor = world.workload.readFloor.get(keyNumber(read.key));
      if (floor === undefined || read.key.replicaId !== node.id || read.key.incarnation !== node.incarnation) {
        throw new Violation("R16", `node ${node.id} got a read nobody asked for (sequence ${read.key.sequence})`);
      }
      if (read.index < floor) {
        throw new Violation("R16", `node ${node.id} may answer a read at ${read.index}, committed before it: ${floor}`);
      }
      if (read.index > world.ledger.commit) {
        throw new Violation("R16", `node ${node.id} got read index ${read.index}, committed is ${world.ledger.commit}`);
      }
      mustBeConfirmed(node, read.key);
    },
  };
}
