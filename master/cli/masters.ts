/** Which masters a verb asks: --master or DRUMLINE_MASTER, else those of the configuration file, else the default. */
import { parse } from "yaml";
import { parseHostPort } from "../../shared/codec/host-port.js";
import { readConfigFile } from "../../shared/config/index.js";
import { OpError } from "../../shared/errors.js";
import { portAbove } from "./settings.js";

const DEFAULT_MASTER = "127.0.0.1:7401";

/** Addresses of admin APIs, in the order in which they are tried. */
export function masterAddresses(flag: string | undefined, configPath: string | undefined): string[] {
  if (flag !== undefined) return flag.split(",").map((address) => checked(address.trim()));
  const listed = listedMasters(configPath);
  return listed.length === 0 ? [DEFAULT_MASTER] : listed;
}

function checked(address: string): string {
  if (parseHostPort(address) !== undefined) return address;
  throw new OpError("DL_ERR_INVALID_ADDRESS", `master is ${JSON.stringify(address)}, expected host:port`);
}

/** Only the masters of the file are needed here; the rest is judged by the processes it is meant for. */
function listedMasters(configPath: string | undefined): string[] {
  const file = readConfigFile(configPath);
  if (file === undefined) return [];
  const content: unknown = parse(file.text);
  if (typeof content !== "object" || content === null || !("masters" in content)) return [];
  const { masters } = content;
  if (!Array.isArray(masters)) return [];
  const texts = masters.map((address) => (/^\d+$/.test(String(address)) ? `127.0.0.1:${address}` : String(address)));
  return texts.map((address) => portAbove(address, 1));
}
