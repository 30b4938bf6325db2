/** `host:port` texts: where hosts listen and how they are reached. IPv6 is written `[::1]:7500`. */
import { OpError } from "../../shared/errors.js";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const FORM = /^(\[[0-9a-fA-F:.%]{2,64}\]|[^:\s[\]]{1,253}):([0-9]{1,5})$/;

/** Throws DL_ERR_INVALID_ADDRESS. Port 0 is allowed: "any free port". */
export function parseAddress(text: string): HostPort {
  const parts = FORM.exec(text);
  const host = parts?.[1];
  const port = Number(parts?.[2]);
  if (host === undefined || !(port <= 65_535)) {
    throw new OpError("DL_ERR_INVALID_ADDRESS", `got ${JSON.stringify(text.slice(0, 300))}`);
  }
  return { host: host.startsWith("[") ? host.slice(1, -1) : host, port };
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
