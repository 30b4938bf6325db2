/**
 * Makes a replica out of an exported snapshot, with a membership of its own: after a shard is lost for good, or its
 * quorum with too much of the log. Run for each host of the new membership, on the data directory of the stopped host,
 * with the same members every time; then start the hosts.
 *
 * The new members need replica ids that the shard never had: their logs begin anew, and an id must never vote twice.
 * All ids of before are removed for ever and the lineage is raised, so that replicas of before that come back fence
 * themselves; the config change index stays what it was at the snapshot. What was written after the snapshot is lost.
 */
import * as path from "node:path";
import type { Env } from "../../shared/env/env.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { OpError } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import type { Target, Term } from "../../shared/types/ids.js";
import { type HostId, type Index, isSafeUint, isUuid, type ReplicaId, type ShardId } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import {
  dataPaths,
  EXPORTED_SNAPSHOT,
  type ExportDescription,
  lockDirectory,
  openIdentity,
  readExport,
  readIdentity,
} from "../api/index.js";
import { readChunks, readSnapshotHeader } from "../rsm/index.js";
import { type DataOptions, type OpenData, withData } from "./open-data.js";

export interface ImportOptions extends DataOptions {
  /** Directory of the export. */
  readonly from: string;
  /** The replica that this host is to run: one of `members`. */
  readonly replicaId: ReplicaId;
  /** All voters of the shard from now on, with host ids or addresses. */
  readonly members: ReadonlyMap<ReplicaId, Target>;
  /** At least so much; needed when the membership was forced after the export (see the lineage of a survivor). */
  readonly lineage?: number;
  /** Remove what this host has of the shard first. Otherwise that is refused. */
  readonly replace?: boolean;
  /** Changes nothing. */
  readonly dryRun?: boolean;
}

export interface ImportReport {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  /** "" if the directory is new and nothing was done. */
  readonly hostId: HostId;
  readonly app: string;
  readonly index: Index;
  readonly term: Term;
  /** By the wall clock of the host that exported it. */
  readonly exportedAtMs: number;
  readonly before: Membership;
  readonly after: Membership;
  /** Replicas of the shard here whose data is removed. */
  readonly replaced: readonly ReplicaId[];
  readonly done: boolean;
}

const CHUNK_BYTES = 256 * 1024;

interface Plan {
  readonly description: ExportDescription;
  readonly before: Membership;
  readonly after: Membership;
}

/**
 * DL_ERR_DIRECTORY_LOCKED (the host still runs), DL_ERR_INVALID_ARGUMENT (not an export, ids or members that cannot
 * be), DL_ERR_SHARD_ALREADY_EXISTS (the shard has data here: `replace`), DL_ERR_LOGDB_CORRUPT, DL_ERR_DISK_FULL.
 */
export async function importSnapshot(options: ImportOptions): Promise<ImportReport> {
  const env = options.env ?? createRealEnv();
  const files = options.files ?? createRealFiles();
  const plan = await planImport({ ...options, env, files });
  const { shardId, app, index, term, exportedAtMs } = plan.description;
  const { before, after } = plan;
  const { replicaId } = options;
  const report = { shardId, replicaId, app, index, term, exportedAtMs, before, after };
  if ((await readIdentity(files, options.dataDir)) === undefined) {
    if (options.dryRun === true) return { ...report, hostId: "", replaced: [], done: false };
    await makeHost({ ...options, env, files }, plan.description.deploymentId);
  }
  return withData({ ...options, env, files }, async (data) => {
    checkOwnTarget(options, data.hostId);
    const replaced = data.logDb.list().present.flatMap((key) => (key.shardId === shardId ? [key.replicaId] : []));
    if (replaced.length > 0 && options.replace !== true) {
      const what = `shard ${shardId} has replica ${replaced.join(", ")} here; replace it, or use another host`;
      throw new OpError("DL_ERR_SHARD_ALREADY_EXISTS", what);
    }
    if (options.dryRun === true) return { ...report, hostId: data.hostId, replaced, done: false };
    await land(data, options, plan);
    for (const old of replaced) {
      await data.logDb.append([{ shardId, replicaId: old, remove: true }]);
      await data.snapshots.removeAll(shardId, old);
    }
    return { ...report, hostId: data.hostId, replaced, done: true };
  });
}

async function planImport(options: ImportOptions & { readonly env: Env; readonly files: Files }): Promise<Plan> {
  const { files, env, from, members, replicaId } = options;
  const description = await readExport(files, from);
  const header = await readSnapshotHeader(files, path.join(from, EXPORTED_SNAPSHOT), env.crc32);
  for (const field of ["shardId", "index", "term"] as const) {
    if (header[field] === description[field]) continue;
    const what = `${from}: ${field} is ${header[field]} in the snapshot, ${description[field]} in its description`;
    throw new OpError("DL_ERR_LOGDB_CORRUPT", what);
  }
  const before = header.membership;
  const used = new Set(before.removed);
  for (const group of [before.voters, before.nonVotings, before.witnesses]) for (const id of group.keys()) used.add(id);
  const invalid = (what: string): OpError => new OpError("DL_ERR_INVALID_ARGUMENT", what);
  if (!members.has(replicaId)) throw invalid(`replica ${replicaId} is not among the members given`);
  for (const [id, target] of members) {
    if (!isSafeUint(id) || id < 1) throw invalid(`replica id ${id}, expected an integer from 1 on`);
    if (used.has(id)) throw invalid(`replica id ${id} was used before; take ids above ${Math.max(...used)}`);
    if (target.trim() === "") throw invalid(`replica ${id} has no target`);
  }
  const targets = new Set([...members.values()].map((target) => target.trim().toLowerCase()));
  if (targets.size !== members.size) throw invalid("two members have one target");
  const after: Membership = {
    lineage: Math.max(before.lineage + 1, options.lineage ?? 0),
    configChangeIndex: before.configChangeIndex,
    voters: new Map(members),
    nonVotings: new Map(),
    witnesses: new Map(),
    removed: used,
  };
  return { description, before, after };
}

function checkOwnTarget({ members, replicaId }: ImportOptions, hostId: HostId): void {
  const target = members.get(replicaId) ?? "";
  if (!isUuid(target) || target === hostId) return;
  throw new OpError("DL_ERR_HOST_MISMATCH", `replica ${replicaId} is to be on host ${target}, this is host ${hostId}`);
}

/** A directory in which no host has lived yet becomes one. */
async function makeHost(
  options: ImportOptions & { readonly env: Env; readonly files: Files },
  deploymentId: number,
): Promise<void> {
  const { dataDir, files, env, members, replicaId } = options;
  const lock = await (options.lock ?? lockDirectory)(dataDir);
  try {
    // Before the identity: an identity without a log means that the log was lost.
    await files.makeDirectory(dataPaths(options).logDb);
    const target = members.get(replicaId) ?? "";
    await openIdentity(files, dataDir, { hostId: isUuid(target) ? target : undefined, deploymentId }, env);
  } finally {
    await lock.release();
  }
}

/** File landed and synced → record durable: until then nothing has happened here. */
async function land(data: OpenData, options: ImportOptions, plan: Plan): Promise<void> {
  const { shardId, kind, app, index, term, sizeBytes } = plan.description;
  const { replicaId } = options;
  const meta = { shardId, replicaId, index, term, sizeBytes, directory: "", membership: plan.after };
  const chunks = readChunks(data.files, path.join(options.from, EXPORTED_SNAPSHOT), CHUNK_BYTES);
  const stored = await data.snapshots.receive({ replicaId, onDisk: kind === "onDisk" }, meta, chunks);
  const initial = { ...plan.after, voters: new Map() };
  const config = JSON.stringify({ ...JSON.parse(plan.description.config), shardId, replicaId });
  await data.logDb.append([
    {
      shardId,
      replicaId,
      bootstrap: { join: true, kind, app, initial, config },
      snapshot: { meta: { ...stored, membership: plan.after }, reset: true },
      hardState: { term, vote: 0, commit: index },
    },
  ]);
}
