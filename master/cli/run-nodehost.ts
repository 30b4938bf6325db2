/**
 * `drumline nodehost`: one NodeHost process with its apps. Without a configured deployment id a new one asks on the
 * bus, and keeps asking; afterwards its data directory holds the id, and it starts without any master.
 */
import { type App, discoverDeployment, NodeHost, type NodeHostOptions, readIdentity } from "../../nodehost/index.js";
import type { Bus } from "../../shared/bus/index.js";
import { addressesOf, deriveControlTiming, type NodeHostConfig } from "../../shared/config/index.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import { MASTER_SHARD } from "../loop/index.js";
import { loadApps } from "./apps.js";
import { startHttp } from "./http-server.js";
import type { Output } from "./output.js";
import { ProcessLife } from "./process-life.js";
import { busOf, listenOption, processEnv, refuseUnbuilt } from "./process-setup.js";
import { type Flags, loadSettings } from "./settings.js";

const ASK_TIMEOUT_MS = 5_000;
const ASK_PAUSE_MS = 250;
/** Part of the shutdown time-out in which leaderships are moved; what is left then is given up. */
const HANDOVER_SHARE = 1 / 3;
/** Leaders given up are elected elsewhere within about an election timeout. */
const HANDOVER_TICKS = 2;

export async function runNodeHost(output: Output, flags: Flags, configPath: string | undefined): Promise<never> {
  const { values } = loadSettings("nodehost", flags, configPath);
  refuseUnbuilt(values);
  const life = new ProcessLife();
  return await life.run(values.shutdownTimeout, () => openNodeHost(output, values, life));
}

async function openNodeHost(output: Output, values: NodeHostConfig, life: ProcessLife): Promise<void> {
  const { env, registry } = processEnv(output, values);
  const apps = await loadApps(values.apps);
  const addresses = addressesOf(values);
  const late: { host: NodeHost | undefined } = { host: undefined };
  // First of all, and closed last: alive while recovering, and not ready while stopping.
  const http = await startHttp(life, {
    address: addresses.httpAddress,
    registry,
    onScrape: () => late.host !== undefined && scrape(late.host, env),
  });
  const bus = busOf(values, env, "nodehost");
  life.defer(() => bus.close());
  const deploymentId = await deploymentOf(values, { bus, env, output, signal: life.signal });
  const host = await NodeHost.open(hostOptions(values, { apps, bus, env, deploymentId, onFatal: life.fatal }));
  late.host = host;
  const timeoutMs = Math.max(1, values.shutdownTimeout * HANDOVER_SHARE);
  life.defer(() => closeHost(host, env, { rttMs: values.rttMs, timeoutMs }));
  refuseMasterData(host, values.data);
  life.becomeReady();
  const { hostId, raftAddress, apiAddress } = host;
  const bound = { raftAddress, apiAddress, httpAddress: http };
  if (output.json) {
    output.object({ event: "ready", kind: "nodehost", ...bound, hostId, deploymentId, pid: process.pid });
    return;
  }
  const listens = [`raft ${raftAddress}`, apiAddress && `api ${apiAddress}`, http && `http ${http}`];
  output.line(`host ${hostId} of deployment ${deploymentId} ready: ${listens.filter(Boolean).join(", ")}`);
}

interface HostParts {
  readonly apps: readonly App[];
  readonly bus: Bus;
  readonly env: Env;
  readonly deploymentId: number;
  readonly onFatal: (error: unknown) => void;
}

function hostOptions(values: NodeHostConfig, parts: HostParts): NodeHostOptions {
  const { bus, ...rest } = parts;
  const { data: dataDir, walDir, hostId, region, labels, rttMs } = values;
  const { raftAddress, apiAddress } = addressesOf(values);
  const { reportIntervalMs, peerEvidenceMs } = deriveControlTiming(values.downAfter);
  return {
    ...rest,
    raftAddress,
    ...listenOption(values, raftAddress),
    dataDir,
    rttMs,
    labels,
    master: { nats: bus, reportIntervalMs, peerSilenceMs: peerEvidenceMs },
    ...(walDir === undefined ? {} : { walDir }),
    ...(hostId === undefined ? {} : { hostId }),
    ...(region === undefined ? {} : { region }),
    ...(apiAddress === undefined ? {} : { apiAddress }),
  };
}

/** Moves leaderships first, so that clients wait for a round trip and not for an election. */
async function closeHost(host: NodeHost, env: Env, limits: { rttMs: number; timeoutMs: number }): Promise<void> {
  const { rttMs, timeoutMs } = limits;
  const { moved, steppedDown } = await host.drain({ timeoutMs });
  if (moved + steppedDown > 0) env.logger.info({ moved, steppedDown }, "leaderships handed over");
  if (steppedDown > 0) await new Promise<void>((resolve) => env.timers.after(rttMs * HANDOVER_TICKS, resolve));
  await host.close();
}

function refuseMasterData(host: NodeHost, directory: string): void {
  const { logInfo } = host.getNodeHostInfo();
  if (!logInfo.some(({ shardId }) => shardId === MASTER_SHARD)) return;
  throw new OpError("DL_ERR_HOST_MISMATCH", `${directory} is the directory of a master`);
}

interface AskContext {
  readonly bus: Bus;
  readonly env: Env;
  readonly output: Output;
  readonly signal: AbortSignal;
}

/** Configured, or known to the directory, or asked. */
async function deploymentOf(values: NodeHostConfig, context: AskContext): Promise<number> {
  const found = values.deploymentId ?? (await readIdentity(createRealFiles(), values.data))?.deploymentId;
  if (found !== undefined) return found;
  const { bus, env, output, signal } = context;
  let said = false;
  while (!signal.aborted) {
    try {
      return await discoverDeployment(bus, env, { timeoutMs: ASK_TIMEOUT_MS, signal });
    } catch (error) {
      if (!isOpError(error) || error.code === "DL_ERR_DEPLOYMENT_MISMATCH") throw error;
      if (!said) output.note(`waiting for a master to name the deployment (${errorText(error)})`);
      said = true;
    }
    await new Promise<void>((resolve) => env.timers.after(ASK_PAUSE_MS, resolve));
  }
  throw new OpError("DL_ERR_ABORTED", "told to stop before a master named the deployment");
}

function scrape(host: NodeHost, env: Env): void {
  const { clusterInfo, log } = host.getNodeHostInfo({ skipLogInfo: true });
  const { metrics } = env;
  metrics.gauge("drumline_replicas", "replicas on this host").set(clusterInfo.length);
  metrics.gauge("drumline_leaders", "replicas that lead").set(clusterInfo.filter((info) => info.isLeader).length);
  metrics.gauge("drumline_replicas_faulty", "fenced replicas").set(clusterInfo.filter((i) => i.fault !== "").length);
  metrics.gauge("drumline_log_disk_bytes", "bytes of log on disk").set(log.diskBytes);
}
