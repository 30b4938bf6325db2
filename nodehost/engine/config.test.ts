/** Replica configuration: defaults, and refusals that name field, value and what would be valid. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OpError } from "../../shared/errors.js";
import { completeConfig, type ReplicaConfig } from "./config.js";

const IDS = { shardId: 1, replicaId: 2 };

test("defaults are filled in, what is given stays", () => {
  assert.deepEqual(completeConfig(IDS), {
    ...IDS,
    electionTicks: 10,
    heartbeatTicks: 1,
    preVote: true,
    checkQuorum: true,
    quiesce: true,
    quiesceTicks: 100,
    snapshotEntries: 10_000,
    compactionOverhead: 1_000,
    isNonVoting: false,
    isWitness: false,
    maxInMemLogBytes: 0,
    promotionMaxLagEntries: 1_000,
    autoPromote: undefined,
    managed: false,
    assumeNew: false,
  });
  const given = { ...IDS, electionTicks: 5, heartbeatTicks: 2, preVote: false, snapshotEntries: 0 };
  assert.deepEqual({ ...completeConfig(given), ...given }, completeConfig(given));
});

const BAD: readonly (Partial<ReplicaConfig> & { readonly field: string })[] = [
  { field: "shardId", shardId: -1 },
  { field: "shardId", shardId: 2 ** 53 },
  { field: "shardId", shardId: 1.5 },
  { field: "replicaId", replicaId: 0 },
  { field: "replicaId", replicaId: Number.NaN },
  { field: "heartbeatTicks", heartbeatTicks: 0 },
  { field: "electionTicks", electionTicks: 0 },
  { field: "electionTicks", electionTicks: 2 },
  { field: "electionTicks", electionTicks: 6, heartbeatTicks: 3 },
  { field: "quiesceTicks", quiesceTicks: 0 },
  { field: "snapshotEntries", snapshotEntries: -1 },
  { field: "compactionOverhead", compactionOverhead: 0.5 },
  { field: "maxInMemLogBytes", maxInMemLogBytes: -1 },
  { field: "promotionMaxLagEntries", promotionMaxLagEntries: -1 },
  { field: "autoPromote.rounds", autoPromote: { rounds: 0 } },
  { field: "autoPromote.timeoutMs", autoPromote: { timeoutMs: 0 } },
  { field: "autoPromote.maxLagEntries", autoPromote: { maxLagEntries: 1.5 } },
  { field: "promotionMaxLagEntries", autoPromote: { maxLagEntries: 100 }, promotionMaxLagEntries: 99 },
];

test("a wrong value is refused with its field and the value (P59)", () => {
  for (const { field, ...rest } of BAD) {
    assert.throws(
      () => completeConfig({ ...IDS, ...rest }),
      (error) => {
        assert.ok(error instanceof OpError && error.code === "DL_ERR_INVALID_CONFIG");
        assert.ok(error.message.includes(field), error.message);
        return true;
      },
    );
  }
});

test("a promotion policy has defaults, and is refused where a master manages the shard", () => {
  const full = completeConfig({ ...IDS, autoPromote: { rounds: 5 } });
  assert.deepEqual(full.autoPromote, { maxLagEntries: 100, rounds: 5, timeoutMs: 600_000 });
  assert.throws(() => completeConfig({ ...IDS, autoPromote: {}, managed: true }), {
    code: "DL_ERR_INVALID_OPERATION",
    message: /managed by a master/,
  });
});
