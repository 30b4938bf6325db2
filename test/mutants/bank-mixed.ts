/** Planted bugs that only members with different settings, or leaders without check-quorum, show. */
import type { Mutant } from "./mutant.js";

const RAFT = "nodehost/raft";
const TESTS = ["nodehost/raft/mixed.test.ts"];

export const MIXED: readonly Mutant[] = [
  {
    id: "cut-off-leader-is-heard",
    file: `${RAFT}/timers.ts`,
    find: "const intervalMs = s.cutOff ? CUT_OFF_TIMEOUTS * s.config.electionTimeoutMs : s.config.heartbeatIntervalMs;",
    replace: "const intervalMs = s.config.heartbeatIntervalMs;",
    invariant: "a leader that lost its quorum holds back who could elect another (P17)",
    quick: false,
    tests: TESTS,
  },
  {
    id: "cut-off-leader-feeds",
    file: `${RAFT}/replication.ts`,
    find: "  if (s.cutOff) return;\n",
    replace: "",
    invariant: "a leader that lost its quorum and is written to holds back who could elect another (P17)",
    quick: false,
    tests: TESTS,
  },
];
