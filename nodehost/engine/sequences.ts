/**
 * Where the books of a replica go on that is stopped and started again while its host runs. A request key is (replica,
 * start of the host, sequence): entries and answers of the earlier life are still on their way, and must not meet a
 * request of the new one under the same key. One number per replica that was stopped. Used by Replica.
 */
import type { ReplicaKey } from "../logdb/port.js";

export class Sequences {
  readonly #next = new Map<string, number>();

  /** The first one of a life that begins. */
  first(key: ReplicaKey): number {
    return this.#next.get(nameOf(key)) ?? 1;
  }

  /** A life ended: `next` is above all that it used. */
  ended(key: ReplicaKey, next: number): void {
    if (next > 1) this.#next.set(nameOf(key), next);
  }
}

function nameOf({ shardId, replicaId }: ReplicaKey): string {
  return `${shardId}/${replicaId}`;
}
