/** What a master and a NodeHost process need before anything else: environment, metrics, bus. */
import { readFileSync } from "node:fs";
import { collectDefaultMetrics, type Registry } from "prom-client";
import { type Bus, createNatsBus, type NatsBusOptions } from "../../shared/bus/index.js";
import type { MasterConfig, NodeHostConfig } from "../../shared/config/index.js";
import type { Env } from "../../shared/env/env.js";
import { createPromMetrics, createRegistry } from "../../shared/env/prom-metrics.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { Output } from "./output.js";

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

/** Where to listen when the address to bind differs from the one to tell others. */
export function listenOption(settings: MasterConfig | NodeHostConfig, address: string): { listenAddress?: string } {
  const { listenHost } = settings;
  return listenHost === undefined
    ? {}
    : { listenAddress: `${listenHost}:${address.slice(address.lastIndexOf(":") + 1)}` };
}
