/**
 * From the command line to a process's settings: the options of `master` and `nodehost` are made from the table of
 * shared/config, and read back through it. Also what several verbs make of settings: bus, environment, addresses.
 */
import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { collectDefaultMetrics, type Registry } from "prom-client";
import type { Bus } from "../../shared/bus/index.js";
import { createNatsBus, type NatsBusOptions } from "../../shared/bus/index.js";
import {
  type LoadedConfig,
  loadConfig,
  type MasterConfig,
  type NodeHostConfig,
  type ProcessKind,
  readConfigFile,
  settingsOf,
} from "../../shared/config/index.js";
import type { Env } from "../../shared/env/env.js";
import { createPromMetrics, createRegistry } from "../../shared/env/prom-metrics.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { Output } from "./output.js";

export type Flags = Readonly<Record<string, unknown>>;

/** One option per setting, and the short forms that people type. */
export function addSettings(command: Command, kind: ProcessKind): Command {
  for (const { flag, help } of settingsOf(kind)) command.addOption(new Option(`${flag} <value>`, help));
  command.option("--http <address>", "same as --http-address");
  if (kind === "nodehost") {
    command.option("--label <key=value>", "one label; may be given several times", gathered);
    command.option("--app-module <path>", "one app module beside kv; may be given several times", gathered);
  }
  return command;
}

function gathered(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** Flags > DRUMLINE_* > file > defaults. DL_ERR_INVALID_CONFIG names every problem. */
export function loadSettings<Kind extends ProcessKind>(
  kind: Kind,
  flags: Flags,
  configPath: string | undefined,
): LoadedConfig<Kind> {
  return loadConfig(kind, { flags: withShortForms(flags), env: process.env, file: readConfigFile(configPath) });
}

function withShortForms(flags: Flags): Flags {
  const { label, appModule, http, ...rest } = flags;
  const long: Record<string, unknown> = { ...rest };
  if (Array.isArray(label)) long["labels"] = [rest["labels"], ...label].filter((l) => l !== undefined).join(",");
  if (Array.isArray(appModule)) long["apps"] = [rest["apps"] ?? "kv", ...appModule].join(",");
  if (http !== undefined) long["httpAddress"] ??= http;
  return long;
}

/** Environment of a process that runs on, with its metrics. */
export function processEnv(output: Output, settings: MasterConfig | NodeHostConfig): ProcessEnv {
  const registry = createRegistry();
  collectDefaultMetrics({ register: registry });
  const logger = output.logger(settings.logLevel);
  return { env: createRealEnv({ logger, metrics: createPromMetrics(registry) }), registry };
}

export interface ProcessEnv {
  readonly env: Env;
  readonly registry: Registry;
}

/** Connects in the background, for ever. DL_ERR_INVALID_CONFIG for a credentials file that cannot be read. */
export function busOf(settings: MasterConfig | NodeHostConfig, env: Env, name: string): Bus {
  const { nats, natsUser, natsPassword, natsToken, natsCreds, natsNkey, natsCa } = settings;
  const options: NatsBusOptions = {
    servers: nats,
    env,
    name,
    ...(natsUser === undefined ? {} : { user: natsUser }),
    ...(natsPassword === undefined ? {} : { pass: natsPassword }),
    ...(natsToken === undefined ? {} : { token: natsToken }),
    ...(natsCreds === undefined ? {} : { creds: secretFile("natsCreds", natsCreds) }),
    ...(natsNkey === undefined ? {} : { nkeySeed: secretFile("natsNkey", natsNkey).trim() }),
    ...(natsCa === undefined ? {} : { tls: { caFile: natsCa } }),
  };
  return createNatsBus(options);
}

function secretFile(key: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new OpError("DL_ERR_INVALID_CONFIG", `${key}: ${errorText(error)}`);
  }
}

/** What this build cannot do yet must not be silently left out: above all encryption. */
export function refuseUnbuilt(settings: MasterConfig | NodeHostConfig): void {
  if (settings.tlsCert !== undefined) throw new OpError("DL_ERR_NOT_IMPLEMENTED", "tlsCert, tlsKey, tlsCa: mutual TLS");
}

/** `host:port` with another port; undefined if it is not one. */
export function portAbove(address: string, offset: number): string {
  const colon = address.lastIndexOf(":");
  return `${address.slice(0, colon)}:${Number(address.slice(colon + 1)) + offset}`;
}

/** Where to listen when the address to bind differs from the one to tell others. */
export function listenOption(settings: MasterConfig | NodeHostConfig, address: string): { listenAddress?: string } {
  const { listenHost } = settings;
  return listenHost === undefined
    ? {}
    : { listenAddress: `${listenHost}:${address.slice(address.lastIndexOf(":") + 1)}` };
}
