/** The linearizability checker against a judge that tries every order, against known cases, and against the clock. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkLinearizable } from "./checker.js";
import { bruteForce, generator, type KvOperation, legalHistory, mutate, type Shape } from "./generate.js";
import { checkHistory, type Operation } from "./history.js";
import { type KvInput, type KvOutput, kvModel, type RegisterInput, registerModel } from "./models.js";
import { timelineHtml } from "./timeline.js";

function verdict(history: readonly KvOperation[]): string {
  return checkLinearizable(kvModel, history).verdict;
}

/** `process: what [call, return]`; no return = unknown. */
function op(
  process: number,
  input: KvInput,
  output: KvOutput | undefined,
  at: readonly [number, number?],
): KvOperation {
  const [callMs, returnMs = 0] = at;
  return { process, key: "k", input, output, callMs, returnMs };
}
const GET: KvInput = { op: "get" };
const put = (value: string): KvInput => ({ op: "put", value });
const got = (value: string | null): KvOutput => ({ op: "get", value });
const OK: KvOutput = { op: "put" };

test("small histories: the same verdict as trying every order", () => {
  const found = { linearizable: 0, violation: 0 };
  for (let seed = 1; seed <= 6000; seed++) {
    const random = generator(seed);
    const operations = 1 + Math.floor(random() * 7);
    const shape = { operations, processes: 1 + (seed % 4), keys: 1, values: 2, unknown: (seed % 3) * 0.2 };
    let history = legalHistory(random, shape);
    for (let changes = seed % 3; changes > 0; changes--) history = mutate(random, history);
    const expected = bruteForce(kvModel, history) ? "linearizable" : "violation";
    assert.equal(verdict(history), expected, `seed ${seed}: ${JSON.stringify(history)}`);
    found[expected] += 1;
  }
  assert.ok(found.linearizable > 1000 && found.violation > 1000, JSON.stringify(found));
});

test("small register histories with random answers: the same verdict as trying every order", () => {
  const found = { linearizable: 0, violation: 0 };
  for (let seed = 1; seed <= 4000; seed++) {
    const random = generator(seed);
    const int = (bound: number): number => Math.floor(random() * bound);
    const count = 2 + int(6);
    const history = Array.from({ length: count }, (_, process): Operation<RegisterInput, number> => {
      const callMs = int(12);
      const times = { process, key: "r", callMs, returnMs: callMs + int(8) };
      const roll = int(3);
      const unknown = int(8) === 0;
      if (roll === 0) return { ...times, input: { op: "read" }, output: int(3) };
      if (roll === 1) return { ...times, input: { op: "write", value: int(3) }, output: unknown ? undefined : 0 };
      const input: RegisterInput = { op: "cas", expected: int(3), value: int(3) };
      return { ...times, input, output: unknown ? undefined : int(2) };
    });
    const expected = bruteForce(registerModel, history) ? "linearizable" : "violation";
    const result = checkLinearizable(registerModel, history);
    assert.equal(result.verdict, expected, `seed ${seed}: ${JSON.stringify(history)}`);
    found[expected] += 1;
  }
  assert.ok(found.linearizable > 300 && found.violation > 300, JSON.stringify(found));
});

test("1,000 random legal histories are accepted, whatever the budget is portioned into", () => {
  let steps = 0;
  for (let seed = 1; seed <= 1000; seed++) {
    const random = generator(seed);
    const shape: Shape = {
      operations: 20 + Math.floor(random() * 100),
      processes: 1 + Math.floor(random() * 8),
      keys: 1 + (seed % 3),
      values: 2 + Math.floor(random() * 50),
      unknown: (seed % 4) * 0.03,
    };
    const result = checkLinearizable(kvModel, legalHistory(random, shape));
    assert.equal(result.verdict, "linearizable", `seed ${seed}`);
    steps += result.steps;
  }
  assert.ok(steps < 10_000_000, `${steps} steps`);
});

test("1,000 histories with one changed answer are rejected, or every order was tried and one fits", () => {
  let rejected = 0;
  for (let seed = 1; seed <= 1000; seed++) {
    const random = generator(seed);
    // Every tenth is long and without overlap: one wrong answer can then never fit.
    const isLong = seed % 10 === 0;
    const shape: Shape = { operations: isLong ? 200 : 8, processes: isLong ? 1 : 4, keys: 1, values: 3, unknown: 0 };
    const history = mutate(random, legalHistory(random, shape));
    const found = verdict(history);
    if (found === "violation") rejected += 1;
    else assert.ok(!isLong && found === "linearizable" && bruteForce(kvModel, history), `seed ${seed}: ${found}`);
    if (!isLong && found === "violation") assert.equal(bruteForce(kvModel, history), false, `seed ${seed}`);
  }
  assert.ok(rejected > 700, `${rejected} rejected`);
});

test("known cases: stale reads, real-time order, values from nowhere", () => {
  const write = op(1, put("a"), OK, [0, 10]);
  assert.equal(verdict([write, op(2, GET, got(null), [11, 12])]), "violation", "a read after the write misses it");
  assert.equal(verdict([write, op(2, GET, got(null), [5, 12])]), "linearizable", "a read beside the write may miss it");
  assert.equal(verdict([write, op(2, GET, got(null), [10, 12])]), "linearizable", "intervals are closed");
  assert.equal(verdict([write, op(2, GET, got("b"), [5, 6])]), "violation", "nobody wrote that");
  assert.equal(
    verdict([op(1, put("a"), OK, [20, 30]), op(2, GET, got("a"), [5, 6])]),
    "violation",
    "read from the future",
  );
  const newThenOld = [op(2, GET, got("a"), [1, 2]), op(3, GET, got(null), [3, 4])];
  assert.equal(verdict([write, ...newThenOld]), "violation", "new, then old, while the write is under way");
  const lostUpdate = [op(1, put("a"), OK, [0, 1]), op(2, put("b"), OK, [2, 3]), op(3, GET, got("a"), [4, 5])];
  assert.equal(verdict(lostUpdate), "violation", "an overwritten value comes back");
  assert.equal(verdict([]), "linearizable");
});

test("known cases: unknown outcomes may take effect late, or never, but not twice", () => {
  const unknown = op(1, put("a"), undefined, [0]);
  assert.equal(verdict([unknown, op(2, GET, got(null), [5, 6])]), "linearizable");
  assert.equal(verdict([unknown, op(2, GET, got(null), [5, 6]), op(3, GET, got("a"), [7, 8])]), "linearizable");
  const back = [op(2, GET, got("a"), [5, 6]), op(3, GET, got(null), [7, 8])];
  assert.equal(verdict([unknown, ...back]), "violation");
  assert.equal(
    verdict([op(1, put("a"), undefined, [9]), op(2, GET, got("a"), [5, 6])]),
    "violation",
    "before its call",
  );
  const append: KvInput = { op: "append", value: "x" };
  const once = [op(1, append, undefined, [0]), op(2, GET, got("x"), [5, 6])];
  assert.equal(verdict(once), "linearizable");
  assert.equal(verdict([...once, op(3, GET, got("xx"), [7, 8])]), "violation", "applied twice");
  const acknowledged = [op(1, append, { op: "append", length: 1 }, [0, 1]), op(2, GET, got("xx"), [2, 3])];
  assert.equal(verdict(acknowledged), "violation", "a retried append was applied twice");
});

test("known cases: compare-and-set", () => {
  const cas = (expected: string | null, value: string): KvInput => ({ op: "cas", expected, value });
  const done: KvOutput = { op: "cas", done: true };
  const both = [op(1, cas(null, "a"), done, [0, 9]), op(2, cas(null, "b"), done, [0, 9])];
  assert.equal(verdict(both), "violation", "two winners");
  const refused = (actual: string | null): KvOutput => ({ op: "cas", done: false, actual });
  assert.equal(
    verdict([op(1, cas(null, "a"), done, [0, 9]), op(2, cas(null, "b"), refused("a"), [0, 9])]),
    "linearizable",
  );
  assert.equal(
    verdict([op(1, cas(null, "a"), done, [0, 9]), op(2, cas(null, "b"), refused("c"), [0, 9])]),
    "violation",
  );
  assert.equal(verdict([op(1, cas("x", "a"), undefined, [0]), op(2, GET, got("a"), [1, 2])]), "violation");
});

test("a wrong key among hard ones is found fast; too few steps are unknown, not a verdict", () => {
  const many = Array.from({ length: 14 }, (_, i) => op(i, put(`v${i}`), OK, [0, 100]));
  // Every order of fourteen concurrent writes must be tried: nobody read 'never'.
  const hard = [...many, op(50, GET, got("never"), [0, 100])];
  const easy = [op(60, put("a"), OK, [200, 201]), op(61, GET, got("b"), [202, 203])].map((o) => ({
    ...o,
    key: "other",
  }));
  const result = checkLinearizable(kvModel, [...hard, ...easy]);
  assert.equal(result.verdict, "violation");
  assert.deepEqual(
    result.keys.map(({ key, verdict: v }) => [key, v]),
    [
      ["k", "unknown"],
      ["other", "violation"],
    ],
  );
  assert.ok(result.steps < 5000, `${result.steps} steps`);
  assert.equal(checkLinearizable(kvModel, hard, { stepsMax: 5000 }).verdict, "unknown");
  assert.equal(checkLinearizable(kvModel, hard).verdict, "violation", "with enough steps");
});

test("long histories cost about as many steps as they have events", () => {
  const shape: Shape = { operations: 20_000, processes: 8, keys: 10, values: 1_000_000, unknown: 0.0005 };
  const history = legalHistory(generator(7), shape);
  const result = checkLinearizable(kvModel, history);
  assert.equal(result.verdict, "linearizable");
  assert.ok(result.steps < 40 * history.length, `${result.steps} steps`);
});

test("a violation is shown: the longest prefix that fits, and what could not be placed", () => {
  const history = [
    op(1, put("<a>"), OK, [0, 1]),
    op(2, GET, got("<a>"), [2, 3]),
    op(2, GET, got(null), [4, 5]),
    op(3, put("late"), undefined, [4]),
  ];
  const [found] = checkLinearizable(kvModel, history).keys;
  assert.ok(found !== undefined && found.verdict === "violation");
  assert.deepEqual(found.longest.slice(0, 2), [0, 1]);
  const html = timelineHtml(kvModel, found);
  assert.match(html, /1\. put\(&#60;a&#62;\) → ok/);
  assert.match(html, /class="bar stuck"[^>]*>get\(\) → nothing</);
  assert.doesNotMatch(html, /<a>/);
});

test("a history that breaks its own rules is refused", () => {
  const overlap = [op(1, put("a"), OK, [0, 5]), op(1, put("b"), OK, [3, 6])];
  assert.throws(() => checkLinearizable(kvModel, overlap), RangeError);
  assert.throws(() => checkHistory([op(1, put("a"), undefined, [0]), op(1, GET, got(null), [9, 10])]), RangeError);
  assert.throws(() => checkHistory([op(1, put("a"), OK, [5, 4])]), RangeError);
  assert.throws(() => checkHistory([op(1, put("a"), OK, [Number.NaN, 4])]), RangeError);
});
