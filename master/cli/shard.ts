/** `shard create`, `shard list`, `shard show`. */
import { randomUUID } from "node:crypto";
import type { drumline } from "#gen/drumline.js";
import { OpError } from "../../shared/errors.js";
import { MASTER_SERVICE } from "../../shared/wire/index.js";
import type { AdminClient } from "./admin-client.js";
import { type Output, stateCell } from "./output.js";

export interface CreateFlags {
  readonly app: string;
  readonly voters: string;
  readonly nonVoters: string;
  readonly count: string;
  readonly name?: string;
  readonly key?: string;
  readonly dryRun?: boolean;
}

export async function createShard(output: Output, admin: AdminClient, flags: CreateFlags): Promise<void> {
  const { app, name = "" } = flags;
  const numbers = {
    voters: count("voters", flags.voters),
    nonVotings: count("non-voters", flags.nonVoters),
    count: count("count", flags.count),
  };
  if (numbers.count < 1) throw new OpError("DL_ERR_INVALID_ARGUMENT", "count is 0, expected at least 1");
  // With a key the call may be sent again when its answer got lost.
  const key = flags.key ?? randomUUID();
  const dryRun = flags.dryRun === true;
  const reply = await admin.call(MASTER_SERVICE.createShard, { key, app, name, dryRun, ...numbers });
  if (output.json) output.object({ shardIds: reply.shardIds, created: reply.created, key, dryRun, plan: reply.plan });
  else if (dryRun) for (const line of reply.plan) output.line(line);
  else {
    const ids = reply.shardIds.join(", ");
    output.line(`${reply.created ? "created" : "known already:"} shard${reply.shardIds.length > 1 ? "s" : ""} ${ids}`);
  }
}

function count(name: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new OpError("DL_ERR_INVALID_ARGUMENT", `${name} is ${JSON.stringify(text)}, expected a number`);
}

export interface ListFlags {
  readonly unhealthy?: boolean;
  readonly host?: string;
}

export async function listShards(output: Output, admin: AdminClient, flags: ListFlags): Promise<void> {
  const request = { unhealthyOnly: flags.unhealthy === true, hostId: flags.host ?? "" };
  const { shards, revision } = await admin.call(MASTER_SERVICE.listShards, request);
  const shown = shards.map(plainShard);
  if (output.json) {
    output.object({ shards: shown, revision });
    return;
  }
  output.table(
    ["SHARD", "NAME", "APP", "STATE", "VOTERS", "LEADER", "REPLICAS", "WHY"],
    shown.map((s) => {
      const voters = s.replicas.filter((r) => r.role === "voter");
      const strength = `${voters.filter((r) => r.running).length}/${s.voters}`;
      const leader = s.replicas.find((r) => r.isLeader);
      const places = s.replicas.map((r) => `${r.replicaId}@${r.hostId.slice(0, 8)}`).join(" ");
      const on = leader === undefined ? "-" : leader.hostId.slice(0, 8);
      return [s.shardId, s.name === "" ? "-" : s.name, s.app, stateCell(s.state), strength, on, places, s.reason];
    }),
  );
}

export async function showShard(output: Output, admin: AdminClient, word: string): Promise<void> {
  const shardId = await shardIdOf(admin, word);
  const shard = plainShard(await admin.call(MASTER_SERVICE.getShard, { shardId }));
  if (output.json) {
    output.object(shard);
    return;
  }
  for (const line of shard.reason.split("\n")) output.line(line);
  output.line("");
  output.table(
    ["REPLICA", "HOST", "ROLE", "LEADER", "APPLIED", "RUNNING", "FAULT"],
    shard.replicas.map((r) => {
      return [r.replicaId, r.hostId, r.role, r.isLeader ? "yes" : "", r.applied, r.running ? "yes" : "no", r.fault];
    }),
  );
}

/** An id, or the name of a shard. DL_ERR_SHARD_NOT_FOUND. */
export async function shardIdOf(admin: AdminClient, word: string): Promise<number> {
  if (/^\d{1,15}$/.test(word)) return Number(word);
  const { shards } = await admin.call(MASTER_SERVICE.listShards, {});
  const found = shards.find((shard) => shard.name === word);
  if (found?.shardId === undefined || found.shardId === null) {
    throw new OpError("DL_ERR_SHARD_NOT_FOUND", `no shard has the name ${word}`);
  }
  return found.shardId;
}

/** proto: Role */
const ROLES = ["", "voter", "nonVoting", "witness"] as const;

/** A decoded shard: inside a list its fields may be absent. */
type ShardGot = drumline.v1.Shard.$Properties;

/** Every field, those at their default included. */
function plainShard(s: ShardGot) {
  return {
    shardId: s.shardId ?? 0,
    name: s.name ?? "",
    app: s.app ?? "",
    state: s.state ?? "",
    reason: s.reason ?? "",
    voters: s.voters ?? 0,
    nonVotings: s.nonVotings ?? 0,
    configChangeIndex: s.configChangeIndex ?? 0,
    lineage: s.lineage ?? 0,
    leaderReplicaId: s.leaderReplicaId ?? 0,
    leaderTerm: s.leaderTerm ?? 0,
    operationId: s.operationId ?? 0,
    replicas: (s.replicas ?? []).map((r) => ({
      replicaId: r.replicaId ?? 0,
      hostId: r.hostId ?? "",
      role: ROLES[r.role ?? 0] ?? "",
      isLeader: r.isLeader ?? false,
      applied: r.applied ?? 0,
      running: r.running ?? false,
      fault: r.fault ?? "",
    })),
  };
}
