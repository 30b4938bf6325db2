/** The one source of chance of tests and simulated worlds: a seed gives the same numbers everywhere. */
import type { Random } from "../env.js";

/** mulberry32: small, and good enough to spread events. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (bound: number): number => Math.floor(next() * bound);
  const hex = (count: number): string =>
    Array.from({ length: count }, () => int(256).toString(16).padStart(2, "0")).join("");
  const uuid = (): string => `${hex(4)}-${hex(2)}-4${hex(2).slice(1)}-8${hex(2).slice(1)}-${hex(6)}`;
  return { next, int, hex, uuid };
}
