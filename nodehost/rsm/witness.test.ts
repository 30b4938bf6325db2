/** What a witness has in the place of a state machine. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type EntryBlock, metadataBody, sealBlock } from "../../shared/codec/block.js";
import { crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import { type ConfigChange, emptyMembership, type Membership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { block, key, SHARD } from "./testing/kit.js";
import { MachineFailure } from "./types.js";
import { WitnessRsm } from "./witness.js";

const ADD: ConfigChange = {
  kind: "addNonVoting",
  replicaId: 4,
  target: "d",
  expectedConfigChangeIndex: 0,
  bootstrap: false,
};
const MEMBERS: Membership = { ...emptyMembership(), voters: new Map([[1, "a"]]), witnesses: new Map([[3, "c"]]) };

function reduced(data: EntryBlock): EntryBlock {
  return sealBlock(metadataBody(data), { shardId: SHARD, firstIndex: data.baseIndex, term: data.term });
}

/** Three entries: a command, a change by replica `by`, a change that nobody can read. */
function three(by = 1): EntryBlock {
  return reduced(block(1, [{ cmd: "x" }, { change: ADD, key: key(7, by) }, { badChange: true }]));
}

function witness() {
  const changes: string[] = [];
  let nowMs = 0;
  const rsm = new WitnessRsm({
    shardId: SHARD,
    replicaId: 3,
    incarnation: 5,
    membership: MEMBERS,
    sink: {
      onResult: () => assert.fail("a witness has no results"),
      onRejected: () => assert.fail("a witness has no sessions"),
      onConfigChange: (...[index, { kind, replicaId }, membership, { sequence }, refusal]) => {
        changes.push(
          `${index} ${kind} ${replicaId} #${sequence} cci ${membership.configChangeIndex} ${refusal ?? "ok"}`,
        );
      },
    },
    crc32,
    now: () => nowMs++,
  });
  return { rsm, changes };
}

test("it applies changes of the membership and counts the rest", () => {
  const { rsm, changes } = witness();
  rsm.enqueue([three()]);
  assert.equal(rsm.backlog, 3);
  assert.equal(rsm.run(100), "idle");
  assert.deepEqual([rsm.applied, rsm.appliedTerm, rsm.backlog], [3, 1, 0]);
  assert.equal(rsm.membership.nonVotings.get(4), "d");
  assert.equal(changes[0], "2 addNonVoting 4 #7 cci 2 ok");
  assert.match(changes[1] ?? "", /^3 remove 0 .* cci 2 the change cannot be read/);
  assert.equal(changes.length, 2);
});

test("it stops when its time is over and goes on later", () => {
  const { rsm } = witness();
  rsm.enqueue([three()]);
  assert.equal(rsm.run(1), "more");
  assert.equal(rsm.applied, 1);
  while (rsm.run(1) === "more");
  assert.equal(rsm.applied, 3);
});

test("an application entry, and a block that rotted, end it", async () => {
  for (const bad of [block(1, [{ cmd: "x" }]), rotten()]) {
    const { rsm } = witness();
    rsm.enqueue([bad]);
    assert.throws(() => rsm.run(100), MachineFailure);
    assert.equal(rsm.applied, 0);
    assert.throws(() => rsm.run(100), MachineFailure);
    await assert.rejects(rsm.saveSnapshot(), MachineFailure);
  }
});

function rotten(): EntryBlock {
  const data = three();
  data.bytes[70] = 9;
  return data;
}

test("its snapshots are where it is and the membership; it restores such ones only", async () => {
  const { rsm } = witness();
  const none = (error: unknown) => error instanceof OpError && error.code === "DL_ERR_NO_SNAPSHOT";
  await assert.rejects(rsm.saveSnapshot(), none);
  rsm.enqueue([three()]);
  rsm.run(100);
  const { membership } = rsm;
  const saved = await rsm.saveSnapshot();
  const expected: SnapshotMeta = {
    shardId: SHARD,
    replicaId: 3,
    index: 3,
    term: 1,
    membership,
    sizeBytes: 0,
    directory: "",
  };
  assert.deepEqual(saved, expected);
  await assert.rejects(rsm.saveSnapshot(), none);

  const other = witness().rsm;
  other.enqueue([three()]);
  await other.start({ snapshot: { ...saved, index: 2, term: 1 }, last: 3 });
  assert.deepEqual([other.applied, other.membership.nonVotings.get(4)], [2, "d"]);
  assert.equal(other.run(100), "idle");
  assert.equal(other.applied, 3);
  await assert.rejects(other.restore({ ...saved, index: 9, sizeBytes: 10 }), MachineFailure);
  assert.equal(other.applied, 3);
});

test("it answers nobody", async () => {
  const { rsm } = witness();
  const refused = (error: unknown) => error instanceof OpError && error.code === "DL_ERR_WITNESS";
  assert.throws(() => rsm.lookup(), refused);
  await assert.rejects(rsm.streamSnapshot(), refused);
  assert.deepEqual([rsm.hash(), rsm.sessionHash(), rsm.onDisk], [undefined, undefined, false]);
  rsm.enqueue([three()]);
  await rsm.close();
  assert.equal(rsm.run(100), "idle");
  assert.equal(rsm.applied, 0);
});
