/**
 * What clients asked and what they were told, and whether that can be true. Every appended value is unique, so the
 * final content of a key is the order in which its appends took effect, and everything else must fit it:
 * acknowledged appends are there exactly once, refused ones never, unknown ones at most once; real-time order holds
 * between any two operations; a read shows a prefix, never an older one than was seen or acknowledged before it began.
 */

/** ok = acknowledged; no = certainly without effect; maybe = unknown. */
export type Outcome = "ok" | "no" | "maybe";

export interface Operation {
  readonly kind: "append" | "read";
  readonly key: string;
  /** Appended value; "" for a read. */
  readonly value: string;
  readonly invoked: number;
  completed: number;
  outcome: Outcome;
  /** Of a read that is ok: the content. Of an append that is ok: the length in bytes after it, if known. */
  seen?: string;
  lengthAfter?: number;
  /** For people. */
  note: string;
}

export class History {
  readonly operations: Operation[] = [];
  #clock = 0;

  begin(kind: Operation["kind"], key: string, value: string): Operation {
    const never = Number.POSITIVE_INFINITY;
    const operation: Operation = {
      kind,
      key,
      value,
      invoked: this.#tick(),
      completed: never,
      outcome: "maybe",
      note: "",
    };
    this.operations.push(operation);
    return operation;
  }

  /** An operation that is `maybe` has no end: it may take effect at any time. */
  end(operation: Operation, outcome: Outcome, note: string): void {
    operation.outcome = outcome;
    operation.note = note;
    if (outcome !== "maybe") operation.completed = this.#tick();
  }

  /** `final` holds the content of every key at the end. Returns what cannot be true. */
  problems(final: ReadonlyMap<string, string>): string[] {
    const found: string[] = [];
    for (const [key, content] of final) {
      const operations = this.operations.filter((o) => o.key === key);
      found.push(...new KeyCheck(key, content, operations).run());
    }
    return found;
  }

  #tick(): number {
    this.#clock += 1;
    return this.#clock;
  }
}

/** A value ends with this and holds none before. */
export const VALUE_END = ";";

function valuesOf(content: string): string[] {
  return content.split(VALUE_END).slice(0, -1);
}

class KeyCheck {
  readonly #key: string;
  readonly #content: string;
  readonly #order: readonly string[];
  readonly #appends: readonly Operation[];
  readonly #reads: readonly Operation[];
  readonly #problems: string[] = [];

  constructor(key: string, content: string, operations: readonly Operation[]) {
    this.#key = key;
    this.#content = content;
    this.#order = valuesOf(content).map((text) => `${text}${VALUE_END}`);
    this.#appends = operations.filter((o) => o.kind === "append");
    this.#reads = operations.filter((o) => o.kind === "read" && o.outcome === "ok");
  }

  run(): string[] {
    const byValue = new Map(this.#appends.map((o) => [o.value, o]));
    this.#checkCounts(byValue);
    const order = this.#order.map((value) => byValue.get(value)).filter((o) => o !== undefined);
    this.#checkOrder(order);
    this.#checkReads(order);
    return this.#problems;
  }

  #checkCounts(byValue: ReadonlyMap<string, Operation>): void {
    const counts = new Map<string, number>();
    let length = 0;
    for (const value of this.#order) {
      counts.set(value, (counts.get(value) ?? 0) + 1);
      length += value.length;
      const operation = byValue.get(value);
      if (operation === undefined) this.#fail(`${value} was never appended`);
      else if (operation.lengthAfter !== undefined && operation.lengthAfter !== length) {
        this.#fail(`${value} was told length ${operation.lengthAfter}, it is ${length}`);
      }
    }
    for (const { value, outcome, note } of this.#appends) {
      const count = counts.get(value) ?? 0;
      if (outcome === "ok" && count === 0) this.#fail(`${value} was acknowledged and is lost`);
      if (outcome === "no" && count > 0) this.#fail(`${value} was refused (${note}) and is there`);
      if (count > 1) this.#fail(`${value} is there ${count} times (${outcome}, ${note})`);
    }
  }

  /** What ended before another began comes before it. */
  #checkOrder(order: readonly Operation[]): void {
    let earliestEnd = Number.POSITIVE_INFINITY;
    for (const operation of [...order].reverse()) {
      if (earliestEnd < operation.invoked) this.#fail(`${operation.value} comes before one that ended before it began`);
      earliestEnd = Math.min(earliestEnd, operation.completed);
    }
  }

  #checkReads(order: readonly Operation[]): void {
    const positions = new Map(order.map((operation, i) => [operation, i + 1]));
    const ended = [...this.#reads, ...order].filter((o) => Number.isFinite(o.completed));
    ended.sort((a, b) => a.completed - b.completed);
    const reads = [...this.#reads].sort((a, b) => a.invoked - b.invoked);
    let least = 0;
    let next = 0;
    for (const read of reads) {
      for (; next < ended.length; next++) {
        const before = ended[next];
        if (before === undefined || before.completed > read.invoked) break;
        const shown = before.kind === "read" ? valuesOf(before.seen ?? "").length : (positions.get(before) ?? 0);
        least = Math.max(least, shown);
      }
      this.#checkRead(read, order, least);
    }
  }

  #checkRead(read: Operation, order: readonly Operation[], least: number): void {
    const seen = read.seen ?? "";
    if (!this.#content.startsWith(seen)) {
      this.#fail(`a read saw ${seen.slice(-60)}, which is no beginning of the final content`);
      return;
    }
    const count = valuesOf(seen).length;
    if (count < least) this.#fail(`a stale read: ${count} values, ${least} were known before it began`);
    for (const operation of order.slice(0, count)) {
      if (operation.invoked > read.completed) this.#fail(`a read saw ${operation.value} before it was appended`);
    }
  }

  #fail(what: string): void {
    this.#problems.push(`key ${this.#key}: ${what}`);
  }
}
