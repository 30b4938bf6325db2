/**
 * Three hosts in network namespaces: the leader is cut off in both directions, then in one (it can send but not
 * receive), then held by SIGSTOP. Clients write and read through every host all the time; what they saw must be
 * linearizable, writes must go on through the others, and everything acknowledged must be there in the end.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { HostClient } from "../../nodehost/client/index.js";
import { tempDir } from "../kit/temp.js";
import { eventually } from "../kit/wait.js";
import { Cleanup } from "./cleanup.js";
import { Clients } from "./clients.js";
import { ChaosHosts } from "./hosts.js";
import { Namespaces } from "./namespaces.js";
import { missing } from "./needs.js";
import { assertHistory } from "./verdict.js";

const HOSTS = [0, 1, 2];
/** Election timeout of 400 to 800 ms. */
const RTT_MS = 40;
const FAULT_MS = 3000;
/** Two election timeouts must be enough where time is; this is for a machine that has none. */
const RESUME_LIMIT_MS = 10_000;
const WRITES_OF_A_PHASE = 30;
const ACKNOWLEDGED_MIN = 500;
const PROBES = 4;

const skip = missing("ip");

test("a cut drops what one host sends to another, in that direction only", { skip, timeout: 30_000 }, async (t) => {
  const cleanup = new Cleanup(t);
  const net = new Namespaces(cleanup, 2);
  assert.equal(await exchange(net, cleanup), "both");
  net.cut(1, 0);
  assert.equal(await exchange(net, cleanup), "only from 0 to 1");
  net.heal();
  assert.equal(await exchange(net, cleanup), "both");
  net.cut(0, 1);
  assert.equal(await exchange(net, cleanup), "only from 1 to 0");
});

/** Sends datagrams both ways until each side has told what it received. */
async function exchange(net: Namespaces, cleanup: Cleanup): Promise<string> {
  const received = HOSTS.slice(0, 2).map((i) => {
    const code = `const s = require("dgram").createSocket("udp4");
      s.on("message", () => { process.stdout.write("x"); });
      s.bind(7000, "${net.address(i)}", () => setInterval(() => s.send("x", 7000, "${net.address(1 - i)}"), 10));`;
    const [name = "", ...args] = [...net.prefix(i), process.execPath, "-e", code];
    const child = spawn(name, args, { stdio: ["ignore", "pipe", "inherit"] });
    cleanup.add(() => child.kill("SIGKILL"));
    return { child, count: counter(child) };
  });
  const arrived = (i: number): boolean => (received[i]?.count() ?? 0) > 0;
  await eventually("a datagram arrives", () => arrived(0) || arrived(1) || undefined);
  // The other direction has had as many chances then.
  const one = arrived(0) ? 0 : 1;
  const enough = (received[one]?.count() ?? 0) + 30;
  await eventually("30 more datagrams arrive", () => (received[one]?.count() ?? 0) >= enough || undefined);
  for (const { child } of received) child.kill("SIGKILL");
  if (arrived(0) && arrived(1)) return "both";
  return arrived(1) ? "only from 0 to 1" : "only from 1 to 0";
}

function counter(child: ChildProcess): () => number {
  let count = 0;
  child.stdout?.on("data", (bytes: Buffer) => {
    count += bytes.length;
  });
  return () => count;
}

interface Scene {
  readonly t: TestContext;
  readonly cleanup: Cleanup;
  readonly net: Namespaces;
  readonly hosts: ChaosHosts;
  readonly clients: Clients;
}

test("P06, P20, P52: leader cut off two-way, one-way, and frozen: linearizable, writes resume, nothing lost", {
  skip,
  timeout: 90_000,
}, async (t) => {
  const cleanup = new Cleanup(t);
  const dir = await tempDir(t);
  const net = new Namespaces(cleanup, HOSTS.length);
  const hosts = new ChaosHosts(cleanup, {
    count: HOSTS.length,
    dir,
    rttMs: RTT_MS,
    prefix: (i) => net.prefix(i),
    raftAddress: (i) => `${net.address(i)}:7500`,
    apiAddress: (i) => `${net.address(i)}:7501`,
  });
  await hosts.start();
  const clients = new Clients(
    cleanup,
    HOSTS.map((i) => hosts.client(i)),
  );
  const scene: Scene = { t, cleanup, net, hosts, clients };
  clients.start();
  await writesThrough(scene, HOSTS);
  const deposed = [
    await isolated(scene, "two-way", (leader, other) => {
      net.cut(leader, other);
      net.cut(other, leader);
    }),
    await isolated(scene, "receives nothing", (leader, other) => net.cut(other, leader)),
    await frozen(scene),
  ];
  await eventually("enough is acknowledged", () => clients.acknowledged >= ACKNOWLEDGED_MIN || undefined);
  await clients.stop();
  await hosts.converged();
  t.diagnostic(await assertHistory(clients));
  assert.equal(deposed.length, 3, "each fault met a leader and deposed it");
  const unknown = clients.history.filter((op) => op.output === undefined);
  assert.ok(unknown.length > 0 && clients.errors.has("DL_ERR_TIMEOUT"), "no client felt a fault");
});

/** The leader is cut off from the other hosts, not from its clients. It must give up by itself. */
async function isolated(scene: Scene, what: string, cut: (leader: number, other: number) => void): Promise<number> {
  const { hosts, net, t } = scene;
  const leader = await hosts.leader();
  const others = HOSTS.filter((i) => i !== leader);
  const startMs = performance.now();
  for (const other of others) cut(leader, other);
  const hasStoppedLeading = async (): Promise<true | undefined> =>
    (await hosts.shardInfo(leader))?.isLeader === false || undefined;
  await eventually("the leader that hears nobody steps down", hasStoppedLeading, RESUME_LIMIT_MS);
  const steppedDownMs = performance.now() - startMs;
  await hosts.leader(others);
  const electedMs = performance.now() - startMs;
  await writesThrough(scene, others);
  const resumedMs = performance.now() - startMs;
  await restOf(startMs);
  const writesBefore = scene.clients.writes[leader];
  const stillCutOff = await hosts.shardInfo(leader);
  assert.equal(stillCutOff?.isLeader, false, `${what}: a host that hears nobody leads again`);
  assert.equal(scene.clients.writes[leader], writesBefore, `${what}: a host that hears nobody acknowledged a write`);
  net.heal();
  await writesThrough(scene, HOSTS);
  const times = [steppedDownMs, electedMs, resumedMs].map((ms) => ms.toFixed(0)).join(", ");
  t.diagnostic(`${what}: leader stepped down, other elected, writes went on after ${times} ms`);
  return leader;
}

/** The leader stands still and does not know it: when it goes on, it must not answer from the past. */
async function frozen(scene: Scene): Promise<number> {
  const { hosts, clients, t } = scene;
  const leader = await hosts.leader();
  const others = HOSTS.filter((i) => i !== leader);
  const probes = await connectProbes(scene, leader);
  const startMs = performance.now();
  hosts.process(leader).signal("SIGSTOP");
  await hosts.leader(others);
  await writesThrough(scene, others);
  const resumedMs = performance.now() - startMs;
  await restOf(startMs);
  // These reads lie before it when it wakes up, beside the news of the other leader.
  const probed = clients.probe(leader, probes);
  await writesThrough(scene, others);
  hosts.process(leader).signal("SIGCONT");
  await probed;
  await writesThrough(scene, HOSTS);
  t.diagnostic(`frozen: writes after ${resumedMs.toFixed(0)} ms`);
  return leader;
}

/** Connections to one host, made before it freezes. */
async function connectProbes({ cleanup, hosts }: Scene, at: number): Promise<HostClient[]> {
  const probes = Array.from({ length: PROBES }, () => new HostClient(hosts.process(at).apiAddress));
  for (const probe of probes) {
    cleanup.add(() => probe.close());
    await probe.info();
  }
  return probes;
}

/** Waits until each of these hosts has acknowledged so many more writes. */
async function writesThrough({ clients }: Scene, hosts: readonly number[]): Promise<void> {
  const before = [...clients.writes];
  const wanted = WRITES_OF_A_PHASE / hosts.length;
  for (const i of hosts) {
    const enough = (): true | undefined => (clients.writes[i] ?? 0) - (before[i] ?? 0) >= wanted || undefined;
    await eventually(`writes through host ${i}`, enough, RESUME_LIMIT_MS);
  }
}

/** Faults last a while, even when all is well again at once. */
async function restOf(startMs: number): Promise<void> {
  await pause(Math.max(0, startMs + FAULT_MS - performance.now()));
}
