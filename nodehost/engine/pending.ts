/**
 * Books of one replica's open requests. Proposals are kept in a ring by sequence (allotted in order, settled mostly in
 * order); reads in batches by their ReadIndex key. No timer per request: deadlines are looked at on the host's tick.
 */
import { OpError } from "../../shared/errors.js";
import type { Index, TimeMs } from "../../shared/types/ids.js";
import type { SessionRefusal } from "../../shared/types/session.js";
import type { Result } from "../rsm/state-machine.js";
import { type RequestCode, type RequestState, timeoutError } from "./requests.js";

interface Slot {
  readonly request: RequestState;
  readonly ordinal: number;
}

/** Open proposals by sequence. */
export class ProposalBook {
  #slots: (Slot | undefined)[] = [];
  /** Slots before this position of the array are done. */
  #head = 0;
  /** Sequence of slots[head]. */
  #firstSequence: number;
  #nextSequence: number;
  #earliestMs: TimeMs = Number.POSITIVE_INFINITY;

  /** `first`: sequence of the first command. */
  constructor(first = 1) {
    this.#firstSequence = first;
    this.#nextSequence = first;
  }

  get nextSequence(): number {
    return this.#nextSequence;
  }

  /** Requests (or commands of batches) not settled. An upper bound: holes count. */
  get size(): number {
    return this.#nextSequence - this.#firstSequence;
  }

  /** When `expire` next has something to do: never later than the first open request's deadline. */
  get deadlineMs(): TimeMs {
    return this.#earliestMs;
  }

  /** Allots sequences for all commands of `request`; returns the first. */
  add(request: RequestState): number {
    const first = this.#nextSequence;
    for (let i = 0; i < request.count; i++) this.#slots.push({ request, ordinal: i });
    this.#nextSequence += request.count;
    if (request.deadlineMs < this.#earliestMs) this.#earliestMs = request.deadlineMs;
    return first;
  }

  /** A command of ours was applied. Unknown sequences (settled before) are ignored. */
  arrive(sequence: number, index: Index, result: Result): void {
    const slot = this.#take(sequence);
    slot?.request.arrive(slot.ordinal, index, result);
  }

  /** These certainly were not appended. */
  drop(firstSequence: number, count: number, error: OpError): void {
    const commands = new Map<RequestState, number>();
    for (let i = 0; i < count; i++) {
      const request = this.#take(firstSequence + i)?.request;
      if (request !== undefined) commands.set(request, (commands.get(request) ?? 0) + 1);
    }
    for (const [request, dropped] of commands) request.drop(dropped, error);
  }

  /** Its session refused it. */
  refuse(sequence: number, code: SessionRefusal): void {
    const request = this.#take(sequence)?.request;
    if (code === "DL_ERR_SESSION_RESULT_LOST") {
      request?.fail("rejected", new OpError(code));
      return;
    }
    const what = request?.repeats === true ? "an earlier attempt may have been applied" : "not applied";
    const outcome = request?.repeats === true ? "unknown" : "rejected";
    request?.fail("rejected", new OpError(code, what, { outcome }));
  }

  fail(sequence: number, code: RequestCode, error: OpError): void {
    this.#take(sequence)?.request.fail(code, error);
  }

  expire(nowMs: TimeMs): void {
    if (nowMs < this.#earliestMs) return;
    let earliest = Number.POSITIVE_INFINITY;
    for (let i = this.#head; i < this.#slots.length; i++) {
      const slot = this.#slots[i];
      if (slot === undefined) continue;
      const { request } = slot;
      if (!request.settled && request.deadlineMs > nowMs) {
        if (request.deadlineMs < earliest) earliest = request.deadlineMs;
        continue;
      }
      if (!request.settled) request.fail("timeout", timeoutError(request.kind, request.shardId));
      this.#slots[i] = undefined;
    }
    this.#earliestMs = earliest;
    this.#advance();
  }

  failAll(code: RequestCode, error: OpError): void {
    for (let i = this.#head; i < this.#slots.length; i++) this.#slots[i]?.request.fail(code, error);
    this.#slots = [];
    this.#head = 0;
    this.#firstSequence = this.#nextSequence;
    this.#earliestMs = Number.POSITIVE_INFINITY;
  }

  #take(sequence: number): Slot | undefined {
    if (sequence < this.#firstSequence || sequence >= this.#nextSequence) return undefined;
    const at = this.#head + (sequence - this.#firstSequence);
    const slot = this.#slots[at];
    this.#slots[at] = undefined;
    if (at === this.#head) this.#advance();
    return slot;
  }

  #advance(): void {
    while (this.#head < this.#slots.length && this.#slots[this.#head] === undefined) {
      this.#head += 1;
      this.#firstSequence += 1;
    }
    if (this.#head === this.#slots.length) {
      this.#slots = [];
      this.#head = 0;
    } else if (this.#head > 4096 && this.#head * 2 > this.#slots.length) {
      this.#slots = this.#slots.slice(this.#head);
      this.#head = 0;
    }
  }
}

interface WaitingReads {
  readonly index: Index;
  readonly requests: RequestState[];
}

interface ReadBatch {
  readonly requests: RequestState[];
  readonly startedMs: TimeMs;
}

/** Open linearizable reads: queued → asked (one ReadIndex per batch) → waiting for apply. */
export class ReadBook {
  /** A batch unanswered for so long is asked again. */
  readonly #retryMs: number;
  #earliestMs: TimeMs = Number.POSITIVE_INFINITY;
  #queue: RequestState[] = [];
  readonly #asked = new Map<number, ReadBatch>();
  #waiting: WaitingReads[] = [];
  #nextSequence: number;
  #size = 0;

  /** `first`: sequence of the first batch. */
  constructor(retryMs: number, first = 1) {
    this.#retryMs = retryMs;
    this.#nextSequence = first;
  }

  get nextSequence(): number {
    return this.#nextSequence;
  }

  get size(): number {
    return this.#size;
  }

  /** When `expire` next has something to do: never later than the first deadline, of a request or of a batch. */
  get deadlineMs(): TimeMs {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#earliestMs;
  }

  get queued(): number {
    return this.#queue.length;
  }

  add(request: RequestState): void {
    this.#queue.push(request);
    this.#size += 1;
    this.#dueBy(request.deadlineMs);
  }

  #dueBy(deadlineMs: TimeMs): void {
    if (deadlineMs < this.#earliestMs) this.#earliestMs = deadlineMs;
  }

  /** All queued reads become one batch; returns the sequence of its ReadIndex key, 0 if there is none. */
  takeBatch(nowMs: TimeMs): number {
    if (this.#queue.length === 0) return 0;
    const sequence = this.#nextSequence++;
    this.#asked.set(sequence, { requests: this.#queue, startedMs: nowMs });
    this.#queue = [];
    this.#dueBy(nowMs + this.#retryMs);
    return sequence;
  }

  /** The batch may be answered once applied ≥ index. */
  confirm(sequence: number, index: Index): void {
    const batch = this.#asked.get(sequence);
    if (batch === undefined) return;
    this.#asked.delete(sequence);
    this.#waiting.push({ index, requests: batch.requests });
  }

  drop(sequence: number, error: OpError): void {
    const batch = this.#asked.get(sequence);
    if (batch === undefined) return;
    this.#asked.delete(sequence);
    this.#failEach(batch.requests, "dropped", error);
  }

  /** Settles reads whose point is applied. */
  release(applied: Index): void {
    if (this.#waiting.length === 0) return;
    const later: WaitingReads[] = [];
    for (const batch of this.#waiting) {
      if (batch.index > applied) later.push(batch);
      else {
        this.#size -= batch.requests.length;
        for (const request of batch.requests) request.settle({ code: "completed", index: batch.index });
      }
    }
    this.#waiting = later;
  }

  /** Times out requests; batches unanswered for too long are asked again under a new key. True if any is queued. */
  expire(nowMs: TimeMs): boolean {
    if (nowMs < this.deadlineMs) return false;
    this.#earliestMs = Number.POSITIVE_INFINITY;
    this.#queue = this.#expireList(this.#queue, nowMs);
    for (const [sequence, batch] of this.#asked) {
      const alive = this.#expireList(batch.requests, nowMs);
      if (alive.length === 0) this.#asked.delete(sequence);
      else if (nowMs - batch.startedMs >= this.#retryMs) {
        this.#asked.delete(sequence);
        this.#queue.push(...alive);
      } else {
        if (alive !== batch.requests) this.#asked.set(sequence, { requests: alive, startedMs: batch.startedMs });
        this.#dueBy(batch.startedMs + this.#retryMs);
      }
    }
    this.#waiting = this.#waiting
      .map((batch) => ({ index: batch.index, requests: this.#expireList(batch.requests, nowMs) }))
      .filter((batch) => batch.requests.length > 0);
    return this.#queue.length > 0;
  }

  failAll(code: RequestCode, error: OpError): void {
    this.#failEach(this.#queue, code, error);
    for (const batch of this.#asked.values()) this.#failEach(batch.requests, code, error);
    for (const batch of this.#waiting) this.#failEach(batch.requests, code, error);
    this.#queue = [];
    this.#asked.clear();
    this.#waiting = [];
  }

  #expireList(requests: RequestState[], nowMs: TimeMs): RequestState[] {
    for (const { deadlineMs } of requests) if (deadlineMs > nowMs) this.#dueBy(deadlineMs);
    if (!requests.some((r) => r.settled || r.deadlineMs <= nowMs)) return requests;
    const alive: RequestState[] = [];
    for (const request of requests) {
      if (!request.settled && request.deadlineMs > nowMs) alive.push(request);
      else {
        this.#size -= 1;
        request.fail("timeout", timeoutError(request.kind, request.shardId));
      }
    }
    return alive;
  }

  #failEach(requests: readonly RequestState[], code: RequestCode, error: OpError): void {
    this.#size -= requests.length;
    for (const request of requests) request.fail(code, error);
  }
}
