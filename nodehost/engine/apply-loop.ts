/**
 * Committed entries on their way through the state machine: for so long per turn, and not while an update that answers
 * later is under way. Used by Replica.
 */
import type { ReplicaStateMachine } from "../rsm/types.js";

export interface ApplyHooks {
  /** Some entries may have been applied. */
  applied(): void;
  /** There may be more to apply. */
  ready(): void;
  failed(error: unknown): void;
}

export class ApplyLoop {
  readonly #rsm: ReplicaStateMachine;
  readonly #hooks: ApplyHooks;
  #busy = false;

  constructor(rsm: ReplicaStateMachine, hooks: ApplyHooks) {
    this.#rsm = rsm;
    this.#hooks = hooks;
  }

  /** Applies for at most `budgetMs`. True if more is waiting. */
  run(budgetMs: number): boolean {
    if (this.#busy) return false;
    let state: "idle" | "more" | Promise<void>;
    try {
      state = this.#rsm.run(budgetMs);
      this.#hooks.applied();
    } catch (error) {
      this.#hooks.failed(error);
      return false;
    }
    if (typeof state === "string") return state === "more";
    this.#busy = true;
    state
      .then(() => {
        this.#busy = false;
        this.#hooks.applied();
        this.#hooks.ready();
      })
      .catch((error: unknown) => {
        this.#busy = false;
        this.#hooks.failed(error);
      });
    return false;
  }
}
