/** The default master client on a simulated bus: reports, requests that come back or are pushed, discovery. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Bus,
  DISCOVER_SUBJECT,
  hostSubject,
  registrySubject,
  reportSubject,
  resultSubject,
  SimBroker,
} from "../../shared/bus/index.js";
import { silentLogger } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import type { HostRequest, HostResult, NodeHostInfo, RegistryView, ReportRefusal } from "../../shared/types/control.js";
import {
  decodeDiscoverRequest,
  decodeHostResult,
  decodeNodeHostInfo,
  encodeDiscoverReply,
  encodeHostRequest,
  encodeRegistryView,
  encodeReportReply,
} from "../../shared/wire/index.js";
import { VirtualWorld } from "../../test/hosts/virtual-world.js";
import { NatsMasterClient } from "./nats-master-client.js";

const HOST = "00000000-0000-4000-8000-00000000000a";
const PEER = "00000000-0000-4000-8000-00000000000b";
const DEPLOYMENT = 7;

function order(requestId: string): HostRequest {
  const fence = {
    deploymentId: DEPLOYMENT,
    masterLineage: 1,
    masterTerm: 2,
    hostId: HOST,
    incarnation: 1,
    dataSetId: PEER,
    ttlMs: 1_000,
  };
  return { requestId, operationId: 1, shardId: 1, fence, action: { kind: "stop", replicaId: 1 } };
}

const REPORT: NodeHostInfo = {
  deploymentId: DEPLOYMENT,
  hostId: HOST,
  dataSetId: PEER,
  incarnation: { counter: 1, nonce: "0011223344556677" },
  sequence: 1,
  stateVersion: 0,
  digest: "",
  raftAddress: "h:1",
  apiAddress: "",
  region: "",
  labels: {},
  apps: [],
  clusterInfo: [],
  logInfoIncluded: true,
  logInfo: [],
  silentPeers: [],
  stopping: false,
  highestMasterTerm: 0,
  directoryFault: "",
  recoveredSequence: 0,
  durableSequence: 0,
  load: { replicas: 0, leaders: 0, diskUsedBytes: 0, diskFreeBytes: 0, rssBytes: 0 },
};

async function rig() {
  const world = new VirtualWorld(1);
  const { env } = world.hostEnv(silentLogger);
  const broker = new SimBroker({ env });
  const master = broker.createBus("master");
  const bus = broker.createBus("host");
  const executed: string[] = [];
  const learned: string[] = [];
  const results: HostResult[] = [];
  const state = { pushed: 0, execute: async (): Promise<void> => {} };
  const client = new NatsMasterClient({
    bus,
    env,
    deploymentId: DEPLOYMENT,
    onPushed: () => {
      state.pushed += 1;
    },
    host: {
      hostId: HOST,
      refuseDirectory: (code, detail) => learned.push(`${code} ${detail}`),
      learnAddress: (hostId, raftAddress, incarnation) => learned.push(`${hostId} ${raftAddress} ${incarnation}`),
      execute: async ({ requestId }) => {
        executed.push(requestId);
        await state.execute();
        return { requestId, hostId: HOST, ok: true, code: "", detail: "" };
      },
    },
  });
  master.subscribe(resultSubject(DEPLOYMENT), ({ payload }) => results.push(decodeHostResult(payload)));
  await world.until(Promise.all([master.ready({ timeoutMs: 1_000 }), bus.ready({ timeoutMs: 1_000 })]));
  return { world, broker, master, bus, client, executed, learned, results, state };
}

/** A master that answers every report with these requests. */
function answering(master: Bus, requests: () => readonly HostRequest[], refusal?: ReportRefusal): NodeHostInfo[] {
  const reports: NodeHostInfo[] = [];
  master.subscribe(reportSubject(DEPLOYMENT), (message) => {
    reports.push(decodeNodeHostInfo(message.payload));
    message.respond?.(encodeReportReply({ masterTerm: 2, masterLineage: 1, requests: requests(), refusal }));
  });
  return reports;
}

test("a report reaches the master; the requests that come back are carried out and answered", async () => {
  const { world, master, client, executed, results } = await rig();
  const reports = answering(master, () => [order("a"), order("b")]);
  await world.until(client.sendNodeHostInfo("", REPORT, { timeoutMs: 1_000 }));
  assert.deepEqual(reports, [REPORT]);
  assert.deepEqual(executed, [], "not before they are asked for");
  await world.until(client.handleMasterRequests());
  await world.run(10);
  assert.deepEqual(executed, ["a", "b"]);
  assert.deepEqual(
    results.map((result) => result.requestId),
    ["a", "b"],
  );
  await world.until(client.handleMasterRequests());
  assert.deepEqual(executed, ["a", "b"]);
});

test("a host whose directory the masters do not believe is told so", async () => {
  const { world, master, client, learned } = await rig();
  answering(master, () => [], { code: "DL_ERR_DATA_STALE", detail: "too old" });
  await world.until(client.sendNodeHostInfo("", REPORT, { timeoutMs: 1_000 }));
  assert.deepEqual(learned, ["DL_ERR_DATA_STALE too old"]);
});

test("a request is carried out once per round however often it came", async () => {
  const { world, master, client, executed } = await rig();
  answering(master, () => [order("a"), order("a")]);
  for (let i = 0; i < 3; i++) await world.until(client.sendNodeHostInfo("", REPORT, { timeoutMs: 1_000 }));
  await world.until(client.handleMasterRequests());
  assert.deepEqual(executed, ["a"]);
});

test("a pushed request pokes the host; what is not a request is dropped", async () => {
  const { world, master, client, executed, state } = await rig();
  const subject = hostSubject(DEPLOYMENT, HOST);
  master.publish(subject, new Uint8Array([1, 2, 3, 255]));
  master.publish(hostSubject(DEPLOYMENT, PEER), encodeHostRequest(order("for another")));
  master.publish(subject, encodeHostRequest(order("a")));
  await world.run(10);
  assert.equal(state.pushed, 1);
  await world.until(client.handleMasterRequests());
  assert.deepEqual(executed, ["a"]);
});

test("no master: the report is rejected with an OpError, and later ones work", async () => {
  const { world, master, client } = await rig();
  await assert.rejects(world.until(client.sendNodeHostInfo("", REPORT, { timeoutMs: 500 })), OpError);
  answering(master, () => []);
  await world.run(10);
  await world.until(client.sendNodeHostInfo("", REPORT, { timeoutMs: 500 }));
});

test("addresses of other hosts are learned from the registry, our own is not", async () => {
  const { world, master, learned } = await rig();
  const hosts = [
    { hostId: HOST, raftAddress: "old:1", apiAddress: "", incarnation: 9 },
    { hostId: PEER, raftAddress: "peer:1", apiAddress: "", incarnation: 3 },
  ];
  const view: RegistryView = { revision: 1, hosts, shards: [] };
  master.publish(registrySubject(DEPLOYMENT), encodeRegistryView(view));
  master.publish(registrySubject(DEPLOYMENT), new Uint8Array([255]));
  await world.run(10);
  assert.deepEqual(learned, [`${PEER} peer:1 3`]);
});

test("after stop nothing is received any more", async () => {
  const { world, master, client, state } = await rig();
  await client.stop();
  await client.stop();
  master.publish(hostSubject(DEPLOYMENT, HOST), encodeHostRequest(order("a")));
  await world.run(10);
  assert.equal(state.pushed, 0);
});

function discoverable(master: Bus, deploymentIds: readonly number[]): void {
  master.subscribe(DISCOVER_SUBJECT, ({ payload }) => {
    const { replyTo } = decodeDiscoverRequest(payload);
    for (const id of deploymentIds) master.publish(replyTo, encodeDiscoverReply(id, []));
    master.publish(replyTo, new Uint8Array([255]));
  });
}

test("discovery: the one deployment that answers; none and two different ones are refused", async () => {
  for (const [ids, expected] of [
    [[5, 5], 5],
    [[], "DL_ERR_UNREACHABLE"],
    [[5, 6], "DL_ERR_DEPLOYMENT_MISMATCH"],
  ] as const) {
    const { world, master, client } = await rig();
    discoverable(master, ids);
    await world.run(10);
    const found = await world
      .until(client.getDeploymentId("", { timeoutMs: 1_000 }))
      .catch((error: unknown) => (error instanceof OpError ? error.code : String(error)));
    assert.equal(found, expected);
  }
});
