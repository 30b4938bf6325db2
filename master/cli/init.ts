/**
 * `drumline init`: makes the deployment id and the list of masters, once, and writes them where masters and NodeHosts
 * look for them. Never overwrites: a second id for a deployment would be a second deployment.
 */
import { writeFileSync } from "node:fs";
import { checkAddress } from "../../nodehost/index.js";
import {
  DEFAULT_CONFIG_FILE,
  durationText,
  initFileText,
  newDeploymentId,
  parseDuration,
} from "../../shared/config/index.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { Output } from "./output.js";

const PORTS_PER_PROCESS = 3;
const MASTERS_MAX = 7;

export interface InitFlags {
  readonly masters: string;
  readonly nats: string;
  readonly downAfter?: string;
}

/** DL_ERR_FILE_EXISTS, DL_ERR_INVALID_ARGUMENT, DL_ERR_INVALID_ADDRESS. */
export function runInit(output: Output, flags: InitFlags, configPath: string | undefined): void {
  const path = configPath ?? DEFAULT_CONFIG_FILE;
  const masters = masterAddresses(flags.masters);
  const deploymentId = newDeploymentId(createRealEnv().random);
  const init = { deploymentId, masters, nats: flags.nats.split(",").map((url) => url.trim()) };
  checkNats(init.nats);
  const downAfter = flags.downAfter === undefined ? {} : { downAfter: checkDuration(flags.downAfter) };
  try {
    writeFileSync(path, initFileText({ ...init, ...downAfter }), { flag: "wx" });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") {
      throw new OpError("DL_ERR_FILE_EXISTS", path);
    }
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `cannot write ${path}: ${errorText(error)}`);
  }
  if (output.json) output.object({ path, ...init, ...downAfter });
  else output.line(`wrote ${path}: deployment ${deploymentId}, ${masters.length} masters (${masters.join(", ")})`);
}

/** Ports or host:port; each master takes its port and the two above. */
function masterAddresses(text: string): string[] {
  const words = text.split(",").map((word) => word.trim());
  const masters = words.map((word) => (/^\d+$/.test(word) ? `127.0.0.1:${word}` : word));
  if (masters.length > MASTERS_MAX) invalid(`${masters.length} masters, expected 1 to ${MASTERS_MAX}, usually 3`);
  for (const address of masters) checkAddress("masters", address);
  for (const [i, a] of masters.entries()) {
    if (portOf(a) < 1 || portOf(a) > 65_533) invalid(`port of master ${a}, expected 1 to 65533`);
    for (const b of masters.slice(i + 1)) {
      const apart = Math.abs(portOf(a) - portOf(b));
      if (hostOf(a) !== hostOf(b) || apart >= PORTS_PER_PROCESS) continue;
      invalid(`masters ${a} and ${b} are too close: each takes ${PORTS_PER_PROCESS} ports (Raft, API, HTTP)`);
    }
  }
  return masters;
}

function checkNats(urls: readonly string[]): void {
  for (const url of urls) {
    if (!/^(nats|tls):\/\/[^\s/]+$/.test(url)) invalid(`nats is ${JSON.stringify(url)}, expected nats://host:port`);
  }
}

function checkDuration(text: string): string {
  const ms = parseDuration(text);
  if (ms === undefined) return invalid(`down-after is ${JSON.stringify(text)}, expected a duration such as 5s or 5m`);
  return durationText(ms);
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":"));
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

function invalid(what: string): never {
  throw new OpError("DL_ERR_INVALID_ARGUMENT", what);
}
