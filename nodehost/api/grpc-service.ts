/**
 * The gRPC API of a NodeHost: the library's calls for any language (proto/nodehost.proto). Decodes, calls, encodes;
 * nothing is decided here. Errors carry their code and outcome in a trailer.
 */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { Env } from "../../shared/env/env.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { NodeHostInfo, ReplicaSettings } from "../../shared/types/control.js";
import type { SessionState } from "../../shared/types/session.js";
import {
  GRPC_OPTIONS,
  type Handlers,
  membershipToWire,
  NODE_HOST_SERVICE,
  nodeHostInfoToWire,
  serve,
} from "../../shared/wire/index.js";
import { membersFromWire } from "../../shared/wire/membership-codec.js";
import type { RequestResult } from "../engine/index.js";
import { errorOf } from "../engine/index.js";
import type { App, Result } from "../rsm/index.js";
import type { NodeHost } from "./nodehost.js";
import { type CallOptions, checkAddress } from "./options.js";
import { Session } from "./session.js";

export interface GrpcServiceOptions {
  readonly host: NodeHost;
  /** `host:port`, port 0 = any free one. */
  readonly address: string;
  readonly env: Env;
  readonly apps: ReadonlyMap<string, App>;
  /** The host's state as it would be reported. */
  readonly info: () => Promise<NodeHostInfo>;
}

export interface GrpcService {
  /** As really bound. */
  readonly address: string;
  close(): Promise<void>;
}

/** Serves. DL_ERR_ADDRESS_IN_USE, DL_ERR_INVALID_ADDRESS. */
export async function startNodeHostService(options: GrpcServiceOptions): Promise<GrpcService> {
  const server = new Server(GRPC_OPTIONS);
  const onBug = (method: string, error: unknown): void =>
    options.env.logger.error({ method, error: errorText(error) }, "a call failed for a reason that is a bug of ours");
  server.addService(NODE_HOST_SERVICE, serve(NODE_HOST_SERVICE, handlers(options), onBug));
  const address = await bindServer(server, options.address);
  return { address, close: () => closeServer(server) };
}

/** Binds a gRPC server; resolves to `host:port` as really bound. */
export function bindServer(server: Server, address: string): Promise<string> {
  checkAddress("apiAddress", address);
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(`${address.slice(0, address.lastIndexOf(":"))}:${port}`);
      else reject(new OpError("DL_ERR_ADDRESS_IN_USE", address, { cause: error }));
    });
  });
}

/** Calls under way get a moment to end, then are cut. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.forceShutdown(), 500);
    server.tryShutdown(() => {
      clearTimeout(cut);
      resolve();
    });
  });
}

function callOptions(timeoutMs: number, signal: AbortSignal): CallOptions {
  return timeoutMs === 0 ? { signal } : { timeoutMs, signal };
}

function completedOf(outcome: RequestResult): RequestResult {
  if (outcome.code !== "completed") throw errorOf(outcome);
  return outcome;
}

const NOTHING = new Uint8Array(0);

function resultToWire(result: Result, index: number): { value: number; data: Uint8Array; index: number } {
  if (result.value < 0) {
    const what = `over gRPC a result must not be negative, it is ${result.value}`;
    throw new OpError("DL_ERR_INVALID_OPERATION", what, { outcome: "applied" });
  }
  return { value: result.value, data: result.data ?? NOTHING, index };
}

type Service = Handlers<typeof NODE_HOST_SERVICE>;

function handlers(options: GrpcServiceOptions): Service {
  const { host, apps, info } = options;
  return {
    ...dataHandlers(host),
    ...membershipHandlers(host),
    async getNodeHostInfo(request) {
      const report = await info();
      return nodeHostInfoToWire(request.skipLogInfo ? { ...report, logInfoIncluded: false, logInfo: [] } : report);
    },
    async startReplica(request) {
      const { shardId, replicaId, join, witness: isWitness } = request;
      const initial = membersFromWire(request.initial);
      const config = { shardId, replicaId, isWitness, ...settingsOf(request.settings) };
      if (isWitness && request.app === "") {
        await host.startReplica(initial, join, undefined, config);
        return {};
      }
      const app = apps.get(request.app);
      if (app === undefined) {
        throw new OpError("DL_ERR_APP_UNKNOWN", `${request.app}, this host has ${[...apps.keys()].join(", ")}`);
      }
      await host.startApp(initial, join, app, config);
      return {};
    },
    async stopReplica(request) {
      await host.stopReplica(request.shardId, request.replicaId);
      return {};
    },
    async *leaderUpdates(request, context) {
      const updates = host.leaderUpdates(request.shardId === 0 ? undefined : request.shardId)[Symbol.asyncIterator]();
      const end = (): void => void updates.return?.();
      if (context.signal.aborted) end();
      context.signal.addEventListener("abort", end, { once: true });
      try {
        for (let next = await updates.next(); next.done !== true; next = await updates.next()) yield next.value;
      } finally {
        end();
      }
    },
  };
}

interface SettingsOnWire {
  readonly electionTicks?: number | null;
  readonly heartbeatTicks?: number | null;
  readonly snapshotEntries?: number | null;
  readonly compactionOverhead?: number | null;
}

/** Absent settings (0 on the wire) keep the host's defaults. */
function settingsOf(settings: SettingsOnWire | null | undefined): Partial<ReplicaSettings> {
  const given: { -readonly [K in keyof ReplicaSettings]?: number } = {};
  for (const key of ["electionTicks", "heartbeatTicks", "snapshotEntries", "compactionOverhead"] as const) {
    const value = settings?.[key];
    if (typeof value === "number" && value > 0) given[key] = value;
  }
  return given;
}

type DataCalls = "propose" | "proposeBatch" | "read" | "openSession" | "closeSession" | "requestSnapshot";

function dataHandlers(host: NodeHost): Pick<Service, DataCalls> {
  return {
    async propose(request, { signal }) {
      const { shardId, timeoutMs, command } = request;
      const session = sessionFromWire(request.session) ?? host.getNoOPSession(shardId);
      if (session.shardId !== shardId) {
        const what = `session of shard ${session.shardId}, proposal to shard ${shardId}`;
        throw new OpError("DL_ERR_INVALID_SESSION", what);
      }
      const state = host.propose(session, command, callOptions(timeoutMs, signal));
      const { result, index } = completedOf(await state.completed);
      return resultToWire(result ?? { value: 0 }, index);
    },
    async proposeBatch(request, { signal }) {
      const { shardId, commands, timeoutMs } = request;
      const state = host.proposeBatch(host.getNoOPSession(shardId), commands, callOptions(timeoutMs, signal));
      const { results, index } = completedOf(await state.completed);
      // Only the last entry's index is known.
      return { results: (results ?? []).map((r, i, all) => resultToWire(r, i === all.length - 1 ? index : 0)) };
    },
    async read(request, { signal }) {
      const { shardId, query, timeoutMs, consistency } = request;
      const stale = consistency === CONSISTENCY_STALE;
      const call = callOptions(timeoutMs, signal);
      const answer: unknown = stale ? await host.staleRead(shardId, query) : await host.syncRead(shardId, query, call);
      const { applied } = host.getShardInfo(shardId);
      if (answer instanceof Uint8Array) return { data: answer, applied, found: true };
      if (answer === undefined || answer === null) return { data: NOTHING, applied, found: false };
      throw new OpError("DL_ERR_INVALID_OPERATION", "over gRPC an app's lookup must answer bytes or nothing");
    },
    async openSession({ shardId, timeoutMs }, { signal }) {
      const session = await host.syncGetSession(shardId, callOptions(timeoutMs, signal));
      const { clientId, seriesId, respondedTo } = session;
      return { shardId, clientId, seriesId, respondedTo };
    },
    async closeSession(request, { signal }) {
      const session = sessionFromWire(request.session);
      if (session === undefined) throw new OpError("DL_ERR_INVALID_SESSION", "no session is given");
      await host.syncCloseSession(session, callOptions(request.timeoutMs, signal));
      return {};
    },
    async requestSnapshot(request, { signal }) {
      const { shardId, compactionOverhead, timeoutMs, exportPath } = request;
      const snapshot = {
        ...(compactionOverhead === 0 ? {} : { compactionOverhead }),
        ...(exportPath === "" ? {} : { exportPath }),
      };
      const index = await host.syncRequestSnapshot(shardId, snapshot, callOptions(timeoutMs, signal));
      return { index };
    },
  };
}

type SessionOnWire = { readonly [K in keyof SessionState]?: SessionState[K] | null };

/** Undefined for none: absent, or without client id. */
function sessionFromWire(wire: SessionOnWire | null | undefined): Session | undefined {
  const { clientId, shardId, seriesId, respondedTo } = wire ?? {};
  if (typeof clientId !== "string" || clientId === "") return undefined;
  return Session.resume({ clientId, shardId: shardId ?? 0, seriesId: seriesId ?? 0, respondedTo: respondedTo ?? 0 });
}

/** proto: CONSISTENCY_STALE */
const CONSISTENCY_STALE = 2;

type MembershipCalls =
  | "getShardMembership"
  | "requestAddReplica"
  | "requestAddNonVoting"
  | "requestAddWitness"
  | "requestDeleteReplica"
  | "requestLeaderTransfer";

function membershipHandlers(host: NodeHost): Pick<Service, MembershipCalls> {
  return {
    async getShardMembership(request, { signal }) {
      const membership = await host.syncGetShardMembership(request.shardId, callOptions(request.timeoutMs, signal));
      return membershipToWire(membership);
    },
    async requestAddReplica(request, { signal }) {
      const { shardId, replicaId, target, configChangeIndex, timeoutMs } = request;
      const call = callOptions(timeoutMs, signal);
      const state = host.requestAddReplica(shardId, replicaId, target, configChangeIndex, call);
      return { configChangeIndex: completedOf(await state.completed).index };
    },
    async requestAddNonVoting(request, { signal }) {
      const { shardId, replicaId, target, configChangeIndex, timeoutMs } = request;
      const call = callOptions(timeoutMs, signal);
      const state = host.requestAddNonVoting(shardId, replicaId, target, configChangeIndex, call);
      return { configChangeIndex: completedOf(await state.completed).index };
    },
    async requestDeleteReplica(request, { signal }) {
      const { shardId, replicaId, configChangeIndex, timeoutMs } = request;
      const call = callOptions(timeoutMs, signal);
      const state = host.requestDeleteReplica(shardId, replicaId, configChangeIndex, call);
      return { configChangeIndex: completedOf(await state.completed).index };
    },
    async requestAddWitness(request, { signal }) {
      const { shardId, replicaId, target, configChangeIndex, timeoutMs } = request;
      const call = callOptions(timeoutMs, signal);
      const state = host.requestAddWitness(shardId, replicaId, target, configChangeIndex, call);
      return { configChangeIndex: completedOf(await state.completed).index };
    },
    requestLeaderTransfer(request, { signal }) {
      const { shardId, targetReplicaId, timeoutMs } = request;
      return host.syncRequestLeaderTransfer(shardId, targetReplicaId, callOptions(timeoutMs, signal));
    },
  };
}
