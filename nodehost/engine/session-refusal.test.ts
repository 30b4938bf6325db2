/** What a refusal by a session says of earlier attempts under the same series. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ProposalBook } from "./pending.js";
import { RequestState } from "./requests.js";

test("a refused retry leaves the outcome of the proposal unknown, a refused first attempt does not (P38)", () => {
  const book = new ProposalBook();
  for (const repeats of [false, true]) {
    const request = new RequestState("propose", 1, 1_000);
    request.repeats = repeats;
    book.refuse(book.add(request), "DL_ERR_SESSION_NOT_FOUND");
    assert.equal(request.outcome?.code, "rejected");
    assert.equal(request.outcome?.error?.code, "DL_ERR_SESSION_NOT_FOUND");
    assert.equal(request.outcome?.error?.outcome, repeats ? "unknown" : "rejected");
  }
  assert.equal(book.size, 0);
  book.refuse(1, "DL_ERR_SESSION_STALE");
});

test("a lost result is told as applied, also of a first attempt", () => {
  const book = new ProposalBook();
  const request = new RequestState("propose", 1, 1_000);
  book.refuse(book.add(request), "DL_ERR_SESSION_RESULT_LOST");
  assert.equal(request.outcome?.error?.code, "DL_ERR_SESSION_RESULT_LOST");
  assert.equal(request.outcome?.error?.outcome, "applied");
});
