/**
 * Where a broker is, and whether one answers there. Used by the NATS bus before each connection attempt.
 *
 * Why ask first: when the `nats` client gives up an attempt because of its deadline, it leaves the socket behind. One
 * that a frozen broker accepted would come alive later, once per attempt, and keep the process from ending. Here the
 * socket is ours and is always destroyed; the client only dials a broker that has just answered.
 */
import { connect } from "node:net";
import type { Timers } from "../env/env.js";
import { OpError } from "../errors.js";

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  /** Credentials that stood in the address; empty when none. */
  readonly user: string;
  readonly pass: string;
  readonly tls: boolean;
}

const DEFAULT_PORT = 4222;
const GREETING = "INFO ";

/** `host`, `host:port`, `nats://user:pass@host:port` or `tls://…`. Throws DL_ERR_INVALID_ADDRESS. */
export function parseServer(text: string): ServerAddress {
  const withScheme = text.includes("://") ? text : `nats://${text}`;
  let url: URL;
  try {
    url = new URL(withScheme);
  } catch {
    throw invalid(text);
  }
  if ((url.protocol !== "nats:" && url.protocol !== "tls:") || url.hostname === "") throw invalid(text);
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? DEFAULT_PORT : Number(url.port),
    user: decode(url.username, text),
    pass: decode(url.password, text),
    tls: url.protocol === "tls:",
  };
}

/** `host:port`, for messages and for the client; never with credentials. */
export function serverText(server: ServerAddress): string {
  return `${server.host.includes(":") ? `[${server.host}]` : server.host}:${server.port}`;
}

export interface ProbeOptions {
  readonly timers: Timers;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** False where TLS comes before the greeting: then a connection is enough. */
  readonly greeting: boolean;
}

/** Resolves when a broker greets at this address. Rejects with DL_ERR_UNREACHABLE or DL_ERR_CANCELED. */
export function probeServer(server: ServerAddress, options: ProbeOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.host, port: server.port });
    const done = (error?: OpError): void => {
      timer.cancel();
      options.signal.removeEventListener("abort", onAbort);
      socket.removeAllListeners();
      // A socket being destroyed may still report an error.
      socket.on("error", () => {});
      socket.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    const unreachable = (why: string): void => done(new OpError("DL_ERR_UNREACHABLE", `${serverText(server)}: ${why}`));
    const onAbort = (): void => done(new OpError("DL_ERR_CANCELED", `connecting to ${serverText(server)}`));
    const timer = options.timers.after(options.timeoutMs, () => unreachable(`no answer in ${options.timeoutMs} ms`));
    let greeting = "";
    socket.on("error", (error) => unreachable(error.message));
    socket.on("close", () => unreachable("closed the connection"));
    socket.on("connect", () => {
      if (!options.greeting) done();
    });
    socket.on("data", (chunk) => {
      greeting += chunk.toString("latin1", 0, GREETING.length);
      if (!GREETING.startsWith(greeting.slice(0, GREETING.length))) unreachable("is not a NATS server");
      else if (greeting.length >= GREETING.length) done();
    });
    if (options.signal.aborted) onAbort();
    else options.signal.addEventListener("abort", onAbort, { once: true });
  });
}

function decode(part: string, text: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw invalid(text);
  }
}

function invalid(text: string): OpError {
  const shown = text.replace(/\/\/[^@/]*@/, "//***@");
  return new OpError("DL_ERR_INVALID_ADDRESS", `${JSON.stringify(shown)}, expected nats://host:port`);
}
