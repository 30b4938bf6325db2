/** Sessions as callers hold them: what each is fit for, and that misuse is refused before anything is sent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OpError } from "../../shared/errors.js";
import { SERIES_MAX, SERIES_REGISTER, SERIES_UNREGISTER } from "../../shared/types/session.js";
import { noOpSession, Session } from "./session.js";

const CLIENT = "00112233445566aa";
const UNKNOWN = new OpError("DL_ERR_TIMEOUT");
const BUSY = new OpError("DL_ERR_SYSTEM_BUSY");

function misuse(text: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === "DL_ERR_INVALID_SESSION" && text.test(error.message);
}

function open(): Session {
  const session = Session.prepared(3, CLIENT);
  session.beginTransition();
  session.endTransition(100);
  return session;
}

test("a session is opened, used series by series, and closed", () => {
  const session = Session.prepared(3, CLIENT);
  assert.equal(session.seriesId, SERIES_REGISTER);
  assert.throws(() => session.beginProposal("a"), misuse(/not open yet/));
  session.beginTransition();
  assert.throws(() => session.beginTransition(), misuse(/in flight/));
  session.endTransition(undefined);
  session.beginTransition();
  session.endTransition(100);
  assert.deepEqual([session.seriesId, session.respondedTo], [101, 100]);
  session.beginProposal("a");
  session.endProposal(undefined, false);
  session.proposalCompleted();
  assert.deepEqual([session.seriesId, session.respondedTo], [102, 101]);
  session.prepareForUnregister();
  assert.ok(session.isClosing);
  assert.deepEqual([session.seriesId, session.respondedTo], [SERIES_UNREGISTER, 101]);
  session.beginTransition();
  session.endTransition(100);
  assert.throws(() => session.beginProposal("a"), misuse(/it is closed/));
  assert.throws(() => session.beginTransition(), misuse(/it is closed/));
});

test("one proposal in flight per session", () => {
  const session = open();
  session.beginProposal("a");
  assert.throws(() => session.beginProposal("a"), misuse(/series 101 is in flight/));
  assert.throws(() => session.proposalCompleted(), misuse(/in flight/));
  assert.throws(() => session.prepareForUnregister(), misuse(/in flight/));
});

test("a series carries one command until it is answered, refused for certain, or given up", () => {
  const session = open();
  assert.equal(session.beginProposal("a"), false);
  session.endProposal(BUSY, false);
  assert.equal(session.beginProposal("b"), false, "the refused one left nothing behind");
  session.endProposal(UNKNOWN, false);
  assert.throws(() => session.beginProposal("c"), misuse(/another command, of unknown outcome/));
  assert.equal(session.beginProposal("b"), true);
  session.endProposal(BUSY, true);
  assert.throws(() => session.beginProposal("c"), misuse(/another command/));
  session.proposalCompleted();
  assert.equal(session.seriesId, 102);
  assert.equal(session.beginProposal("c"), false);
  session.endProposal(undefined, false);
  assert.throws(() => session.beginProposal("c"), misuse(/series 102 is answered/));
  assert.throws(() => session.beginProposal("d"), misuse(/proposalCompleted/));
});

test("a no-op session has no series to complete, to open or to close", () => {
  const session = noOpSession(3);
  assert.deepEqual([session.isNoOp, session.seriesId, session.clientId], [true, 0, "0000000000000000"]);
  assert.throws(() => session.proposalCompleted(), misuse(/no session/));
  assert.throws(() => session.prepareForUnregister(), misuse(/no session/));
  assert.throws(() => session.beginTransition(), misuse(/no session/));
});

test("a session that was used elsewhere is checked before it is used here", () => {
  const good = { shardId: 3, clientId: CLIENT, seriesId: 9, respondedTo: 8 };
  assert.equal(Session.resume(good).seriesId, 9);
  const bad = [
    { ...good, clientId: "xyz" },
    { ...good, clientId: "0000000000000000" },
    { ...good, clientId: CLIENT.toUpperCase() },
    { ...good, seriesId: 0, respondedTo: -1 },
    { ...good, respondedTo: 9 },
    { ...good, respondedTo: 7 },
    { ...good, seriesId: SERIES_REGISTER, respondedTo: SERIES_MAX },
    { ...good, seriesId: 2 ** 60, respondedTo: 2 ** 60 - 1 },
  ];
  for (const state of bad)
    assert.throws(() => Session.resume(state), misuse(/client id|series/), JSON.stringify(state));
  const last = Session.resume({ ...good, seriesId: SERIES_MAX, respondedTo: SERIES_MAX - 1 });
  assert.throws(() => last.proposalCompleted(), misuse(/no series left/));
});
