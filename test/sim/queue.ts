/**
 * The event queue of the simulator: a binary heap ordered by (time, sequence). Two events never compare equal, so the
 * order of a run is a function of the seed alone.
 */
import type { Message } from "../../shared/types/message.js";

export const EventKind = {
  Message: 1,
  Timer: 2,
  Disk: 3,
  Client: 4,
  Apply: 5,
  Turn: 6,
  Snapshot: 7,
  Fetch: 8,
  Nemesis: 9,
  Restart: 10,
  Unreachable: 11,
  /** An operation of storage code on a file, or a timer of it. */
  File: 12,
  Pulse: 13,
} as const;
export type EventKind = (typeof EventKind)[keyof typeof EventKind];

export const EVENT_NAMES: readonly string[] = [
  "?",
  "message",
  "timer",
  "disk",
  "client",
  "apply",
  "turn",
  "snapshot",
  "fetch",
  "nemesis",
  "restart",
  "unreachable",
  "file",
  "pulse",
];

export interface SimEvent {
  time: number;
  sequence: number;
  readonly kind: EventKind;
  /** Node it happens on; 0 = the world. */
  readonly nodeId: number;
  /** Start of the node it belongs to; dropped when the node has crashed since. 0 = any. */
  readonly epoch: number;
  readonly message: Message | undefined;
  readonly call: (() => void) | undefined;
}

export class EventQueue {
  readonly #heap: SimEvent[] = [];
  #sequence = 0;

  get size(): number {
    return this.#heap.length;
  }

  push(event: Omit<SimEvent, "sequence">): void {
    this.#sequence += 1;
    const { time, kind, nodeId, epoch, message, call } = event;
    this.#up({ time, sequence: this.#sequence, kind, nodeId, epoch, message, call });
  }

  /** Puts a taken event back, later. */
  postpone(event: SimEvent, time: number): void {
    this.#sequence += 1;
    event.time = time;
    event.sequence = this.#sequence;
    this.#up(event);
  }

  pop(): SimEvent | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let at = 0;
    const count = heap.length;
    for (;;) {
      const left = 2 * at + 1;
      let best = heap[left];
      if (best === undefined) break;
      let child = left;
      const right = left + 1 < count ? heap[left + 1] : undefined;
      if (right !== undefined && before(right, best)) {
        best = right;
        child = left + 1;
      }
      if (before(last, best)) break;
      heap[at] = best;
      at = child;
    }
    heap[at] = last;
    return top;
  }

  #up(event: SimEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || before(above, event)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  return a.time < b.time || (a.time === b.time && a.sequence < b.sequence);
}
