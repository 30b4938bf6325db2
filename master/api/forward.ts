/**
 * Passing calls on to the leading master. A call is passed on at most once: if the other one does not lead either
 * (leadership just moved), the caller gets DL_ERR_NOT_LEADER, which is retryable. Used by admin-service.ts.
 */
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { isOpError, OpError } from "../../shared/errors.js";
import { type CallContext, callUnary, GRPC_OPTIONS, type Method } from "../../shared/wire/index.js";
import type { Master, MasterMember } from "../loop/index.js";

const FORWARDED = "drumline-forwarded";
const TIMEOUT_MS = 10_000;

export class Forwarder {
  readonly #master: Master;
  readonly #clients = new Map<string, Client>();

  constructor(master: Master) {
    this.#master = master;
  }

  /** A handler that answers with `local` while this master leads, and asks the leader otherwise. */
  atLeader<Sent, Got extends Sent, ReplySent, ReplyGot extends ReplySent, Leading>(
    method: Method<Sent, Got, ReplySent, ReplyGot, false>,
    leading: () => Leading | undefined,
    local: (request: Got, leading: Leading, context: CallContext) => ReplySent | Promise<ReplySent>,
  ): (request: Got, context: CallContext) => Promise<ReplySent> {
    return async (request, context) => {
      const own = leading();
      if (own !== undefined) return await local(request, own, context);
      return await this.forward(method, request, context);
    };
  }

  isForwarded(context: CallContext): boolean {
    return context.metadata.get(FORWARDED).length > 0;
  }

  /** DL_ERR_NOT_LEADER when no other master is known to lead, or the call has been passed on already. */
  forward<Sent, Got extends Sent, ReplySent, ReplyGot>(
    method: Method<Sent, Got, ReplySent, ReplyGot, false>,
    request: Got,
    context: CallContext,
  ): Promise<ReplyGot> {
    const { members, replicaId } = this.#master.options;
    const { leaderId } = this.#master.store.leadership();
    const leader = members.find((member) => member.replicaId === leaderId);
    if (leader === undefined) {
      return Promise.reject(new OpError("DL_ERR_NOT_LEADER", `master ${replicaId} knows no leader at the moment`));
    }
    if (leaderId === replicaId) {
      return Promise.reject(new OpError("DL_ERR_NOT_LEADER", `master ${replicaId} was elected and is taking over`));
    }
    if (this.isForwarded(context)) {
      const what = `master ${replicaId} does not lead; master ${leaderId} at ${leader.apiAddress} does`;
      return Promise.reject(new OpError("DL_ERR_NOT_LEADER", what));
    }
    const metadata = new Metadata();
    metadata.set(FORWARDED, String(replicaId));
    const call = { timeoutMs: TIMEOUT_MS, signal: context.signal, metadata };
    return callUnary(this.#client(leader.apiAddress), method, request, call).catch((error: unknown) => {
      throw isOpError(error) && error.code === "DL_ERR_UNREACHABLE" ? leaderGone(leader, error) : error;
    });
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  #client(address: string): Client {
    let client = this.#clients.get(address);
    if (client === undefined) {
      const backoff = { "grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 500 };
      const channel = { ...GRPC_OPTIONS, ...backoff, "grpc.use_local_subchannel_pool": 1 };
      client = new Client(address, credentials.createInsecure(), channel);
      this.#clients.set(address, client);
    }
    return client;
  }
}

/** It has just died, most likely: an election comes. Whether it got the call is as unknown as before. */
function leaderGone({ replicaId, apiAddress }: MasterMember, { outcome }: OpError): OpError {
  return new OpError("DL_ERR_NOT_LEADER", `master ${replicaId} at ${apiAddress} leads, but cannot be reached`, {
    outcome,
  });
}
