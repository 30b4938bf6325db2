/** What a loaded configuration means and how it is shown: addresses, rows of `config print`. Used by the CLI. */
import type { LoadedConfig } from "./load.js";
import { type Configs, type ProcessKind, SECRETS, settingsOf } from "./schema.js";
import { durationText } from "./values.js";

export interface Addresses {
  readonly raftAddress: string;
  /** Undefined = not served. */
  readonly apiAddress: string | undefined;
  readonly httpAddress: string | undefined;
}

/** Explicit addresses win over host and ports. */
export function addressesOf(config: Configs[ProcessKind]): Addresses {
  const { host, ports } = config;
  const at = (offset: number) => (ports === undefined ? undefined : `${host}:${ports === 0 ? 0 : ports + offset}`);
  return {
    raftAddress: config.raftAddress ?? at(0) ?? `${host}:0`,
    apiAddress: config.apiAddress ?? at(1),
    httpAddress: config.httpAddress ?? at(2),
  };
}

export interface ConfigRow {
  readonly key: string;
  /** As it would be written in YAML; secrets masked; empty = not set. */
  readonly value: string;
  readonly origin: string;
}

/** Every setting with its value and origin. */
export function describeConfig(loaded: LoadedConfig<ProcessKind>): ConfigRow[] {
  const values: Readonly<Record<string, unknown>> = { ...loaded.values };
  return settingsOf(loaded.kind).map(({ key }) => {
    const value = values[key];
    return { key, value: value === undefined ? "" : shown(key, value), origin: loaded.origins[key] ?? "default" };
  });
}

const DURATIONS: ReadonlySet<string> = new Set(["downAfter", "shutdownTimeout"]);

function shown(key: string, value: unknown): string {
  if (SECRETS.has(key)) return "***";
  if (DURATIONS.has(key) && typeof value === "number") return durationText(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return key === "nats" ? withoutPassword(text) : text;
}

/** nats://user:password@host → nats://***@host */
function withoutPassword(text: string): string {
  return text.replace(/\/\/[^/@"]*@/g, "//***@");
}
