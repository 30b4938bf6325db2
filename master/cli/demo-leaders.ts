/**
 * Who leads which shard, from the hosts themselves: one stream of leader updates per host, opened again whenever it
 * ends. A host whose stream is down is not offered to writers. Feeds the demo's writers.
 */
import { Client, credentials } from "@grpc/grpc-js";
import { callStream, GRPC_OPTIONS, NODE_HOST_SERVICE } from "../../shared/wire/index.js";
import { pause } from "./demo-wait.js";

/** What the replica of one host says of its shard's leader. */
export interface LeaderRow {
  readonly replicaId: number;
  readonly leaderId: number;
  readonly term: number;
}

const RECONNECT_MS = 100;

/** Hosts in the order in which to try them: the leader's first. Pure. */
export function leaderFirst(rows: ReadonlyMap<string, LeaderRow>): string[] {
  let newest: LeaderRow | undefined;
  for (const row of rows.values()) {
    if (row.leaderId !== 0 && (newest === undefined || row.term > newest.term)) newest = row;
  }
  const leaderId = newest?.leaderId ?? 0;
  const isLeader = (address: string): boolean => rows.get(address)?.replicaId === leaderId;
  const all = [...rows.keys()];
  return [...all.filter(isLeader), ...all.filter((address) => !isLeader(address))];
}

export class LeaderView {
  readonly #rows = new Map<number, Map<string, LeaderRow>>();
  readonly #streams = new Map<string, AbortController>();

  /** Follows exactly these hosts from now on. */
  setHosts(addresses: readonly string[]): void {
    for (const [address, stream] of this.#streams) {
      if (addresses.includes(address)) continue;
      stream.abort();
      this.#streams.delete(address);
    }
    for (const address of addresses) {
      if (this.#streams.has(address)) continue;
      const stream = new AbortController();
      this.#streams.set(address, stream);
      void this.#follow(address, stream.signal);
    }
  }

  /** Addresses of hosts with a replica of the shard, the leader's first. */
  route(shardId: number): string[] {
    return leaderFirst(this.#rows.get(shardId) ?? new Map());
  }

  close(): void {
    this.setHosts([]);
  }

  async #follow(address: string, signal: AbortSignal): Promise<void> {
    const backoff = { "grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 500 };
    const channel = { ...GRPC_OPTIONS, ...backoff, "grpc.use_local_subchannel_pool": 1 };
    const client = new Client(address, credentials.createInsecure(), channel);
    while (!signal.aborted) {
      try {
        for await (const update of callStream(client, NODE_HOST_SERVICE.leaderUpdates, { shardId: 0 }, { signal })) {
          const { shardId, replicaId, leaderId, term } = update;
          this.#put(shardId, address, { replicaId, leaderId, term });
        }
      } catch {
        // The host is gone or not there yet: it is asked again.
      }
      for (const rows of this.#rows.values()) rows.delete(address);
      if (!signal.aborted) await pause(RECONNECT_MS);
    }
    client.close();
  }

  #put(shardId: number, address: string, row: LeaderRow): void {
    let rows = this.#rows.get(shardId);
    if (rows === undefined) {
      rows = new Map();
      this.#rows.set(shardId, rows);
    }
    rows.set(address, row);
  }
}
