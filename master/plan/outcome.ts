/** What one shard's rules say in one pass. Made by continue.ts, create.ts and repair.ts, gathered by shard.ts. */
import type { OperationKind, OperationStep } from "../db/index.js";
import type { PlannedAction } from "./types.js";

export interface Outcome {
  readonly actions: readonly PlannedAction[];
  /** What is being done; empty = nothing. */
  readonly doing: string;
  /** What is not done, and why; empty = nothing. */
  readonly waiting: string;
}

export const nothing: Outcome = { actions: [], doing: "", waiting: "" };

export function acting(action: PlannedAction | undefined, doing: string): Outcome {
  if (action === undefined) return { actions: [], doing, waiting: "the host's request slots are taken" };
  return { actions: [action], doing, waiting: "" };
}

export function waiting(doing: string, text: string): Outcome {
  return { actions: [], doing, waiting: text };
}

/** An operation that ought to be opened; opened in the order of margin, as limits allow. */
export interface OpenWish {
  readonly kind: OperationKind;
  readonly reason: string;
  /** Built when it is its turn, because the choice of a host depends on what was decided before. */
  readonly build: () => Built | { readonly reason: string; readonly temporary: boolean };
}

export interface Built {
  readonly kind: OperationKind;
  readonly steps: readonly OperationStep[];
}
