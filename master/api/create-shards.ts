/**
 * CreateShard: checks the wish, then places and commits the shards one after another, so that each placement sees the
 * ones before it. Idempotent by key: the n-th shard of a call has a key of its own, made of the caller's key, n and
 * the number asked for; a call that was cut short goes on where it stopped. Called by admin-service.ts on the leader.
 */
import type { Env } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import type { ReplicaSettings } from "../../shared/types/control.js";
import type { ShardId } from "../../shared/types/ids.js";
import type { MasterView, ReplicaPlace, ShardSpec } from "../db/index.js";
import type { Master } from "../loop/index.js";
import { type PlanView, placeNewShard } from "../plan/index.js";

const VOTERS_MAX = 7;
const NON_VOTINGS_MAX = 64;
const COUNT_MAX = 1_000;
const KEY = /^[\x21-\x7e]{1,128}$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const TICKS_MAX = 10_000;
const ENTRIES_MAX = 2 ** 40;

export interface CreateContext {
  readonly env: Env;
  readonly master: Master;
  readonly settings: ReplicaSettings;
  readonly signal: AbortSignal;
}

export interface CreateRequest {
  readonly key: string;
  readonly app: string;
  readonly name: string;
  readonly voters: number;
  readonly nonVotings: number;
  readonly witnesses: number;
  readonly count: number;
  readonly settings?: Partial<Record<keyof ReplicaSettings, number | null>> | null;
  readonly placement: readonly string[];
  readonly dryRun: boolean;
  readonly shardId: number;
}

export interface CreateReply {
  readonly shardIds: ShardId[];
  readonly created: boolean;
  readonly plan: string[];
}

/**
 * DL_ERR_INVALID_ARGUMENT, _APP_UNKNOWN, _NOT_PLACEABLE, _SHARD_EXISTS, _NOT_LEADER. After an error, shards made
 * before it stay; the same call with the same key makes the rest.
 */
export async function createShards(context: CreateContext, request: CreateRequest): Promise<CreateReply> {
  const { master, signal, env } = context;
  const wishes = wishesOf(request, settingsOf(request, context.settings));
  checkKey(master.store.view(), request.key, wishes);
  const reply: CreateReply = { shardIds: [], created: false, plan: [] };
  if (request.dryRun) return { ...reply, plan: dryRun(viewOf(master), wishes, env) };
  const isKnown = ({ clientKey }: Wish): boolean =>
    clientKey !== "" && viewOf(master).db.clientKeys.get(clientKey) !== undefined;
  const commit = ({ clientKey, spec }: Wish, places: readonly ReplicaPlace[]): Promise<ShardId> =>
    master.store.commit({ kind: "createShard", clientKey, spec, places, atMs: env.wallClockMs() });
  // A known key is answered (or refused, if the spec differs) before its places are looked at. All of them at once: a
  // call that is repeated because time ran out must spend its time on the rest.
  const fresh = wishes.findIndex((wish) => !isKnown(wish));
  const old = fresh < 0 ? wishes : wishes.slice(0, fresh);
  reply.shardIds.push(...(await Promise.all(old.map((wish) => commit(wish, [])))));
  for (const wish of wishes.slice(old.length)) {
    if (signal.aborted) throw new OpError("DL_ERR_CANCELED", `${reply.shardIds.length} of ${wishes.length} made`);
    const places = isKnown(wish) ? [] : placesFor(viewOf(master), wish.spec, env.random.int(0x7fffffff));
    reply.shardIds.push(await commit(wish, places));
  }
  master.loop.poke();
  return { ...reply, created: fresh >= 0 };
}

function viewOf(master: Master): PlanView {
  const view = master.loop.view();
  if (view === undefined)
    throw new OpError("DL_ERR_NOT_LEADER", "this master lost its leadership; the same key goes on");
  return view;
}

interface Wish {
  readonly spec: ShardSpec;
  readonly clientKey: string;
}

function wishesOf(request: CreateRequest, settings: ReplicaSettings): Wish[] {
  const { key, app, name, voters, nonVotings } = request;
  const count = request.count === 0 ? 1 : request.count;
  if (app === "") invalid("app is missing");
  if (name !== "" && !NAME.test(name)) {
    invalid(`name is ${shown(name)}, expected 1 to 128 letters, digits, ".", "_" or "-"`);
  }
  if (key !== "" && !KEY.test(key)) invalid(`key is ${shown(key)}, expected 1 to 128 printable characters`);
  if (voters < 1 || voters > VOTERS_MAX) invalid(`voters is ${voters}, expected 1 to ${VOTERS_MAX}`);
  if (nonVotings > NON_VOTINGS_MAX) invalid(`non_votings is ${nonVotings}, expected 0 to ${NON_VOTINGS_MAX}`);
  if (count > COUNT_MAX) invalid(`count is ${count}, expected 1 to ${COUNT_MAX}`);
  if (request.witnesses > 0) throw new OpError("DL_ERR_NOT_IMPLEMENTED", "witnesses");
  if (request.placement.length > 0) throw new OpError("DL_ERR_NOT_IMPLEMENTED", "placement rules");
  if (request.shardId !== 0) throw new OpError("DL_ERR_NOT_IMPLEMENTED", "shard ids chosen by the caller");
  const wishes: Wish[] = [];
  for (let n = 1; n <= count; n++) {
    const ownName = name === "" || count === 1 ? name : `${name}-${n}`;
    const clientKey = key === "" ? "" : `${key}#${n}/${count}`;
    wishes.push({ clientKey, spec: { name: ownName, app, voters, nonVotings, settings, region: "" } });
  }
  return wishes;
}

/** Absent settings (0 on the wire) are the master's. */
function settingsOf(request: CreateRequest, defaults: ReplicaSettings): ReplicaSettings {
  const given = (key: keyof ReplicaSettings, max: number): number => {
    const value = request.settings?.[key] ?? 0;
    if (value > max) invalid(`${key} is ${value}, expected at most ${max}`);
    return value === 0 ? defaults[key] : value;
  };
  const settings = {
    electionTicks: given("electionTicks", TICKS_MAX),
    heartbeatTicks: given("heartbeatTicks", TICKS_MAX),
    snapshotEntries: given("snapshotEntries", ENTRIES_MAX),
    compactionOverhead: given("compactionOverhead", ENTRIES_MAX),
  };
  const { electionTicks, heartbeatTicks } = settings;
  if (electionTicks < 2 * heartbeatTicks) {
    invalid(`electionTicks is ${electionTicks}, expected at least twice heartbeatTicks (${heartbeatTicks})`);
  }
  return settings;
}

/** The same key with another count would make more shards, not answer the first call. */
function checkKey(db: MasterView, key: string, wishes: readonly Wish[]): void {
  const first = wishes[0];
  if (key === "" || first === undefined || db.clientKeys.get(first.clientKey) !== undefined) return;
  const other = new RegExp(`^${escaped(key)}#1/(\\d+)$`);
  for (const shard of db.shards.values()) {
    const [, count] = other.exec(shard.clientKey) ?? [];
    if (count === undefined) continue;
    throw new OpError("DL_ERR_SHARD_EXISTS", `key ${key} was used for ${count} shards, now for ${wishes.length}`);
  }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}

function placesFor(view: PlanView, spec: ShardSpec, seed: number): readonly ReplicaPlace[] {
  const apps = new Set([...view.db.hosts.values()].filter((h) => !h.removed).flatMap((h) => h.apps));
  if (apps.size > 0 && !apps.has(spec.app)) {
    throw new OpError("DL_ERR_APP_UNKNOWN", `${spec.app}, the hosts have ${[...apps].sort().join(", ")}`);
  }
  const placement = placeNewShard(view, spec, seed);
  if ("places" in placement) return placement.places;
  throw new OpError("DL_ERR_NOT_PLACEABLE", placement.reason);
}

/** Each line on its own: without commits, one placement does not see the ones before it. */
function dryRun(view: PlanView, wishes: readonly Wish[], env: Env): string[] {
  return wishes.map(({ spec }, n) => {
    const places = placesFor(view, spec, env.random.int(0x7fffffff)).map((place) => place.hostId);
    const name = spec.name === "" ? "" : ` (${spec.name})`;
    return `shard ${view.db.nextShardId + n}${name}: voters on ${places.join(", ")}`;
  });
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}

function invalid(what: string): never {
  throw new OpError("DL_ERR_INVALID_ARGUMENT", what);
}
