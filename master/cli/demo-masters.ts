/**
 * Calls to a group of masters over gRPC: the one that answered last first, the others when it cannot be reached or
 * does not lead. Every call used here is safe to repeat. Used by the demo and by the end-to-end tests.
 */
import { Client, credentials } from "@grpc/grpc-js";
import { isOpError, OpError } from "../../shared/errors.js";
import { callUnary, GRPC_OPTIONS, MASTER_SERVICE, type Method } from "../../shared/wire/index.js";

const CALL_MS = 2_000;
const CREATE_MS = 20_000;
/** A master that comes back is found again within half a second. */
const CHANNEL = {
  ...GRPC_OPTIONS,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 500,
  "grpc.use_local_subchannel_pool": 1,
};

type ReplyOf<M> = M extends Method<infer _A, unknown, never, infer Reply, false> ? Reply : never;
export type StatusReply = ReplyOf<typeof MASTER_SERVICE.status>;
export type HostRow = ReplyOf<typeof MASTER_SERVICE.listHosts>["hosts"][number];
export type ShardRow = ReplyOf<typeof MASTER_SERVICE.listShards>["shards"][number];
export type OperationRow = ReplyOf<typeof MASTER_SERVICE.listOperations>["operations"][number];

export type EventRow = ReplyOf<typeof MASTER_SERVICE.listEvents>["events"][number];

export interface ShardWish {
  readonly key: string;
  readonly app: string;
  readonly voters: number;
  readonly count: number;
}

export class MasterControl {
  readonly addresses: readonly string[];
  readonly #clients = new Map<string, Client>();
  #preferred: string;

  constructor(addresses: readonly string[]) {
    this.addresses = addresses;
    this.#preferred = addresses[0] ?? "";
  }

  /** As this one master sees it. */
  status(address: string, timeoutMs = CALL_MS): Promise<StatusReply> {
    return callUnary(this.#client(address), MASTER_SERVICE.status, {}, { timeoutMs });
  }

  async hosts(): Promise<HostRow[]> {
    return (await this.#call(MASTER_SERVICE.listHosts, {})).hosts;
  }

  async shards(): Promise<ShardRow[]> {
    return (await this.#call(MASTER_SERVICE.listShards, {})).shards;
  }

  async operations(includeFinished: boolean): Promise<OperationRow[]> {
    return (await this.#call(MASTER_SERVICE.listOperations, { includeFinished })).operations;
  }

  async events(): Promise<EventRow[]> {
    return (await this.#call(MASTER_SERVICE.listEvents, { after: 0, limit: 0 })).events;
  }

  /** Resolves to the ids. Idempotent by key. They are made one after another: many take their time. */
  async createShards(wish: ShardWish): Promise<number[]> {
    return (await this.#call(MASTER_SERVICE.createShard, wish, CREATE_MS)).shardIds;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  /** One round over all masters; rejects with the last error. */
  async #call<Request, Reply>(
    method: Method<Request, unknown, never, Reply, false>,
    request: Request,
    timeoutMs = CALL_MS,
  ): Promise<Reply> {
    const order = [this.#preferred, ...this.addresses.filter((address) => address !== this.#preferred)];
    let last: unknown = new OpError("DL_ERR_UNREACHABLE", "no masters");
    for (const address of order) {
      try {
        const reply = await callUnary(this.#client(address), method, request, { timeoutMs });
        this.#preferred = address;
        return reply;
      } catch (error) {
        if (!isOpError(error) || (error.outcome === "rejected" && !error.retryable)) throw error;
        last = error;
      }
    }
    throw last;
  }

  #client(address: string): Client {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new Client(address, credentials.createInsecure(), CHANNEL);
      this.#clients.set(address, client);
    }
    return client;
  }
}
