/**
 * The search for one key: Wing and Gong's algorithm with Lowe's memo. Calls and returns lie in time order in a linked
 * list; an operation may be taken next if its call comes before the first return in the list. Taking it lifts its call
 * and return out; meeting the return of an operation that was not taken means that an earlier choice was wrong.
 *
 * A configuration (set of taken operations, state) that was met before is not entered again. The set is written down as
 * the first operation not taken, the bits of the window after it, and the bits of the operations with unknown outcome,
 * which may stay open for ever and would otherwise make every window long.
 *
 * Invariants: `advance` can be called again after it ran out of steps and goes on where it stopped; the verdict does
 * not depend on how the steps were portioned. Called by checker.ts.
 */
import type { Model, Operation } from "./history.js";

const NOWHERE = -1;
/** Bits per character of a memo key. */
const CHUNK = 15;
const SHORTER = 0x8000;

interface Taken<S> {
  readonly op: number;
  readonly stateBefore: S;
  readonly highBefore: number;
}

export class Search<S extends string | number | null, I, O> {
  readonly #model: Model<S, I, O>;
  /** Completed operations in the order of their calls, then those with unknown outcome. */
  readonly #ops: readonly Operation<I, O>[];
  readonly #completed: number;
  /** Node i < n is the call of operation i, node n + i its return, node 2n the head. */
  readonly #next: Int32Array;
  readonly #prev: Int32Array;
  readonly #head: number;
  readonly #isTaken: Uint8Array;
  readonly #stack: Taken<S>[] = [];
  readonly #memo = new Set<string>();
  readonly #stateIds = new Map<S, number>();
  #state: S;
  #at: number;
  /** Completed operations below are all taken. */
  #low = 0;
  /** The highest completed operation that is taken. */
  #high = NOWHERE;
  #left: number;
  #best: number[] = [];
  #steps = 0;

  constructor(model: Model<S, I, O>, operations: readonly Operation<I, O>[]) {
    const byCall = (a: Operation<I, O>, b: Operation<I, O>): number => a.callMs - b.callMs;
    const completed = operations.filter((op) => op.output !== undefined).sort(byCall);
    this.#model = model;
    this.#ops = [...completed, ...operations.filter((op) => op.output === undefined).sort(byCall)];
    this.#completed = completed.length;
    this.#left = completed.length;
    const n = this.#ops.length;
    this.#head = 2 * n;
    this.#next = new Int32Array(2 * n + 1).fill(NOWHERE);
    this.#prev = new Int32Array(2 * n + 1).fill(NOWHERE);
    this.#isTaken = new Uint8Array(n);
    this.#link();
    this.#state = model.initial;
    this.#at = this.#first;
  }

  get steps(): number {
    return this.#steps;
  }

  /** The operations as numbered in `longest`. */
  get operations(): readonly Operation<I, O>[] {
    return this.#ops;
  }

  /** The most operations that could be put in order: numbers into `operations`. */
  get longest(): readonly number[] {
    return this.#best;
  }

  /** True: there is an order. False: there is none. Undefined: the steps are used up. */
  advance(steps: number): boolean | undefined {
    const n = this.#ops.length;
    for (let used = 0; this.#left > 0; used++) {
      if (used === steps) return undefined;
      this.#steps += 1;
      const at = this.#at;
      if (at < n) this.#at = this.#take(at) ? this.#first : this.#after(at);
      else if (!this.#giveBack()) return false;
    }
    this.#keepBest();
    return true;
  }

  get #first(): number {
    return this.#after(this.#head);
  }

  #after(node: number): number {
    return this.#next[node] ?? NOWHERE;
  }

  #link(): void {
    const n = this.#ops.length;
    const events: { readonly node: number; readonly atMs: number }[] = [];
    for (const [i, op] of this.#ops.entries()) {
      events.push({ node: i, atMs: op.callMs });
      if (i < this.#completed) events.push({ node: n + i, atMs: op.returnMs });
    }
    // At one instant calls come before returns.
    events.sort((a, b) => a.atMs - b.atMs || Number(a.node >= n) - Number(b.node >= n));
    let last = this.#head;
    for (const { node } of events) {
      this.#next[last] = node;
      this.#prev[node] = last;
      last = node;
    }
  }

  #take(op: number): boolean {
    const operation = this.#ops[op];
    if (operation === undefined) throw new RangeError(`no operation ${op}`);
    const state = this.#model.step(this.#state, operation.input, operation.output);
    if (state === undefined) return false;
    const highBefore = this.#high;
    this.#mark(op, true);
    if (!this.#isNew(state)) {
      this.#mark(op, false);
      this.#high = highBefore;
      return false;
    }
    this.#stack.push({ op, stateBefore: this.#state, highBefore });
    this.#state = state;
    this.#lift(op);
    if (op < this.#completed) {
      this.#lift(this.#ops.length + op);
      this.#left -= 1;
    }
    return true;
  }

  /** Undoes the last choice and goes on behind it. False if there is none. */
  #giveBack(): boolean {
    this.#keepBest();
    const taken = this.#stack.pop();
    if (taken === undefined) return false;
    const { op, stateBefore, highBefore } = taken;
    this.#state = stateBefore;
    if (op < this.#completed) {
      this.#unlift(this.#ops.length + op);
      this.#left += 1;
    }
    this.#unlift(op);
    this.#mark(op, false);
    this.#high = highBefore;
    this.#at = this.#after(op);
    return true;
  }

  #keepBest(): void {
    if (this.#stack.length > this.#best.length) this.#best = this.#stack.map((taken) => taken.op);
  }

  #mark(op: number, taken: boolean): void {
    this.#isTaken[op] = taken ? 1 : 0;
    if (op >= this.#completed) return;
    if (!taken) {
      this.#low = Math.min(this.#low, op);
      return;
    }
    this.#high = Math.max(this.#high, op);
    while (this.#low < this.#completed && this.#isTaken[this.#low] === 1) this.#low += 1;
  }

  #lift(node: number): void {
    const before = this.#prev[node] ?? NOWHERE;
    const after = this.#next[node] ?? NOWHERE;
    this.#next[before] = after;
    if (after !== NOWHERE) this.#prev[after] = before;
  }

  #unlift(node: number): void {
    const before = this.#prev[node] ?? NOWHERE;
    const after = this.#next[node] ?? NOWHERE;
    this.#next[before] = node;
    if (after !== NOWHERE) this.#prev[after] = node;
  }

  /** Remembers the configuration (what is taken now, `state`). */
  #isNew(state: S): boolean {
    let id = this.#stateIds.get(state);
    if (id === undefined) {
      id = this.#stateIds.size;
      this.#stateIds.set(state, id);
    }
    // Parts of fixed length around the window: no two configurations have one key.
    const key = number(id) + number(this.#low) + this.#bits(this.#completed, this.#ops.length) + this.#window();
    if (this.#memo.has(key)) return false;
    this.#memo.add(key);
    return true;
  }

  #window(): string {
    return this.#bits(this.#low, this.#high + 1);
  }

  #bits(from: number, end: number): string {
    let text = "";
    for (let start = from; start < end; start += CHUNK) {
      let bits = 0;
      for (let i = start; i < Math.min(start + CHUNK, end); i++) bits = bits * 2 + (this.#isTaken[i] ?? 0);
      // A last, shorter chunk says so and how many bits it has: a set bit before them.
      text += String.fromCharCode(end - start < CHUNK ? SHORTER + (1 << (end - start)) + bits : bits);
    }
    return text;
  }
}

function number(value: number): string {
  return String.fromCharCode(value & 0xffff, value >>> 16);
}
