/**
 * Restores of installed snapshots into a state machine, one at a time: of those that come meanwhile only the newest.
 */
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { ReplicaStateMachine } from "../rsm/types.js";

export class Restorer {
  readonly #rsm: ReplicaStateMachine;
  readonly #done: (meta: SnapshotMeta) => void;
  readonly #failed: (error: unknown) => void;
  #busy = false;
  #next: SnapshotMeta | undefined;

  /** `done`: the machine has the state of `meta`. Not called when a newer one waits. */
  constructor(rsm: ReplicaStateMachine, done: (meta: SnapshotMeta) => void, failed: (error: unknown) => void) {
    this.#rsm = rsm;
    this.#done = done;
    this.#failed = failed;
  }

  /** Nothing may be applied meanwhile. */
  get busy(): boolean {
    return this.#busy;
  }

  begin(meta: SnapshotMeta): void {
    if (this.#busy) {
      this.#next = meta;
      return;
    }
    this.#busy = true;
    this.#rsm
      .restore(meta, new AbortController().signal)
      .then(() => {
        this.#busy = false;
        const next = this.#next;
        this.#next = undefined;
        if (next === undefined) this.#done(meta);
        else this.begin(next);
      })
      .catch(this.#failed);
  }
}
