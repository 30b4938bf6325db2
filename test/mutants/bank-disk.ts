/** Planted bugs of on-disk state machines; part of the bank. */
import type { Mutant } from "./mutant.js";

const RSM = "nodehost/rsm";
const PROGRESS = `${RSM}/disk-progress.ts`;
const MACHINE = `${RSM}/disk-machine.ts`;
const CRASH_TEST = `${RSM}/disk-crash.test.ts`;

export const DISK: readonly Mutant[] = [
  {
    id: "disk-held-entry-replayed",
    file: PROGRESS,
    find: "return index <= this.#held;",
    replace: "return index < this.#held;",
    invariant: "an on-disk machine is given the last entry that it holds again (R4, P31)",
    quick: true,
  },
  {
    id: "disk-entry-skipped",
    file: PROGRESS,
    find: "return index <= this.#held;",
    replace: "return index <= this.#held + 1;",
    invariant: "an on-disk machine is not given the first entry that it does not hold (R4, P31)",
    quick: false,
  },
  {
    id: "disk-checkpoint-before-sync",
    file: PROGRESS,
    find: "return Math.min(index, this.#given) <= this.#synced;",
    replace: "return index <= this.#given;",
    invariant: "the session checkpoint is recorded before the machine is durable up to it (R4)",
    quick: true,
  },
  {
    id: "disk-sync-covers-later-updates",
    file: PROGRESS,
    find: "if (index > this.#synced) this.#synced = index;",
    replace: "if (index > this.#synced) this.#synced = this.#given;",
    invariant: "what was updated while the machine synced is taken as durable (R4)",
    quick: false,
  },
  {
    id: "disk-lost-result-reapplied",
    file: `${RSM}/sessions.ts`,
    find: "if (!session.results.has(seriesId)) return APPLY;",
    replace: "if (session.results.get(seriesId) === undefined) return APPLY;",
    invariant: "a retry whose result was lost in a crash applies again (R15)",
    quick: true,
  },
  {
    id: "disk-held-series-not-noted",
    file: `${RSM}/sessions.ts`,
    find: "if (session === undefined) return;\n    session.results.set(",
    replace: "if (session === undefined || result === undefined) return;\n    session.results.set(",
    invariant: "a series whose entry the machine held already is forgotten: its retry applies again (R15)",
    quick: false,
  },
  {
    id: "disk-shrunk-before-sync",
    file: MACHINE,
    find: "      await source.finish();\n      await this.#machine.sync();\n",
    replace: "      await source.finish();\n",
    invariant: "a received snapshot gives up its payload before the machine holds it durably (P30)",
    quick: false,
    tests: [CRASH_TEST],
  },
  {
    id: "disk-unsynced-before-shrink",
    file: MACHINE,
    find: "the log that had these entries is gone.\n    await this.sync();\n",
    replace: "the log that had these entries is gone.\n",
    invariant: "the log is replaced while the machine holds its entries only in memory (P30)",
    quick: false,
    tests: [CRASH_TEST],
  },
];
