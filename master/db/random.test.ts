/** Any commands, any bytes: apply is total and deterministic, hashes of replay and restore are equal. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { confirm, create, facts, membership, settings, withShard } from "./fixtures.js";
import {
  applyBytes,
  applyCommand,
  type Command,
  DEFAULT_LIMITS,
  decodeCommand,
  encodeCommand,
  encodeSnapshot,
  type MasterState,
  SnapshotDecoder,
  stateHash,
} from "./index.js";

const text = fc.string({ maxLength: 8 });
const small = fc.integer({ min: 0, max: 5 });
const hostId = fc.constantFrom("h1", "h2", "h3", "h4", "x");
const anyPlace = fc.record({ replicaId: small, hostId, dataSetId: fc.constantFrom("d1", "d2", "d3", "d4") });
const anyMembership = fc.record({
  cci: small,
  lineage: fc.integer({ min: 0, max: 1 }),
  voters: fc.array(fc.tuple(small, hostId), { maxLength: 4 }),
});
const anySpec = fc.record({
  name: fc.constantFrom("", "a"),
  app: fc.constantFrom("kv", "x"),
  voters: small,
  nonVotings: small,
  region: text,
});
const anyStep = fc.record({
  kind: fc.constantFrom(
    "create" as const,
    "addNonVoting" as const,
    "join" as const,
    "catchUp" as const,
    "promote" as const,
    "remove" as const,
  ),
  targets: fc.array(anyPlace, { maxLength: 2 }),
  expectedLineage: small,
  expectedCci: small,
});
const end = fc.constantFrom("open" as const, "done" as const, "canceled" as const, "failed" as const);
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant("initDeployment" as const), deploymentId: fc.constantFrom(7, 8), atMs: small }),
  fc.record({
    kind: fc.constant("registerHost" as const),
    host: fc
      .tuple(fc.integer({ min: 1, max: 4 }), small, fc.constantFrom("d1", "d2", "z"))
      .map(([i, counter, dataSetId]) => facts(i, { incarnation: { counter, nonce: "n" }, dataSetId })),
    atMs: small,
  }),
  fc.record({ kind: fc.constant("setAdmitted" as const), hostId, admitted: fc.boolean(), atMs: small }),
  fc.record({ kind: fc.constant("setMaintenance" as const), hostId, untilMs: small, reason: text, atMs: small }),
  fc.record({ kind: fc.constant("setDraining" as const), hostId, draining: fc.boolean(), atMs: small }),
  fc.record({
    kind: fc.constant("removeHost" as const),
    hostId: fc.constantFrom("h4", "x"),
    reason: text,
    atMs: small,
  }),
  fc.record({
    kind: fc.constant("createShard" as const),
    clientKey: fc.constantFrom("", "k"),
    spec: anySpec.map((s) => ({ ...s, settings })),
    places: fc.array(anyPlace, { maxLength: 4 }),
    atMs: small,
  }),
  fc.constant(create()),
  fc.record({
    kind: fc.constant("updateSpec" as const),
    shardId: small,
    spec: anySpec.map((s) => ({ ...s, settings })),
    atMs: small,
  }),
  fc.record({ kind: fc.constant("tombstoneShard" as const), shardId: small, reason: text, atMs: small }),
  fc.tuple(anyMembership, small).map(([m, shardId]) => confirm(membership(m.cci, m.voters, m.lineage), shardId)),
  fc.record({
    kind: fc.constant("openOperation" as const),
    operation: fc.constantFrom("create" as const, "makeUp" as const, "replace" as const),
    shardId: small,
    reason: text,
    steps: fc.array(anyStep, { maxLength: 3 }),
    lineage: fc.integer({ min: 0, max: 1 }),
    cci: small,
    atMs: small,
  }),
  fc.record({
    kind: fc.constant("advanceOperation" as const),
    operationId: small,
    fromStep: small,
    fromAttempt: small,
    toStep: small,
    lineage: small,
    cci: small,
    note: text,
    atMs: small,
  }),
  fc.record({
    kind: fc.constant("finishOperation" as const),
    operationId: small,
    fromStep: small,
    state: end,
    note: text,
    atMs: small,
  }),
  fc.record({
    kind: fc.constant("appendEvent" as const),
    severity: fc.constantFrom("info" as const, "alert" as const),
    event: text,
    subject: text,
    text,
    atMs: small,
  }),
  fc.record({ kind: fc.constant("observeReplicaIds" as const), highest: small }),
  fc.record({ kind: fc.constant("setLimits" as const), limits: fc.constant(DEFAULT_LIMITS) }),
  fc.record({ kind: fc.constant("setFeatureLevel" as const), level: small }),
);

test("commands survive their bytes", () => {
  fc.assert(
    fc.property(command, (c) => {
      const bytes = encodeCommand(c);
      assert.deepEqual(encodeCommand(decodeCommand(bytes)), bytes);
    }),
  );
});

test("M8, D19: apply is total: any bytes give a typed result; cut or altered commands never throw", () => {
  const state = withShard();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.equal(typeof applyBytes(state, bytes).code, "string");
    }),
  );
  fc.assert(
    fc.property(command, fc.nat(), fc.integer({ min: 0, max: 255 }), (c, at, byte) => {
      const bytes = encodeCommand(c);
      bytes[at % bytes.length] = byte;
      assert.equal(typeof applyBytes(state, bytes).code, "string");
      assert.equal(typeof applyBytes(state, bytes.subarray(0, at % bytes.length)).code, "string");
    }),
    { numRuns: 500 },
  );
  assert.equal(applyBytes(state, new Uint8Array([9, 0])).code, "DL_ERR_VERSION");
  assert.equal(applyBytes(state, new Uint8Array([1, 200])).code, "DL_ERR_MALFORMED");
});

function restore(state: MasterState, chunkBytes: number): MasterState {
  const decoder = new SnapshotDecoder();
  for (const chunk of encodeSnapshot(state.view())) {
    assert.ok(chunk.length <= 64 * 1024);
    for (let at = 0; at < chunk.length; at += chunkBytes) decoder.push(chunk.subarray(at, at + chunkBytes));
  }
  return decoder.finish();
}

test("M8: replaying the log and restoring a snapshot at any point give equal hashes, and go on alike", () => {
  fc.assert(
    fc.property(
      fc.array(command, { maxLength: 60 }),
      fc.nat(60),
      fc.integer({ min: 1, max: 300 }),
      (commands, at, chunk) => {
        const whole = withShard();
        let restored = withShard();
        commands.forEach((c, i) => {
          if (i === at) restored = restore(restored, chunk);
          assert.deepEqual(applyCommand(whole, c), applyBytes(restored, encodeCommand(c)));
        });
        assert.equal(stateHash(restored.view()), stateHash(whole.view()));
        const back = restore(whole, 1_000);
        assert.equal(stateHash(back.view()), stateHash(whole.view()));
        const counts = (s: MasterState): unknown => [...s.view().placedCounts.entries()];
        assert.deepEqual(counts(back), counts(whole));
        assert.deepEqual([...back.view().clientKeys.entries()], [...whole.view().clientKeys.entries()]);
        assert.deepEqual([...back.view().names.entries()], [...whole.view().names.entries()]);
      },
    ),
    { numRuns: 150 },
  );
});
