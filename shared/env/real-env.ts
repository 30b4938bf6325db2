/** The Env of a real process. Timers do not keep the process alive; sockets and files do. */
import { randomBytes, randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import * as zlib from "node:zlib";
import { type Env, type Logger, type Metrics, noMetrics, type Random, silentLogger, type Timers } from "./env.js";

export function createRealEnv(options: { readonly logger?: Logger; readonly metrics?: Metrics } = {}): Env {
  return {
    now: () => performance.now(),
    wallClockMs: () => Date.now(),
    timers: realTimers,
    random: realRandom,
    logger: options.logger ?? silentLogger,
    metrics: options.metrics ?? noMetrics,
    crc32: (bytes, seed = 0) => zlib.crc32(bytes, seed),
  };
}

const realTimers: Timers = {
  after(delayMs, call) {
    const timer = setTimeout(call, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  every(intervalMs, call) {
    const timer = setInterval(call, intervalMs);
    timer.unref();
    return { cancel: () => clearInterval(timer) };
  },
  soon(call) {
    const handle = setImmediate(call);
    return { cancel: () => clearImmediate(handle) };
  },
};

const realRandom: Random = {
  next: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
  int: (bound) => Math.floor((randomBytes(6).readUIntBE(0, 6) / 2 ** 48) * bound),
  hex: (count) => randomBytes(count).toString("hex"),
  uuid: () => randomUUID(),
};
