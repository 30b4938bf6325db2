/** A quiet shard must not keep the log's disk for ever: who holds the oldest segment is compacted. */
import assert from "node:assert/strict";
import * as path from "node:path";
import { test } from "node:test";
import { silentLogger } from "../../shared/env/env.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import { LIMITS } from "../../shared/limits.js";
import { APPS, Hosts, KV, kvPut, SHARD } from "../../test/kit/hosts.js";
import { tempDir } from "../../test/kit/temp.js";
import { eventually } from "../../test/kit/wait.js";
import type { LogDbFactory } from "../api/options.js";
import { noOpSession } from "../index.js";
import { lmdbCheckpointFactory } from "../logdb/lmdb-checkpoint.js";
import { createMemoryLogDb, MemoryLogStore } from "../logdb/memory-logdb.js";
import { openWalLogDb } from "../logdb/wal-open.js";
import { LogPressure } from "./log-pressure.js";
import { admissionError } from "./proposal-queue.js";
import { RequestState } from "./requests.js";
import { WalQueue } from "./wal-queue.js";

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

test("a log with far too many segments takes no proposals until there is room", () => {
  const told: boolean[] = [];
  const state: { segments: number } = { segments: LIMITS.logSegmentsBusy };
  const metrics = () => ({ appends: 0, bytesWritten: 0, segments: state.segments, diskBytes: 0 });
  const logDb = Object.assign(createMemoryLogDb({ store: new MemoryLogStore() }), { metrics, pinning: () => [] });
  const pressure = new LogPressure({
    logDb,
    logger: silentLogger,
    replica: () => undefined,
    crowded: (c) => told.push(c),
  });
  const look = (segments: number, nowMs: number): void => {
    state.segments = segments;
    pressure.check(nowMs);
  };
  look(LIMITS.logSegmentsBusy, 1_000);
  look(LIMITS.logSegmentsBusy + 1, 1_500);
  look(LIMITS.logSegmentsBusy + 1, 2_000);
  look(LIMITS.logSegmentsBusy, 3_000);
  assert.deepEqual(told, [false, true, false]);

  const queue = new WalQueue(logDb, () => undefined);
  assert.equal(queue.refusal(), undefined);
  queue.crowded = true;
  const request = new RequestState("propose", 1, 1000, 1);
  const room = { log: queue.refusal(), queuedBytes: 0, open: 0 };
  assert.equal(admissionError(request, [], room)?.code, "DL_ERR_SYSTEM_BUSY");
});
