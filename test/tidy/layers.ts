/**
 * Who may import whom. The longest matching `folder` decides; `may` holds path prefixes from the root. Biome knows a
 * part of it while one types; this table is the whole. Test files may import anything.
 */
export interface Layer {
  readonly folder: string;
  readonly may: readonly string[];
  /** Packages, and `node:` modules; "node:*" = all of Node. */
  readonly packages: readonly string[];
}

const PURE = [
  "shared/types/",
  "shared/codec/",
  "shared/errors.ts",
  "shared/limits.ts",
  "shared/assert.ts",
  "shared/config/timing.ts",
];
/** Types of the environment and of ports: no code behind them. */
const PORTS = ["shared/env/env.ts", "shared/files/port.ts", "shared/bus/port.ts"];
const ENGINE_PORTS = ["nodehost/logdb/port.ts", "nodehost/transport/port.ts"];
const RSM_TYPES = ["nodehost/rsm/index.ts", "nodehost/rsm/state-machine.ts", "nodehost/rsm/types.ts"];
const NODEHOST_DOORS = [
  "nodehost/index.ts",
  "nodehost/client/index.ts",
  "nodehost/apps/index.ts",
  "nodehost/testing.ts",
];
const NODE = ["node:*"];
const PROTOBUF = ["protobufjs", "#gen"];
const GRPC = ["@grpc/grpc-js"];

export const LAYERS: readonly Layer[] = [
  { folder: "shared/", may: PURE, packages: [] },
  { folder: "shared/config/timing.ts", may: [], packages: [] },
  { folder: "shared/env/", may: [...PURE, "shared/env/"], packages: [...NODE, "pino", "prom-client"] },
  { folder: "shared/files/", may: [...PURE, ...PORTS, "shared/files/"], packages: NODE },
  {
    folder: "shared/bus/",
    may: [...PURE, ...PORTS, "shared/env/real-env.ts", "shared/bus/"],
    packages: [...NODE, "nats"],
  },
  { folder: "shared/wire/", may: [...PURE, "shared/wire/"], packages: [...PROTOBUF, ...GRPC] },
  { folder: "shared/config/", may: [...PURE, ...PORTS, "shared/config/"], packages: [...NODE, "zod", "yaml"] },
  { folder: "nodehost/", may: ["shared/", "nodehost/"], packages: [] },
  { folder: "nodehost/log/", may: [...PURE, "nodehost/log/"], packages: [] },
  { folder: "nodehost/raft/", may: [...PURE, "nodehost/raft/", "nodehost/log/"], packages: [] },
  { folder: "nodehost/rsm/", may: [...PURE, ...PORTS, "nodehost/rsm/"], packages: ["snappy"] },
  { folder: "nodehost/logdb/", may: ["shared/", "nodehost/logdb/"], packages: [...NODE, "lmdb"] },
  { folder: "nodehost/transport/", may: ["shared/", "nodehost/transport/"], packages: [...NODE, ...PROTOBUF] },
  {
    folder: "nodehost/engine/",
    may: [...PURE, ...PORTS, ...ENGINE_PORTS, "nodehost/engine/", "nodehost/raft/", "nodehost/log/", "nodehost/rsm/"],
    packages: [],
  },
  {
    folder: "nodehost/api/",
    may: ["shared/", "nodehost/"],
    packages: [...NODE, ...GRPC, ...PROTOBUF, "fs-native-extensions"],
  },
  { folder: "nodehost/tools/", may: ["shared/", "nodehost/"], packages: NODE },
  { folder: "nodehost/apps/", may: [...PURE, ...RSM_TYPES, "nodehost/apps/"], packages: ["node:url", "node:path"] },
  { folder: "nodehost/apps/kv-disk/", may: [...PURE, ...RSM_TYPES, "nodehost/apps/"], packages: [...NODE, "lmdb"] },
  {
    folder: "nodehost/client/",
    may: ["shared/", "nodehost/client/"],
    packages: [...GRPC, ...PROTOBUF, "node:perf_hooks"],
  },
  { folder: "master/", may: [], packages: [] },
  { folder: "master/db/", may: [...PURE, "master/db/"], packages: [] },
  { folder: "master/detect/", may: [...PURE, "master/detect/", "master/db/"], packages: [] },
  { folder: "master/plan/", may: [...PURE, "master/plan/", "master/detect/", "master/db/"], packages: [] },
  {
    folder: "master/loop/",
    may: ["shared/", ...NODEHOST_DOORS, "master/loop/", "master/plan/", "master/detect/", "master/db/"],
    packages: [...NODE, ...PROTOBUF, "node-cron"],
  },
  {
    folder: "master/api/",
    may: ["shared/", ...NODEHOST_DOORS, "master/api/", "master/loop/", "master/plan/", "master/detect/", "master/db/"],
    packages: [...NODE, ...PROTOBUF, ...GRPC],
  },
  { folder: "master/dashboard/", may: ["shared/", "master/"], packages: NODE },
  {
    folder: "master/cli/",
    may: ["shared/", ...NODEHOST_DOORS, "master/"],
    packages: [...NODE, ...PROTOBUF, ...GRPC, "commander", "cli-progress", "yaml", "prom-client"],
  },
];

/** Packages that are named in these files only, whatever the layer. */
export const ONE_DOOR: Readonly<Record<string, RegExp>> = {
  nats: /^shared\/bus\/nats-bus\.ts$/,
  lmdb: /^nodehost\/(logdb\/[\w-]+|apps\/kv-disk\/.+)\.ts$/,
  pino: /^shared\/env\/pino-logger\.ts$/,
  "prom-client": /^(shared\/env\/prom-metrics|master\/cli\/.+)\.ts$/,
  "fs-native-extensions": /^nodehost\/api\/host-dir\.ts$/,
};

/** Files of another folder that may be imported beside its index.ts: ports and types. */
export const SIDE_DOORS = /\/(index|port|ports|types|state-machine|testing|suite)\.ts$/;

export function layerOf(path: string): Layer | undefined {
  const fitting = LAYERS.filter((layer) => path.startsWith(layer.folder));
  return fitting.sort((a, b) => b.folder.length - a.folder.length)[0];
}

/** "protobufjs/minimal.js" → "protobufjs", "@grpc/grpc-js" as it is, "#gen/drumline.js" → "#gen". */
export function packageOf(specifier: string): string {
  const [first = "", second = ""] = specifier.split("/");
  return first.startsWith("@") ? `${first}/${second}` : first;
}
