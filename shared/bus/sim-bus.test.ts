/** Faults of the simulated bus, on virtual time. That it is a Bus at all is shown by the suite in bus.test.ts. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isOpError } from "../errors.js";
import type { Bus } from "./port.js";
import { SimBroker, type SimBrokerOptions } from "./sim-bus.js";
import { VirtualTime } from "./testing/virtual-time.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (payload: Uint8Array): string => new TextDecoder().decode(payload);

async function world(options: Omit<SimBrokerOptions, "env"> = {}, seed = 1) {
  const time = new VirtualTime(seed);
  const broker = new SimBroker({ env: time.env, ...options });
  const [a, b] = [broker.createBus("a"), broker.createBus("b")];
  await time.run(0);
  const got: string[] = [];
  b.subscribe("x", (message) => got.push(text(message.payload)));
  return { time, broker, a, b, got };
}

function publishMany(bus: Bus, count: number): string[] {
  const sent = Array.from({ length: count }, (_, at) => String(at));
  for (const each of sent) bus.publish("x", bytes(each));
  return sent;
}

/** One eventful run, as text. */
async function trace(seed: number): Promise<string> {
  const faults = { lossRate: 0.2, duplicateRate: 0.2, reorderRate: 0.2, minDelayMs: 1, maxDelayMs: 20 };
  const { time, broker, a, b, got } = await world({ faults }, seed);
  const events: string[] = [];
  for (const bus of [a, b]) bus.onStatus((status) => events.push(`${time.env.now()} ${JSON.stringify(status)}`));
  b.subscribe("q", (message) => message.respond?.(message.payload));
  for (let round = 0; round < 30; round++) {
    if (round === 10) broker.down();
    if (round === 12) broker.up();
    if (round === 20) broker.cut("b", { noticedAfterMs: 30 });
    if (round === 25) broker.heal("b");
    try {
      a.publish("x", bytes(String(round)));
    } catch (error) {
      events.push(isOpError(error) ? error.code : "?");
    }
    a.request("q", bytes(String(round)), { timeoutMs: 50 }).then(
      (answer) => events.push(`${time.env.now()} answer ${text(answer)}`),
      (error) => events.push(`${time.env.now()} ${isOpError(error) ? error.code : "?"}`),
    );
    await time.run(100);
  }
  await Promise.all([a.close(), b.close()]);
  return JSON.stringify([events, got, broker.stats()]);
}

describe("simulated bus", () => {
  it("the same seed gives the same run, another seed another", async () => {
    const runs = [await trace(7), await trace(7), await trace(8)];
    assert.equal(runs[0], runs[1]);
    assert.notEqual(runs[0], runs[2]);
    for (const word of ["answer", "DL_ERR_TIMEOUT", "DL_ERR_BUS_LOST"]) assert.ok(runs[0]?.includes(word), word);
  });

  it("delay keeps the order between two buses; reordering does not", async () => {
    const { time, broker, a, got } = await world({ faults: { minDelayMs: 1, maxDelayMs: 50 } });
    const sent = publishMany(a, 100);
    assert.deepEqual(got, []);
    await time.run(50);
    assert.deepEqual(got, sent);
    broker.setFaults({ reorderRate: 1 });
    publishMany(a, 100);
    await time.run(50);
    const later = got.slice(100);
    assert.notDeepEqual(later, sent);
    assert.deepEqual(
      later.sort((x, y) => Number(x) - Number(y)),
      sent,
    );
  });

  it("loss and repetition follow their rates and are counted", async () => {
    const { time, broker, a, got } = await world({ faults: { lossRate: 1 } });
    publishMany(a, 10);
    await time.run(1);
    assert.deepEqual(got, []);
    broker.setFaults({ lossRate: 0, duplicateRate: 1 });
    publishMany(a, 10);
    await time.run(1);
    assert.equal(got.length, 20);
    assert.deepEqual(broker.stats(), { published: 20, delivered: 20, lost: 10, duplicated: 10 });
    broker.setFaults({ lossRate: 0.5, duplicateRate: 0 });
    publishMany(a, 1000);
    await time.run(1);
    assert.ok(got.length > 20 + 400 && got.length < 20 + 600, String(got.length));
  });

  it("P56: a large payload survives repetition and reordering of its parts, and is lost with one of them", async () => {
    const faults = { duplicateRate: 0.5, reorderRate: 1, minDelayMs: 0, maxDelayMs: 20 };
    const { time, broker, a, b, got } = await world({ frameBytesMax: 100, faults });
    const large = "l".repeat(5000);
    a.publish("x", bytes(large));
    await time.run(30);
    assert.deepEqual(got, [large]);
    assert.equal(b.status().lost, 0);
    broker.setFaults({ lossRate: 0.3 });
    a.publish("x", bytes(large));
    broker.setFaults({ lossRate: 0 });
    await time.run(30_000);
    assert.equal(got.length, 1);
    assert.equal(b.status().lost, 1);
  });

  it("a bus that is cut off: others go on, it notices when told to, and comes back", async () => {
    const { time, broker, a, b, got } = await world();
    broker.cut("b", { noticedAfterMs: 5000 });
    const asked = assert.rejects(b.request("x", bytes("?"), { timeoutMs: 100 }), { code: "DL_ERR_TIMEOUT" });
    a.publish("x", bytes("lost"));
    await time.run(4999);
    await asked;
    assert.equal(b.status().connected, true);
    await time.run(1);
    assert.equal(b.status().connected, false);
    assert.equal(a.status().connected, true);
    broker.heal("b");
    await time.run(199);
    assert.equal(b.status().connected, false);
    await time.run(2000);
    assert.deepEqual(b.status(), { connected: true, connects: 2, lost: 1 });
    a.publish("x", bytes("heard"));
    await time.run(1);
    assert.deepEqual(got, ["heard"]);
  });

  it("healed before it noticed, a bus goes on with the same connection", async () => {
    const { time, broker, a, b, got } = await world();
    broker.cut("b", { noticedAfterMs: 5000 });
    await time.run(100);
    broker.heal("b");
    a.publish("x", bytes("heard"));
    await time.run(10_000);
    assert.deepEqual(got, ["heard"]);
    assert.deepEqual(b.status(), { connected: true, connects: 1, lost: 0 });
  });

  it("what is under way when the broker goes down does not arrive afterwards", async () => {
    const { time, broker, a, got } = await world({ faults: { minDelayMs: 5000, maxDelayMs: 5000 } });
    a.publish("x", bytes("stale"));
    broker.down();
    broker.up();
    await time.run(20_000);
    assert.equal(a.status().connected, true);
    assert.deepEqual(got, []);
  });

  it("reconnects spread, and a name is free again after close", async () => {
    const time = new VirtualTime(3);
    const broker = new SimBroker({ env: time.env });
    const buses = Array.from({ length: 20 }, (_, at) => broker.createBus(String(at)));
    await time.run(0);
    const backAt = new Set<number>();
    for (const bus of buses) bus.onStatus((status) => status.connected && backAt.add(time.env.now()));
    broker.down();
    broker.up();
    await time.run(2000);
    assert.equal(backAt.size, 20);
    assert.ok([...backAt].every((at) => at >= 200 && at <= 2000));
    assert.throws(() => broker.createBus("0"), { code: "DL_ERR_INVALID_ARGUMENT" });
    await buses[0]?.close();
    const again = broker.createBus("0");
    await time.run(0);
    assert.equal(again.status().connected, true);
  });
});
