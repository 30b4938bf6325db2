/** The form of network addresses everywhere: `host:port`, IPv6 as `[::1]:7500`. Refusals are their callers' to word. */

export interface HostPort {
  /** IPv6 without its brackets. */
  readonly host: string;
  /** 0 where any free port will do. */
  readonly port: number;
}

const FORM = /^(\[[0-9a-fA-F:.%]{2,64}\]|[^:\s[\]/@]{1,253}):([0-9]{1,5})$/;

export function parseHostPort(text: string): HostPort | undefined {
  const [, host, digits] = FORM.exec(text) ?? [];
  const port = Number(digits);
  if (host === undefined || port > 65_535) return undefined;
  return { host: host.startsWith("[") ? host.slice(1, -1) : host, port };
}
