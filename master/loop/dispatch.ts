/**
 * Requests to hosts: pushed once when they appear, and repeated in the answer to each report until the planner no
 * longer wants them. At least once, idempotent, fenced: a lost or doubled one costs nothing.
 */
import type { Bus } from "../../shared/bus/port.js";
import { hostSubject } from "../../shared/bus/subjects.js";
import type { Env } from "../../shared/env/env.js";
import { errorText } from "../../shared/errors.js";
import type { HostRequest, HostResult } from "../../shared/types/control.js";
import type { HostId } from "../../shared/types/ids.js";
import { encodeHostRequest } from "../../shared/wire/index.js";
import type { PlannedAction } from "../plan/index.js";

const REFUSALS_MAX = 10_000;

export class Dispatcher {
  readonly #bus: Bus;
  readonly #env: Env;
  readonly #deploymentId: number;
  #open = new Map<HostId, Map<string, HostRequest>>();
  #pushed = new Set<string>();
  readonly #refusals = new Map<string, HostResult>();

  constructor(bus: Bus, env: Env, deploymentId: number) {
    this.#bus = bus;
    this.#env = env;
    this.#deploymentId = deploymentId;
  }

  /** Results that said no, by request id: texts for people. */
  get refusals(): ReadonlyMap<string, HostResult> {
    return this.#refusals;
  }

  /** What the newest plan wants done replaces everything before it. */
  set(actions: readonly PlannedAction[]): void {
    const open = new Map<HostId, Map<string, HostRequest>>();
    const pushed = new Set<string>();
    for (const action of actions) {
      if (action.kind !== "request") continue;
      const { hostId, request } = action;
      const requests = open.get(hostId) ?? new Map<string, HostRequest>();
      requests.set(request.requestId, request);
      open.set(hostId, requests);
      if (this.#pushed.has(request.requestId) || this.#push(hostId, request)) pushed.add(request.requestId);
    }
    this.#open = open;
    this.#pushed = pushed;
  }

  /** For the answer to a host's report. */
  requestsFor(hostId: HostId): readonly HostRequest[] {
    return [...(this.#open.get(hostId)?.values() ?? [])];
  }

  onResult(result: HostResult): void {
    if (result.ok) {
      this.#refusals.delete(result.requestId);
      return;
    }
    this.#refusals.set(result.requestId, result);
    if (this.#refusals.size <= REFUSALS_MAX) return;
    for (const oldest of this.#refusals.keys()) {
      this.#refusals.delete(oldest);
      return;
    }
  }

  clear(): void {
    this.#open = new Map();
    this.#pushed = new Set();
  }

  #push(hostId: HostId, request: HostRequest): boolean {
    try {
      this.#bus.publish(hostSubject(this.#deploymentId, hostId), encodeHostRequest(request));
      return true;
    } catch (error) {
      this.#env.logger.debug({ hostId, error: errorText(error) }, "request not pushed; it goes with the next report");
      return false;
    }
  }
}
