/** The books of open requests: each is settled exactly once, in any order of arrivals, drops, expiry and ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { OpError } from "../../shared/errors.js";
import { ProposalBook, ReadBook } from "./pending.js";
import { RequestState } from "./requests.js";

const WHY = new OpError("DL_ERR_SHARD_CLOSED");

function proposal(deadlineMs = 1_000, count = 1): RequestState {
  return new RequestState(count === 1 ? "propose" : "proposeBatch", 1, deadlineMs, count);
}

function codes(requests: readonly RequestState[]): (string | undefined)[] {
  return requests.map((request) => request.outcome?.code);
}

test("sequences are allotted in order, one per command", () => {
  const book = new ProposalBook();
  assert.equal(book.add(proposal()), 1);
  assert.equal(book.add(proposal(1_000, 3)), 2);
  assert.equal(book.add(proposal()), 5);
  assert.equal(book.size, 5);
});

test("answers out of order leave holes that close when the front is done", () => {
  const book = new ProposalBook();
  const requests = [proposal(), proposal(), proposal()];
  for (const request of requests) book.add(request);
  book.arrive(2, 11, { value: 2 });
  assert.deepEqual(codes(requests), [undefined, "completed", undefined]);
  assert.equal(book.size, 3);
  book.arrive(1, 10, { value: 1 });
  assert.equal(book.size, 1);
  book.arrive(3, 12, { value: 3 });
  assert.equal(book.size, 0);
  assert.equal(book.add(proposal()), 4);
});

test("answers to sequences that are gone, or never were, change nothing", () => {
  const book = new ProposalBook();
  const request = proposal();
  book.add(request);
  book.arrive(0, 1, { value: 9 });
  book.arrive(2, 1, { value: 9 });
  book.fail(77, "rejected", WHY);
  assert.equal(request.settled, false);
  book.arrive(1, 1, { value: 1 });
  book.arrive(1, 2, { value: 2 });
  assert.deepEqual(request.outcome?.result, { value: 1 });
});

test("only what is late expires, and what arrives afterwards is ignored", () => {
  const book = new ProposalBook();
  const requests = [proposal(100), proposal(300), proposal(200, 2)];
  for (const request of requests) book.add(request);
  book.expire(99);
  assert.deepEqual(codes(requests), [undefined, undefined, undefined]);
  book.expire(200);
  assert.deepEqual(codes(requests), ["timeout", undefined, "timeout"]);
  book.arrive(1, 5, { value: 1 });
  book.arrive(3, 5, { value: 1 });
  book.arrive(2, 6, { value: 1 });
  assert.deepEqual(codes(requests), ["timeout", "completed", "timeout"]);
  assert.equal(book.size, 0);
});

test("a request added later with an earlier deadline expires in time", () => {
  const book = new ProposalBook();
  const late = proposal(1_000);
  const early = proposal(50);
  book.add(late);
  book.add(early);
  book.expire(60);
  assert.deepEqual(codes([late, early]), [undefined, "timeout"]);
});

test("a drop of a part of a batch is not claimed to be a drop of all of it", () => {
  const book = new ProposalBook();
  const requests = [proposal(), proposal(1_000, 4), proposal(1_000, 2)];
  for (const request of requests) book.add(request);
  // Two blocks: [1, 3] and [4, 7]. Only the second one is dropped.
  book.drop(4, 4, WHY);
  assert.deepEqual(codes(requests), [undefined, "terminated", "dropped"]);
  assert.equal(requests[1]?.outcome?.error?.outcome, "unknown");
});

test("property: every proposal is settled exactly once, whatever happens in whatever order", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("add" as const), count: fc.integer({ min: 1, max: 4 }), forMs: fc.nat(50) }),
    fc.record({ do: fc.constant("arrive" as const), at: fc.nat(60) }),
    fc.record({ do: fc.constant("drop" as const), at: fc.nat(60), count: fc.integer({ min: 1, max: 6 }) }),
    fc.record({ do: fc.constant("fail" as const), at: fc.nat(60) }),
    fc.record({ do: fc.constant("abort" as const), at: fc.nat(30) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.nat(20) }),
    fc.record({ do: fc.constant("failAll" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const book = new ProposalBook();
      const requests: RequestState[] = [];
      const settled: number[] = [];
      let nowMs = 0;
      let allotted = 0;
      for (const s of steps) {
        if (s.do === "add") {
          const request = proposal(nowMs + s.forMs, s.count);
          const number = requests.push(request) - 1;
          settled.push(0);
          request.onSettled(() => {
            settled[number] = (settled[number] ?? 0) + 1;
          });
          assert.equal(book.add(request), allotted + 1);
          allotted += s.count;
        } else if (s.do === "arrive") book.arrive(s.at, 1, { value: 0 });
        else if (s.do === "drop") book.drop(s.at, s.count, WHY);
        else if (s.do === "fail") book.fail(s.at, "rejected", WHY);
        else if (s.do === "abort") requests[s.at]?.fail("aborted", WHY);
        else if (s.do === "failAll") book.failAll("terminated", WHY);
        else {
          nowMs += s.ms;
          book.expire(nowMs);
          for (const request of requests) assert.ok(request.settled || request.deadlineMs > nowMs);
        }
        const open = requests.filter((r) => !r.settled).length;
        assert.ok(book.size >= open && book.size <= allotted);
      }
      book.failAll("terminated", WHY);
      assert.equal(book.size, 0);
      assert.deepEqual(
        settled,
        requests.map(() => 1),
      );
    }),
    { numRuns: 300, seed: 42 },
  );
});

test("the ring stays small when one old request keeps the front open", () => {
  const book = new ProposalBook();
  book.add(proposal(10));
  for (let i = 0; i < 20_000; i++) {
    book.add(proposal(1_000_000));
    book.arrive(i + 2, i, { value: 0 });
  }
  book.expire(10);
  assert.equal(book.size, 0);
  assert.equal(book.add(proposal()), 20_002);
});

const RETRY_MS = 20;

function read(deadlineMs = 1_000): RequestState {
  return new RequestState("readIndex", 1, deadlineMs);
}

test("all queued reads become one batch; each batch has a key of its own (P04)", () => {
  const book = new ReadBook(RETRY_MS);
  assert.equal(book.takeBatch(0), 0);
  const requests = [read(), read()];
  for (const request of requests) book.add(request);
  assert.equal(book.takeBatch(0), 1);
  assert.equal(book.takeBatch(0), 0);
  book.add(read());
  assert.equal(book.takeBatch(0), 2);
  assert.equal(book.size, 3);
});

test("a read is answered when its point is applied, not before (P05)", () => {
  const book = new ReadBook(RETRY_MS);
  const first = read();
  const second = read();
  book.add(first);
  const one = book.takeBatch(0);
  book.add(second);
  const two = book.takeBatch(0);
  book.confirm(two, 12);
  book.confirm(one, 10);
  book.release(9);
  assert.deepEqual(codes([first, second]), [undefined, undefined]);
  book.release(11);
  assert.deepEqual(first.outcome, { code: "completed", index: 10 });
  assert.equal(second.settled, false);
  book.release(12);
  assert.deepEqual(second.outcome, { code: "completed", index: 12 });
  assert.equal(book.size, 0);
  assert.equal(book.deadlineMs, Number.POSITIVE_INFINITY, "nothing is due without a read");
});

test("an unanswered batch is asked again under a new key, and a late answer to the old one is ignored (P04)", () => {
  const book = new ReadBook(RETRY_MS);
  const request = read(10_000);
  book.add(request);
  const old = book.takeBatch(0);
  assert.equal(book.deadlineMs, RETRY_MS);
  assert.equal(book.expire(RETRY_MS - 1), false);
  assert.equal(book.expire(RETRY_MS), true);
  const again = book.takeBatch(RETRY_MS);
  assert.equal(book.deadlineMs, 2 * RETRY_MS);
  assert.notEqual(again, old);
  book.confirm(old, 5);
  book.drop(old, WHY);
  book.release(5);
  assert.equal(request.settled, false);
  book.confirm(again, 6);
  book.release(6);
  assert.equal(request.outcome?.code, "completed");
});

test("property: every read is settled exactly once and the size never lies", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("add" as const), forMs: fc.nat(60) }),
    fc.record({ do: fc.constant("take" as const) }),
    fc.record({ do: fc.constant("confirm" as const), at: fc.nat(20), index: fc.nat(10) }),
    fc.record({ do: fc.constant("drop" as const), at: fc.nat(20) }),
    fc.record({ do: fc.constant("release" as const), index: fc.nat(12) }),
    fc.record({ do: fc.constant("abort" as const), at: fc.nat(30) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.nat(30) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const book = new ReadBook(RETRY_MS);
      const requests: RequestState[] = [];
      const settled: number[] = [];
      let nowMs = 0;
      for (const s of steps) {
        if (s.do === "add") {
          const request = read(nowMs + s.forMs);
          const number = requests.push(request) - 1;
          settled.push(0);
          request.onSettled(() => {
            settled[number] = (settled[number] ?? 0) + 1;
          });
          book.add(request);
        } else if (s.do === "take") book.takeBatch(nowMs);
        else if (s.do === "confirm") book.confirm(s.at, s.index);
        else if (s.do === "drop") book.drop(s.at, WHY);
        else if (s.do === "release") book.release(s.index);
        else if (s.do === "abort") requests[s.at]?.fail("aborted", WHY);
        else {
          nowMs += s.ms;
          book.expire(nowMs);
          for (const request of requests) assert.ok(request.settled || request.deadlineMs > nowMs);
          assert.ok(book.deadlineMs > nowMs, "nothing is due after it was seen to");
        }
        assert.ok(book.size >= requests.filter((r) => !r.settled).length);
      }
      book.failAll("terminated", WHY);
      assert.equal(book.size, 0);
      assert.deepEqual(
        settled,
        requests.map(() => 1),
      );
    }),
    { numRuns: 300, seed: 42 },
  );
});
