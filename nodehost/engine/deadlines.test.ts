/** The wheel of deadlines against a plain scan, and what it costs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";
import { DeadlineWheel, type Timed, UNARMED } from "./deadlines.js";

class Item implements Timed {
  readonly name: number;
  armedSlot = UNARMED;
  /** How often somebody looked at the deadline. */
  looks = 0;
  #deadlineMs = Number.POSITIVE_INFINITY;

  constructor(name: number) {
    this.name = name;
  }

  get deadlineMs(): number {
    this.looks += 1;
    return this.#deadlineMs;
  }

  set deadlineMs(value: number) {
    this.#deadlineMs = value;
  }
}

function names(items: readonly Item[]): number[] {
  return items.map((item) => item.name).sort((a, b) => a - b);
}

test("the wheel finds what a scan of all deadlines finds, over moves in both directions and stalls", () => {
  const random = seededRandom(11);
  for (let round = 0; round < 40; round++) {
    let nowMs = random.next() * 1e6;
    const wheel = new DeadlineWheel<Item>(10, nowMs);
    const items = Array.from({ length: 30 }, (_, name) => new Item(name));
    const deadlines = new Map<Item, number>();
    const set = (item: Item, deadlineMs: number): void => {
      item.deadlineMs = deadlineMs;
      deadlines.set(item, deadlineMs);
      wheel.arm(item);
    };
    for (let step = 0; step < 300; step++) {
      for (let i = random.int(6); i > 0; i--) {
        const item = items[random.int(items.length)];
        const far = random.next() < 0.1 ? Number.POSITIVE_INFINITY : nowMs - 5 + random.next() ** 3 * 10_000;
        if (item !== undefined) set(item, far);
      }
      nowMs += random.next() < 0.02 ? random.next() * 20_000 : random.next() * 25;
      const expected = items.filter((item) => (deadlines.get(item) ?? Number.POSITIVE_INFINITY) <= nowMs);
      const due = wheel.take(nowMs);
      assert.deepEqual(names(due), names(expected), `round ${round} step ${step}`);
      for (const item of due) set(item, random.next() < 0.3 ? Number.POSITIVE_INFINITY : nowMs + random.next() * 400);
    }
  }
});

test("an item without a deadline is never looked at, one whose deadline moves away once per deadline", () => {
  const wheel = new DeadlineWheel<Item>(50, 0);
  const idle = new Item(1);
  const follower = new Item(2);
  idle.deadlineMs = 1_000;
  wheel.arm(idle);
  assert.deepEqual(names(wheel.take(1_000)), [1]);
  idle.deadlineMs = Number.POSITIVE_INFINITY;
  wheel.arm(idle);
  follower.deadlineMs = 1_500;
  wheel.arm(follower);
  idle.looks = 0;
  follower.looks = 0;
  for (let nowMs = 1_050; nowMs <= 101_050; nowMs += 50) {
    follower.deadlineMs = nowMs + 500;
    assert.deepEqual(wheel.take(nowMs), []);
  }
  assert.equal(idle.looks, 0);
  assert.ok(follower.looks <= 2 * 201, `${follower.looks} looks in 2,001 ticks`);
});
