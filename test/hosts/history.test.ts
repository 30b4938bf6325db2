/** The checker of histories itself: it accepts what can be true and names what cannot. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { History, type Outcome } from "./history.js";

interface Made {
  append(value: string, outcome: Outcome, lengthAfter?: number): void;
  read(seen: string): void;
  problems(final: string): string[];
}

/** Operations one after the other. */
function made(): Made {
  const history = new History();
  return {
    append: (value, outcome, lengthAfter) => {
      const operation = history.begin("append", "x", value);
      if (lengthAfter !== undefined) operation.lengthAfter = lengthAfter;
      history.end(operation, outcome, "");
    },
    read: (seen) => {
      const operation = history.begin("read", "x", "");
      operation.seen = seen;
      history.end(operation, "ok", "");
    },
    problems: (final) => history.problems(new Map([["x", final]])),
  };
}

test("a history that can be true has no problems", () => {
  const h = made();
  h.append("a;", "ok", 2);
  h.read("a;");
  h.append("b;", "maybe");
  h.read("a;");
  h.append("c;", "no");
  h.append("d;", "ok", 6);
  h.read("a;b;d;");
  assert.deepEqual(h.problems("a;b;d;"), []);
});

test("lost, doubled, resurrected and invented values are found", () => {
  const h = made();
  h.append("a;", "ok");
  h.append("b;", "no");
  h.append("c;", "maybe");
  assert.match(h.problems("")[0] ?? "", /acknowledged and is lost/);
  assert.match(h.problems("a;b;")[0] ?? "", /refused .* and is there/);
  assert.match(h.problems("a;c;c;").join(), /there 2 times/);
  assert.match(h.problems("a;z;").join(), /never appended/);
});

test("stale, future and diverging reads are found", () => {
  const stale = made();
  stale.append("a;", "ok");
  stale.read("");
  assert.match(stale.problems("a;").join(), /stale read/);
  const backwards = made();
  backwards.append("a;", "maybe");
  backwards.read("a;");
  backwards.read("");
  assert.match(backwards.problems("a;").join(), /stale read/);
  const future = made();
  future.read("a;");
  future.append("a;", "ok");
  assert.match(future.problems("a;").join(), /before it was appended/);
  const other = made();
  other.append("a;", "ok");
  other.append("b;", "maybe");
  other.read("b;");
  assert.match(other.problems("a;b;").join(), /no beginning/);
});

test("an order that contradicts time, and a wrong answer of the machine, are found", () => {
  const h = made();
  h.append("a;", "ok");
  h.append("b;", "ok");
  assert.match(h.problems("b;a;").join(), /ended before it began/);
  const told = made();
  told.append("a;", "ok", 4);
  assert.match(told.problems("a;").join(), /told length 4, it is 2/);
});
