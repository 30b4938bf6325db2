/** RequestState: settled once, with the right outcome; callbacks never reach into the engine. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { OpError } from "../../shared/errors.js";
import { dropError, errorOf, RequestState, timeoutError } from "./requests.js";

const BUSY = new OpError("DL_ERR_SYSTEM_BUSY");

test("a single proposal completes with its result", async () => {
  const request = new RequestState("propose", 1, 100);
  assert.equal(request.settled, false);
  request.arrive(0, 7, { value: 3 });
  assert.deepEqual(await request.completed, { code: "completed", result: { value: 3 }, index: 7 });
  assert.equal(request.outcome?.code, "completed");
});

test("a batch completes when its last command has arrived, one result per command, also a batch of one", () => {
  const one = new RequestState("proposeBatch", 1, 100, 1);
  one.arrive(0, 5, { value: 1 });
  assert.deepEqual(one.outcome, { code: "completed", results: [{ value: 1 }], index: 5 });
  const two = new RequestState("proposeBatch", 1, 100, 2);
  two.arrive(0, 5, { value: 1 });
  assert.equal(two.settled, false);
  two.arrive(1, 6, { value: 2 });
  assert.deepEqual(two.outcome, { code: "completed", results: [{ value: 1 }, { value: 2 }], index: 6 });
});

test("only the first outcome counts", () => {
  const request = new RequestState("propose", 1, 100);
  const seen: string[] = [];
  request.onSettled(({ code }) => seen.push(code));
  assert.equal(request.fail("timeout", BUSY), true);
  assert.equal(request.fail("terminated", BUSY), false);
  request.arrive(0, 7, { value: 1 });
  request.onSettled(({ code }) => seen.push(`again ${code}`));
  assert.deepEqual(seen, ["timeout", "again timeout"]);
});

test("dropped is claimed only when no command was appended; a part of a batch is unknown", () => {
  const whole = new RequestState("proposeBatch", 1, 100, 3);
  whole.drop(3, BUSY);
  assert.equal(whole.outcome?.code, "dropped");
  assert.equal(whole.outcome?.error?.outcome, "rejected");
  const part = new RequestState("proposeBatch", 1, 100, 3);
  part.drop(2, BUSY);
  assert.equal(part.outcome?.code, "terminated");
  assert.equal(part.outcome?.error?.outcome, "unknown");
});

test("what a callback throws is thrown outside, and the other callbacks are called", async () => {
  const request = new RequestState("propose", 1, 100);
  const seen: string[] = [];
  request.onSettled(() => {
    throw new Error("of the application");
  });
  request.onSettled(() => seen.push("second"));
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  try {
    const thrown = once(process, "uncaughtException");
    request.arrive(0, 1, { value: 0 });
    assert.deepEqual(seen, ["second"]);
    const [error] = await thrown;
    assert.match(String(error), /of the application/);
  } finally {
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
});

test("errors say what is known: a late read had no effect, a late proposal may have had one", () => {
  assert.equal(timeoutError("readIndex", 1).outcome, "rejected");
  for (const kind of ["propose", "proposeBatch", "configChange", "snapshot"] as const) {
    assert.equal(timeoutError(kind, 1).outcome, "unknown");
  }
  for (const reason of ["noLeader", "configChangePending", "leaderChanged", "transferring", "busy"] as const) {
    assert.equal(dropError(reason).outcome, "rejected");
    assert.equal(dropError(reason).retryable, true, reason);
  }
  assert.equal(dropError("notMember").retryable, false);
  assert.equal(errorOf({ code: "timeout", index: 0 }).code, "DL_ERR_TIMEOUT");
  assert.equal(errorOf({ code: "rejected", index: 0 }).code, "DL_ERR_REJECTED");
  assert.equal(errorOf({ code: "dropped", error: BUSY, index: 0 }), BUSY);
});
