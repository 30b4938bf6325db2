/** Planted bugs in what must be on disk before something else may happen: log segments and snapshot files. */
import type { Mutant } from "./mutant.js";

const LOGDB = "nodehost/logdb";
const SWEEP = ["test/storage/power-sweep.test.ts"];

export const STORAGE: readonly Mutant[] = [
  {
    id: "log-not-synced",
    file: `${LOGDB}/wal-segments.ts`,
    find: 'watch.during("opening a segment", files.open(path, { durable: true }))',
    replace: 'watch.during("opening a segment", files.open(path, {}))',
    invariant: "appends are acknowledged when the page cache has them (P08, P45)",
    quick: false,
    tests: SWEEP,
  },
  {
    id: "segment-name-not-synced",
    file: `${LOGDB}/wal-segments.ts`,
    find: '      await watch.during("syncing the directory", files.syncDirectory(walDir));\n    } catch',
    replace: "    } catch",
    invariant: "a new segment is used before its name is durable",
    quick: false,
    tests: SWEEP,
  },
  {
    id: "log-acknowledged-early",
    file: `${LOGDB}/wal-writer.ts`,
    find: "    await segment.handle?.write(bytes, this.#offset);",
    replace: "    void segment.handle?.write(bytes, this.#offset);",
    invariant: "an append is acknowledged before its write settled (P08)",
    quick: false,
    tests: SWEEP,
  },
  {
    id: "seal-omitted",
    file: `${LOGDB}/wal-logdb.ts`,
    find: "const durable = this.#writer.seal();",
    replace: "const durable = Promise.resolve();",
    invariant: "rot of the last frame looks like a torn write, for ever (P48)",
    quick: false,
    tests: SWEEP,
  },
  {
    id: "seal-needs-room",
    file: `${LOGDB}/wal-writer.ts`,
    find: "return length - SEAL_BYTES - (",
    replace: "return length - (",
    invariant: "a last frame at the end of its segment is not sealed (P48)",
    quick: false,
    tests: SWEEP,
  },
  {
    id: "snapshot-not-synced",
    file: "nodehost/rsm/snapshot-store.ts",
    find: "        await fill(file);\n        await file.sync();",
    replace: "        await fill(file);",
    invariant: "a snapshot is recorded before its bytes are durable (P30)",
    quick: false,
    tests: SWEEP,
  },
  {
    id: "truncated-block-moved",
    file: `${LOGDB}/wal-relocate.ts`,
    find: "if (bytes === undefined || !replica.log.holds(range) || replica.damage !== undefined) continue;",
    replace: "if (bytes === undefined || replica.damage !== undefined) continue;",
    invariant: "entries that were removed while their block was read come back from its new place",
    quick: false,
    tests: ["nodehost/logdb/wal-relocate.test.ts", "nodehost/logdb/wal-crash.test.ts"],
  },
];
