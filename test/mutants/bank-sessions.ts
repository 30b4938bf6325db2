/** Planted bugs of the client sessions; part of the bank. */
import type { Mutant } from "./mutant.js";

const SESSIONS = "nodehost/rsm/sessions.ts";

export const SESSION_MUTANTS: readonly Mutant[] = [
  {
    id: "session-repeat-applied",
    file: SESSIONS,
    find: "if (!session.results.has(seriesId)) return APPLY;",
    replace: "if (session.clientId !== undefined) return APPLY;",
    invariant: "a retried proposal applies again (R15)",
    quick: true,
  },
  {
    id: "session-results-not-saved",
    file: SESSIONS,
    find: "u32(results.size);\n      for (const [series, result] of results) writeResult(",
    replace: "u32(0);\n      for (const [series, result] of [...results].slice(0, 0)) writeResult(",
    invariant: "a snapshot forgets the answers: a retry after a restore applies again (R15, P36)",
    quick: true,
  },
  {
    id: "session-order-not-saved",
    file: SESSIONS,
    find: "{ clientId, registeredAt, respondedTo, results } of this.#sessions.values()) {",
    replace:
      "{ clientId, registeredAt, respondedTo, results } of [...this.#sessions.values()].sort((a, b) => " +
      "(a.clientId < b.clientId ? -1 : 1))) {",
    invariant: "a snapshot forgets the order of use: replicas evict different sessions (R15, P37)",
    quick: false,
  },
  {
    id: "session-newest-evicted",
    file: SESSIONS,
    find: "for (const session of this.#sessions.values()) {\n      if (this",
    replace: "for (const session of [...this.#sessions.values()].reverse()) {\n      if (this",
    invariant: "the session used last is evicted (R15, P37)",
    quick: false,
  },
  {
    id: "session-use-not-noted",
    file: SESSIONS,
    find: "    this.#touch(session);\n    this.#respond(session, respondedTo);\n",
    replace: "    this.#respond(session, respondedTo);\n",
    invariant: "sessions are evicted by age, however much they are used (R15)",
    quick: false,
  },
  {
    id: "session-forgets-unseen-answer",
    file: SESSIONS,
    find: "if (known > series) continue;",
    replace: "if (known > series + 1) continue;",
    invariant: "the answer after the last one seen is cleared: its retry applies again (R15)",
    quick: false,
  },
  {
    id: "session-keeps-seen-answer",
    file: SESSIONS,
    find: "if (known > series) continue;",
    replace: "if (known >= series) continue;",
    invariant: "answers that were seen stay for ever (R15)",
    quick: false,
  },
  {
    id: "session-answered-series-applied",
    file: SESSIONS,
    find: 'if (seriesId <= session.respondedTo) return refused("DL_ERR_SESSION_STALE");',
    replace: "",
    invariant: "a late copy of an answered proposal applies again (R15)",
    quick: false,
  },
  {
    id: "session-register-again-resets",
    file: SESSIONS,
    find: "    let session = this.#sessions.get(clientId);\n    if (session === undefined) {",
    replace: "    let session;\n    if (session === undefined) {",
    invariant: "a repeated registration forgets what the session did (R15)",
    quick: false,
  },
  {
    id: "session-late-register-reopens",
    file: SESSIONS,
    find: "respondedTo: index, results",
    replace: "respondedTo: 0, results",
    invariant: "a registration delivered after the eviction lets old series apply again (R15)",
    quick: false,
  },
];
