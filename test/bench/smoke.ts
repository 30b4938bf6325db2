/**
 * `npm run bench:smoke`: three hosts in three processes on this machine, fsync honoured; prints proposals per second,
 * latency, fsyncs per second and bytes per fsync. A number without its command means nothing: the command is printed.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { BenchPlan, FromHost, HostReport, ToHost } from "./protocol.js";

const HOSTS = 3;

export interface SmokeResult {
  readonly plan: BenchPlan;
  readonly proposalsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly fsyncsPerSecond: number;
  readonly bytesPerFsync: number;
  readonly cores: number;
  readonly failed: number;
}

export async function runSmoke(plan: BenchPlan): Promise<SmokeResult> {
  const dir = await mkdtemp(path.join(tmpdir(), "drumline-bench-"));
  const script = fileURLToPath(new URL("./host-process.js", import.meta.url));
  const children = Array.from({ length: HOSTS }, (_, i) =>
    fork(script, [path.join(dir, `host-${i}`), String(i)], { stdio: ["ignore", "inherit", "inherit", "ipc"] }),
  );
  try {
    const listening = await Promise.all(children.map((child) => next(child, "listening")));
    const members = listening.map((message, i) => [i + 1, message.raftAddress] as const);
    for (const child of children) send(child, { kind: "start", members, plan });
    await Promise.all(children.map((child) => next(child, "ready")));
    const reports = Promise.all(children.map((child) => next(child, "report")));
    for (const child of children) send(child, { kind: "run" });
    return summarize(
      plan,
      (await reports).map((message) => message.report),
    );
  } finally {
    await Promise.all(children.map(stopChild));
    await rm(dir, { recursive: true, force: true });
  }
}

function send(child: ChildProcess, message: ToHost): void {
  child.send(message);
}

type Of<K extends FromHost["kind"]> = Extract<FromHost, { readonly kind: K }>;

function next<K extends FromHost["kind"]>(child: ChildProcess, kind: K): Promise<Of<K>> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: FromHost): void => {
      if (!isKind(message, kind)) return;
      child.off("message", onMessage);
      child.off("exit", onExit);
      resolve(message);
    };
    const onExit = (code: number | null): void => reject(new Error(`a host process ended with ${code}`));
    child.on("message", onMessage);
    child.on("exit", onExit);
  });
}

function isKind<K extends FromHost["kind"]>(message: FromHost, kind: K): message is Of<K> {
  return message.kind === kind;
}

function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    if (child.connected) send(child, { kind: "stop" });
    else child.kill();
  });
}

function summarize(plan: BenchPlan, reports: readonly HostReport[]): SmokeResult {
  const sum = (pick: (r: HostReport) => number): number => reports.reduce((total, r) => total + pick(r), 0);
  const seconds = Math.max(...reports.map((r) => r.measuredMs)) / 1000;
  const fsyncs = sum((r) => r.fsyncs);
  const busiest = reports.reduce((a, b) => (b.completed > a.completed ? b : a));
  return {
    plan,
    proposalsPerSecond: Math.round(sum((r) => r.completed) / seconds),
    p50Ms: busiest.latencyUs.p50 / 1000,
    p99Ms: Math.max(...reports.map((r) => r.latencyUs.p99)) / 1000,
    fsyncsPerSecond: Math.round(fsyncs / seconds),
    bytesPerFsync: fsyncs === 0 ? 0 : Math.round(sum((r) => r.walBytes) / fsyncs),
    cores: Math.round(sum((r) => r.cpuMs) / seconds / 10) / 100,
    failed: sum((r) => r.failed),
  };
}

function parse(argv: readonly string[]): { plan: BenchPlan; json: boolean } {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      groups: { type: "string", default: "48" },
      "in-flight": { type: "string", default: "64" },
      payload: { type: "string", default: "16" },
      seconds: { type: "string", default: "5" },
      json: { type: "boolean", default: false },
    },
  });
  const plan = {
    groups: Number(values.groups),
    inFlight: Number(values["in-flight"]),
    payloadBytes: Number(values.payload),
    warmupMs: 2000,
    measureMs: Number(values.seconds) * 1000,
  };
  return { plan, json: values.json };
}

async function main(): Promise<void> {
  const { plan, json } = parse(process.argv.slice(2));
  const result = await runSmoke(plan);
  if (json) {
    console.log(JSON.stringify(result));
    return;
  }
  const { groups, inFlight, payloadBytes, measureMs } = plan;
  const load = `--groups ${groups} --in-flight ${inFlight} --payload ${payloadBytes}`;
  console.log(`npm run bench:smoke -- ${load} --seconds ${measureMs / 1000}`);
  console.log(`  3 processes, fsync on, promise per proposal, clients in the leader's process`);
  console.log(`  proposals/s      ${result.proposalsPerSecond.toLocaleString("en-US")}`);
  console.log(`  latency          p50 ${result.p50Ms} ms, p99 ${result.p99Ms} ms`);
  console.log(`  fsyncs/s         ${result.fsyncsPerSecond.toLocaleString("en-US")} (3 hosts together)`);
  console.log(`  bytes per fsync  ${result.bytesPerFsync.toLocaleString("en-US")}`);
  console.log(`  CPU              ${result.cores} cores; ${result.failed} proposals not completed`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
