/** Order on a simulated connection. Used by sim-link.ts and sim-pipe.ts. */
import type { Env } from "../../shared/env/env.js";

/** What a line needs of its network. */
export interface Delays {
  readonly env: Env;
  /** One trip's delay. */
  delayMs(): number;
}

/** Keeps the order of what travels one way: each arrival takes the oldest that is on its way. */
export class SimLine {
  readonly #network: Delays;
  #travelling: (() => void)[] = [];

  constructor(network: Delays) {
    this.#network = network;
  }

  after(arrive: () => void): void {
    this.#travelling.push(arrive);
    this.#network.env.timers.after(this.#network.delayMs(), () => this.#travelling.shift()?.());
  }
}
