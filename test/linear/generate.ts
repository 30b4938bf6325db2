/**
 * For the checker's own tests: random histories that are legal by construction, changed ones, and a judge that tries
 * every order. The judge shares nothing with the checker but the models.
 */
import type { Model, Operation } from "./history.js";
import { type KvInput, type KvOutput, kvModel } from "./models.js";

export type KvOperation = Operation<KvInput, KvOutput>;

/** Numbers in [0, 1) that depend on the seed only. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let t = state ^ (state >>> 16);
    t = Math.imul(t, 0x21f0aaad);
    t = Math.imul(t ^ (t >>> 15), 0x735a2d97);
    return ((t ^ (t >>> 15)) >>> 0) / 4294967296;
  };
}

export interface Shape {
  readonly operations: number;
  readonly processes: number;
  readonly keys: number;
  /** Different values that are written: few make mistakes harder to see. */
  readonly values: number;
  /** Part of the operations without a known outcome. */
  readonly unknown: number;
}

/** Operations take effect at one instant between call and return, one after the other: always linearizable. */
export function legalHistory(random: () => number, shape: Shape): KvOperation[] {
  const int = (bound: number): number => Math.floor(random() * bound);
  const freeAtMs = Array.from({ length: shape.processes }, () => int(10));
  const ids = freeAtMs.map((_, process) => process);
  const planned = Array.from({ length: shape.operations }, () => {
    const at = int(shape.processes);
    const process = ids[at] ?? 0;
    const callMs = (freeAtMs[at] ?? 0) + int(4);
    const effectMs = callMs + random() * 10;
    const returnMs = Math.ceil(effectMs) + int(8);
    freeAtMs[at] = returnMs + 1;
    const isUnknown = random() < shape.unknown;
    if (isUnknown) ids[at] = process + shape.processes;
    // What is unknown may take effect long after its caller gave up, or never.
    const late = random() < 0.5 ? effectMs : random() < 0.5 ? effectMs + 30 : Number.POSITIVE_INFINITY;
    const input = randomInput(int, shape.values);
    return { process, key: `k${int(shape.keys)}`, input, callMs, returnMs, isUnknown, at: isUnknown ? late : effectMs };
  });
  const states = new Map<string, string | null>();
  const history: KvOperation[] = [];
  for (const { isUnknown, at, ...op } of planned.sort((a, b) => a.at - b.at)) {
    const state = states.get(op.key) ?? null;
    if (at < Number.POSITIVE_INFINITY) states.set(op.key, kvModel.step(state, op.input, undefined) ?? null);
    history.push({ ...op, output: isUnknown ? undefined : answer(state, op.input) });
  }
  return history;
}

function randomInput(int: (bound: number) => number, values: number): KvInput {
  const value = `v${int(values)}`;
  const roll = int(10);
  if (roll < 4) return { op: "get" };
  if (roll < 6) return { op: "put", value };
  if (roll < 7) return { op: "delete" };
  if (roll < 8) return { op: "append", value: "+" };
  return { op: "cas", expected: int(3) === 0 ? null : `v${int(values)}`, value };
}

/** What a correct store answers. */
export function answer(state: string | null, input: KvInput): KvOutput {
  switch (input.op) {
    case "get":
      return { op: "get", value: state };
    case "put":
      return { op: "put" };
    case "delete":
      return { op: "delete", found: state !== null };
    case "append":
      return { op: "append", length: (state ?? "").length + input.value.length };
    default:
      return state === input.expected ? { op: "cas", done: true } : { op: "cas", done: false, actual: state };
  }
}

/** Changes one answer that can be changed. */
export function mutate(random: () => number, history: readonly KvOperation[]): KvOperation[] {
  const answered = history.flatMap(({ output }, i) => (output === undefined || output.op === "put" ? [] : [i]));
  const target = answered[Math.floor(random() * answered.length)];
  return history.map((op, i) => (i === target && op.output !== undefined ? { ...op, output: lie(op.output) } : op));
}

function lie(output: KvOutput): KvOutput {
  switch (output.op) {
    case "get":
      return { op: "get", value: output.value === "v0" ? "v1" : "v0" };
    case "delete":
      return { op: "delete", found: !output.found };
    case "append":
      return { op: "append", length: output.length + 1 };
    case "cas":
      return { op: "cas", done: !output.done };
    default:
      return output;
  }
}

/** Tries every order of one key's operations, with and without each one whose outcome is unknown. */
export function bruteForce<S extends string | number | null, I, O>(
  model: Model<S, I, O>,
  operations: readonly Operation<I, O>[],
): boolean {
  const precedes = (a: Operation<I, O>, b: Operation<I, O>): boolean => a.output !== undefined && a.returnMs < b.callMs;
  const tryOrder = (state: S, rest: readonly Operation<I, O>[]): boolean => {
    if (rest.every((op) => op.output === undefined)) return true;
    return rest.some((op) => {
      if (rest.some((other) => precedes(other, op))) return false;
      const after = model.step(state, op.input, op.output);
      const others = rest.filter((other) => other !== op);
      return after !== undefined && tryOrder(after, others);
    });
  };
  return tryOrder(model.initial, operations);
}
