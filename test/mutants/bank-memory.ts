/** Planted bugs of the bound on entries in memory. */
import type { Mutant } from "./mutant.js";

const FILE = "nodehost/raft/memory-limit.ts";

export const MEMORY: readonly Mutant[] = [
  {
    id: "memory-bound-ignored",
    file: FILE,
    find: "  let bytes = s.log.busyBytes;\n",
    replace: "  let bytes = 0;\n",
    invariant: "a leader appends whatever its own memory (R23)",
    quick: false,
  },
  {
    id: "memory-report-ignored",
    file: FILE,
    find: "  peer.memoryBytes = m.bytes;\n",
    replace: "  peer.memoryBytes = Math.min(0, m.bytes);\n",
    invariant: "a leader appends whatever the memory of its voters (R23)",
    quick: false,
  },
  {
    id: "memory-report-never-expires",
    file: FILE,
    find: "if (s.nowMs - peer.memoryReportedMs <= s.config.electionTimeoutMs) bytes",
    replace: "if (s.nowMs >= peer.memoryReportedMs) bytes",
    invariant: "a voter that fell silent with a full memory holds the shard up for ever (L1)",
    quick: false,
    tests: ["nodehost/raft/memory-limit.test.ts"],
  },
  {
    id: "memory-bound-never-released",
    file: FILE,
    find: "bytes > (s.memoryLimited ? max * RELEASE_RATIO : max)",
    replace: "(s.memoryLimited || bytes > max)",
    invariant: "a leader that refused once refuses for ever (L1)",
    quick: false,
  },
  {
    id: "learner-memory-counts",
    file: FILE,
    find: "peer.memoryBytes <= bytes || !s.voterIds.includes(peer.id)",
    replace: "peer.memoryBytes <= bytes",
    invariant: "a slow non-voting member holds the shard up",
    quick: false,
    tests: ["nodehost/raft/memory-limit.test.ts"],
  },
];
