/**
 * One turn: the spine of the host. All ready replicas go through the same phases together, so that one append and one
 * buffer per peer carry the work of all of them.
 *
 *   step     messages, ticks, proposals and reads go through each Raft core
 *   emit     each core's Output: updates to the log queue, messages to the transport, committed entries to the machine
 *   persist  the next append starts, unless one is in flight (what arrives meanwhile joins the next: group commit)
 *   send     one buffer per peer leaves
 *   apply    committed and durable entries go through the state machines, within a time budget; promises settle here
 *
 * Only the start of the next append waits for the log. What had to wait for durability (votes, acks, the leader's own
 * match) is derived by the core when the append settles, and leaves with the turn after it.
 */
import type { TimeMs } from "../../shared/types/ids.js";
import type { Transport } from "../transport/port.js";
import type { Replica } from "./replica.js";
import type { WalQueue } from "./wal-queue.js";

export interface TurnContext {
  readonly now: () => TimeMs;
  readonly wal: WalQueue;
  readonly transport: Transport;
  /** Of one replica. */
  readonly applyBudgetMs: number;
  /** Of all replicas together; whoever is left over goes first in the next turn. */
  readonly turnBudgetMs: number;
}

/** Returns the replicas that have more to do. */
export function runTurn(ready: readonly Replica[], context: TurnContext): Replica[] {
  const startMs = context.now();
  for (const replica of ready) replica.step(startMs);
  for (const replica of ready) replica.emit();
  context.wal.start();
  context.transport.flush();

  const unfinished: Replica[] = [];
  const endMs = context.now() + context.turnBudgetMs;
  for (const replica of ready) {
    const late = context.now() > endMs;
    if (late || replica.apply(context.applyBudgetMs)) unfinished.push(replica);
  }
  return unfinished;
}
