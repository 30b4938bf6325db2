/**
 * R22: a leader makes a voter of a non-voting member only if that one holds the leader's log up to the configured lag:
 * by its own policy, after as many answers of it as rounds are asked for, in time; by request under the general bound.
 * Nobody but a leader promotes.
 */
import type { ReplicaId, Term } from "../../../shared/types/ids.js";
import { MessageType } from "../../../shared/types/message.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";
import { policyOf } from "../options-protocol.js";

interface Heard {
  readonly term: Term;
  /** Answers of each member in this term. */
  readonly answers: Map<ReplicaId, number>;
}

export function promotionsAreEarned(world: World): Invariant {
  const { promotionLagEntriesMax } = world.options;
  const policy = policyOf(world.options);
  const heard = new Map<ReplicaId, Heard>();
  const answersOf = (node: SimNode): Map<ReplicaId, number> => {
    const term = node.core?.term ?? 0;
    let known = heard.get(node.id);
    if (known?.term !== term) {
      known = { term, answers: new Map() };
      heard.set(node.id, known);
    }
    return known.answers;
  };
  const mustBeEarned = (node: SimNode, id: ReplicaId, at: { index: number; byPolicy: boolean }): void => {
    const { index, byPolicy } = at;
    const lag = index - 1 - (world.node(id)?.disk.log.last ?? 0);
    const most = byPolicy ? (policy?.maxLagEntries ?? -1) : promotionLagEntriesMax;
    const what = `leader ${node.id} promotes ${id} at ${index}`;
    if (lag > most) throw new Violation("R22", `${what}, which lags ${lag} entries, at most ${most}`);
    const answers = answersOf(node).get(id) ?? 0;
    const least = byPolicy ? (policy?.rounds ?? 0) : 1;
    if (answers < least) throw new Violation("R22", `${what} after ${answers} answers, at least ${least}`);
  };
  return {
    id: "R22",
    text: "only a caught-up non-voting member becomes a voter, by the leader's policy or by request",
    onStart(node) {
      heard.delete(node.id);
    },
    onDeliver(node, message) {
      if (message.type !== MessageType.HeartbeatResp && message.type !== MessageType.ReplicateResp) return;
      if (node.core?.role !== "leader" || message.term !== node.core.term) return;
      const answers = answersOf(node);
      answers.set(message.from, (answers.get(message.from) ?? 0) + 1);
    },
    beforeAppend(node, update) {
      const { core } = node;
      if (core?.role !== "leader") return;
      for (const block of update.blocks) {
        if (!block.hasConfigChange || block.term !== core.term) continue;
        const entries = world.decoder.decode(block);
        for (let index = block.first; index <= block.last; index++) {
          const entry = entries[index - block.baseIndex];
          const { change } = entry ?? {};
          if (change?.kind !== "addVoter" || !core.membership.nonVotings.has(change.replicaId)) continue;
          mustBeEarned(node, change.replicaId, { index, byPolicy: entry?.key.replicaId === 0 });
        }
      }
    },
    afterTick(node) {
      const { core } = node;
      if (policy === undefined || core === undefined) return;
      const { promotions } = core.status();
      if (core.role !== "leader" && promotions.length > 0) {
        throw new Violation("R22", `node ${node.id} (${core.role}) goes on promoting ${promotions[0]?.replicaId}`);
      }
      const late = promotions.find((p) => p.state === "catchingUp" && node.clock() >= p.deadlineMs);
      if (late === undefined) return;
      throw new Violation("R22", `leader ${node.id} goes on promoting ${late.replicaId} after its time`);
    },
  };
}
