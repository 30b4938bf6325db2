/** Planted bugs of leader transfer. Part of the bank (bank.ts). */
import type { Mutant } from "./mutant.js";

const RAFT = "nodehost/raft";

export const TRANSFERS: readonly Mutant[] = [
  {
    id: "transfer-before-caught-up",
    file: `${RAFT}/transfer.ts`,
    find: "return s.log.pendingConfigs.length === 0 && s.peers.get(transfer.target)?.match === s.log.last;",
    replace: "return s.log.pendingConfigs.length === 0 && s.peers.get(transfer.target)?.match !== 0;",
    invariant: "a target that lacks entries is told to campaign (R19, P19)",
    quick: true,
  },
  {
    id: "transfer-with-change-unapplied",
    file: `${RAFT}/transfer.ts`,
    find: "return s.log.pendingConfigs.length === 0 && s.peers.get(transfer.target)?.match === s.log.last;",
    replace: "return s.peers.get(transfer.target)?.match === s.log.last;",
    invariant: "leadership moves while a membership change is not applied (R19, P19)",
    quick: false,
  },
  {
    id: "transfer-to-learner",
    file: `${RAFT}/transfer.ts`,
    find: "if (target === s.id || !s.membership.voters.has(target)) return",
    replace: "if (target === s.id || !s.peers.has(target)) return",
    invariant: "a non-voting member is taken as target (R19, P19)",
    quick: false,
  },
  {
    id: "transfer-never-aborted",
    file: `${RAFT}/transfer.ts`,
    find: 'if (s.transfer !== undefined && s.nowMs >= s.transfer.deadlineMs) abort(s, "timeout");',
    replace: "if (s.transfer !== undefined && s.nowMs >= s.transfer.deadlineMs) return;",
    invariant: "a transfer to a dead target keeps proposals away for ever (R19, P19)",
    quick: false,
  },
  {
    id: "transfer-survives-removal",
    file: `${RAFT}/membership.ts`,
    find: "    recheckTarget(s);\n",
    replace: "",
    invariant: "a target removed meanwhile is waited for (R19, P19)",
    quick: false,
  },
  {
    id: "proposals-during-transfer",
    file: `${RAFT}/proposals.ts`,
    find: '  if (isTransferring(s)) return "transferring";\n',
    replace: "",
    invariant: "a leader that hands over goes on appending: a busy target never catches up (R19)",
    quick: false,
  },
  {
    id: "transfer-vote-without-log-check",
    file: `${RAFT}/election.ts`,
    find: "if (canVoteFor(s, m.from) && s.log.isUpToDate(m.lastIndex, m.lastTerm)) {",
    replace: "if (canVoteFor(s, m.from) && (m.transfer || s.log.isUpToDate(m.lastIndex, m.lastTerm))) {",
    invariant: "a campaign asked for by a leader needs no complete log (R3)",
    quick: false,
  },
  {
    id: "transfer-end-not-reported",
    file: `${RAFT}/roles.ts`,
    find: "  if (leaderId !== 0) leaderKnown(s);\n",
    replace: "",
    invariant: "who asked for a transfer that succeeded never hears of it (R19)",
    quick: false,
  },
  {
    id: "late-copy-refused",
    file: `${RAFT}/roles.ts`,
    find: "  s.ledBefore = { term: s.term, seen: s.forwardedSeen };\n",
    replace: "  s.ledBefore = { term: s.term, seen: new Map() };\n",
    invariant: "a deposed leader reports as dropped what it had appended (ORACLE)",
    quick: false,
  },
  {
    id: "late-request-not-withdrawn",
    file: `${RAFT}/transfer.ts`,
    find: "  withdraw(s);\n  end(s",
    replace: "  end(s",
    invariant: "a target is told to campaign after its leader gave the transfer up and went on (R19)",
    quick: false,
    tests: ["nodehost/raft/transfer.test.ts"],
  },
];
