/** The Env of the storage code of one simulated node: virtual time, timers that die with the node, no log. */
import * as zlib from "node:zlib";
import { type Env, noMetrics, silentLogger, type TimerHandle } from "../../shared/env/env.js";
import type { SimNode } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

export function storageEnv(node: SimNode, random: Prng): Env {
  const { world } = node;
  const after = (delayMs: number, call: () => void): TimerHandle => {
    let cancelled = false;
    world.after(Math.ceil(delayMs), EventKind.File, node, () => {
      if (cancelled) return;
      world.stirred = true;
      call();
    });
    return {
      cancel: () => {
        cancelled = true;
      },
    };
  };
  const none = (): never => {
    throw new RangeError("storage code asks for what a simulated node does not have");
  };
  return {
    now: () => world.now,
    wallClockMs: () => world.now,
    timers: { after, every: none, soon: (call) => after(0, call) },
    random: { next: () => random.float(), int: (bound) => random.int(bound), hex: none, uuid: none },
    logger: silentLogger,
    metrics: noMetrics,
    crc32: (bytes, start = 0) => zlib.crc32(bytes, start),
  };
}
