/**
 * /livez, /readyz and /metrics of a master or NodeHost process. Plain HTTP on the third port, meant for probes and
 * Prometheus; it says nothing that is secret.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Registry } from "prom-client";
import { checkAddress } from "../../nodehost/index.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { ProcessLife } from "./process-life.js";

export interface HttpOptions {
  /** `host:port`; port 0 = any free one. */
  readonly address: string;
  readonly registry: Registry;
  /** Empty when ready, otherwise why not. */
  readonly notReady: () => string;
  /** Called before metrics are read, to bring gauges up to date. */
  readonly onScrape: () => unknown;
}

export interface HttpServer {
  /** As really bound. */
  readonly address: string;
  close(): Promise<void>;
}

export interface ProcessHttp {
  /** Undefined: not served. */
  readonly address: string | undefined;
  readonly registry: Registry;
  /** What else keeps the process from being ready; empty = nothing. */
  readonly notReady?: () => string;
  readonly onScrape: () => unknown;
}

/** Serves for a process until the very end of its life. Resolves to the address really bound, "" if none. */
export async function startHttp(life: ProcessLife, options: ProcessHttp): Promise<string> {
  const { address, registry, onScrape } = options;
  if (address === undefined) return "";
  const notReady = (): string =>
    life.ready ? (options.notReady?.() ?? "") : life.signal.aborted ? "stopping" : "starting";
  const server = await startHttpServer({ address, registry, onScrape, notReady });
  life.defer(() => server.close());
  return server.address;
}

/** DL_ERR_ADDRESS_IN_USE, DL_ERR_INVALID_ADDRESS. */
export async function startHttpServer(options: HttpOptions): Promise<HttpServer> {
  checkAddress("httpAddress", options.address);
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => send(response, 500, errorText(error)));
  });
  const colon = options.address.lastIndexOf(":");
  const host = options.address.slice(0, colon);
  const port = Number(options.address.slice(colon + 1));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const code = error.code === "EADDRINUSE" ? "DL_ERR_ADDRESS_IN_USE" : "DL_ERR_INVALID_ADDRESS";
      reject(new OpError(code, `${options.address} (HTTP): ${error.message}`, { cause: error }));
    });
    server.listen(port, host.replace(/^\[|\]$/g, ""), resolve);
  });
  const bound = server.address();
  const address = `${host}:${typeof bound === "object" && bound !== null ? bound.port : port}`;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { address, close };
}

async function answer(options: HttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? "").split("?")[0];
  if (request.method !== "GET" && request.method !== "HEAD") return send(response, 405, "only GET");
  switch (path) {
    case "/livez":
      return send(response, 200, "ok");
    case "/readyz": {
      const why = options.notReady();
      return why === "" ? send(response, 200, "ok") : send(response, 503, why);
    }
    case "/metrics": {
      options.onScrape();
      const text = await options.registry.metrics();
      return send(response, 200, text, options.registry.contentType);
    }
    default:
      return send(response, 404, "expected /livez, /readyz or /metrics");
  }
}

function send(response: ServerResponse, status: number, text: string, type = "text/plain; charset=utf-8"): void {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
  response.end(text.endsWith("\n") ? text : `${text}\n`);
}
