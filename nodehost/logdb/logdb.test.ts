/** The conformance suite on every LogDb: memory, WAL on real files with LMDB, WAL on SimDisk with its twin. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRealEnv } from "../../shared/env/real-env.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import { lmdbCheckpointFactory } from "./lmdb-checkpoint.js";
import { createMemoryLogDb, MemoryLogStore } from "./memory-logdb.js";
import { SimCheckpointDisk } from "./sim-checkpoint.js";
import { logDbSuite } from "./suite.js";
import { ManualEnv } from "./test-support.js";
import { openWalLogDb } from "./wal-open.js";

const DATA_SET = "0a1b2c3d-0000-4000-8000-000000000001";
/** Small, so that every run crosses many of them. */
const SEGMENTS = { firstBytes: 64 * 1024, maxBytes: 256 * 1024 };

function failed(error: Error): void {
  throw error;
}

logDbSuite("memory", async () => {
  const store = new MemoryLogStore();
  return { open: async () => createMemoryLogDb({ store }), cleanup: async () => undefined };
});

logDbSuite("WAL + LMDB", async () => {
  const root = await mkdtemp(join(tmpdir(), "drumline-logdb-"));
  const env = createRealEnv();
  const open = () =>
    openWalLogDb({
      files: createRealFiles(),
      walDir: join(root, "wal"),
      dataDir: join(root, "data"),
      dataSetId: DATA_SET,
      env,
      checkpointStore: lmdbCheckpointFactory(env.crc32),
      onFatal: failed,
      segmentSizes: SEGMENTS,
    });
  return { open, cleanup: () => rm(root, { recursive: true }) };
});

logDbSuite("WAL on SimDisk", async () => {
  const files = new SimDisk();
  const checkpoints = new SimCheckpointDisk();
  const { env } = new ManualEnv();
  const open = () =>
    openWalLogDb({
      files,
      walDir: "/wal",
      dataDir: "/data",
      dataSetId: DATA_SET,
      env,
      checkpointStore: checkpoints.factory,
      onFatal: failed,
      segmentSizes: SEGMENTS,
      relocation: { above: 2, bytesPerSecond: Number.POSITIVE_INFINITY },
    });
  return { open, cleanup: async () => undefined };
});
