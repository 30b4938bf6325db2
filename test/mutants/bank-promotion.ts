/** Planted bugs of promotion: who becomes a voter, and when. */
import type { Mutant } from "./mutant.js";

const RAFT = "nodehost/raft";

export const PROMOTION: readonly Mutant[] = [
  {
    id: "promotion-ignores-lag",
    file: `${RAFT}/promotion.ts`,
    find: "const good = tookMs <= s.config.electionTimeoutMs && s.log.last - peer.match <= maxLagEntries;",
    replace: "const good = tookMs <= s.config.electionTimeoutMs || maxLagEntries < 0;",
    invariant: "a member that falls behind all the time is promoted by policy (R22, P21)",
    quick: false,
  },
  {
    id: "promotion-after-one-round",
    file: `${RAFT}/promotion.ts`,
    find: "  if (promotion.goodRounds >= rounds) append(",
    replace: "  if (promotion.goodRounds >= Math.min(1, rounds)) append(",
    invariant: "one good round is enough (R22)",
    quick: false,
  },
  {
    id: "promotion-never-given-up",
    file: `${RAFT}/promotion.ts`,
    find: "if (promotion.gaveUp || promotion.appendedAt !== 0 || s.nowMs < promotion.deadlineMs) continue;",
    replace: "if (s.nowMs >= 0) continue;",
    invariant: "the promotion of a member that never catches up goes on for ever (R22)",
    quick: false,
  },
  {
    id: "promotion-survives-leadership",
    file: `${RAFT}/roles.ts`,
    find: "  abandonPromotions(s);\n",
    replace: "",
    invariant: "who no longer leads goes on promoting (R22)",
    quick: false,
  },
  {
    id: "laggard-promoted-by-request",
    file: `${RAFT}/promotion.ts`,
    find: "  return s.log.last - peer.match > s.config.promotionLagEntriesMax;",
    replace: "  return false;",
    invariant: "a request makes a voter of a member that lags (R22, P21)",
    quick: false,
  },
  {
    id: "unheard-promoted-by-request",
    file: `${RAFT}/promotion.ts`,
    find: "  if (peer === undefined || peer.match === 0) return true;\n",
    replace: "  if (peer === undefined) return true;\n",
    invariant: "a request makes a voter of a member that never answered this leader (R22, P21)",
    quick: false,
  },
];
