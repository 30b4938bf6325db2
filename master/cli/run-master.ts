/**
 * `drumline master`: one master process. Which of the configured masters it is, its Raft port decides. Serves the
 * admin API beside the Raft port, and health and metrics one port further. Works without NATS and says so once.
 */
import { addressesOf, type MasterConfig } from "../../shared/config/index.js";
import { OpError } from "../../shared/errors.js";
import { startAdminService } from "../api/index.js";
import { deriveTiming } from "../detect/index.js";
import { Master, type MasterMember } from "../loop/index.js";
import { startHttp } from "./http-server.js";
import type { Output } from "./output.js";
import { ProcessLife } from "./process-life.js";
import { busOf, listenOption, processEnv, refuseUnbuilt } from "./process-setup.js";
import { type Flags, loadSettings, portAbove } from "./settings.js";
import { programVersion } from "./version.js";

export async function runMaster(output: Output, flags: Flags, configPath: string | undefined): Promise<never> {
  const { values } = loadSettings("master", flags, configPath);
  refuseUnbuilt(values);
  const members = masterMembers(values);
  const self = ownMember(values, members);
  const life = new ProcessLife();
  return await life.run(values.shutdownTimeout, () => openMaster({ output, values, life, members, self }));
}

interface MasterContext {
  readonly output: Output;
  readonly values: MasterConfig;
  readonly life: ProcessLife;
  readonly members: readonly MasterMember[];
  readonly self: MasterMember;
}

async function openMaster({ output, values, life, members, self }: MasterContext): Promise<void> {
  const { deploymentId, data, rttMs, downAfter } = values;
  const { env, registry } = processEnv(output, values);
  const addresses = addressesOf(values);
  const late: { master: Master | undefined } = { master: undefined };
  const bus = busOf(values, env, `master-${self.replicaId}`);
  // First of all, and closed last: alive while recovering, and not ready while stopping.
  const http = await startHttp(life, {
    address: addresses.httpAddress,
    registry,
    notReady: () => (bus.status().connected ? "" : "not connected to NATS"),
    onScrape: () => late.master !== undefined && scrape(late.master, env.metrics),
  });
  life.defer(() => bus.close());
  const master = await Master.open({
    env,
    bus,
    deploymentId,
    replicaId: self.replicaId,
    members,
    dataDir: data,
    timing: deriveTiming(downAfter),
    rttMs,
    logger: env.logger,
    onFatal: life.fatal,
    ...listenOption(values, self.raftAddress),
  });
  late.master = master;
  life.defer(() => master.close());
  const { electionTicks, heartbeatTicks, snapshotEntries, compactionOverhead } = values;
  const settings = { electionTicks, heartbeatTicks, snapshotEntries, compactionOverhead };
  const address = addresses.apiAddress ?? self.apiAddress;
  const api = await startAdminService({ env, master, address, version: programVersion(), settings });
  life.defer(() => api.close());
  life.becomeReady();
  const { replicaId, raftAddress } = self;
  const bound = { raftAddress, apiAddress: api.address, httpAddress: http };
  if (output.json) {
    output.object({ event: "ready", kind: "master", ...bound, replicaId, deploymentId, pid: process.pid });
    return;
  }
  const listens = [`raft ${raftAddress}`, `api ${api.address}`, http && `http ${http}`];
  output.line(`master ${replicaId} of deployment ${deploymentId} ready: ${listens.filter(Boolean).join(", ")}`);
}

function scrape(master: Master, metrics: MasterMetrics): void {
  const { leading, term } = master.store.leadership();
  const plan = master.loop.lastPlan;
  metrics.gauge("drumline_master_leading", "1 if this master leads").set(leading ? 1 : 0);
  metrics.gauge("drumline_master_term", "Raft term of shard 0").set(term);
  if (plan === undefined) return;
  metrics.gauge("drumline_master_shards_healthy", "shards at strength").set(plan.healthyShards);
  metrics.gauge("drumline_master_shards_unhealthy", "shards that are not at strength").set(plan.shards.length);
  const open = [...master.store.view().operations.values()].length;
  metrics.gauge("drumline_master_operations_open", "open operations").set(open);
}

type MasterMetrics = Master["options"]["env"]["metrics"];

/** The API of a master is one port above its Raft port; its replica id is its place in the list. */
function masterMembers(values: MasterConfig): MasterMember[] {
  if (values.masters === undefined) {
    throw new OpError("DL_ERR_INVALID_CONFIG", "masters is missing; `drumline init` writes it");
  }
  return values.masters.map((raftAddress, at) => {
    return { replicaId: at + 1, raftAddress, apiAddress: portAbove(raftAddress, 1) };
  });
}

function ownMember(values: MasterConfig, members: readonly MasterMember[]): MasterMember {
  const { raftAddress } = addressesOf(values);
  const exact = members.find((member) => member.raftAddress === raftAddress);
  if (exact !== undefined) return exact;
  const port = (address: string): string => address.slice(address.lastIndexOf(":"));
  const samePort = members.filter((member) => port(member.raftAddress) === port(raftAddress));
  const [only] = samePort;
  // The list may name this machine otherwise than --host does; the port says which one is meant.
  if (only !== undefined && samePort.length === 1) return only;
  const known = members.map((member) => member.raftAddress).join(", ");
  throw new OpError("DL_ERR_INVALID_CONFIG", `${raftAddress} is none of the configured masters (${known})`);
}
