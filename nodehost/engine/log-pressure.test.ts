/** A quiet shard must not keep the log's disk for ever: who holds the oldest segment is compacted. */
import assert from "node:assert/strict";
import * as path from "node:path";
import { test } from "node:test";
import { createRealFiles } from "../../shared/files/real-files.js";
import { LIMITS } from "../../shared/limits.js";
import { APPS, Hosts, KV, kvPut, SHARD } from "../../test/kit/hosts.js";
import { tempDir } from "../../test/kit/temp.js";
import { eventually } from "../../test/kit/wait.js";
import type { LogDbFactory } from "../api/options.js";
import { noOpSession } from "../index.js";
import { lmdbCheckpointFactory } from "../logdb/lmdb-checkpoint.js";
import { openWalLogDb } from "../logdb/wal-open.js";

const SEGMENT_BYTES = 1024 * 1024;

test("a quiet shard beside a busy one: segments stay bounded, and the quiet one keeps its data", async (t) => {
  const dir = await tempDir(t);
  const logDb: LogDbFactory = ({ env, dataSetId, onFatal }) => {
    const directories = { walDir: path.join(dir, "wal"), dataDir: path.join(dir, "logdb") };
    const checkpointStore = lmdbCheckpointFactory(env.crc32);
    const segmentSizes = { firstBytes: SEGMENT_BYTES, maxBytes: SEGMENT_BYTES };
    return openWalLogDb({
      ...directories,
      files: createRealFiles(),
      dataSetId,
      env,
      onFatal,
      checkpointStore,
      segmentSizes,
    });
  };
  const cluster = await Hosts.open(t, 1, { factories: { logDb } });
  const host = cluster.host(0);
  await cluster.startKv(1);
  await cluster.put(0, "quiet", "1");
  const busy = { shardId: 2, replicaId: 1, snapshotEntries: 20, compactionOverhead: 0 };
  await host.startApp(cluster.members(1), false, KV, busy);
  await eventually("shard 2 leads", () => host.getLeaderId(2));
  const value = "x".repeat(SEGMENT_BYTES / 16);
  const entries = LIMITS.logSegmentsMax * 2 * 16;
  for (let i = 0; i < entries; i++) await host.syncPropose(noOpSession(2), kvPut(`k${i % 3}`, value));
  await eventually("the oldest segments are given back", () => {
    return host.getNodeHostInfo({ skipLogInfo: true }).log.segments <= LIMITS.logSegmentsMax;
  });
  await cluster.close();
  const again = await cluster.openHost(0);
  await again.restartReplica(SHARD, 1, APPS);
  assert.equal(await cluster.get(0, "quiet"), "1");
});
