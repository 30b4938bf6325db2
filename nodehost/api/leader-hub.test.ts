/** Leadership streams: current state first, then changes; slow readers see only the latest; they always end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LeaderUpdate } from "../engine/index.js";
import { LeaderHub } from "./leader-hub.js";

function update(shardId: number, leaderId: number, term = leaderId): LeaderUpdate {
  return { shardId, replicaId: 1, leaderId, term };
}

test("the current state comes first, then changes", async () => {
  const hub = new LeaderHub();
  hub.publish(update(1, 5));
  hub.publish(update(2, 6));
  const updates = hub.subscribe(undefined)[Symbol.asyncIterator]();
  assert.deepEqual((await updates.next()).value, update(1, 5));
  assert.deepEqual((await updates.next()).value, update(2, 6));
  const waiting = updates.next();
  hub.publish(update(1, 7));
  assert.deepEqual(await waiting, { done: false, value: update(1, 7) });
});

test("a subscriber of one shard hears of that shard only", async () => {
  const hub = new LeaderHub();
  hub.publish(update(1, 5));
  const updates = hub.subscribe(2)[Symbol.asyncIterator]();
  const waiting = updates.next();
  hub.publish(update(1, 6));
  hub.publish(update(2, 9));
  assert.deepEqual((await waiting).value, update(2, 9));
});

test("only the latest state of a shard waits for a slow reader: nothing piles up", async () => {
  const hub = new LeaderHub();
  const updates = hub.subscribe(undefined)[Symbol.asyncIterator]();
  for (let term = 1; term <= 1_000; term++) hub.publish(update(1, term));
  assert.deepEqual((await updates.next()).value, update(1, 1_000));
  hub.close();
  assert.equal((await updates.next()).done, true);
});

test("leaving the loop ends the subscription; several waiting readers all get an answer", async () => {
  const hub = new LeaderHub();
  hub.publish(update(1, 5));
  for await (const found of hub.subscribe(1)) {
    assert.deepEqual(found, update(1, 5));
    break;
  }
  const updates = hub.subscribe(3)[Symbol.asyncIterator]();
  const first = updates.next();
  const second = updates.next();
  hub.publish(update(3, 1));
  assert.deepEqual((await first).value, update(3, 1));
  await updates.return?.();
  assert.equal((await second).done, true);
  hub.publish(update(3, 2));
  assert.equal((await updates.next()).done, true);
});

test("close ends what waits, and what is subscribed afterwards", async () => {
  const hub = new LeaderHub();
  const waiting = hub.subscribe(undefined)[Symbol.asyncIterator]().next();
  hub.close();
  assert.equal((await waiting).done, true);
  assert.equal((await hub.subscribe(undefined)[Symbol.asyncIterator]().next()).done, true);
});

test("a shard that was forgotten is not told to later subscribers", async () => {
  const hub = new LeaderHub();
  hub.publish(update(1, 5));
  hub.publish(update(2, 6));
  hub.forget(1);
  const updates = hub.subscribe(undefined)[Symbol.asyncIterator]();
  assert.deepEqual((await updates.next()).value, update(2, 6));
});
