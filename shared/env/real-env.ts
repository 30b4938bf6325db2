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
    random: createRealRandom(),
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

const POOL_BYTES = 4096;
const DRAW_BYTES = 6;

/** Drawn from a pool, because elections draw a time-out at every message of a leader. */
function createRealRandom(): Random {
  let pool = Buffer.alloc(0);
  let offset = 0;
  const next = (): number => {
    if (offset + DRAW_BYTES > pool.length) {
      pool = randomBytes(POOL_BYTES);
      offset = 0;
    }
    const drawn = pool.readUIntBE(offset, DRAW_BYTES);
    offset += DRAW_BYTES;
    return drawn / 2 ** 48;
  };
  return {
    next,
    int: (bound) => Math.floor(next() * bound),
    hex: (count) => randomBytes(count).toString("hex"),
    uuid: () => randomUUID(),
  };
}
