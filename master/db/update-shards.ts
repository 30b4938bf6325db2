/**
 * Shard records: create, spec, tombstone, confirmed membership. Called by applyCommand.
 *
 * Invariants: the bootstrap set is written once, in the command that makes the shard (M3: two masters can never start
 * one shard with two sets of initial members); confirmed membership never goes back in (lineage, CCI) (M6); replica
 * ids come from one counter that stays above every id ever seen.
 */
import { ByteWriter } from "../../shared/codec/bytes.js";
import type { ReplicaId, ShardId } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import { isIdText, isReplicaId, specProblem } from "./check.js";
import type { Command, ConfirmEntry } from "./commands.js";
import { writeSpec } from "./records.js";
import { type CommandResult, ok, refused } from "./result.js";
import type { MasterState } from "./state.js";
import type { ReplicaPlace, ShardRecord, ShardSpec } from "./types.js";
import { closed, newOperation } from "./update-operations.js";

type CreateShard = Extract<Command, { readonly kind: "createShard" }>;
type TombstoneShard = Extract<Command, { readonly kind: "tombstoneShard" }>;

export function createShard(state: MasterState, c: CreateShard): CommandResult {
  const existing = existingShard(state, c);
  if (existing !== undefined) return existing;
  const problem = specProblem(c.spec);
  if (problem !== undefined) return refused("DL_ERR_INVALID_ARGUMENT", problem);
  if (c.clientKey !== "" && !isIdText(c.clientKey)) return refused("DL_ERR_INVALID_ARGUMENT", "client key is too long");
  const refusal = placesProblem(state, c);
  if (refusal !== undefined) return refusal;

  const shardId = state.nextShardId;
  const first = state.nextReplicaId;
  const operationId = state.nextOperationId;
  state.nextShardId += 1;
  state.nextReplicaId += c.places.length;
  state.nextOperationId += 1;
  const bootstrap: ReplicaPlace[] = c.places.map((p, i) => ({ ...p, replicaId: first + i }));
  const steps = [{ kind: "create", targets: bootstrap, expectedLineage: 0, expectedCci: 0 }] as const;
  const operation = newOperation({ operationId, kind: "create", shardId, reason: "new shard", steps }, c.atMs);
  const shard: ShardRecord = {
    shardId,
    clientKey: c.clientKey,
    spec: c.spec,
    bootstrap,
    confirmed: undefined,
    dataSets: new Map(bootstrap.map((p) => [p.replicaId, p.dataSetId])),
    tombstone: false,
    failure: undefined,
    operationId,
    createdAtMs: c.atMs,
  };
  state.putShard(shard, operation);
  return ok(shardId);
}

/** The answer to a create whose key or name is taken. */
function existingShard(state: MasterState, c: CreateShard): CommandResult | undefined {
  const byKey = c.clientKey === "" ? undefined : state.shards.get(state.clientKeys.get(c.clientKey) ?? 0);
  if (byKey !== undefined) {
    if (sameSpec(byKey.spec, c.spec)) return ok(byKey.shardId);
    return refused(
      "DL_ERR_SHARD_EXISTS",
      `key ${c.clientKey} made shard ${byKey.shardId} with another spec`,
      byKey.shardId,
    );
  }
  const byName = c.spec.name === "" ? undefined : state.names.get(c.spec.name);
  if (byName === undefined) return undefined;
  return refused("DL_ERR_SHARD_EXISTS", `shard ${byName} has the name ${c.spec.name}`, byName);
}

function placesProblem(state: MasterState, c: CreateShard): CommandResult | undefined {
  if (c.places.length !== c.spec.voters) {
    return refused("DL_ERR_INVALID_ARGUMENT", `${c.places.length} places for ${c.spec.voters} voters`);
  }
  if (new Set(c.places.map((p) => p.hostId)).size !== c.places.length) {
    return refused("DL_ERR_INVALID_ARGUMENT", "two initial members on one host");
  }
  for (const place of c.places) {
    const host = state.hosts.get(place.hostId);
    if (host === undefined) return refused("DL_ERR_HOST_NOT_FOUND", place.hostId);
    if (host.removed) return refused("DL_ERR_HOST_REMOVED", place.hostId);
    if (!host.admitted) return refused("DL_ERR_NOT_PLACEABLE", `${place.hostId} is not admitted`);
    if (!host.apps.includes(c.spec.app)) return refused("DL_ERR_APP_UNKNOWN", `${c.spec.app} on ${place.hostId}`);
    if (host.dataSetId !== place.dataSetId) return refused("DL_ERR_FENCED", `${place.hostId} has another data set`);
  }
  return undefined;
}

function sameSpec(a: ShardSpec, b: ShardSpec): boolean {
  const bytesOf = (spec: ShardSpec): Uint8Array => {
    const w = new ByteWriter(128);
    writeSpec(w, spec);
    return w.finish();
  };
  const left = bytesOf(a);
  const right = bytesOf(b);
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

export function updateSpec(state: MasterState, shardId: ShardId, spec: ShardSpec): CommandResult {
  const shard = state.shards.get(shardId);
  if (shard === undefined || shard.tombstone) return refused("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId}`);
  const problem = specProblem(spec);
  if (problem !== undefined) return refused("DL_ERR_INVALID_ARGUMENT", problem);
  if (spec.app !== shard.spec.app) return refused("DL_ERR_INVALID_ARGUMENT", "the app of a shard never changes");
  const holder = spec.name === "" ? undefined : state.names.get(spec.name);
  if (holder !== undefined && holder !== shardId) {
    return refused("DL_ERR_SHARD_EXISTS", `shard ${holder} has the name ${spec.name}`, holder);
  }
  state.putShard({ ...shard, spec });
  return ok(shardId);
}

export function tombstoneShard(state: MasterState, c: TombstoneShard): CommandResult {
  const shard = state.shards.get(c.shardId);
  if (shard === undefined) return refused("DL_ERR_SHARD_NOT_FOUND", `shard ${c.shardId}`);
  if (shard.tombstone) return ok(c.shardId);
  const operation = state.operations.get(shard.operationId);
  if (operation !== undefined) {
    closed(state, operation, { state: "canceled", note: "the shard is deleted", atMs: c.atMs });
  }
  state.putShard({ ...shard, tombstone: true, operationId: 0, failure: undefined });
  return ok(c.shardId);
}

/** `id` of the answer: how many shards advanced. Entries that are older, unknown or impossible are skipped. */
export function confirmMembership(state: MasterState, entries: readonly ConfirmEntry[]): CommandResult {
  let advanced = 0;
  for (const { shardId, membership } of entries) {
    const shard = state.shards.get(shardId);
    if (shard === undefined || membership.voters.size === 0) continue;
    if (shard.confirmed !== undefined && compareMembership(membership, shard.confirmed) <= 0) continue;
    const highest = highestReplicaId(membership);
    if (!isReplicaId(highest)) continue;
    state.nextReplicaId = Math.max(state.nextReplicaId, highest + 1);
    const dataSets = new Map([...shard.dataSets].filter(([id]) => !membership.removed.has(id)));
    state.putShard({ ...shard, confirmed: membership, dataSets });
    advanced += 1;
  }
  return ok(advanced);
}

/** Order of two memberships of one shard: by lineage, then CCI. */
export function compareMembership(
  a: Pick<Membership, "lineage" | "configChangeIndex">,
  b: Pick<Membership, "lineage" | "configChangeIndex">,
): number {
  return a.lineage - b.lineage || a.configChangeIndex - b.configChangeIndex;
}

function highestReplicaId(m: Membership): ReplicaId {
  let highest = 0;
  for (const group of [m.voters.keys(), m.nonVotings.keys(), m.witnesses.keys(), m.removed]) {
    for (const id of group) highest = Math.max(highest, id);
  }
  return highest;
}
