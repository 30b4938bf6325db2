/**
 * The loop of the leading master: observe → decide → record → dispatch. Each cycle looks at the whole state anew
 * (level-triggered), proposes what must be remembered, and sends what must be done; whatever is lost comes again with
 * the next cycle. A master that does not lead only listens.
 *
 * Invariants: nothing is planned before this leader has applied everything committed before it; requests carry
 * (lineage, term) of the leadership they were planned under.
 */
import type { Env, TimerHandle } from "../../shared/env/env.js";
import { errorText, isOpError } from "../../shared/errors.js";
import type { HostId } from "../../shared/types/ids.js";
import type { Command } from "../db/index.js";
import { type FailureDetector, type HostState, type ObservationImage, registeredHosts } from "../detect/index.js";
import {
  leaderCoverage,
  type Plan,
  type PlanConfig,
  type PlanMemory,
  type PlanView,
  planSliced,
} from "../plan/index.js";
import type { Dispatcher } from "./dispatch.js";
import type { Store } from "./store.js";

export interface LoopOptions {
  readonly env: Env;
  readonly store: Store;
  readonly detector: FailureDetector;
  readonly image: ObservationImage;
  readonly dispatcher: Dispatcher;
  readonly config: PlanConfig;
  readonly deploymentId: number;
  /** Longest time between two cycles. */
  readonly cycleMs: number;
  /** Called after each cycle while leading. */
  readonly onCycle: () => void;
}

export interface Fence {
  readonly term: number;
  readonly lineage: number;
}

/** A cycle that is asked for before its time still waits this long, so that news are taken together. */
const GATHER_MS = 20;
const COMMITS_AT_ONCE = 64;
const NEWSWORTHY: ReadonlySet<HostState> = new Set<HostState>(["Disconnected", "Down", "Wiped", "Refused", "Cloned"]);

export class LeaderLoop {
  readonly #options: LoopOptions;
  #timer: TimerHandle | undefined;
  #soon: TimerHandle | undefined;
  #cycling: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #fence: Fence | undefined;
  #memory: PlanMemory = new Map();
  #plan: Plan | undefined;
  #registryRevision = -1;
  readonly #hostStates = new Map<HostId, HostState>();

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  /** Fence of the leadership under which this master acts; undefined while it does not. */
  get fence(): Fence | undefined {
    const { leading, term } = this.#options.store.leadership();
    return leading && this.#fence?.term === term ? this.#fence : undefined;
  }

  /** The newest plan of this leadership: reasons and texts for people. */
  get lastPlan(): Plan | undefined {
    return this.#plan;
  }

  start(): void {
    this.#timer = this.#options.env.timers.every(this.#options.cycleMs, () => this.poke());
  }

  /** Something changed: a cycle runs soon. */
  poke(): void {
    if (this.#stopped) return;
    if (this.#cycling !== undefined) {
      this.#again = true;
      return;
    }
    this.#soon ??= this.#options.env.timers.after(GATHER_MS, () => {
      this.#soon = undefined;
      this.#begin();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#soon?.cancel();
    await this.#cycling;
  }

  #begin(): void {
    if (this.#stopped || this.#cycling !== undefined) return;
    this.#cycling = this.#cycle()
      .catch((error: unknown) => {
        const level = isOpError(error) ? "debug" : "error";
        this.#options.env.logger[level]({ error: errorText(error) }, "cycle ended early; the next one begins anew");
      })
      .finally(() => {
        this.#cycling = undefined;
        if (!this.#again) return;
        this.#again = false;
        this.poke();
      });
  }

  async #cycle(): Promise<void> {
    const { store, detector, env } = this.#options;
    const { leading, term } = store.leadership();
    detector.onLeadership(leading, env.now());
    if (!leading) {
      this.#follow();
      return;
    }
    if (this.#fence?.term !== term) await this.#takeOver(term);
    this.#refreshRegistry();
    const view = this.view();
    if (view === undefined) return;
    const plan = await this.#makePlan(view);
    if (this.fence === undefined) return;
    this.#plan = plan;
    this.#memory = plan.memory;
    this.#options.dispatcher.set(plan.actions);
    await this.#record(plan, this.#hostNews(view));
    this.#options.onCycle();
  }

  /** What the planner sees now; undefined while this master does not lead. */
  view(): PlanView | undefined {
    const { store, detector, image, config, dispatcher, env } = this.#options;
    const { fence } = this;
    if (fence === undefined) return undefined;
    const db = store.view();
    const detected = detector.view();
    return {
      db,
      detector: detected,
      image,
      config,
      masterLineage: fence.lineage,
      masterTerm: fence.term,
      memory: this.#memory,
      refusals: dispatcher.refusals,
      wallClockMs: env.wallClockMs(),
    };
  }

  /** Hosts heard lately. */
  fresh(): (hostId: HostId) => boolean {
    const { hosts } = this.#options.detector.view();
    return (hostId) => hosts.get(hostId)?.fresh === true;
  }

  #follow(): void {
    if (this.#fence === undefined) return;
    this.#fence = undefined;
    this.#plan = undefined;
    this.#memory = new Map();
    this.#hostStates.clear();
    this.#options.dispatcher.clear();
  }

  async #takeOver(term: number): Promise<void> {
    const { store, env, deploymentId } = this.#options;
    this.#follow();
    await store.catchUp();
    if (store.view().deploymentId === 0) {
      await store.commit({ kind: "initDeployment", deploymentId, atMs: env.wallClockMs() });
    }
    this.#fence = { term, lineage: store.lineage() };
    env.logger.info({ term }, "this master leads");
  }

  #refreshRegistry(): void {
    const { store, detector, image, env } = this.#options;
    const db = store.view();
    if (db.revision !== this.#registryRevision) {
      this.#registryRevision = db.revision;
      detector.setHosts(registeredHosts(db, env.wallClockMs()));
    }
    const { led, shards } = leaderCoverage(db, detector.view(), image);
    detector.onCoverage(led, shards);
    detector.tick(env.now());
  }

  async #makePlan(view: PlanView): Promise<Plan> {
    const { env } = this.#options;
    const slices = planSliced(view, view.detector.effectiveMs, env.random.int(0x7fffffff));
    for (;;) {
      const slice = slices.next();
      if (slice.done === true) return slice.value;
      await new Promise<void>((resolve) => env.timers.soon(resolve));
    }
  }

  /** Hosts that were lost or came back since the last cycle of this leadership, for the event ring. */
  #hostNews(view: PlanView): Command[] {
    const news: Command[] = [];
    for (const { hostId, state, reason } of view.detector.hosts.values()) {
      const was = this.#hostStates.get(hostId);
      this.#hostStates.set(hostId, state);
      if (was === undefined || was === state || !(NEWSWORTHY.has(state) || NEWSWORTHY.has(was))) continue;
      const severity = NEWSWORTHY.has(state) ? "warning" : "info";
      const text = reason === "" ? `was ${was}` : `was ${was}: ${reason}`;
      const event = `host.${state.toLowerCase()}`;
      news.push({ kind: "appendEvent", severity, event, subject: hostId, text, atMs: view.wallClockMs });
    }
    return news;
  }

  /** Proposes what the plan wants remembered. A refusal is news (someone was faster): the next cycle sees it. */
  async #record(plan: Plan, news: readonly Command[]): Promise<void> {
    const { store, env } = this.#options;
    const commands: Command[] = [...news];
    for (const action of plan.actions) if (action.kind === "commit") commands.push(action.command);
    for (let at = 0; at < commands.length; at += COMMITS_AT_ONCE) {
      const batch = commands.slice(at, at + COMMITS_AT_ONCE);
      const results = await Promise.all(batch.map((command) => store.propose(command)));
      for (const [i, { code, detail }] of results.entries()) {
        if (code !== "ok") env.logger.debug({ command: batch[i]?.kind, code, detail }, "command refused");
      }
    }
    if (commands.length > 0) this.#again = true;
  }
}
