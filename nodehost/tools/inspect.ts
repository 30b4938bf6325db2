/**
 * What a data directory holds, read-only, also when it is damaged: who lived in it, the log with its segments, every
 * replica with term, vote, commit, last entry, membership and damage, and the snapshot files with their checksums.
 * Whatever cannot be read is told beside the rest. For people and programs, through `drumline data inspect`.
 */
import { createRealEnv } from "../../shared/env/real-env.js";
import { errorText, OpError } from "../../shared/errors.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import type { Index, ReplicaId, ShardId, Term } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import { isWitnessSnapshot, type SnapshotMeta } from "../../shared/types/message.js";
import { dataPaths, lockDirectory, readIdentity } from "../api/index.js";
import { type InspectedLog, inspectWal, lmdbCheckpointFactory } from "../logdb/index.js";
import type { MachineKind, RecoveredReplica } from "../logdb/port.js";
import { createSnapshotStore, type SnapshotStore } from "../rsm/index.js";
import type { DataOptions } from "./open-data.js";

export interface InspectedReplica {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly app: string;
  readonly kind: MachineKind;
  readonly term: Term;
  /** 0 = none. */
  readonly vote: ReplicaId;
  readonly commit: Index;
  readonly first: Index;
  readonly last: Index;
  /** Of the newest snapshot, or the first members; config changes in the log come on top. */
  readonly membership: Membership;
  readonly snapshotIndex: Index;
  /** Of the newest snapshot's file: "ok", "none", or what is wrong with it. */
  readonly snapshotFile: string;
  /** Why it would not run. */
  readonly damage: string | undefined;
}

export interface Inspection {
  readonly dataDir: string;
  readonly hostId: string;
  readonly deploymentId: number;
  readonly dataSetId: string;
  /** Starts so far. */
  readonly starts: number;
  /** As the log tells it; undefined: not readable, see `problems`. */
  readonly log: InspectedLog | undefined;
  readonly replicas: readonly InspectedReplica[];
  /** In words, worst first; empty = a start would find nothing wrong. */
  readonly problems: readonly string[];
}

/** DL_ERR_DIRECTORY_LOCKED while its host runs; DL_ERR_INVALID_ARGUMENT if no host ever lived in it. */
export async function inspectData(options: DataOptions): Promise<Inspection> {
  const { dataDir } = options;
  const env = options.env ?? createRealEnv();
  const files = options.files ?? createRealFiles();
  if ((await readIdentity(files, dataDir)) === undefined) {
    const what = `${dataDir} is not the data directory of a host (it has no host.json)`;
    throw new OpError("DL_ERR_INVALID_ARGUMENT", what);
  }
  const lock = await (options.lock ?? lockDirectory)(dataDir);
  try {
    return await inspectLocked({ ...options, env, files });
  } finally {
    await lock.release();
  }
}

type Locked = DataOptions & Required<Pick<DataOptions, "env" | "files">>;

async function inspectLocked(options: Locked): Promise<Inspection> {
  const { env, files, dataDir } = options;
  const paths = dataPaths(options);
  const identity = await readIdentity(files, dataDir);
  const problems: string[] = [];
  const log = await readLog(options, problems);
  if (log !== undefined) problems.push(...problemsOf(log, identity?.dataSetId ?? ""));
  const snapshots = createSnapshotStore({ files, directory: paths.snapshots, crc32: env.crc32 });
  const replicas: InspectedReplica[] = [];
  for (const replica of log?.replicas ?? []) replicas.push(await inspectReplica(replica, { snapshots, problems }));
  replicas.sort((a, b) => a.shardId - b.shardId || a.replicaId - b.replicaId);
  return {
    dataDir,
    hostId: identity?.hostId ?? "",
    deploymentId: identity?.deploymentId ?? 0,
    dataSetId: identity?.dataSetId ?? "",
    starts: identity?.incarnation ?? 0,
    log,
    replicas,
    problems,
  };
}

async function readLog(options: Locked, problems: string[]): Promise<InspectedLog | undefined> {
  const { env, files } = options;
  const { wal, logDb } = dataPaths(options);
  const { crc32 } = env;
  const checkpointStore = lmdbCheckpointFactory(crc32, { readOnly: true });
  try {
    return await inspectWal({ files, walDir: wal, dataDir: logDb, crc32, checkpointStore });
  } catch (error) {
    problems.push(`the log cannot be read: ${errorText(error)}`);
    return undefined;
  }
}

function problemsOf(log: InspectedLog, dataSetId: string): string[] {
  const problems: string[] = [];
  if (log.dataSetId !== dataSetId)
    problems.push(`the log is of data set ${log.dataSetId}, the directory of ${dataSetId}`);
  for (const { fileName, foundBytes, lengthBytes } of log.segments) {
    if (foundBytes === undefined) problems.push(`${fileName} is missing`);
    else if (foundBytes < lengthBytes) problems.push(`${fileName} has ${foundBytes} of ${lengthBytes} bytes`);
  }
  if (log.incomplete !== undefined) problems.push(`records are lost, not known whose: ${log.incomplete}`);
  else if (log.corrupt) problems.push("records are lost; the replicas concerned are damaged");
  return problems;
}

async function inspectReplica(
  replica: RecoveredReplica,
  context: { readonly snapshots: SnapshotStore; readonly problems: string[] },
): Promise<InspectedReplica> {
  const { shardId, replicaId, bootstrap, hardState, snapshot, first, last, damage } = replica;
  const name = `shard ${shardId} replica ${replicaId}`;
  if (damage !== undefined) context.problems.push(`${name} is damaged: ${damage}`);
  const snapshotFile = snapshot === undefined ? "none" : await checkSnapshot(context.snapshots, snapshot);
  if (snapshotFile !== "none" && snapshotFile !== "ok") context.problems.push(`${name}: ${snapshotFile}`);
  return {
    shardId,
    replicaId,
    app: bootstrap.app,
    kind: bootstrap.kind,
    ...hardState,
    first,
    last,
    membership: snapshot?.membership ?? bootstrap.initial,
    snapshotIndex: snapshot?.index ?? 0,
    snapshotFile,
    damage,
  };
}

/** Reads the file to its end (a witness has none): every block has its checksum, and the header is the recorded one. */
async function checkSnapshot(snapshots: SnapshotStore, meta: SnapshotMeta): Promise<string> {
  if (isWitnessSnapshot(meta)) return "none";
  try {
    for await (const _ of snapshots.load(meta)) {
      // The checks are the purpose.
    }
    return "ok";
  } catch (error) {
    return errorText(error);
  }
}
