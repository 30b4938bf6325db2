/** The simulated network: conformance, faults, and the same history for the same seed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "../../shared/codec/crc32.js";
import { SimNetwork } from "./sim-network.js";
import type { SimKnobs } from "./sim-world.js";
import { Cluster, type TransportHarness, transportSuite } from "./suite.js";
import { numbered, virtualEnv } from "./suite-kit.js";

class SimHarness implements TransportHarness {
  readonly env = virtualEnv(1);
  readonly network: SimNetwork;
  hash = 0;

  constructor(knobs: Partial<SimKnobs> = {}, seed = 1) {
    this.env = virtualEnv(seed);
    const onDelivery = (from: string, to: string, bytes: Uint8Array): void => {
      this.hash = crc32(Buffer.from(`${from}>${to}@${this.env.now()}`), crc32(bytes, this.hash));
    };
    this.network = new SimNetwork({ env: this.env, knobs, onDelivery });
  }

  create(options: Parameters<TransportHarness["create"]>[0]): ReturnType<SimNetwork["createTransport"]> {
    return this.network.createTransport(options);
  }

  async inject(from: { readonly raftAddress: string }, to: string, bytes: Uint8Array): Promise<void> {
    this.network.inject(from.raftAddress, to, bytes);
  }
}

transportSuite("simulated", () => new SimHarness());

async function run(
  knobs: Partial<SimKnobs>,
  seed: number,
): Promise<{ readonly numbers: number[]; readonly hash: number }> {
  const harness = new SimHarness(knobs, seed);
  const c = new Cluster(harness);
  const a = await c.host({ host: 1 });
  const b = await c.host({ host: 2 });
  for (let i = 0; i < 200; i++) {
    c.send(a, b.hostId, numbered(2 * i), numbered(2 * i + 1));
    await c.delay(1);
  }
  await c.delay(100);
  await c.close();
  return { numbers: b.recorder.numbers, hash: harness.hash };
}

test("one seed gives one history, another seed another", async () => {
  const knobs = { dropRate: 0.1, duplicateRate: 0.1, reorderRate: 0.1, splitRate: 0.5 };
  const first = await run(knobs, 7);
  assert.deepEqual(await run(knobs, 7), first);
  assert.notEqual((await run(knobs, 8)).hash, first.hash);
});

test("knobs lose, repeat and overtake; without them nothing is", async () => {
  const expected = Array.from({ length: 400 }, (_, i) => i);
  assert.deepEqual((await run({}, 3)).numbers, expected);
  const lossy = (await run({ dropRate: 0.3 }, 3)).numbers;
  assert.ok(lossy.length > 100 && lossy.length < 400);
  assert.deepEqual(
    lossy,
    [...lossy].sort((x, y) => x - y),
  );
  const repeated = (await run({ duplicateRate: 0.3 }, 3)).numbers;
  assert.ok(repeated.length > 400);
  assert.equal(new Set(repeated).size, 400);
  const overtaken = (await run({ reorderRate: 0.3 }, 3)).numbers;
  assert.equal(overtaken.length, 400);
  assert.notDeepEqual(overtaken, expected);
});

test("partitions cut one way or both, and heal", async () => {
  const harness = new SimHarness();
  const c = new Cluster(harness);
  const a = await c.host({ host: 1 });
  const b = await c.host({ host: 2 });
  c.send(a, b.hostId, numbered(0));
  c.send(b, a.hostId, numbered(0));
  await b.recorder.until(() => b.recorder.received.length === 1);
  await a.recorder.until(() => a.recorder.received.length === 1);
  harness.network.block(a.address, b.address);
  await c.sendUntil(a, b.hostId, () => a.recorder.unreachable.length > 0);
  await c.sendUntil(b, a.hostId, () => a.recorder.received.length > 2);
  assert.equal(b.recorder.received.length, 1, "nothing passes the block");
  assert.equal(b.recorder.unreachable.length, 0, "the way back is open");
  harness.network.partition([a.address], [b.address]);
  await c.sendUntil(b, a.hostId, () => b.recorder.unreachable.length > 0);
  harness.network.heal();
  await c.sendUntil(a, b.hostId, () => b.recorder.received.length > 1);
  await c.close();
});
