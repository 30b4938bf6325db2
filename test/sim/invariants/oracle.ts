/**
 * The oracle: the committed log is the witness of what clients were told. A request appears in it at most once, only
 * if somebody asked, never if its owner was told it was dropped; an answer names the place it really has.
 */
import { keyNumber } from "../machine.js";
import { type Invariant, Violation, type World } from "../model.js";

export function oracle(world: World): Invariant {
  const { ledger } = world;
  const dropped = new Set<number>();
  return {
    id: "ORACLE",
    text: "requests take effect at most once, and as answered",
    onApply(node, index, entry) {
      if (entry.keyNumber === 0) return;
      const known = ledger.keyIndex.get(entry.keyNumber);
      if (known === index) return;
      const who = `request ${entry.key.replicaId}/${entry.key.incarnation}/${entry.key.sequence}`;
      if (known !== undefined) throw new Violation("ORACLE", `${who} is at ${known} and again at ${index}`);
      if (dropped.has(entry.keyNumber)) throw new Violation("ORACLE", `${who} at ${index} was reported as dropped`);
      if (world.node(entry.key.replicaId)?.desk.issued(entry.key) !== true) {
        throw new Violation("ORACLE", `${who} at ${index} was never made (applied by node ${node.id})`);
      }
      ledger.keyIndex.set(entry.keyNumber, index);
    },
    onAnswer(node, key, index) {
      if (ledger.keyIndex.get(keyNumber(key)) !== index) {
        throw new Violation("ORACLE", `node ${node.id} answers ${key.sequence} at ${index}, it is elsewhere`);
      }
    },
    onDropped(node, report) {
      if (report.kind !== "propose") return;
      const first = keyNumber(report.firstKey);
      for (let i = 0; i < report.count; i++) {
        dropped.add(first + i);
        if (ledger.keyIndex.has(first + i)) {
          const sequence = report.firstKey.sequence + i;
          throw new Violation(
            "ORACLE",
            `node ${node.id} reports ${sequence} dropped (${report.reason}), it is committed`,
          );
        }
      }
    },
  };
}
