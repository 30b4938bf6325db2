/**
 * Planted bugs against the order rules of ARCHITECTURE.md that no other part of the bank breaks: what waits for what
 * in the engine's turn. Part of the bank (bank.ts).
 */
import type { Mutant } from "./mutant.js";

const ENGINE = "nodehost/engine";

export const ORDERS: readonly Mutant[] = [
  {
    id: "durable-told-at-once",
    file: `${ENGINE}/wal-queue.ts`,
    find: "    const asked = [{ durable, options }];\n",
    replace: "    durable();\n    const asked = [{ durable: () => {}, options }];\n",
    invariant: "the core is told that an update is durable when it is queued (R9, P08)",
    quick: true,
  },
  {
    id: "turn-starts-no-append",
    file: `${ENGINE}/turn.ts`,
    find: "  context.wal.start();\n",
    replace: "",
    invariant: "a turn queues updates and begins no append: nothing is ever durable",
    quick: false,
  },
];
