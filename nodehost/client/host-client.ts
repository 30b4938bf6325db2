/**
 * HostClient: addresses one NodeHost over gRPC. Every call resolves or rejects with an OpError whose `outcome` says
 * what is known; nothing is retried here (ShardClient does, where that is safe).
 */
import { Client, connectivityState, credentials } from "@grpc/grpc-js";
import { OpError } from "../../shared/errors.js";
import type { NodeHostInfo } from "../../shared/types/control.js";
import type { ReplicaId, ShardId, Target } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { SessionState } from "../../shared/types/session.js";
import {
  callUnary,
  GRPC_OPTIONS,
  type Method,
  membershipFromWire,
  NODE_HOST_SERVICE,
  nodeHostInfoFromWire,
} from "../../shared/wire/index.js";

export interface ClientCallOptions {
  /** Default 10,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ProposeOptions extends ClientCallOptions {
  /** Default: none; retried after an unknown outcome the command may then apply twice. */
  readonly session?: SessionState;
}

export interface ProposeAnswer {
  /** The machine's result. */
  readonly value: number;
  readonly data: Uint8Array;
  /** Log index of the entry. */
  readonly index: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** The call's own deadline is a little later than the server's, whose answer says more. */
const GRACE_MS = 250;

export class HostClient {
  readonly address: string;
  readonly #client: Client;
  #closed = false;

  /** Connects at the first call. */
  constructor(address: string) {
    this.address = address;
    // A channel of its own: two clients never share fate, and a restarted host is found again within half a second.
    const backoff = { "grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 500 };
    const channel = { ...GRPC_OPTIONS, ...backoff, "grpc.use_local_subchannel_pool": 1 };
    this.#client = new Client(address, credentials.createInsecure(), channel);
  }

  /** Proposes through this host; resolves when applied there. Under a session a series is applied once. */
  async propose(shardId: ShardId, command: Uint8Array, options?: ProposeOptions): Promise<ProposeAnswer> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const request = { shardId, command, timeoutMs, session: options?.session ?? null };
    return await this.#call(NODE_HOST_SERVICE.propose, request, callOf(timeoutMs, options));
  }

  async proposeBatch(
    shardId: ShardId,
    commands: readonly Uint8Array[],
    options?: ClientCallOptions,
  ): Promise<readonly ProposeAnswer[]> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const request = { shardId, commands: [...commands], timeoutMs };
    const reply = await this.#call(NODE_HOST_SERVICE.proposeBatch, request, callOf(timeoutMs, options));
    return reply.results.map((r) => ({ value: r.value ?? 0, data: r.data ?? new Uint8Array(0), index: r.index ?? 0 }));
  }

  /** Linearizable unless `stale`. Undefined when the app answered nothing. */
  async read(
    shardId: ShardId,
    query: Uint8Array,
    options?: ClientCallOptions & { readonly stale?: boolean },
  ): Promise<Uint8Array | undefined> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const request = { shardId, query, timeoutMs, consistency: options?.stale === true ? 2 : 1 };
    const reply = await this.#call(NODE_HOST_SERVICE.read, request, callOf(timeoutMs, options));
    return reply.found ? reply.data : undefined;
  }

  /** Opens a session, fit for its first proposal. */
  async openSession(shardId: ShardId, options?: ClientCallOptions): Promise<SessionState> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    return await this.#call(NODE_HOST_SERVICE.openSession, { shardId, timeoutMs }, callOf(timeoutMs, options));
  }

  /** DL_ERR_SESSION_NOT_FOUND when it is closed or evicted already. */
  async closeSession(session: SessionState, options?: ClientCallOptions): Promise<void> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    await this.#call(NODE_HOST_SERVICE.closeSession, { session, timeoutMs }, callOf(timeoutMs, options));
  }

  async info(options?: ClientCallOptions): Promise<NodeHostInfo> {
    const call = callOf(options?.timeoutMs ?? DEFAULT_TIMEOUT_MS, options);
    return nodeHostInfoFromWire(await this.#call(NODE_HOST_SERVICE.getNodeHostInfo, {}, call));
  }

  /** Linearizable. */
  async membership(shardId: ShardId, options?: ClientCallOptions): Promise<Membership> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const request = { shardId, timeoutMs };
    const call = callOf(timeoutMs, options);
    return membershipFromWire(await this.#call(NODE_HOST_SERVICE.getShardMembership, request, call));
  }

  /** Adds a witness at `target`; resolves to the config change index that results. */
  async addWitness(
    shardId: ShardId,
    replicaId: ReplicaId,
    target: Target,
    options?: ClientCallOptions & { readonly configChangeIndex?: number },
  ): Promise<number> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const configChangeIndex = options?.configChangeIndex ?? 0;
    const request = { shardId, replicaId, target, configChangeIndex, timeoutMs };
    const reply = await this.#call(NODE_HOST_SERVICE.requestAddWitness, request, callOf(timeoutMs, options));
    return reply.configChangeIndex ?? 0;
  }

  /** Asks the host, which must lead the shard; resolves to who leads afterwards. */
  async transferLeader(
    shardId: ShardId,
    targetReplicaId: ReplicaId,
    options?: ClientCallOptions,
  ): Promise<{ readonly leaderId: ReplicaId; readonly term: number }> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const request = { shardId, targetReplicaId, timeoutMs };
    const call = callOf(timeoutMs, options);
    const reply = await this.#call(NODE_HOST_SERVICE.requestLeaderTransfer, request, call);
    return { leaderId: reply.leaderId ?? 0, term: reply.term ?? 0 };
  }

  /**
   * Saves a snapshot; resolves to its index. `exportPath`: written there as well, an absolute path on the host's
   * machine that does not exist yet. A big one needs its time: set `timeoutMs`.
   */
  async requestSnapshot(
    shardId: ShardId,
    snapshot: { readonly exportPath?: string; readonly compactionOverhead?: number },
    options?: ClientCallOptions,
  ): Promise<number> {
    const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const { exportPath = "", compactionOverhead = 0 } = snapshot;
    const request = { shardId, exportPath, compactionOverhead, timeoutMs };
    const reply = await this.#call(NODE_HOST_SERVICE.requestSnapshot, request, callOf(timeoutMs, options));
    return reply.index ?? 0;
  }

  close(): void {
    this.#closed = true;
    this.#client.close();
  }

  async #call<Request, Reply>(
    method: Method<Request, unknown, never, Reply, false>,
    request: Request,
    limit: CallLimit,
  ): Promise<Reply> {
    if (this.#closed) throw new OpError("DL_ERR_CLOSED", "the client is closed", { outcome: "rejected" });
    if (!(await this.#connected(limit.timeoutMs))) {
      // Nothing was sent: another host may be asked, also to write.
      throw new OpError("DL_ERR_UNREACHABLE", this.address, { outcome: "rejected" });
    }
    return await callUnary(this.#client, method, request, limit);
  }

  /** Waits for the connection to be made or refused. */
  async #connected(timeoutMs: number): Promise<boolean> {
    const channel = this.#client.getChannel();
    const end = new Date(Date.now() + timeoutMs);
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) return true;
      if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) return false;
      const changed = await new Promise<boolean>((resolve) => {
        channel.watchConnectivityState(state, end, (error) => resolve(error === undefined));
      });
      if (!changed) return false;
    }
  }
}

interface CallLimit {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

function callOf(timeoutMs: number, options: ClientCallOptions | undefined): CallLimit {
  if (!(timeoutMs > 0)) throw new OpError("DL_ERR_INVALID_ARGUMENT", `timeoutMs is ${timeoutMs}, expected above 0`);
  const limit = { timeoutMs: timeoutMs + GRACE_MS };
  return options?.signal === undefined ? limit : { ...limit, signal: options.signal };
}
