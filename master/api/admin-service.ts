/**
 * The gRPC admin service of a master (proto/master.proto). Any replica answers: what only the leader knows is passed
 * on to it. Decodes, calls, encodes; what is shown is made in views.ts, new shards in create-shards.ts.
 * Started by the CLI next to each master.
 */
import { Server } from "@grpc/grpc-js";
import { bindServer, closeServer } from "../../nodehost/index.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { ReplicaSettings } from "../../shared/types/control.js";
import { GRPC_OPTIONS, type Handlers, MASTER_SERVICE, serve } from "../../shared/wire/index.js";
import type { Master } from "../loop/index.js";
import type { Plan, PlanView } from "../plan/index.js";
import { createShards } from "./create-shards.js";
import { Forwarder } from "./forward.js";
import { shardDetails, shardList } from "./shard-views.js";
import { eventList, hostList, operationList, statusOf } from "./views.js";

export interface AdminServiceOptions {
  readonly env: Env;
  readonly master: Master;
  /** `host:port`, port 0 = any free one. */
  readonly address: string;
  /** Of this program. */
  readonly version: string;
  /** What replicas of new shards get where the request says nothing. */
  readonly settings: ReplicaSettings;
}

export interface AdminService {
  /** As really bound. */
  readonly address: string;
  close(): Promise<void>;
}

/** What a leading master knows at this moment. */
export interface Leading {
  readonly view: PlanView;
  readonly plan: Plan;
}

/** Serves. DL_ERR_ADDRESS_IN_USE, DL_ERR_INVALID_ADDRESS. */
export async function startAdminService(options: AdminServiceOptions): Promise<AdminService> {
  const server = new Server(GRPC_OPTIONS);
  const forwarder = new Forwarder(options.master);
  const onBug = (method: string, error: unknown): void =>
    options.env.logger.error({ method, error: errorText(error) }, "a call failed for a reason that is a bug of ours");
  server.addService(MASTER_SERVICE, serve(MASTER_SERVICE, handlers(options, forwarder), onBug));
  const address = await bindServer(server, options.address);
  const close = async (): Promise<void> => {
    forwarder.close();
    await closeServer(server);
  };
  return { address, close };
}

function handlers(options: AdminServiceOptions, forwarder: Forwarder): Handlers<typeof MASTER_SERVICE> {
  const { master, version, settings, env } = options;
  const leading = (): Leading | undefined => leadingOf(master);
  const notYet = (what: string) => () => Promise.reject(new OpError("DL_ERR_NOT_IMPLEMENTED", what));
  return {
    // The one call that must answer when there is no leader: it says so.
    async status(request, context) {
      const own = leading();
      if (own === undefined && !forwarder.isForwarded(context)) {
        try {
          return await forwarder.forward(MASTER_SERVICE.status, request, context);
        } catch (error) {
          return statusOf(master, version, { leading: undefined, why: errorText(error) });
        }
      }
      return statusOf(master, version, { leading: own, why: "" });
    },
    listHosts: forwarder.atLeader(MASTER_SERVICE.listHosts, leading, (_request, { view }) => hostList(view)),
    listShards: forwarder.atLeader(MASTER_SERVICE.listShards, leading, (request, { view, plan }) => {
      return shardList(view, plan, request);
    }),
    getShard: forwarder.atLeader(MASTER_SERVICE.getShard, leading, ({ shardId }, { view, plan }) => {
      return shardDetails(view, plan, shardId);
    }),
    listOperations: forwarder.atLeader(MASTER_SERVICE.listOperations, leading, (request, { view, plan }) => {
      return operationList(view, plan, request);
    }),
    listEvents: forwarder.atLeader(MASTER_SERVICE.listEvents, leading, (request, { view }) => eventList(view, request)),
    createShard: forwarder.atLeader(MASTER_SERVICE.createShard, leading, (request, _leading, { signal }) => {
      return createShards({ env, master, settings, signal }, request);
    }),
    cancelOperation: notYet("canceling an operation"),
    setHostState: notYet("maintenance, draining and removal of hosts"),
    setScheduler: notYet("pausing the scheduler"),
  };
}

/** Undefined until a leader has taken over and made its first plan: before that its answers would be wrong. */
function leadingOf(master: Master): Leading | undefined {
  const view = master.loop.view();
  const plan = master.loop.lastPlan;
  return view === undefined || plan === undefined ? undefined : { view, plan };
}
