/** Who may speak: not another deployment, not an older directory, not a second process of one identity (P49). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OpError } from "../../shared/errors.js";
import type { Hello } from "../transport/index.js";
import { PeerRegister } from "./peer-register.js";

const SELF = { hostId: "00000000-0000-4000-8000-000000000001", nonce: "aa", deploymentId: 7 };
const PEER = "00000000-0000-4000-8000-000000000002";

function hello(change: Partial<Omit<Hello, "incarnation">> & { counter?: number; nonce?: string } = {}): Hello {
  const { counter = 1, nonce = `n${counter}`, ...rest } = change;
  return {
    wireVersionMin: 1,
    wireVersionMax: 1,
    deploymentId: 7,
    hostId: PEER,
    dataSetId: "00000000-0000-4000-8000-0000000000d1",
    incarnation: { counter, nonce },
    recoveredWalSequence: 0,
    raftAddress: "h:1",
    ...rest,
  };
}

function refused(register: PeerRegister, peer: Hello): string {
  try {
    register.check(peer);
    return "";
  } catch (error) {
    assert.ok(error instanceof OpError);
    return error.code;
  }
}

test("another deployment is refused", () => {
  assert.equal(refused(new PeerRegister(SELF), hello({ deploymentId: 8 })), "DL_ERR_DEPLOYMENT_MISMATCH");
});

test("a second process with our own identity is refused, we ourselves are not", () => {
  const register = new PeerRegister(SELF);
  assert.equal(refused(register, hello({ hostId: SELF.hostId, nonce: "bb" })), "DL_ERR_HOST_CLONED");
  assert.equal(refused(register, hello({ hostId: SELF.hostId, nonce: "aa" })), "");
});

test("the same start may connect again and again; a later one replaces it; an earlier one is stale", () => {
  const register = new PeerRegister(SELF);
  assert.equal(refused(register, hello({ counter: 3 })), "");
  assert.equal(refused(register, hello({ counter: 3 })), "");
  assert.equal(refused(register, hello({ counter: 4 })), "");
  assert.equal(refused(register, hello({ counter: 3 })), "DL_ERR_DATA_STALE");
});

test("two processes that count the same start are clones, whichever came first", () => {
  const register = new PeerRegister(SELF);
  assert.equal(refused(register, hello({ counter: 3, nonce: "x" })), "");
  assert.equal(refused(register, hello({ counter: 3, nonce: "y" })), "DL_ERR_HOST_CLONED");
  assert.equal(refused(register, hello({ counter: 3, nonce: "x" })), "");
});

test("a later start that recovered less than was acknowledged is an older copy of the directory", () => {
  const register = new PeerRegister(SELF);
  register.check(hello({ counter: 1, recoveredWalSequence: 10 }));
  register.acknowledge(PEER, 50);
  register.acknowledge(PEER, 40);
  register.acknowledge("00000000-0000-4000-8000-000000000009", 900);
  assert.equal(refused(register, hello({ counter: 2, recoveredWalSequence: 49 })), "DL_ERR_DATA_STALE");
  assert.equal(refused(register, hello({ counter: 2, recoveredWalSequence: 50 })), "");
  assert.equal(refused(register, hello({ counter: 2, recoveredWalSequence: 50 })), "");
});
