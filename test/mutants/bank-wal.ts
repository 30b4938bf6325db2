/**
 * Bugs planted into the log on disk, its append queue and the snapshot files, beside those of bank-storage.ts. Part of
 * the bank (bank.ts). The simulator runs this code under power loss, failing disks and rot (test/sim/wal-disk.ts), and
 * compares what is found again.
 */
import type { Mutant } from "./mutant.js";

const LOGDB = "nodehost/logdb";
const STORE = "nodehost/rsm/snapshot-store.ts";
const QUEUE = "nodehost/engine/wal-queue.ts";

const WRITING: readonly Mutant[] = [
  {
    id: "wal-failed-write-acknowledged",
    file: `${LOGDB}/wal-logdb.ts`,
    find: "      () => this.#settled(job, append, ranges),\n      (error: unknown) => this.#fail(error),\n",
    replace: "      () => this.#settled(job, append, ranges),\n      () => this.#settled(job, append, ranges),\n",
    invariant: "an append whose write failed counts as written (W1, P45)",
    quick: false,
  },
  {
    id: "wal-renamed-without-sync",
    file: `${LOGDB}/wal-segments.ts`,
    find: '    await watch.during("syncing the directory", files.syncDirectory(walDir));\n    return record;\n',
    replace: "    return record;\n",
    invariant: "a segment used again loses its new name in a power loss (W1)",
    quick: false,
  },
  {
    id: "wal-used-before-listed",
    file: `${LOGDB}/wal-segments.ts`,
    find: "    await this.#commitList([]);\n",
    replace: "    this.#commitList([]).catch(() => {});\n",
    invariant: "frames go into a segment that nobody lists yet (W1)",
    quick: false,
  },
  {
    id: "wal-retired-too-early",
    file: `${LOGDB}/wal-logdb.ts`,
    find: "used.findIndex((segment) => segment === current || segment.liveRanges > 0)",
    replace: "used.findIndex((segment) => segment === current)",
    invariant: "a segment with live entries is used again (W1)",
    quick: false,
  },
];

const RECOVERY: readonly Mutant[] = [
  {
    id: "wal-toc-not-checked",
    file: `${LOGDB}/wal-format.ts`,
    find: "    if (this.#crc32(this.#bytes.subarray(begin, end)) !== header.tocCrc) return undefined;\n",
    replace: "",
    invariant: "a rotten table of contents is believed (W1, P48)",
    quick: false,
  },
  {
    id: "wal-body-not-checked",
    file: `${LOGDB}/wal-format.ts`,
    find: "return this.#crc32(this.#bytes.subarray(at, at + header.bodyBytes)) === header.bodyCrc ? at : undefined;",
    replace: "return at;",
    invariant: "rotten or torn records are believed (W1, P48)",
    quick: false,
  },
  {
    id: "wal-middle-frame-dropped",
    file: `${LOGDB}/wal-scan.ts`,
    find: "  #lose(gap: Gap, upTo: number, more: boolean): void {\n",
    replace: "  #lose(gap: Gap, upTo: number, more: boolean): void {\n    if (upTo > 0) return;\n",
    invariant: "frames that are gone are passed over in silence (W1, P48)",
    quick: true,
  },
  {
    id: "wal-chain-not-checked",
    file: `${LOGDB}/wal-merge.ts`,
    find: "    if (entry.previousSequence !== replica.lastSequence) {\n",
    replace: "    if (entry.previousSequence > frame.sequence) {\n",
    invariant: "a record that follows on a lost one of its replica is believed (W1, P48)",
    quick: false,
    tests: ["nodehost/logdb/wal-damage.test.ts"],
  },
  {
    id: "wal-floor-not-checked",
    file: `${LOGDB}/wal-scan.ts`,
    find: "    if (this.#last < floor) ",
    replace: "    if (floor < 0) ",
    invariant: "an older copy of the log is taken for the log (W1, P49)",
    quick: false,
    tests: ["nodehost/logdb/wal-damage.test.ts"],
  },
  {
    id: "wal-read-not-made-true",
    file: `${LOGDB}/wal-open.ts`,
    find: "  await makeTrue(opening, found);\n",
    replace: "",
    invariant: "what a dead process had written and not synced is built upon, and then lost (W1)",
    quick: false,
  },
  {
    id: "wal-torn-frame-kept",
    file: `${LOGDB}/wal-scan.ts`,
    find: "    if (toc === undefined || bodyAt === undefined) {\n",
    replace: "    if (toc === undefined) {\n",
    invariant: "half of the append that was in flight is found (W1, P08)",
    quick: false,
  },
];

const QUEUES: readonly Mutant[] = [
  {
    id: "wal-merge-loses-hard-state",
    file: QUEUE,
    find: "  if (next.hardState !== undefined) merged.hardState = next.hardState;\n",
    replace: "",
    invariant: "an update that joins a waiting one leaves its term and vote behind (W1)",
    quick: false,
  },
  {
    id: "wal-merge-keeps-truncated",
    file: QUEUE,
    find: "      .filter((b) => b.first < from)\n",
    replace: "",
    invariant: "entries that a later update removes are written with it (W1)",
    quick: false,
  },
  {
    id: "wal-full-disk-forgets",
    file: QUEUE,
    find: "    for (const [key, waiting] of batch) if (!refused(waiting)) this.#join(key, waiting);\n",
    replace: "",
    invariant: "what a full disk did not take is never written (L1)",
    quick: false,
  },
];

const SNAPSHOTS: readonly Mutant[] = [
  {
    id: "snapshot-name-not-synced",
    file: STORE,
    find: "      await this.#files.syncDirectory(directory);\n      return file.sizeBytes;\n",
    replace: "      return file.sizeBytes;\n",
    invariant: "a recorded snapshot loses its name in a power loss (W2, P30)",
    quick: false,
  },
  {
    id: "snapshot-landed-unchecked",
    file: STORE,
    find: "        parser.feed(chunk);\n        await file.append(chunk);\n      }\n      parser.end();\n",
    replace: "        await file.append(chunk);\n      }\n",
    invariant: "a snapshot that was changed on its way is landed (W2, P30)",
    quick: false,
  },
  {
    id: "snapshot-orphans-kept",
    file: STORE,
    find: "      if (!REPLICA_NAME.test(replica)) continue;\n",
    replace: "      if (REPLICA_NAME.test(replica)) continue;\n",
    invariant: "files that no record names stay, and count as snapshots (W2, P30)",
    quick: false,
  },
];

export const WAL: readonly Mutant[] = [...WRITING, ...RECOVERY, ...QUEUES, ...SNAPSHOTS];
