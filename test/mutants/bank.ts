/** The planted bugs. Each `find` must match exactly once in its file (bank.test.ts). */

import { BOOKS } from "./bank-books.js";
import { DISK } from "./bank-disk.js";
import { HISTORY } from "./bank-history.js";
import { IDENTITY } from "./bank-identity.js";
import { MEMORY } from "./bank-memory.js";
import { MIXED } from "./bank-mixed.js";
import { ORDERS } from "./bank-orders.js";
import { PROMOTION } from "./bank-promotion.js";
import { QUIESCE } from "./bank-quiesce.js";
import { REQUESTS } from "./bank-requests.js";
import { SESSION_MUTANTS } from "./bank-sessions.js";
import { STORAGE } from "./bank-storage.js";
import { TRANSFERS } from "./bank-transfers.js";
import { WAL } from "./bank-wal.js";
import { WITNESSES } from "./bank-witnesses.js";
import type { Mutant } from "./mutant.js";

const RAFT = "nodehost/raft";
const LOG = "nodehost/log";

/** The eight that every `npm test` must catch: the classic ways to lose data. */
const QUICK: readonly Mutant[] = [
  {
    id: "vote-not-persisted",
    file: `${RAFT}/election.ts`,
    find: "return s.durableTerm === s.term && s.durableVote === s.vote;",
    replace: "return s.vote !== 0;",
    invariant: "a vote is answered before it is durable (R9, R10, P07)",
    quick: true,
  },
  {
    id: "ack-before-persist",
    file: `${RAFT}/follower.ts`,
    find: "  const index = Math.min(s.log.durable, s.verified);\n",
    replace: "  const index = s.verified;\n",
    invariant: "entries are acknowledged before they are durable (R9, P08)",
    quick: true,
  },
  {
    id: "leader-counts-itself-early",
    file: `${RAFT}/replication.ts`,
    find: "scratch.push(id === s.id ? s.log.durable : (s.peers.get(id)?.match ?? 0));",
    replace: "scratch.push(id === s.id ? s.log.last : (s.peers.get(id)?.match ?? 0));",
    invariant: "a leader counts itself before its own write is durable (R5, P09)",
    quick: true,
  },
  {
    id: "commit-old-term",
    file: `${RAFT}/replication.ts`,
    find: "if (index >= s.termStart && s.log.commitTo(index)) s.replicateDue = true;",
    replace: "if (s.log.commitTo(index)) s.replicateDue = true;",
    invariant: "an entry of an older term is committed by counting (R5, P01, figure 8)",
    quick: true,
  },
  {
    id: "commit-past-verified",
    file: `${RAFT}/follower.ts`,
    find: "  log.commitEarlierConfigs();\n  log.commitTo(Math.min(m.commit, s.verified));",
    replace: "  log.commitEarlierConfigs();\n  log.commitTo(Math.min(m.commit, log.last));",
    invariant: "a follower commits its own unverified tail (R8, P02)",
    quick: true,
  },
  {
    id: "vote-without-log-check",
    file: `${RAFT}/election.ts`,
    find: "if (canVoteFor(s, m.from) && s.log.isUpToDate(m.lastIndex, m.lastTerm)) {",
    replace: "if (canVoteFor(s, m.from)) {",
    invariant: "votes go to candidates with shorter logs (R3)",
    quick: true,
  },
  {
    id: "weak-quorum",
    file: `${RAFT}/quorum.ts`,
    find: "return Math.floor(members / 2) + 1;",
    replace: "return Math.ceil(members / 2);",
    invariant: "half of an even number of voters is a quorum (R1, R5, P22)",
    quick: true,
  },
  {
    id: "learner-counted",
    file: `${RAFT}/membership.ts`,
    find: "s.voterIds = [...membership.voters.keys(), ...membership.witnesses.keys()];",
    replace: "s.voterIds = [...membership.voters.keys(), ...membership.nonVotings.keys()];",
    invariant: "non-voting members count for quorums (R5, R13, P22)",
    quick: true,
  },
];

const ELECTIONS: readonly Mutant[] = [
  {
    id: "double-vote",
    file: `${RAFT}/election.ts`,
    find: "return s.vote === candidate || (s.vote === 0 && s.leaderId === 0);",
    replace: "return s.vote !== s.id || candidate === s.id;",
    invariant: "two candidates get a vote in one term (R10, R1)",
    quick: false,
  },
  {
    id: "term-not-durable",
    file: `${RAFT}/send.ts`,
    find: "if (s.durableTerm === s.term || !claimsTerm(message)) s.out.messages.push(message);",
    replace: "if (s.durableTerm >= 0 || !claimsTerm(message)) s.out.messages.push(message);",
    invariant: "messages claim a term that a crash could undo (R9, P07)",
    quick: false,
  },
  {
    id: "owed-vote-survives-term",
    file: `${RAFT}/roles.ts`,
    find: "  s.owedVote = 0;\n  s.verified = 0;",
    replace: "  s.verified = 0;",
    invariant: "a vote owed in an old term is paid in a new one (R9, R10)",
    quick: false,
  },
  {
    id: "campaign-with-change-unapplied",
    file: `${RAFT}/roles.ts`,
    find: "return config === undefined || config > s.log.commit;",
    replace: "return config === undefined || config >= 0;",
    invariant: "a campaign by an old idea of the quorum (R13, P13)",
    quick: false,
  },
  {
    id: "learner-campaigns",
    file: `${RAFT}/roles.ts`,
    find: "if (!s.isVoter || s.config.witness",
    replace: "if (s.config.witness",
    invariant: "a non-voting member that is told to campaign does (R13)",
    quick: false,
  },
  {
    id: "campaign-while-restoring",
    file: `${RAFT}/roles.ts`,
    find: " || s.restoring !== undefined",
    replace: "",
    invariant: "a campaign between a log reset and the restore of its snapshot (R13)",
    quick: false,
  },
  {
    id: "vote-survives-term",
    file: `${RAFT}/roles.ts`,
    find: "if (term > s.term) setTerm(s, term, 0);",
    replace: "if (term > s.term) setTerm(s, term, s.vote);",
    invariant: "a replica is bound by its vote of an old term (L1, R9)",
    quick: false,
  },
  {
    id: "removed-leader-stays",
    file: `${RAFT}/membership.ts`,
    find: 'if (!s.isVoter && s.role !== "follower") becomeFollower(s, s.term, 0);',
    replace: "",
    invariant: "a leader that applied its own removal goes on leading (R13, P14)",
    quick: false,
  },
];

const LOGS: readonly Mutant[] = [
  {
    id: "ack-unverified-tail",
    file: `${RAFT}/follower.ts`,
    find: "  const index = Math.min(s.log.durable, s.verified);\n",
    replace: "  const index = s.log.durable;\n",
    invariant: "a follower acknowledges a tail that its leader never had (R9)",
    quick: false,
  },
  {
    id: "verified-survives-term",
    file: `${RAFT}/roles.ts`,
    find: "  s.verified = 0;\n",
    replace: "",
    invariant: "what matched an old leader is taken to match the new one (R8, P02)",
    quick: false,
  },
  {
    id: "no-previous-check",
    file: `${RAFT}/follower.ts`,
    find: "(m.prevIndex >= log.commit && s.termAt(m.prevIndex) !== m.prevTerm)",
    replace: "(m.prevIndex >= log.commit && s.termAt(m.prevIndex) === undefined)",
    invariant: "entries are appended after another entry than the leader's (R2)",
    quick: false,
  },
  {
    id: "no-truncation",
    file: `${LOG}/raft-log.ts`,
    find: "      if (block.term !== term) return Math.max(from, block.first);\n",
    replace: "",
    invariant: "conflicting entries stay (R4, R9)",
    quick: false,
  },
  {
    id: "late-write-counts",
    file: `${LOG}/raft-log.ts`,
    find: "    this.#pending.lowerTo(index - 1);\n",
    replace: "",
    invariant: "a write of overwritten entries counts for the new ones (R9, P10)",
    quick: false,
  },
  {
    id: "durable-survives-truncation",
    file: `${LOG}/raft-log.ts`,
    find: "    this.#durable = Math.min(this.#durable, index - 1);\n",
    replace: "",
    invariant: "the durable index still counts removed entries (R9)",
    quick: false,
  },
  {
    id: "apply-before-durable",
    file: `${LOG}/raft-log.ts`,
    find: "    const end = Math.min(this.#commit, this.#durable);\n    const blocks",
    replace: "    const end = this.#commit;\n    const blocks",
    invariant: "committed entries are applied before they are durable here (R7)",
    quick: false,
  },
  {
    id: "reset-claims-too-early",
    file: `${LOG}/raft-log.ts`,
    find: "    const kept = Math.min(this.#durable, this.#commit);\n",
    replace: "    const kept = index;\n",
    invariant: "an installed snapshot is acknowledged before its record is durable (R9, P30)",
    quick: false,
  },
  {
    id: "apply-before-restore",
    file: `${RAFT}/output.ts`,
    find: "return s.restoring === undefined && s.log.hasCommitted;",
    replace: "return s.log.hasCommitted;",
    invariant: "entries after an installed snapshot are applied before it is restored (R7, P30)",
    quick: false,
  },
  {
    id: "restore-before-durable",
    file: `${RAFT}/durability.ts`,
    find: "if (restoring !== undefined && restoring.index === write.snapshotIndex) s.out.restore = restoring;",
    replace: "if (restoring !== undefined) s.out.restore = restoring;",
    invariant: "a snapshot is restored before its record is durable (R7, P30)",
    quick: false,
  },
  {
    id: "old-snapshot-installed",
    file: `${RAFT}/follower.ts`,
    find: "if (meta.index <= log.commit || meta.membership.lineage < s.membership.lineage) return;",
    replace: "if (meta.membership.lineage < s.membership.lineage) return;",
    invariant: "a late snapshot replaces newer state (P32)",
    quick: false,
  },
  {
    id: "applied-twice",
    file: `${LOG}/raft-log.ts`,
    find: "    this.#delivered = this.sliceInto(blocks, this.#delivered + 1, end, maxBytes);\n",
    replace: "    this.#delivered = this.sliceInto(blocks, this.#delivered + 1, end, maxBytes) - 1;\n",
    invariant: "the last entry of each output is handed out again (R4)",
    quick: false,
  },
  {
    id: "last-change-taken-as-committed",
    file: `${LOG}/raft-log.ts`,
    find: "const earlier = this.#configs.at(-2);",
    replace: "const earlier = this.#configs.at(-1);",
    invariant: "the newest config change is taken as committed (R5, R4)",
    quick: false,
  },
];

const LEADERS: readonly Mutant[] = [
  {
    id: "heartbeat-tells-too-much",
    file: `${RAFT}/readindex.ts`,
    find: "const commit = Math.min(peer.match, s.log.commit);",
    replace: "const commit = s.log.commit;",
    invariant: "a heartbeat carries a commit index above the peer's match (R14, P02)",
    quick: false,
  },
  {
    id: "window-never-drains",
    file: `${RAFT}/progress.ts`,
    find: "    this.inflight.freeTo(index);\n",
    replace: "",
    invariant: "acknowledged messages stay in the window: replication stops (L1, P42)",
    quick: false,
  },
  {
    id: "probe-never-resumes",
    file: `${RAFT}/replication.ts`,
    find: "  peer.paused = false;\n  peer.fetching = false;\n",
    replace: "",
    invariant: "a lost probe stops replication to that peer (L1)",
    quick: false,
  },
  {
    id: "failed-snapshot-not-repeated",
    file: `${RAFT}/snapshots.ts`,
    find: "  if (!ok) peer.snapshotNotBeforeMs = s.nowMs + s.config.electionTimeoutMs;\n",
    replace: "  if (!ok) peer.snapshotNotBeforeMs = Number.POSITIVE_INFINITY;\n",
    invariant: "a snapshot that failed once is never sent again (L1)",
    quick: false,
  },
  {
    id: "empty-probe-skipped",
    file: `${RAFT}/replication.ts`,
    find: "  if (prevTerm === undefined) requestSnapshot(s, peer);\n  else sendBlocks(s, peer, prevTerm, []);",
    replace: "  if (prevTerm !== undefined) sendBlocks(s, peer, prevTerm, []);",
    invariant: "a peer whose window is full of lost answers waits for ever once the log is compacted (L1)",
    quick: false,
  },
  {
    id: "older-terms-obeyed",
    file: `${RAFT}/dispatch.ts`,
    find: "    answerLowerTerm(s, m);\n    return false;",
    replace: "    answerLowerTerm(s, m);\n    return true;",
    invariant: "messages of older terms are handled",
    quick: false,
  },
];

export const MUTANTS: readonly Mutant[] = [
  ...QUICK,
  ...ELECTIONS,
  ...LOGS,
  ...LEADERS,
  ...REQUESTS,
  ...TRANSFERS,
  ...HISTORY,
  ...ORDERS,
  ...PROMOTION,
  ...MEMORY,
  ...MIXED,
  ...BOOKS,
  ...SESSION_MUTANTS,
  ...DISK,
  ...QUIESCE,
  ...STORAGE,
  ...WITNESSES,
  ...WAL,
  ...IDENTITY,
];
