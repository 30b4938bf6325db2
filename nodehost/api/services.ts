/**
 * What a NodeHost runs beside its engine when asked to: the gRPC API, and the agent that reports to masters. Also puts
 * back to work, at start, every replica whose data and app are here: the data plane needs no master for that.
 */
import { createNatsBus } from "../../shared/bus/index.js";
import type { Bus } from "../../shared/bus/port.js";
import type { Env } from "../../shared/env/env.js";
import { errorText } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import type { NodeHostInfo } from "../../shared/types/control.js";
import type { DirectoryRefusal } from "../engine/index.js";
import type { App } from "../rsm/index.js";
import { MasterAgent } from "./agent.js";
import { type GrpcService, startNodeHostService } from "./grpc-service.js";
import { hostReport } from "./info.js";
import type { MasterClientHost } from "./master-client.js";
import { NatsMasterClient } from "./nats-master-client.js";
import type { NodeHost } from "./nodehost.js";
import type { MasterLink } from "./options.js";
import { REFUSED_TODO } from "./peer-gate.js";
import { RequestExecutor } from "./request-executor.js";

export interface ServicesContext {
  readonly host: NodeHost;
  readonly env: Env;
  readonly files: Files;
  readonly refuse: (refusal: DirectoryRefusal) => void;
  /** Resolves when all peers were asked about the replicas that were restarted, or could not be. */
  readonly asked: () => Promise<void>;
}

export interface Services {
  /** Of the gRPC API as really bound, "" if none. */
  readonly apiAddress: string;
  close(): Promise<void>;
}

const DEFAULT_REPORT_INTERVAL_MS = 3_000;
const DEFAULT_PEER_SILENCE_MS = 60_000;

export async function startServices(context: ServicesContext): Promise<Services> {
  const { host, env } = context;
  const { options } = host;
  const apps = new Map((options.apps ?? []).map((app) => [app.name, app]));
  await restartAll(host, apps, env);
  const undo: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    // All are closed, also if one fails; its error is what the caller sees.
    const results = await Promise.allSettled(undo.reverse().map((step) => step()));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  };
  try {
    let service: GrpcService | undefined;
    let agent: RunningAgent | undefined;
    if (options.apiAddress !== undefined) {
      const info = (): Promise<NodeHostInfo> => hostReport(host, { apiAddress: service?.address ?? "", apps });
      service = await startNodeHostService({ host, address: options.apiAddress, env, apps, info });
      undo.push(service.close);
    }
    const apiAddress = service?.address ?? "";
    if (options.master !== undefined) {
      agent = await startAgent(context, options.master, { apps, apiAddress });
      undo.push(agent.close);
    }
    return { apiAddress, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A replica that cannot start is reported by what is missing; the others run. */
async function restartAll(host: NodeHost, apps: ReadonlyMap<string, App>, env: Env): Promise<void> {
  if (apps.size === 0) return;
  for (const { shardId, replicaId } of host.getNodeHostInfo().logInfo) {
    try {
      await host.restartReplica(shardId, replicaId, apps);
    } catch (error) {
      env.logger.error({ shardId, replicaId, error: errorText(error) }, "replica not restarted");
    }
  }
}

/** Only what says that this directory is not the newest is believed. */
function refuseDirectory({ env, refuse }: ServicesContext, code: string, detail: string): void {
  if (code === "DL_ERR_DATA_STALE" || code === "DL_ERR_HOST_CLONED") {
    refuse({ code, detail: `${detail}; ${REFUSED_TODO}` });
  } else env.logger.warn({ code, detail }, "a master refuses this host");
}

interface RunningAgent {
  readonly close: () => Promise<void>;
}

interface AgentContext {
  readonly apps: ReadonlyMap<string, App>;
  readonly apiAddress: string;
}

async function startAgent(context: ServicesContext, link: MasterLink, rest: AgentContext): Promise<RunningAgent> {
  const { host, env, files } = context;
  const { apps, apiAddress } = rest;
  const { dataDir } = host.options;
  const late: { agent: MasterAgent | undefined } = { agent: undefined };
  const onDone = (): void => late.agent?.poke();
  const executor = new RequestExecutor({ host, identity: host.identity, apps, files, dataDir, env, onDone });
  await executor.open();
  const own = isBus(link.nats) ? undefined : createNatsBus({ servers: [link.nats].flat(), env, name: host.hostId });
  const bus = own ?? link.nats;
  const clientHost: MasterClientHost = {
    hostId: host.hostId,
    execute: (request) => executor.execute(request),
    refuseDirectory: (code, detail) => refuseDirectory(context, code, detail),
    learnAddress: (hostId, raftAddress, incarnation) => host.learnAddress(hostId, raftAddress, incarnation),
  };
  const { deploymentId } = host.identity;
  const onPushed = (): void => late.agent?.poke();
  const client =
    link.client?.(clientHost) ??
    new NatsMasterClient({ bus: asBus(bus), env, host: clientHost, deploymentId, onPushed });
  const agent = new MasterAgent({
    client,
    url: isBus(link.nats) ? "" : [link.nats].flat().join(","),
    env,
    reportIntervalMs: link.reportIntervalMs ?? DEFAULT_REPORT_INTERVAL_MS,
    info: (sequence, stopping) => {
      const peerSilenceMs = link.peerSilenceMs ?? DEFAULT_PEER_SILENCE_MS;
      const { highestMasterTerm } = executor;
      return hostReport(host, { apiAddress, apps, sequence, stopping, peerSilenceMs, highestMasterTerm });
    },
  });
  late.agent = agent;
  // What peers know of this directory belongs into the first report already.
  const state = { closed: false };
  void context.asked().then(() => {
    if (!state.closed) agent.start();
  });
  const close = async (): Promise<void> => {
    state.closed = true;
    await agent.stop();
    await own?.close();
  };
  return { close };
}

function isBus(value: MasterLink["nats"]): value is Bus {
  return typeof value === "object" && "publish" in value;
}

function asBus(value: MasterLink["nats"]): Bus {
  if (!isBus(value)) throw new TypeError("not a bus");
  return value;
}
