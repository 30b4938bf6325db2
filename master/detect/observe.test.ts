/** The image of what hosts reported. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { info, replica } from "./fixtures.js";
import { ObservationImage } from "./index.js";

test("image: the leader claim with the highest (lineage, term, CCI) among fresh hosts counts (M6)", () => {
  const image = new ObservationImage();
  const claim = (hostId: string, term: number, lineage = 0): void =>
    image.onReport(info(hostId, 1, { clusterInfo: [replica(1, term, { isLeader: true, term, lineage })] }));
  claim("h1", 4);
  claim("h2", 7);
  claim("h3", 5, 1);
  assert.equal(image.leaderOf(1, () => true)?.hostId, "h3");
  assert.equal(image.leaderOf(1, (h) => h !== "h3")?.hostId, "h2");
  assert.equal(
    image.leaderOf(1, () => false),
    undefined,
  );
  image.onReport(info("h3", 2, { clusterInfo: [replica(1, 5, { isLeader: true, fault: "fenced" })] }));
  assert.equal(image.leaderOf(1, () => true)?.hostId, "h2", "a fenced replica does not lead");
});

test("image: stored replicas come from log info of this start, kept until the next list", () => {
  const image = new ObservationImage();
  assert.equal(image.dataOn("h1", 1), undefined, "not told yet is not the same as nothing");
  image.onReport(info("h1", 1, { logInfoIncluded: true, logInfo: [{ shardId: 1, replicaId: 4 }] }));
  assert.deepEqual(image.dataOn("h1", 1), [4]);
  assert.deepEqual(
    image.replicasOf(1).map((r) => [r.replicaId, r.info]),
    [[4, undefined]],
  );
  image.onReport(info("h1", 2, { clusterInfo: [replica(2, 9)] }));
  assert.deepEqual(image.dataOn("h1", 1), [4]);
  assert.deepEqual(image.dataOn("h1", 2), [9], "loaded since the list");
  assert.equal(image.replicasOf(2).length, 1);
  image.onReport(info("h1", 3));
  assert.deepEqual(
    image.replicasOf(2).map((r) => r.info),
    [undefined],
    "stopped, data still there",
  );
  image.onReport(info("h1", 1, { incarnation: { counter: 2, nonce: "x" } }));
  assert.equal(image.dataOn("h1", 1), undefined, "a new start must list again");
  image.onReport(info("h1", 2, { incarnation: { counter: 2, nonce: "x" }, logInfoIncluded: true }));
  assert.deepEqual(image.dataOn("h1", 1), []);
  assert.deepEqual(image.replicasOf(1), []);
  assert.equal(image.highestReplicaId, 9);
});
