/** Planted bugs in reads, forwarded proposals and membership changes of the Raft core. */
import type { Mutant } from "./mutant.js";

const RAFT = "nodehost/raft";

export const REQUESTS: readonly Mutant[] = [
  {
    id: "read-before-own-commit",
    file: `${RAFT}/readindex.ts`,
    find: "    s.log.commit >= s.termStart &&\n",
    replace: "",
    invariant: "a new leader answers reads before it committed in its term (R16, P03)",
    quick: false,
  },
  {
    id: "read-unconfirmed",
    file: `${RAFT}/readindex.ts`,
    find: "const confirmed = quorumValue(scratch);",
    replace: "const confirmed = Number.MAX_SAFE_INTEGER;",
    invariant: "reads are answered without confirming leadership (R16)",
    quick: false,
  },
  {
    id: "read-confirmed-by-old-answer",
    file: `${RAFT}/replication.ts`,
    find: "    peer.confirmedRound = m.round;\n",
    replace: "    peer.confirmedRound = s.reads.lastRound;\n",
    invariant: "an answer to an old round confirms the newest one (R16, P04)",
    quick: false,
  },
  {
    id: "duplicate-appended",
    file: `${RAFT}/proposals.ts`,
    find: "    if (repeated) {",
    replace: "    if (repeated && m.body.count === 0) {",
    invariant: "a duplicated forwarded proposal is appended twice (ORACLE)",
    quick: false,
  },
  {
    id: "refused-and-appended",
    file: `${RAFT}/proposals.ts`,
    find: "  if (refusal !== undefined) refuse(s, m, refusal);\n",
    replace: '  refuse(s, m, refusal ?? "busy");\n',
    invariant: "a forwarded proposal is appended and reported as dropped (ORACLE)",
    quick: false,
  },
  {
    id: "two-changes-in-flight",
    file: `${RAFT}/proposals.ts`,
    find: "s.log.pendingConfigs.length === 0 && s.log.commit >= s.termStart",
    replace: "s.log.commit >= s.termStart",
    invariant: "a membership change starts while another is not applied (R12, P11)",
    quick: false,
  },
  {
    id: "change-before-own-commit",
    file: `${RAFT}/proposals.ts`,
    find: "s.log.pendingConfigs.length === 0 && s.log.commit >= s.termStart",
    replace: "s.log.pendingConfigs.length === 0",
    invariant: "a new leader starts a membership change before it committed in its term (R12, P12)",
    quick: false,
  },
  {
    id: "snapshot-membership-ignored",
    file: `${RAFT}/membership.ts`,
    find: "  setMembership(s, meta.membership);\n",
    replace: "",
    invariant: "the membership of an installed snapshot is not taken over (R17, P33)",
    quick: false,
  },
];
