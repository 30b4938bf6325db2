/**
 * The sequential specifications that histories are checked against: `kvModel` of one key of the app kv, and
 * `registerModel` of the classic register of numbers. States are primitive values, so that the checker can compare
 * them. Used by the chaos tests and by the checker's own.
 */
import type { Model } from "./history.js";

/** One call of the app kv on one key. */
export type KvInput =
  | { readonly op: "get" }
  | { readonly op: "put"; readonly value: string }
  | { readonly op: "delete" }
  | { readonly op: "append"; readonly value: string }
  /** `expected` null: the key must not exist. */
  | { readonly op: "cas"; readonly expected: string | null; readonly value: string };

/** What the key held (null: nothing), or what became of the command. */
export type KvOutput =
  | { readonly op: "get"; readonly value: string | null }
  | { readonly op: "put" }
  | { readonly op: "delete"; readonly found: boolean }
  /** Length of the value afterwards. */
  | { readonly op: "append"; readonly length: number }
  /** `actual`: what a refused one found instead, if it said so. */
  | { readonly op: "cas"; readonly done: boolean; readonly actual?: string | null };

export const kvModel: Model<string | null, KvInput, KvOutput> = {
  initial: null,
  step(state, input, output) {
    if (output !== undefined && output.op !== input.op) return undefined;
    switch (input.op) {
      case "get":
        return output?.op === "get" && output.value !== state ? undefined : state;
      case "put":
        return input.value;
      case "delete":
        return output?.op === "delete" && output.found !== (state !== null) ? undefined : null;
      case "append": {
        const after = (state ?? "") + input.value;
        return output?.op === "append" && output.length !== after.length ? undefined : after;
      }
      default:
        return stepCas(state, input, output?.op === "cas" ? output : undefined);
    }
  },
  describe(input, output) {
    const answer = output === undefined ? "?" : answerText(output);
    switch (input.op) {
      case "put":
      case "append":
        return `${input.op}(${input.value}) → ${answer}`;
      case "cas":
        return `cas(${input.expected ?? "nothing"}, ${input.value}) → ${answer}`;
      default:
        return `${input.op}() → ${answer}`;
    }
  },
};

function stepCas(
  state: string | null,
  input: { readonly expected: string | null; readonly value: string },
  output: { readonly done: boolean; readonly actual?: string | null } | undefined,
): string | null | undefined {
  const fits = state === input.expected;
  if (output !== undefined && output.done !== fits) return undefined;
  if (fits) return input.value;
  return output?.actual !== undefined && output.actual !== state ? undefined : state;
}

function answerText(output: KvOutput): string {
  switch (output.op) {
    case "get":
      return output.value ?? "nothing";
    case "put":
      return "ok";
    case "delete":
      return output.found ? "ok" : "not found";
    case "append":
      return `length ${output.length}`;
    default:
      return output.done ? "ok" : `refused${output.actual === undefined ? "" : `, is ${output.actual ?? "nothing"}`}`;
  }
}

export type RegisterInput =
  | { readonly op: "read" }
  | { readonly op: "write"; readonly value: number }
  | { readonly op: "cas"; readonly expected: number; readonly value: number };

/** The number read; 1 or 0 for a cas that was done or refused; anything for a write. */
export type RegisterOutput = number;

export const registerModel: Model<number, RegisterInput, RegisterOutput> = {
  initial: 0,
  step(state, input, output) {
    if (input.op === "write") return input.value;
    if (input.op === "read") return output === undefined || output === state ? state : undefined;
    const fits = state === input.expected;
    if (output !== undefined && (output === 1) !== fits) return undefined;
    return fits ? input.value : state;
  },
  describe(input, output) {
    const asked =
      "value" in input ? `${input.op}(${"expected" in input ? `${input.expected}, ` : ""}${input.value})` : "read()";
    return `${asked} → ${output ?? "?"}`;
  },
};
