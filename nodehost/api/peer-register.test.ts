/**
 * Who may speak: not another deployment, not an older directory, not a second process of one identity (P49), also when
 * this host was started again since it heard of it.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createRealEnv } from "../../shared/env/real-env.js";
import { OpError } from "../../shared/errors.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import type { Hello } from "../transport/index.js";
import { PeerRegister } from "./peer-register.js";
import { RowFile } from "./row-file.js";

const OWN = "00000000-0000-4000-8000-0000000000d0";
const SELF = {
  hostId: "00000000-0000-4000-8000-000000000001",
  dataSetId: OWN,
  counter: 5,
  nonce: "aa",
  deploymentId: 7,
};
const PEER = "00000000-0000-4000-8000-000000000002";
const FIRST = "00000000-0000-4000-8000-0000000000d1";
const SECOND = "00000000-0000-4000-8000-0000000000d2";
const ENV = createRealEnv();

/** A register on a disk; `again` is the next process on what a power loss left of it. */
class Machine {
  readonly files = new SimDisk();
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
  }

  async open(): Promise<PeerRegister> {
    await this.files.makeDirectory("/d");
    const rows = await RowFile.open({ files: this.files, directory: "/d", name: "peers", crc32: ENV.crc32 });
    const register = new PeerRegister(SELF, rows, ENV);
    this.#t.after(() => register.close());
    return register;
  }

  again(): Promise<PeerRegister> {
    this.files.crash(() => 0.9);
    return this.open();
  }
}

function hello(change: Partial<Omit<Hello, "incarnation">> & { counter?: number; nonce?: string } = {}): Hello {
  const { counter = 1, nonce = `n${counter}`, ...rest } = change;
  return {
    wireVersionMin: 1,
    wireVersionMax: 1,
    deploymentId: 7,
    hostId: PEER,
    dataSetId: FIRST,
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

async function met(register: PeerRegister, peer: Hello): Promise<void> {
  register.check(peer);
  await register.settled(peer);
}

test("another deployment is refused", async (t) => {
  const register = await new Machine(t).open();
  assert.equal(refused(register, hello({ deploymentId: 8 })), "DL_ERR_DEPLOYMENT_MISMATCH");
});

test("a second process with our own identity is refused, we ourselves are not", async (t) => {
  const register = await new Machine(t).open();
  const twin = hello({ hostId: SELF.hostId, dataSetId: OWN, counter: 6, nonce: "bb" });
  assert.equal(refused(register, twin), "DL_ERR_HOST_CLONED");
  assert.equal(refused(register, hello({ hostId: SELF.hostId, nonce: "aa" })), "");
  assert.ok(register.isTwin(twin) && !register.startedAfter(twin));
  assert.ok(register.startedAfter({ ...twin, incarnation: { counter: 4, nonce: "cc" } }));
});

test("the same start may connect again and again; a later one replaces it; an earlier one is stale", async (t) => {
  const register = await new Machine(t).open();
  assert.equal(refused(register, hello({ counter: 3 })), "");
  assert.equal(refused(register, hello({ counter: 3 })), "");
  assert.equal(refused(register, hello({ counter: 4 })), "");
  assert.equal(refused(register, hello({ counter: 2 })), "DL_ERR_DATA_STALE");
  assert.equal(refused(register, hello({ counter: 3, nonce: "other" })), "DL_ERR_DATA_STALE");
});

test("a start that speaks although a newer one was seen is the twin of it, and is not heard any more", async (t) => {
  const register = await new Machine(t).open();
  const older = hello({ counter: 3 });
  register.check(older);
  assert.ok(register.acknowledge(older, 10));
  const newer = hello({ counter: 4, recoveredWalSequence: 10 });
  register.check(newer);
  assert.ok(!register.acknowledge(older, 11), "a message on the old connection");
  assert.equal(refused(register, older), "DL_ERR_HOST_CLONED");
  assert.ok(register.acknowledge(newer, 11));
});

test("two processes that count the same start are clones, whichever came first", async (t) => {
  const register = await new Machine(t).open();
  assert.equal(refused(register, hello({ counter: 3, nonce: "x" })), "");
  assert.equal(refused(register, hello({ counter: 3, nonce: "y" })), "DL_ERR_HOST_CLONED");
  assert.equal(refused(register, hello({ counter: 3, nonce: "x" })), "");
});

test("a later start that recovered less than was acknowledged is an older copy of the directory", async (t) => {
  const register = await new Machine(t).open();
  const first = hello({ counter: 1, recoveredWalSequence: 10 });
  register.check(first);
  register.acknowledge(first, 50);
  register.acknowledge(first, 40);
  assert.equal(refused(register, hello({ counter: 2, recoveredWalSequence: 49 })), "DL_ERR_DATA_STALE");
  assert.equal(refused(register, hello({ counter: 2, recoveredWalSequence: 50 })), "");
  assert.equal(refused(register, hello({ counter: 2, recoveredWalSequence: 50 })), "");
});

test("a new data set of a host is another life of it; the old one may come back if it is not stale", async (t) => {
  const register = await new Machine(t).open();
  const first = hello({ counter: 9 });
  register.check(first);
  register.acknowledge(first, 70);
  assert.equal(refused(register, hello({ dataSetId: SECOND, counter: 1 })), "");
  assert.equal(refused(register, hello({ counter: 10, recoveredWalSequence: 69 })), "DL_ERR_DATA_STALE");
  assert.equal(refused(register, hello({ counter: 10, recoveredWalSequence: 70 })), "");
  const stolen = hello({ hostId: "00000000-0000-4000-8000-000000000003", counter: 11, recoveredWalSequence: 70 });
  assert.equal(refused(register, stolen), "DL_ERR_HOST_MISMATCH");
});

test("starts are remembered over a restart of this host as soon as they count (P49)", async (t) => {
  const machine = new Machine(t);
  const register = await machine.open();
  const peer = hello({ counter: 3, recoveredWalSequence: 20 });
  register.check(peer);
  const settled = register.settled(peer);
  assert.ok(settled !== undefined, "not at once");
  await settled;
  assert.equal(register.settled(peer), undefined);
  const again = await machine.again();
  assert.equal(refused(again, hello({ counter: 2, recoveredWalSequence: 20 })), "DL_ERR_DATA_STALE");
  assert.equal(refused(again, hello({ counter: 3, nonce: "twin", recoveredWalSequence: 20 })), "DL_ERR_HOST_CLONED");
  assert.equal(refused(again, hello({ counter: 4, recoveredWalSequence: 19 })), "DL_ERR_DATA_STALE");
  assert.equal(refused(again, peer), "");
});

test("the acknowledged sequence is remembered too, at the latest when this host closes", async (t) => {
  const machine = new Machine(t);
  const register = await machine.open();
  const peer = hello({ counter: 3 });
  await met(register, peer);
  register.acknowledge(peer, 500);
  await register.close();
  const again = await machine.again();
  assert.equal(refused(again, hello({ counter: 4, recoveredWalSequence: 499 })), "DL_ERR_DATA_STALE");
  assert.equal(refused(again, hello({ counter: 4, recoveredWalSequence: 500 })), "");
});

test("a start whose write failed counts as soon as a later write succeeds", async (t) => {
  const machine = new Machine(t);
  const register = await machine.open();
  machine.files.fault = ({ kind }) => (kind === "write" || kind === "open" ? "EIO" : undefined);
  const peer = hello({ counter: 3 });
  register.check(peer);
  await assert.rejects(register.settled(peer) ?? Promise.resolve());
  const retried = register.settled(peer);
  assert.ok(retried !== undefined);
  await assert.rejects(retried);
  machine.files.fault = undefined;
  await register.settled(peer);
  assert.equal(register.settled(peer), undefined);
  assert.equal(refused(await machine.again(), hello({ counter: 2 })), "DL_ERR_DATA_STALE");
});

test("origins of replicas, unproven ones and the refusal of this directory survive a power loss", async (t) => {
  const machine = new Machine(t);
  const register = await machine.open();
  const writing = register.setOrigin(1, 2, FIRST, 0);
  assert.equal(register.originOf(1, 2)?.saved, false);
  await writing;
  assert.equal(register.originOf(1, 2)?.saved, true);
  await register.setUnproven(1, 3, true);
  await register.setUnproven(1, 4, true);
  await register.setUnproven(1, 4, false);
  await register.setRefusal({ code: "DL_ERR_DATA_STALE", detail: "first" });
  await register.setRefusal({ code: "DL_ERR_HOST_CLONED", detail: "second" });
  const again = await machine.again();
  assert.deepEqual(again.originOf(1, 2), { dataSetId: FIRST, lineage: 0, saved: true });
  assert.equal(again.originOf(1, 3), undefined);
  assert.ok(again.isUnproven(1, 3) && !again.isUnproven(1, 4));
  assert.deepEqual(again.refusal, { code: "DL_ERR_DATA_STALE", detail: "first" });
});
