/**
 * The data directory of a stopped host, opened by the tools of this folder: lock, identity, log, snapshots. Recovery
 * runs as at every start (a torn end is cut); nothing is sent and no replica runs.
 */
import type { Env } from "../../shared/env/env.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { OpError } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import type { ReplicaId, ShardId } from "../../shared/types/ids.js";
import { type DataPlace, type DirectoryLock, dataPaths, lockDirectory, readIdentity } from "../api/index.js";
import { lmdbCheckpointFactory, openWalLogDb, type WalLogDb } from "../logdb/index.js";
import type { RecoveredReplica } from "../logdb/port.js";
import { createSnapshotStore, type SnapshotStore } from "../rsm/index.js";

/** Which directory, and, for tests, which disk. */
export interface DataOptions extends DataPlace {
  readonly env?: Env;
  readonly files?: Files;
  readonly lock?: (dataDir: string) => Promise<DirectoryLock>;
}

export interface OpenData {
  readonly env: Env;
  readonly files: Files;
  readonly hostId: string;
  readonly deploymentId: number;
  readonly logDb: WalLogDb;
  readonly snapshots: SnapshotStore;
}

/**
 * Runs `work` on the directory and closes it. DL_ERR_DIRECTORY_LOCKED while its host runs; DL_ERR_INVALID_ARGUMENT if
 * no host ever lived in it; what opening a log may say (DL_ERR_LOGDB_CORRUPT, DL_ERR_DATA_LOST, …).
 */
export async function withData<T>(options: DataOptions, work: (data: OpenData) => Promise<T>): Promise<T> {
  const env = options.env ?? createRealEnv();
  const files = options.files ?? createRealFiles();
  const paths = dataPaths(options);
  if ((await readIdentity(files, options.dataDir)) === undefined) throw notAHost(options.dataDir);
  const lock = await (options.lock ?? lockDirectory)(options.dataDir);
  try {
    const identity = await readIdentity(files, options.dataDir);
    if (identity === undefined) throw notAHost(options.dataDir);
    const logDb = await openWalLogDb({
      files,
      walDir: paths.wal,
      dataDir: paths.logDb,
      dataSetId: identity.dataSetId,
      env,
      checkpointStore: lmdbCheckpointFactory(env.crc32),
      // Whoever appends or closes hears of it.
      onFatal: () => {},
    });
    try {
      const snapshots = createSnapshotStore({ files, directory: paths.snapshots, crc32: env.crc32 });
      const { hostId, deploymentId } = identity;
      return await work({ env, files, hostId, deploymentId, logDb, snapshots });
    } finally {
      await logDb.close();
    }
  } finally {
    await lock.release();
  }
}

function notAHost(dataDir: string): OpError {
  return new OpError("DL_ERR_INVALID_ARGUMENT", `${dataDir} is not the data directory of a host (it has no host.json)`);
}

/** The replica of `shardId` here; which one must be said if there are several. */
export function replicaHere(data: OpenData, shardId: ShardId, replicaId?: ReplicaId): RecoveredReplica {
  const here = data.logDb.list().present.filter((key) => key.shardId === shardId);
  const ids = here.map((key) => key.replicaId).join(", ");
  const chosen = replicaId === undefined ? here : here.filter((key) => key.replicaId === replicaId);
  const [key] = chosen;
  if (key === undefined) {
    const what = here.length === 0 ? "has no data here" : `has replica ${ids} here, not ${replicaId ?? 0}`;
    throw new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId} ${what}`);
  }
  if (chosen.length > 1) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `shard ${shardId} has replicas ${ids} here: say which`);
  }
  const found = data.logDb.state(key);
  if (found === undefined) throw new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId} has no data here`);
  if (found.damage !== undefined) {
    const name = `shard ${shardId} replica ${found.replicaId}`;
    throw new OpError("DL_ERR_LOGDB_CORRUPT", `${name} is damaged and cannot be trusted: ${found.damage}`);
  }
  return found;
}
