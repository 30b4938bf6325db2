/** The demo's writers against a scripted shard: what is retried, what is not, how gaps are measured. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { OpError, type Outcome } from "../../shared/errors.js";
import { ShardWriter, type Write, type WriterPort } from "./demo-writer.js";

interface Call {
  readonly address: string;
  readonly value: number;
  readonly ack: () => void;
  readonly fail: (outcome: Outcome) => void;
}

/** Time stands still unless moved; every write waits for the test. */
class Script implements WriterPort {
  nowMs = 0;
  hosts: readonly string[] = ["a", "b", "c"];
  readonly calls: Call[] = [];
  pauses = 0;

  route(): readonly string[] {
    return this.hosts;
  }
  append(address: string, _shardId: number, { value }: Write): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (outcome: Outcome): void => reject(new OpError("DL_ERR_TIMEOUT", undefined, { outcome }));
      this.calls.push({ address, value, ack: resolve, fail });
    });
  }
  now(): number {
    return this.nowMs;
  }
  async pause(): Promise<void> {
    this.pauses += 1;
    await turn();
  }
  at(i: number): Call {
    const call = this.calls[i];
    assert.ok(call !== undefined, `call ${i} of ${this.calls.length}`);
    return call;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("the next write starts as soon as one is acknowledged", async () => {
  const script = new Script();
  const writer = new ShardWriter(7, script);
  writer.nudge();
  script.at(0).ack();
  await turn();
  assert.deepEqual(
    script.calls.map((call) => call.value),
    [1, 2],
  );
  assert.deepEqual(writer.ledger.fates[1], { kind: "acked", by: "a" });
  assert.equal(writer.ledger.acked, 1);
});

test("an unknown outcome is counted and never retried: a new value follows", async () => {
  const script = new Script();
  const writer = new ShardWriter(1, script);
  writer.nudge();
  script.at(0).fail("unknown");
  await turn();
  assert.deepEqual(
    script.calls.map((call) => call.value),
    [1, 2],
  );
  assert.deepEqual(writer.ledger.fates[1], { kind: "unknown" });
  assert.equal(writer.ledger.unknown, 1);
});

test("a certain refusal is tried elsewhere at once, with the same value; a whole round of them pauses", async () => {
  const script = new Script();
  const writer = new ShardWriter(1, script);
  writer.nudge();
  script.at(0).fail("rejected");
  await turn();
  script.at(1).fail("rejected");
  await turn();
  assert.equal(script.pauses, 0);
  script.at(2).fail("rejected");
  await turn();
  await turn();
  assert.equal(script.pauses, 1);
  assert.deepEqual(
    script.calls.map((call) => `${call.address}${call.value}`),
    ["a1", "b1", "c1", "a1"],
  );
  assert.equal(writer.ledger.unknown, 0);
  assert.equal(writer.ledger.refusals, 3);
});

test("while a write waits, another one is started each 200 ms, at most 8 at once", () => {
  const script = new Script();
  const writer = new ShardWriter(1, script);
  for (let ms = 0; ms < 5_000; ms += 50) {
    script.nowMs = ms;
    writer.nudge();
  }
  assert.deepEqual(
    script.calls.map((call) => call.value),
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
});

test("a late answer does not start a second loop while a newer write is in flight", async () => {
  const script = new Script();
  const writer = new ShardWriter(1, script);
  writer.nudge();
  script.nowMs = 300;
  writer.nudge();
  script.at(0).fail("unknown");
  await turn();
  assert.equal(script.calls.length, 2);
  script.at(1).ack();
  await turn();
  assert.equal(script.calls.length, 3);
});

test("the gap is the largest time between acknowledgements, silence at the end included", async () => {
  const script = new Script();
  const writer = new ShardWriter(1, script);
  writer.nudge();
  script.nowMs = 40;
  script.at(0).ack();
  await turn();
  script.nowMs = 140;
  script.at(1).ack();
  await turn();
  assert.equal(writer.ledger.maxGapMs, 100);
  script.nowMs = 300;
  const stopped = writer.stop();
  assert.equal(writer.ledger.maxGapMs, 160);
  script.nowMs = 3_000;
  script.at(2).fail("unknown");
  await stopped;
  assert.equal(writer.ledger.maxGapMs, 160);
  assert.equal(script.calls.length, 3);
});

test("a write that was only ever refused when it stops has no effect, and says so", async () => {
  const script = new Script();
  const writer = new ShardWriter(1, script);
  writer.nudge();
  const stopped = writer.stop();
  script.at(0).fail("rejected");
  await stopped;
  assert.deepEqual(writer.ledger.fates[1], { kind: "refused" });
});
