/**
 * A network inside one process, for tests and the simulator: the transports made by one SimNetwork reach each other by
 * address. Everything that happens is drawn from the injected random source and runs on the injected timers, so one
 * seed gives one history. All traffic passes through the real codec.
 *
 * Faults: `knobs` lose, repeat, overtake and delay what one flush sends (what a broken and remade connection can do);
 * `block` and `partition` cut directions; closing a transport cuts all. Without knobs order is kept per link.
 */
import type { Env } from "../../shared/env/env.js";
import { SimTransport } from "./sim-transport.js";
import { SimWorld } from "./sim-world.js";
import type { TcpTransportOptions } from "./tcp-transport.js";

/** As for TCP; `env` may be the host's own (skewed) one. */
export type SimTransportOptions = Omit<TcpTransportOptions, "env"> & { readonly env?: Env };

export class SimNetwork extends SimWorld {
  createTransport(options: SimTransportOptions): SimTransport {
    return new SimTransport(this, { env: this.env, ...options });
  }
}
