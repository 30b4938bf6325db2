/**
 * When turns run, and who has a part in them: replicas that something happened to, those whose deadline has come, and
 * those whose hosts are in doubt. A host without anything of this runs no turn. Used by Engine.
 */
import type { Env, TimerHandle } from "../../shared/env/env.js";
import type { TimeMs } from "../../shared/types/ids.js";
import { DeadlineWheel } from "./deadlines.js";
import type { HostWatch } from "./host-watch.js";
import type { Replica } from "./replica.js";
import type { StallWatch } from "./stall.js";
import { runTurn, type TurnContext } from "./turn.js";

export interface TurnLoopParts {
  readonly env: Env;
  readonly tickMs: number;
  readonly context: TurnContext;
  readonly hosts: HostWatch;
  readonly stall: StallWatch;
}

export class TurnLoop {
  readonly #parts: TurnLoopParts;
  /** Replicas by when they next have something to do. Each is armed anew after its turn. */
  readonly #deadlines: DeadlineWheel<Replica>;
  readonly #counts = { ticks: 0, turns: 0, steps: 0 };
  #ready: Replica[] = [];
  #timer: TimerHandle | undefined;
  #stopped = false;

  constructor(parts: TurnLoopParts) {
    this.#parts = parts;
    this.#deadlines = new DeadlineWheel(parts.tickMs, parts.env.now());
  }

  /** Ticks and turns so far, and how often a replica had a part in one. */
  get counts(): { readonly ticks: number; readonly turns: number; readonly steps: number } {
    return { ...this.#counts };
  }

  /** Puts the replica into the next turn. */
  add(replica: Replica): void {
    if (replica.scheduled || this.#stopped) return;
    replica.scheduled = true;
    this.#ready.push(replica);
    this.#want();
  }

  /** The watch of hosts may have got something to do. */
  hostsChanged(): void {
    if (this.#parts.hosts.pending && !this.#stopped) this.#want();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** The host's tick: whatever is due now goes into the next turn. */
  tick(nowMs: TimeMs): void {
    const { hosts, stall, context } = this.#parts;
    this.#counts.ticks += 1;
    const stalled = stall.note(nowMs);
    for (const replica of this.#deadlines.take(nowMs)) {
      replica.tick(nowMs);
      if (!replica.scheduled) this.#deadlines.arm(replica);
    }
    if (hosts.tick(nowMs, stalled)) context.transport.flush();
    this.hostsChanged();
  }

  #want(): void {
    this.#timer ??= this.#parts.env.timers.soon(() => this.#run());
  }

  #run(): void {
    this.#timer = undefined;
    if (this.#stopped) return;
    const { hosts, stall, context } = this.#parts;
    const nowMs = context.now();
    stall.note(nowMs);
    hosts.wakeSome(nowMs);
    const ready = this.#ready;
    this.#ready = [];
    for (const replica of ready) replica.scheduled = false;
    this.#counts.turns += 1;
    this.#counts.steps += ready.length;
    for (const replica of runTurn(ready, context)) this.add(replica);
    for (const replica of ready) {
      hosts.track(replica);
      this.#deadlines.arm(replica);
    }
    if (hosts.settlePulses(nowMs)) context.transport.flush();
    this.hostsChanged();
  }
}
