/**
 * What a process may know of the world: time, timers, randomness, log, metrics. Everything that is not a pure
 * function takes an Env, so that the whole system runs on virtual time under a seed.
 */
import type { Crc32 } from "../codec/crc32.js";
import type { TimeMs } from "../types/ids.js";

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Logger;
}

export interface TimerHandle {
  cancel(): void;
}

export interface Timers {
  /** Calls once, not before `delayMs` have passed. Does not keep a process alive that has nothing else to do. */
  after(delayMs: number, call: () => void): TimerHandle;
  every(intervalMs: number, call: () => void): TimerHandle;
  /** Calls after input already received has been handled (setImmediate). */
  soon(call: () => void): TimerHandle;
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, bound). */
  int(bound: number): number;
  /** `count` random bytes as hexadecimal digits. */
  hex(count: number): string;
  uuid(): string;
}

export interface Counter {
  add(value?: number): void;
}
export interface Gauge {
  set(value: number): void;
}
export interface Histogram {
  /** Milliseconds unless the name says otherwise. */
  observe(value: number): void;
}
export interface Metrics {
  counter(name: string, help: string): Counter;
  gauge(name: string, help: string): Gauge;
  histogram(name: string, help: string): Histogram;
}

export interface Env {
  /** Monotonic milliseconds, with fractions. */
  now(): TimeMs;
  /** Wall clock, milliseconds since 1970. Only for people to read; nothing is decided by it. */
  wallClockMs(): number;
  readonly timers: Timers;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly crc32: Crc32;
}

export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child() {
    return silentLogger;
  },
};

const nothing = { add() {}, set() {}, observe() {} };
export const noMetrics: Metrics = {
  counter: () => nothing,
  gauge: () => nothing,
  histogram: () => nothing,
};
