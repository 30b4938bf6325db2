/** The small worlds whose states are all visited. Called by nodehost/raft/worlds.test.ts and main.ts. */
import type { InitialDisk } from "../../nodehost/raft/test-logs.js";
import type { WorldBounds } from "./world.js";

export interface NamedWorld {
  readonly name: string;
  readonly bounds: WorldBounds;
  /** So many states there are at least: with fewer something of what the world is for did not happen. */
  readonly statesMin: number;
  /** Takes about a second and is part of every test run. */
  readonly quick: boolean;
}

/** Voters that hold one committed entry. */
function equal(count: number): InitialDisk[] {
  return Array.from({ length: count }, () => ({ terms: [1], term: 1, commit: 1 }));
}

const ends = (terms: readonly number[], term: number): InitialDisk => ({ terms, term, commit: 1 });
const statesMax = 1_000_000;

export const WORLDS: readonly NamedWorld[] = [
  {
    name: "one voter, slow disk, two crashes",
    bounds: { disks: equal(1), termMax: 4, proposals: 2, reads: 1, crashes: 2, slowDisks: true, statesMax },
    statesMin: 2000,
    quick: true,
  },
  {
    name: "two voters, slow disks, a crash",
    bounds: { disks: equal(2), termMax: 2, proposals: 1, crashes: 1, slowDisks: true, statesMax },
    statesMin: 1600,
    quick: true,
  },
  {
    name: "two voters, a read",
    bounds: { disks: equal(2), termMax: 3, reads: 1, statesMax },
    statesMin: 450,
    quick: true,
  },
  {
    name: "three voters, two stand in one term",
    bounds: { disks: equal(3), termMax: 2, candidates: [1, 2], statesMax },
    statesMin: 380,
    quick: true,
  },
  {
    name: "an entry of an old term on a majority (Figure 8)",
    bounds: {
      disks: [ends([1, 2], 3), ends([1], 3), ends([1, 3], 3)],
      config: { replicateBytesMax: 1 },
      termMax: 4,
      candidates: [1],
      statesMax,
    },
    statesMin: 700,
    quick: true,
  },
  {
    name: "a tail that the leader has not",
    bounds: { disks: [ends([1, 3], 3), ends([1, 2, 2], 3)], termMax: 4, proposals: 1, candidates: [1], statesMax },
    statesMin: 110,
    quick: true,
  },
  {
    name: "two voters, a transfer",
    bounds: { disks: equal(2), termMax: 2, proposals: 1, transfers: 1, candidates: [1], statesMax },
    statesMin: 450,
    quick: true,
  },
  {
    name: "a second voter joins",
    bounds: {
      disks: equal(1),
      joining: [2],
      termMax: 3,
      changes: [
        ["addNonVoting", 2],
        ["addVoter", 2],
      ],
      statesMax,
    },
    statesMin: 70,
    quick: true,
  },
  {
    name: "one of two is removed by the other",
    bounds: { disks: equal(2), termMax: 3, changes: [["remove", 2]], statesMax },
    statesMin: 400,
    quick: true,
  },
  {
    name: "a leader of two removes itself",
    bounds: { disks: equal(2), termMax: 3, changes: [["remove", 1]], candidates: [1, 2], statesMax },
    statesMin: 400,
    quick: false,
  },
  {
    name: "two voters, two terms, a proposal and a heartbeat",
    bounds: { disks: equal(2), termMax: 3, proposals: 1, heartbeats: 1, statesMax },
    statesMin: 20_000,
    quick: false,
  },
  {
    name: "two voters, slow disks, three terms, a crash",
    bounds: { disks: equal(2), termMax: 3, crashes: 1, slowDisks: true, statesMax },
    statesMin: 3300,
    quick: false,
  },
  {
    name: "pre-votes of three voters",
    bounds: { disks: equal(3), config: { preVote: true }, termMax: 2, candidates: [1, 2], statesMax },
    statesMin: 20_000,
    quick: false,
  },
  {
    name: "two leaders after another (Figure 8)",
    bounds: {
      disks: [ends([1, 2], 3), ends([1], 3), ends([1, 3], 3)],
      config: { replicateBytesMax: 1 },
      termMax: 4,
      candidates: [1, 3],
      statesMax,
    },
    statesMin: 4200,
    quick: false,
  },
  {
    name: "three voters, a proposal",
    bounds: { disks: equal(3), termMax: 2, proposals: 1, candidates: [1], statesMax },
    statesMin: 20_000,
    quick: false,
  },
  {
    name: "two removals by two leaders",
    bounds: {
      disks: equal(3),
      termMax: 3,
      changes: [
        ["remove", 1],
        ["remove", 2],
      ],
      candidates: [1, 2],
      statesMax,
    },
    statesMin: 20_000,
    quick: false,
  },
];
