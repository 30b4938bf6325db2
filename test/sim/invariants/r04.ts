/**
 * R4: all replicas apply the same sequence; what one holds as committed is what was committed. A machine on disk was
 * given each entry for it once, whatever it held when it was opened or recovered. Witnesses have no state to compare:
 * R2, R17 and R20 look at them.
 */
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

/** What a machine on disk holds is what any machine holds that was given the same last entry. */
function machineIsRight(node: SimNode): void {
  const { machine, world } = node;
  if (machine === undefined) return;
  const { index, digest } = machine.content;
  if (index === 0) return;
  const { digests } = world.ledger;
  const known = digests.get(index);
  if (known === undefined) digests.set(index, digest);
  else if (known !== digest) throw new Violation("R4", `node ${node.id}: its machine is wrong at ${index}`);
}

export function stateMachineSafety(world: World): Invariant {
  const { ledger } = world;
  return {
    id: "R4",
    text: "applied sequences are identical (hash per index)",
    afterOutput(node) {
      const commit = node.core?.commit ?? 0;
      const here = node.view.term(commit);
      if (here !== undefined && commit >= node.view.first && here !== ledger.terms[commit]) {
        throw new Violation(
          "R4",
          `node ${node.id} holds ${commit}@${here} as committed, it is of term ${ledger.terms[commit]}`,
        );
      }
    },
    onStart(node) {
      const { applied, hash } = node.applier;
      if (!node.witness && hash !== ledger.hashes[applied])
        throw new Violation("R4", `node ${node.id} starts with another state at ${applied}`);
    },
    onApply(node, index) {
      const { hash } = node.applier;
      if (index > ledger.commit)
        throw new Violation("R4", `node ${node.id} applies ${index}, committed is ${ledger.commit}`);
      if (node.witness) return;
      const known = ledger.hashes[index];
      if (known === undefined) {
        ledger.hashes[index] = hash;
        ledger.updates[index] = node.applier.updates;
      } else if (known !== hash) throw new Violation("R4", `node ${node.id} applied something else at ${index}`);
      machineIsRight(node);
    },
    onRestore(node, meta, state) {
      const isSame = node.witness ? meta.term === ledger.terms[meta.index] : state.hash === ledger.hashes[meta.index];
      if (state.applied !== meta.index || !isSame) {
        throw new Violation("R4", `node ${node.id} restores snapshot ${meta.index} with another state`);
      }
      if (meta.index < node.applier.applied) {
        throw new Violation("R4", `node ${node.id} restores ${meta.index} over applied ${node.applier.applied}`);
      }
    },
  };
}
