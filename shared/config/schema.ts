/**
 * Every setting of a NodeHost and of a master, once: its form, default, help and who has it. Flags (`--wal-dir`),
 * environment variables (`DRUMLINE_WAL_DIR`) and YAML keys (`walDir`) follow from the key. Read by load.ts; the CLI
 * makes its options from `settingsOf`.
 */
import { z } from "zod";
import { isUuid } from "../types/ids.js";
import { DOWN_AFTER_MAX_MS, DOWN_AFTER_MIN_MS } from "./timing.js";
import { address, duration, integer, labels, listOf, masterList, natsServers, text } from "./values.js";

export type ProcessKind = "master" | "nodehost";

/** Built into every host. */
export const DEFAULT_APPS: readonly string[] = ["kv", "kv-disk"];

const file = (what: string) => text(`expected the path of ${what}`).optional();
const listenAddress = address.optional();

const common = {
  masters: masterList.optional().describe("host:port of each master's Raft port; a bare port means this machine"),
  nats: natsServers.default(["nats://127.0.0.1:4222"]).describe("NATS servers"),
  natsUser: text("expected a user name").optional().describe("NATS user"),
  natsPassword: text("expected a password").optional().describe("NATS password"),
  natsToken: text("expected a token").optional().describe("NATS token"),
  natsCreds: file("a creds file").describe("NATS creds file"),
  natsNkey: file("an nkey seed file").describe("NATS nkey seed file"),
  natsCa: file("a PEM file").describe("CA of the NATS servers; turns TLS on"),
  data: text("expected a directory").describe("data directory of this process; never shared, never copied"),
  walDir: text("expected a directory").optional().describe("log directory on another disk"),
  host: text("expected a host name or address").default("127.0.0.1").describe("name or address of this machine"),
  ports: integer(0, 65_533).optional().describe("base port: Raft here, gRPC API one above, HTTP two above; 0 = any"),
  raftAddress: listenAddress.describe("host:port of the Raft port, instead of host and ports"),
  apiAddress: listenAddress.describe("host:port of the gRPC API, instead of host and ports"),
  httpAddress: listenAddress.describe("host:port of /livez, /readyz and /metrics, instead of host and ports"),
  listenHost: text("expected a host name or address").optional().describe("address to bind, if it differs from host"),
  tlsCert: file("a PEM file").describe("own certificate: mutual TLS on the Raft port and the gRPC API"),
  tlsKey: file("a PEM file").describe("key of the own certificate"),
  tlsCa: file("a PEM file").describe("CA of all certificates of the deployment"),
  downAfter: duration(DOWN_AFTER_MIN_MS, DOWN_AFTER_MAX_MS)
    .prefault("5m")
    .describe("silence after which the replicas of a host are replaced; all other times derive from it"),
  rttMs: integer(1, 60_000).default(50).describe("length of a tick in milliseconds: about a round trip between hosts"),
  electionTicks: integer(2, 10_000).default(10).describe("ticks without a leader before an election"),
  heartbeatTicks: integer(1, 1_000).default(1).describe("ticks between heartbeats"),
  snapshotEntries: integer(0, 2 ** 40)
    .default(10_000)
    .describe("applied entries between automatic snapshots; 0 = off"),
  compactionOverhead: integer(0, 2 ** 40)
    .default(1_000)
    .describe("entries kept behind a snapshot for slow followers"),
  shutdownTimeout: duration(0, 3_600_000).prefault("15s").describe("time to stop in order after SIGTERM"),
  logLevel: z
    .enum(["debug", "info", "warn", "error"], { error: "expected debug, info, warn or error" })
    .default("info")
    .describe("least severe log lines that are written"),
};

const deploymentId = integer(1, Number.MAX_SAFE_INTEGER);

const master = {
  deploymentId: deploymentId.describe("id of the deployment, made by `drumline init`"),
  ...common,
};

const nodehost = {
  deploymentId: deploymentId.optional().describe("id of the deployment; asked of the masters at the first start"),
  ...common,
  hostId: text("expected a UUID in lower case")
    .refine(isUuid, { error: "expected a UUID in lower case" })
    .optional()
    .describe("identity of this host; made at the first start"),
  labels: labels.default({}).describe("key=value pairs that placement rules use, such as zone and machine"),
  region: text("expected a name").optional().describe("region that the host reports"),
  apps: listOf("expected names or paths of app modules")
    .default([...DEFAULT_APPS])
    .describe("app modules to offer"),
};

export const SCHEMAS = { master: z.strictObject(master), nodehost: z.strictObject(nodehost) };

export type MasterConfig = z.infer<typeof SCHEMAS.master>;
export type NodeHostConfig = z.infer<typeof SCHEMAS.nodehost>;
export interface Configs {
  readonly master: MasterConfig;
  readonly nodehost: NodeHostConfig;
}

/** Shown as `***` wherever settings are shown. */
export const SECRETS: ReadonlySet<string> = new Set(["natsPassword", "natsToken"]);

export interface Setting {
  /** As in YAML and in code. */
  readonly key: string;
  /** As on the command line, with the two dashes. */
  readonly flag: string;
  readonly env: string;
  readonly help: string;
}

/** All settings of one kind of process, in the order of the table. */
export function settingsOf(kind: ProcessKind): Setting[] {
  return Object.entries(SCHEMAS[kind].shape).map(([key, schema]) => {
    const words = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const env = `DRUMLINE_${words.replaceAll("-", "_").toUpperCase()}`;
    return { key, flag: `--${words}`, env, help: schema.description ?? "" };
  });
}
