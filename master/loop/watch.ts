/**
 * What tells this master whether its own silence-hearing can be trusted: the state of the bus link, a message to
 * itself through the bus, and the gaps of its own event loop. Feeds the detector; decides nothing.
 */
import type { Bus } from "../../shared/bus/port.js";
import { probeSubject } from "../../shared/bus/subjects.js";
import type { Env, TimerHandle } from "../../shared/env/env.js";
import { isOpError } from "../../shared/errors.js";
import type { FailureDetector } from "../detect/index.js";

export interface WatchOptions {
  readonly env: Env;
  readonly bus: Bus;
  readonly detector: FailureDetector;
  readonly deploymentId: number;
  /** Names this master's probe. */
  readonly masterId: string;
  readonly tickMs: number;
  readonly loopLagMs: number;
}

const PROBE = new Uint8Array(0);
const PROBE_INTERVAL_MS = 500;

export class SelfWatch {
  readonly #options: WatchOptions;
  readonly #release: (() => void)[] = [];
  #timer: TimerHandle | undefined;
  #lastTickMs: number;
  #lastProbeMs = Number.NEGATIVE_INFINITY;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#lastTickMs = options.env.now();
  }

  start(): void {
    const { bus, env, detector, deploymentId, masterId, tickMs } = this.#options;
    const probe = bus.subscribe(probeSubject(deploymentId, masterId), () => detector.onProbe(env.now()));
    detector.onLink(bus.status().connected, env.now());
    this.#release.push(
      () => probe.close(),
      bus.onStatus((status) => detector.onLink(status.connected, env.now())),
    );
    this.#timer = env.timers.every(tickMs, () => this.#tick());
  }

  stop(): void {
    this.#timer?.cancel();
    for (const release of this.#release) release();
  }

  #tick(): void {
    const { env, bus, detector, deploymentId, masterId, tickMs, loopLagMs } = this.#options;
    const nowMs = env.now();
    const lateMs = nowMs - this.#lastTickMs - tickMs;
    this.#lastTickMs = nowMs;
    if (lateMs > loopLagMs) detector.onStall(lateMs, nowMs);
    if (nowMs - this.#lastProbeMs >= PROBE_INTERVAL_MS) {
      this.#lastProbeMs = nowMs;
      try {
        bus.publish(probeSubject(deploymentId, masterId), PROBE);
      } catch (error) {
        // Not connected: the status says so already.
        if (!isOpError(error)) throw error;
      }
    }
    detector.tick(nowMs);
  }
}
