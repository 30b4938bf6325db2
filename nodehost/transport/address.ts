/** `host:port` texts: where hosts listen and how they are reached. IPv6 is written `[::1]:7500`. */
import { type HostPort, parseHostPort } from "../../shared/codec/host-port.js";
import { OpError } from "../../shared/errors.js";

/** Throws DL_ERR_INVALID_ADDRESS. Port 0 is allowed: "any free port". */
export function parseAddress(text: string): HostPort {
  const address = parseHostPort(text);
  if (address === undefined) throw new OpError("DL_ERR_INVALID_ADDRESS", `got ${JSON.stringify(text.slice(0, 300))}`);
  return address;
}

export function formatAddress(address: HostPort): string {
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** True for a target that is an address already; otherwise it is a host id. */
export function isAddress(target: string): boolean {
  return target.includes(":");
}

/** True for addresses nobody can connect to from elsewhere: every interface of this machine. */
export function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}
