/**
 * Reads the deployment back from the hosts themselves, not from what masters say: memberships, values through every
 * replica, state hashes. Used by the demo and by the end-to-end tests.
 */

import { decodeKvAnswer, encodeKvQuery, kvBytes } from "../../nodehost/apps/index.js";
import { HostClient } from "../../nodehost/client/index.js";
import { errorText } from "../../shared/errors.js";
import type { ClusterInfo, NodeHostInfo } from "../../shared/types/control.js";
import { checkShard, compareHashes, type HostRead, parseValues, sumChecks, type WriteCheck } from "./demo-check.js";
import type { Limit } from "./demo-wait.js";
import { DemoFailure } from "./demo-wait.js";
import { KEYS, type ShardLedger } from "./demo-writer.js";

const READ_TIMEOUT_MS = 5_000;
const READS_AT_ONCE = 16;
const READ_LIMIT_MS = 20_000;

/** All live hosts, asked at about one time. */
export class HostViews {
  readonly #clients = new Map<string, HostClient>();

  /** Rejects when one cannot be asked. */
  async infos(addresses: readonly string[]): Promise<NodeHostInfo[]> {
    return await Promise.all(addresses.map((address) => this.client(address).info({ timeoutMs: 3_000 })));
  }

  client(address: string): HostClient {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new HostClient(address);
      this.#clients.set(address, client);
    }
    return client;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }
}

/** One voter of a shard and the host that runs it. */
export interface Placed {
  readonly address: string;
  readonly hostId: string;
  readonly raftAddress: string;
  readonly replica: ClusterInfo;
}

/**
 * The voters of a shard if it is at strength: one replica leads, its membership has exactly `voters` voters and
 * nobody else, and each of them runs without fault on a host that answered. Otherwise why not.
 */
export function votersAtStrength(shardId: number, voters: number, infos: readonly NodeHostInfo[]): Placed[] | string {
  const placed = infos.flatMap((info) =>
    info.clusterInfo
      .filter((replica) => replica.shardId === shardId)
      .map((replica) => ({ address: info.apiAddress, hostId: info.hostId, raftAddress: info.raftAddress, replica })),
  );
  const leader = placed.filter((one) => one.replica.isLeader).sort((a, b) => b.replica.term - a.replica.term)[0];
  const membership = leader?.replica.membership;
  if (membership === undefined) return `shard ${shardId} has no leader`;
  const others = membership.nonVotings.size + membership.witnesses.size;
  if (membership.voters.size !== voters || others > 0) {
    return `shard ${shardId} has ${membership.voters.size} voters and ${others} others`;
  }
  const found: Placed[] = [];
  for (const [replicaId, target] of membership.voters) {
    const isIt = (p: Placed): boolean => p.replica.replicaId === replicaId && p.replica.fault === "";
    const one = placed.find((p) => isIt(p) && (p.hostId === target || p.raftAddress === target));
    if (one === undefined) return `shard ${shardId}: voter ${replicaId} does not run on ${target}`;
    found.push(one);
  }
  return found;
}

/** Checks every write of every shard through every host that holds a replica of it. */
export async function checkWrites(
  ledgers: readonly ShardLedger[],
  views: HostViews,
  where: Where,
): Promise<WriteCheck> {
  const checks: WriteCheck[] = [];
  for (const ledger of ledgers) {
    const addresses = await where.addressesOf(ledger.shardId);
    const reads = await Promise.all(
      addresses.map((address) => readShard(views.client(address), ledger.shardId, where.limit)),
    );
    checks.push(checkShard(ledger, reads));
  }
  return sumChecks(checks);
}

export interface Where {
  readonly limit: Limit;
  /** Hosts of the shard's replicas. */
  addressesOf(shardId: number): Promise<readonly string[]> | readonly string[];
}

/** All keys of one shard, linearizably, through one host. */
async function readShard(host: HostClient, shardId: number, limit: Limit): Promise<HostRead> {
  const values = new Map<string, readonly number[]>();
  const keys = Array.from({ length: KEYS }, (_, i) => `k${i}`);
  const next = keys.values();
  const worker = async (): Promise<void> => {
    for (const key of next) values.set(key, await readKey(host, { shardId, key, limit }));
  };
  await Promise.all(Array.from({ length: READS_AT_ONCE }, worker));
  return { address: host.address, values };
}

interface KeyRead {
  readonly shardId: number;
  readonly key: string;
  readonly limit: Limit;
}

async function readKey(host: HostClient, { shardId, key, limit }: KeyRead): Promise<number[]> {
  const query = encodeKvQuery({ op: "get", key: kvBytes(key) });
  const probe = async (): Promise<number[]> => {
    const answer = await host.read(shardId, query, { timeoutMs: READ_TIMEOUT_MS });
    if (answer === undefined) return [];
    const { found, bytes } = decodeKvAnswer(answer);
    return found ? parseValues(Buffer.from(bytes).toString("utf8")) : [];
  };
  const what = `linearizable read of shard ${shardId} through ${host.address}`;
  return await limit.until(what, probe, { limitMs: READ_LIMIT_MS });
}

/**
 * True when the replicas of every shard have one state hash at one index. False at once for two hashes at one index,
 * and when they do not come to one index in time.
 */
export async function replicasEqual(
  shardIds: readonly number[],
  views: HostViews,
  options: EqualOptions,
): Promise<boolean> {
  let open = [...shardIds];
  const probe = async (): Promise<boolean | undefined> => {
    const infos = await views.infos(options.addresses());
    const states = open.map((shardId) => ({ shardId, state: hashState(shardId, options.voters, infos) }));
    const different = states.find(({ state }) => state === "different");
    if (different !== undefined) throw new DemoFailure(`replicas of shard ${different.shardId} differ`);
    open = states.filter(({ state }) => state !== "equal").map(({ shardId }) => shardId);
    return open.length === 0 ? true : undefined;
  };
  try {
    return await options.limit.until("replicas at one index", probe, { limitMs: options.limitMs, everyMs: 100 });
  } catch (error) {
    options.problem(`${errorText(error)}; shards ${open.join(", ")}`);
    return false;
  }
}

export interface EqualOptions {
  readonly voters: number;
  readonly limit: Limit;
  readonly limitMs: number;
  /** Of all live hosts. */
  addresses(): readonly string[];
  /** Told why not. */
  problem(text: string): void;
}

function hashState(shardId: number, voters: number, infos: readonly NodeHostInfo[]): "equal" | "different" | "waiting" {
  const placed = votersAtStrength(shardId, voters, infos);
  if (typeof placed === "string") return "waiting";
  return compareHashes(placed.map(({ hostId, replica }) => ({ hostId, stateHash: replica.stateHash })));
}
