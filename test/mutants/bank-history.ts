/** Bugs that were really there once, planted again. Part of the bank (bank.ts). */
import type { Mutant } from "./mutant.js";

const RAFT = "nodehost/raft";

export const HISTORY: readonly Mutant[] = [
  {
    id: "lower-vote-not-answered",
    file: `${RAFT}/dispatch.ts`,
    find: "  else if (m.type === MessageType.Vote) refuseVote(s, m.from);\n",
    replace: "",
    invariant: "two candidates whose terms run apart never meet (L1, P16)",
    quick: false,
    tests: ["nodehost/raft/election.test.ts"],
  },
  {
    id: "lower-refusal-ignored",
    file: `${RAFT}/dispatch.ts`,
    find: "m.type === MessageType.ProposeDropped || m.type === MessageType.ProposeRefused) handleProposeDropped(s, m);",
    replace: "m.type === MessageType.Superseded) handleProposeDropped(s, m);",
    invariant: "a replica that campaigns already never hears that its proposals were refused (P19)",
    quick: false,
    tests: ["nodehost/raft/transfer.test.ts"],
  },
];
