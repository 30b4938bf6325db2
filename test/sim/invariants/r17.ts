/** R17: memberships are equal at equal config change index, and the core uses the applied one. */
import { membershipText } from "../machine.js";
import { type Invariant, Violation, type World } from "../model.js";

export function membershipAgrees(world: World): Invariant {
  const { membershipAt } = world.ledger;
  return {
    id: "R17",
    text: "same membership at same config change index, used by the core",
    onChange(node) {
      const { membership } = node;
      const text = membershipText(membership);
      const known = membershipAt.get(membership.configChangeIndex);
      if (membership.configChangeIndex < world.bootstrapBlock.last) return;
      if (known === undefined) membershipAt.set(membership.configChangeIndex, text);
      else if (known !== text) throw new Violation("R17", `node ${node.id} has membership ${text}, others ${known}`);
    },
    afterOutput(node) {
      const { core, applier } = node;
      if (core === undefined || applier.restoring) return;
      if (core.membership.configChangeIndex !== applier.membership.configChangeIndex) {
        const uses = core.membership.configChangeIndex;
        throw new Violation(
          "R17",
          `node ${node.id} uses membership ${uses}, applied is ${applier.membership.configChangeIndex}`,
        );
      }
    },
  };
}
