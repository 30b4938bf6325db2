/**
 * The gRPC services of proto/nodehost.proto and proto/master.proto as plain, typed method tables, and what makes them
 * pleasant to use from both sides: handlers are async functions that throw OpError, calls are promises that reject
 * with OpError. No proto-loader, no generated stubs.
 *
 *   server.addService(NODE_HOST_SERVICE, serve(NODE_HOST_SERVICE, { propose: async (request) => …, … }, onBug))
 *   const reply = await callUnary(client, NODE_HOST_SERVICE.propose, { shardId: 1, command }, { timeoutMs: 5000 })
 *
 * Used by nodehost/api, nodehost/client, master/api, master/cli.
 */
import type { Client, handleServerStreamingCall, handleUnaryCall, Metadata, ServerUnaryCall } from "@grpc/grpc-js";
import { Metadata as EmptyMetadata } from "@grpc/grpc-js";
import type { Writer } from "protobufjs";
import { drumline } from "#gen/drumline.js";
import { OpError } from "../errors.js";
import { LIMITS } from "../limits.js";
import { opErrorOf, statusOf } from "./grpc-status.js";
import { type Decodable, decodeMessage } from "./safe-reader.js";

export { ERROR_TRAILER, opErrorOf, statusOf } from "./grpc-status.js";

const v1 = drumline.v1;

/** One call. `Sent` types have optional fields, `Got` types have all numbers and texts filled in. */
export interface Method<RequestSent, RequestGot, ReplySent, ReplyGot, Stream extends boolean = boolean> {
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: Stream;
  readonly requestSerialize: (value: RequestSent) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => RequestGot;
  readonly responseSerialize: (value: ReplySent) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => ReplyGot;
}

interface MessageType<Sent, Got> extends Decodable<Got> {
  encode(message: Sent, writer?: Writer): Writer;
}

/** [what is sent, what is received] */
interface Kind<RequestSent, RequestGot, ReplySent, ReplyGot> {
  readonly request: MessageType<RequestSent, RequestGot>;
  readonly reply: MessageType<ReplySent, ReplyGot>;
}

function unary<A, B, C, D>(path: string, kind: Kind<A, B, C, D>): Method<A, B, C, D, false> {
  return { ...codecs(kind), path: `/drumline.v1.${path}`, requestStream: false, responseStream: false };
}

function streaming<A, B, C, D>(path: string, kind: Kind<A, B, C, D>): Method<A, B, C, D, true> {
  return { ...codecs(kind), path: `/drumline.v1.${path}`, requestStream: false, responseStream: true };
}

function codecs<A, B, C, D>({ request, reply }: Kind<A, B, C, D>) {
  return {
    requestSerialize: (value: A) => Buffer.from(request.encode(value).finish()),
    requestDeserialize: (bytes: Buffer) => decodeMessage(request, bytes),
    responseSerialize: (value: C) => Buffer.from(reply.encode(value).finish()),
    responseDeserialize: (bytes: Buffer) => decodeMessage(reply, bytes),
  };
}

const membershipCall = { request: v1.MembershipRequest, reply: v1.MembershipReply };

export const NODE_HOST_SERVICE = {
  propose: unary("NodeHost/Propose", { request: v1.ProposeRequest, reply: v1.ProposeReply }),
  proposeBatch: unary("NodeHost/ProposeBatch", { request: v1.ProposeBatchRequest, reply: v1.ProposeBatchReply }),
  read: unary("NodeHost/Read", { request: v1.ReadRequest, reply: v1.ReadReply }),
  openSession: unary("NodeHost/OpenSession", { request: v1.OpenSessionRequest, reply: v1.Session }),
  closeSession: unary("NodeHost/CloseSession", { request: v1.CloseSessionRequest, reply: v1.CloseSessionReply }),
  getNodeHostInfo: unary("NodeHost/GetNodeHostInfo", { request: v1.GetNodeHostInfoRequest, reply: v1.NodeHostInfo }),
  getShardMembership: unary("NodeHost/GetShardMembership", {
    request: v1.GetShardMembershipRequest,
    reply: v1.Membership,
  }),
  requestAddReplica: unary("NodeHost/RequestAddReplica", membershipCall),
  requestAddNonVoting: unary("NodeHost/RequestAddNonVoting", membershipCall),
  requestAddWitness: unary("NodeHost/RequestAddWitness", membershipCall),
  requestDeleteReplica: unary("NodeHost/RequestDeleteReplica", membershipCall),
  requestLeaderTransfer: unary("NodeHost/RequestLeaderTransfer", {
    request: v1.LeaderTransferRequest,
    reply: v1.LeaderTransferReply,
  }),
  requestSnapshot: unary("NodeHost/RequestSnapshot", { request: v1.SnapshotRequest, reply: v1.SnapshotReply }),
  startReplica: unary("NodeHost/StartReplica", { request: v1.StartReplicaRequest, reply: v1.StartReplicaReply }),
  stopReplica: unary("NodeHost/StopReplica", { request: v1.StopReplicaRequest, reply: v1.StopReplicaReply }),
  leaderUpdates: streaming("NodeHost/LeaderUpdates", { request: v1.LeaderUpdatesRequest, reply: v1.LeaderUpdate }),
};

export const MASTER_SERVICE = {
  status: unary("Master/Status", { request: v1.StatusRequest, reply: v1.StatusReply }),
  listHosts: unary("Master/ListHosts", { request: v1.ListHostsRequest, reply: v1.ListHostsReply }),
  listShards: unary("Master/ListShards", { request: v1.ListShardsRequest, reply: v1.ListShardsReply }),
  getShard: unary("Master/GetShard", { request: v1.GetShardRequest, reply: v1.Shard }),
  listOperations: unary("Master/ListOperations", { request: v1.ListOperationsRequest, reply: v1.ListOperationsReply }),
  listEvents: unary("Master/ListEvents", { request: v1.ListEventsRequest, reply: v1.ListEventsReply }),
  createShard: unary("Master/CreateShard", { request: v1.CreateShardRequest, reply: v1.CreateShardReply }),
  cancelOperation: unary("Master/CancelOperation", {
    request: v1.CancelOperationRequest,
    reply: v1.CancelOperationReply,
  }),
  setHostState: unary("Master/SetHostState", { request: v1.SetHostStateRequest, reply: v1.SetHostStateReply }),
  setScheduler: unary("Master/SetScheduler", { request: v1.SetSchedulerRequest, reply: v1.SetSchedulerReply }),
};

/** Options of servers and channels: a command of the largest size must fit. */
export const GRPC_OPTIONS = {
  "grpc.max_receive_message_length": LIMITS.frameBytesMax,
  "grpc.max_send_message_length": LIMITS.frameBytesMax,
} as const;

/** What a handler may ask about its call. */
export interface CallContext {
  /** Aborted when the caller cancels, or its deadline has passed. */
  readonly signal: AbortSignal;
  readonly metadata: Metadata;
}

type AnyMethod = Method<never, unknown, never, unknown>;

/** Handlers by method name: promises for unary calls, async iterables for streams. */
export type Handlers<Service extends Record<string, AnyMethod>> = {
  readonly [K in keyof Service]: Service[K] extends Method<infer _A, infer Got, infer Sent, infer _D, infer Stream>
    ? (request: Got, context: CallContext) => true extends Stream ? AsyncIterable<Sent> : Promise<Sent>
    : never;
};

type AnyHandler = (request: unknown, context: CallContext) => Promise<unknown> | AsyncIterable<unknown>;

/**
 * Makes grpc-js handlers. `onBug` sees everything thrown that is neither OpError nor MalformedError; the caller only
 * gets DL_ERR_INTERNAL.
 */
export function serve<Service extends Record<string, AnyMethod>>(
  service: Service,
  handlers: Handlers<Service>,
  onBug: (method: string, error: unknown) => void,
): Record<keyof Service & string, handleUnaryCall<unknown, unknown> | handleServerStreamingCall<unknown, unknown>> {
  const result: Record<string, handleUnaryCall<unknown, unknown> | handleServerStreamingCall<unknown, unknown>> = {};
  for (const [name, method] of Object.entries(service)) {
    const handler = handlers[name] as AnyHandler;
    const failed = (error: unknown) => {
      const failure = statusOf(error);
      if (!(error instanceof OpError) && failure.code === INTERNAL) onBug(name, error);
      return failure;
    };
    result[name] = method.responseStream ? serveStream(handler, failed) : serveUnary(handler, failed);
  }
  return result as Record<keyof Service & string, handleUnaryCall<unknown, unknown>>;
}

const INTERNAL = 13;

type Failed = (error: unknown) => ReturnType<typeof statusOf>;

function serveUnary(handler: AnyHandler, failed: Failed): handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    const answer = async () => await (handler(call.request, contextOf(call)) as Promise<unknown>);
    answer().then(
      (reply) => callback(null, reply),
      (error: unknown) => callback(failed(error)),
    );
  };
}

function serveStream(handler: AnyHandler, failed: Failed): handleServerStreamingCall<unknown, unknown> {
  return (call) => {
    const context = contextOf(call);
    const send = async () => {
      for await (const reply of handler(call.request, context) as AsyncIterable<unknown>) {
        if (context.signal.aborted) return;
        if (!call.write(reply)) await drained(call, context.signal);
      }
    };
    send().then(
      () => call.end(),
      (error: unknown) => call.emit("error", failed(error)),
    );
  };
}

/** Resolves when more may be written, or nobody listens any more. */
function drained(call: { once(event: "drain", listener: () => void): unknown }, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const finish = () => {
      signal.removeEventListener("abort", finish);
      done();
    };
    call.once("drain", finish);
    signal.addEventListener("abort", finish);
  });
}

function contextOf(call: Pick<ServerUnaryCall<unknown, unknown>, "metadata" | "on" | "cancelled">): CallContext {
  const abort = new AbortController();
  if (call.cancelled) abort.abort();
  call.on("cancelled", () => abort.abort());
  return { signal: abort.signal, metadata: call.metadata };
}

export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly metadata?: Metadata;
}

/** Calls and waits. Rejects with OpError; `rejected` and `applied` only when the server said so. */
export function callUnary<Request, Reply>(
  client: Client,
  method: Method<Request, unknown, never, Reply, false>,
  request: Request,
  options: CallOptions,
): Promise<Reply> {
  if (options.signal?.aborted) return Promise.reject(new OpError("DL_ERR_ABORTED"));
  return new Promise((done, fail) => {
    const { path, requestSerialize, responseDeserialize } = method;
    const metadata = options.metadata ?? new EmptyMetadata();
    const limits = { deadline: Date.now() + options.timeoutMs };
    const cancel = () => call.cancel();
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      limits,
      (error, reply) => {
        options.signal?.removeEventListener("abort", cancel);
        if (error !== null) fail(opErrorOf(error));
        else if (reply === undefined) fail(new OpError("DL_ERR_MALFORMED", "empty answer", { outcome: "unknown" }));
        else done(reply);
      },
    );
    options.signal?.addEventListener("abort", cancel, { once: true });
  });
}

/** Calls a streaming method. Ends with OpError on failure; leaving the loop cancels the call. */
export async function* callStream<Request, Reply>(
  client: Client,
  method: Method<Request, unknown, never, Reply, true>,
  request: Request,
  options: Omit<CallOptions, "timeoutMs"> = {},
): AsyncGenerator<Reply> {
  if (options.signal?.aborted) return;
  const { path, requestSerialize, responseDeserialize } = method;
  const metadata = options.metadata ?? new EmptyMetadata();
  const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
  const cancel = () => call.cancel();
  options.signal?.addEventListener("abort", cancel, { once: true });
  try {
    for await (const reply of call) yield reply as Reply;
  } catch (error) {
    if (options.signal?.aborted) return;
    throw opErrorOf(error as Parameters<typeof opErrorOf>[0]);
  } finally {
    options.signal?.removeEventListener("abort", cancel);
    call.on("error", () => {}); // the cancellation itself
    call.cancel();
  }
}
