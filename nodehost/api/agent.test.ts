/** The loop between a host and its masters: it reports whatever happens, and says goodbye. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Logger, silentLogger } from "../../shared/env/env.js";
import type { NodeHostInfo } from "../../shared/types/control.js";
import { VirtualWorld } from "../../test/hosts/virtual-world.js";
import { MasterAgent } from "./agent.js";
import type { IMasterClient } from "./master-client.js";

interface Rig {
  readonly world: VirtualWorld;
  readonly agent: MasterAgent;
  /** Virtual times of reports, and whether they said goodbye. */
  readonly reports: { readonly atMs: number; readonly sequence: number; readonly stopping: boolean }[];
  readonly logged: string[];
  readonly state: { answer: () => Promise<void>; handle: () => Promise<void>; handled: number; stopped: number };
}

function rig(): Rig {
  const world = new VirtualWorld(1);
  const reports: Rig["reports"] = [];
  const logged: string[] = [];
  const note = (_fields: object, message: string): void => {
    logged.push(message);
  };
  const logger: Logger = { ...silentLogger, info: note, warn: note, error: note, child: () => logger };
  const state: Rig["state"] = { answer: async () => {}, handle: async () => {}, handled: 0, stopped: 0 };
  const client: IMasterClient = {
    name: "test",
    stop: async () => {
      state.stopped += 1;
    },
    getDeploymentId: async () => 1,
    sendNodeHostInfo: async (_url, { sequence, stopping }) => {
      reports.push({ atMs: world.nowMs, sequence, stopping });
      await state.answer();
    },
    handleMasterRequests: async () => {
      state.handled += 1;
      await state.handle();
    },
  };
  const { env } = world.hostEnv(logger);
  const info = async (sequence: number, stopping: boolean): Promise<NodeHostInfo> => ({
    ...NOTHING,
    sequence,
    stopping,
  });
  const agent = new MasterAgent({ client, url: "", env, reportIntervalMs: 1_000, info });
  return { world, agent, reports, logged, state };
}

const NOTHING: NodeHostInfo = {
  deploymentId: 1,
  hostId: "",
  dataSetId: "",
  incarnation: { counter: 1, nonce: "" },
  sequence: 0,
  stateVersion: 0,
  digest: "",
  raftAddress: "",
  apiAddress: "",
  region: "",
  labels: {},
  apps: [],
  clusterInfo: [],
  logInfoIncluded: false,
  logInfo: [],
  silentPeers: [],
  stopping: false,
  highestMasterTerm: 0,
  directoryFault: "",
  recoveredSequence: 0,
  durableSequence: 0,
  load: { replicas: 0, leaders: 0, diskUsedBytes: 0, diskFreeBytes: 0, rssBytes: 0 },
};

const never = (): Promise<void> => new Promise(() => {});

test("the first report is sent at once, the next ones spread around the interval, with rising sequence", async () => {
  const { world, agent, reports, state } = rig();
  agent.start();
  await world.run(10_500);
  assert.equal(reports[0]?.atMs, 0);
  assert.ok(reports.length >= 9 && reports.length <= 12, `${reports.length}`);
  for (let i = 1; i < reports.length; i++) {
    const gapMs = (reports[i]?.atMs ?? 0) - (reports[i - 1]?.atMs ?? 0);
    assert.ok(gapMs >= 900 && gapMs <= 1_100, `${gapMs}`);
    assert.equal(reports[i]?.sequence, i + 1);
  }
  assert.equal(state.handled, reports.length);
});

test("a poke reports at once; pokes during a report make one more, not many", async () => {
  const { world, agent, reports, state } = rig();
  agent.start();
  await world.run(100);
  let answer = (): void => {};
  state.answer = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  for (let i = 0; i < 5; i++) agent.poke();
  await world.run(1);
  assert.equal(reports.length, 2);
  state.answer = async () => {};
  answer();
  await world.run(1);
  assert.equal(reports.length, 3);
});

test("without masters it goes on trying, and says so once; it says when they are back", async () => {
  const { world, agent, reports, logged, state } = rig();
  state.answer = () => Promise.reject(new Error("nobody"));
  agent.start();
  await world.run(5_500);
  assert.ok(reports.length >= 5);
  assert.equal(logged.length, 1);
  assert.equal(state.handled, reports.length, "what was pushed is carried out nevertheless");
  state.answer = async () => {};
  await world.run(1_500);
  assert.deepEqual(logged.slice(1), ["masters answer again"]);
});

test("a request that takes long does not keep reports back: the host would be taken for dead", async () => {
  const { world, agent, reports, state } = rig();
  state.handle = never;
  agent.start();
  await world.run(5_500);
  assert.ok(reports.length >= 5, `${reports.length}`);
});

test("a failure while requests are carried out is logged and does not end the loop", async () => {
  const { world, agent, reports, logged, state } = rig();
  state.handle = () => Promise.reject(new Error("bug"));
  agent.start();
  await world.run(2_500);
  assert.ok(reports.length >= 2 && logged.length === reports.length);
});

test("stop says goodbye once, stops the client also when nobody hears it, and reports no more", async () => {
  for (const answer of [async () => {}, () => Promise.reject(new Error("nobody"))]) {
    const { world, agent, reports, state } = rig();
    agent.start();
    await world.run(100);
    state.answer = answer;
    await world.until(agent.stop());
    assert.equal(reports.at(-1)?.stopping, true);
    assert.equal(reports.filter((report) => report.stopping).length, 1);
    assert.equal(state.stopped, 1);
    agent.poke();
    await world.run(5_000);
    assert.equal(reports.length, 2);
  }
});
