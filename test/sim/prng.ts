/**
 * Seeded randomness of the simulator: one independent stream per concern (network, disk, nemesis, workload, each
 * node), so that adding a draw in one place does not shift all others. Small fast counter generator (sfc32).
 */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, stream: number) {
    this.#a = scramble(seed >>> 0);
    this.#b = scramble(Math.floor(seed / 4294967296) ^ 0x9e3779b9);
    this.#c = scramble(stream ^ 0x85ebca6b);
    for (let i = 0; i < 12; i++) this.next32();
  }

  /** Uniform 32-bit unsigned integer. */
  next32(): number {
    const t = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t;
    this.#c |= 0;
    return t >>> 0;
  }

  /** Uniform in [0, 1). */
  float(): number {
    return this.next32() / 4294967296;
  }

  /** Uniform integer in [0, bound). */
  int(bound: number): number {
    return Math.floor(this.float() * bound);
  }

  /** Uniform integer in [low, high]. */
  range(low: number, high: number): number {
    return low + this.int(high - low + 1);
  }

  /** Integer in [low, high], uniform in its logarithm: small values are as likely as large ones. */
  logRange(low: number, high: number): number {
    const shift = low < 1 ? 1 - low : 0;
    const value = Math.exp(Math.log(low + shift) + this.float() * Math.log((high + shift + 1) / (low + shift)));
    return Math.min(high, Math.floor(value) - shift);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.float() < probability;
  }

  /** Exponentially distributed integer with about this mean. */
  exponential(mean: number): number {
    return Math.floor(-Math.log(1 - this.float()) * mean);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.int(items.length)];
    if (item === undefined) throw new RangeError("pick from an empty list");
    return item;
  }
}

function scramble(value: number): number {
  let x = (value + 0x6d2b79f5) | 0;
  x = Math.imul(x ^ (x >>> 15), x | 1);
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
  return (x ^ (x >>> 14)) | 0;
}

/** One step of the rolling hashes (trace, state machine): mixes a 32-bit word into `hash`. */
export function mix(hash: number, word: number): number {
  let x = Math.imul(hash ^ word, 0x9e3779b1);
  x ^= x >>> 15;
  return Math.imul(x, 0x85ebca77) ^ (x >>> 13);
}
