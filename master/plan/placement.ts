/**
 * Where a replica goes: hard filters, then spread over zones and machines, then the fewest replicas (those planned but
 * not yet there included), then by seed. Every host that is passed over has its reason, so "unplaceable" can say why.
 */
import type { HostId, ShardId } from "../../shared/types/ids.js";
import type { HostRecord, ReplicaPlace, ShardSpec } from "../db/index.js";
import { NEW_REPLICA } from "../db/index.js";
import type { PlanContext } from "./context.js";

export interface PlacementWish {
  readonly shardId: ShardId;
  readonly spec: ShardSpec;
  /** Hosts that hold anything of the shard. */
  readonly taken: ReadonlySet<HostId>;
  /** Hosts of the members that stay: to be spread from. */
  readonly staying: readonly HostId[];
  /** Used only if nothing else is left. */
  readonly avoid: HostId;
  /** Hosts at their limit of incoming repairs are passed over. */
  readonly limited: boolean;
}

export type Placement =
  | { readonly place: ReplicaPlace }
  /** `temporary`: the same hosts may take it later (a limit). */
  | { readonly reason: string; readonly temporary: boolean };

/** One host for one new replica. */
export function placeReplica(ctx: PlanContext, wish: PlacementWish): Placement {
  const rejected = new Map<string, number>();
  const candidates: HostRecord[] = [];
  let temporary = false;
  for (const host of ctx.view.db.hosts.values()) {
    const reason = whyNot(ctx, host, wish);
    if (reason === undefined) {
      candidates.push(host);
      continue;
    }
    if (reason === BUSY) temporary = true;
    rejected.set(reason, (rejected.get(reason) ?? 0) + 1);
  }
  const best = choose(ctx, wish, candidates);
  if (best !== undefined) {
    return { place: { replicaId: NEW_REPLICA, hostId: best.hostId, dataSetId: best.dataSetId } };
  }
  const list = [...rejected].map(([reason, count]) => `${count} ${reason}`).sort();
  const reason = `no host may take a replica: ${list.length === 0 ? "none is registered" : list.join(", ")}`;
  return { reason, temporary };
}

const BUSY = "at the limit of incoming repairs";

/** Why a host may not take a replica of this shard. */
function whyNot(ctx: PlanContext, host: HostRecord, wish: PlacementWish): string | undefined {
  if (host.removed) return "removed";
  if (wish.taken.has(host.hostId)) return "already hold a replica or its data";
  if (!host.admitted) return "not admitted";
  if (host.draining) return "draining";
  const state = ctx.host(host.hostId)?.state ?? "Unknown";
  if (state !== "Up") return state.toLowerCase();
  if (ctx.host(host.hostId)?.dataSetId !== host.dataSetId) return "with an unregistered data set";
  if (!host.apps.includes(wish.spec.app)) return `without app ${wish.spec.app}`;
  if (wish.spec.region !== "" && host.region !== wish.spec.region) return `outside region ${wish.spec.region}`;
  if (wish.limited && ctx.incoming(host.hostId) >= ctx.view.db.limits.repairsPerHostMax) return BUSY;
  return undefined;
}

function choose(ctx: PlanContext, wish: PlacementWish, candidates: readonly HostRecord[]): HostRecord | undefined {
  const staying = wish.staying.map((id) => ctx.view.db.hosts.get(id)).filter((h) => h !== undefined);
  let best: HostRecord[] = [];
  let bestRank: readonly number[] = [];
  for (const host of candidates) {
    const crowd = crowding(host, staying);
    const rank = [host.hostId === wish.avoid ? 1 : 0, crowd, ctx.load(host.hostId)];
    const order = best.length === 0 ? -1 : compareRanks(rank, bestRank);
    if (order < 0) {
      best = [host];
      bestRank = rank;
    } else if (order === 0) best.push(host);
  }
  return best[best.length === 0 ? 0 : ctx.pick(wish.shardId, best.length)];
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const MACHINE_WEIGHT = 10_000;
const ZONE_WEIGHT = 100;

/** How much of a failure domain it would share with the members that stay: machine, then zone, then region. */
function crowding(host: HostRecord, staying: readonly HostRecord[]): number {
  let score = 0;
  for (const other of staying) {
    if (shares(host.labels["machine"], other.labels["machine"])) score += MACHINE_WEIGHT;
    if (shares(host.labels["zone"], other.labels["zone"])) score += ZONE_WEIGHT;
    if (shares(host.region, other.region)) score += 1;
  }
  return score;
}

function shares(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && a !== "" && a === b;
}

/** Places for all initial voters of a new shard, or why there are not enough. Used by the admin API for createShard. */
export function placeShard(
  ctx: PlanContext,
  spec: ShardSpec,
): { readonly places: readonly ReplicaPlace[] } | { readonly reason: string } {
  const places: ReplicaPlace[] = [];
  for (let i = 0; i < spec.voters; i++) {
    const staying = places.map((p) => p.hostId);
    const wish = {
      shardId: ctx.view.db.nextShardId,
      spec,
      taken: new Set(staying),
      staying,
      avoid: "",
      limited: false,
    };
    const placement = placeReplica(ctx, wish);
    if (!("place" in placement)) return { reason: `${i} of ${spec.voters} voters placed; ${placement.reason}` };
    places.push(placement.place);
    ctx.notePlaced(placement.place.hostId);
  }
  return { places };
}

/** Of hosts that share most with the others, for choosing which extra member leaves. */
export function crowdingOf(ctx: PlanContext, hostId: HostId, others: readonly HostId[]): number {
  const host = ctx.view.db.hosts.get(hostId);
  if (host === undefined) return Number.MAX_SAFE_INTEGER;
  return crowding(
    host,
    others.map((id) => ctx.view.db.hosts.get(id)).filter((h) => h !== undefined),
  );
}
