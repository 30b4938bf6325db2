/** Beats and pulses between hosts: a part of the conformance suite. */
import assert from "node:assert/strict";
import { ByteWriter } from "../../shared/codec/bytes.js";
import { crc32 } from "../../shared/codec/crc32.js";
import { beginFrame, FrameKind, sealFrame } from "./frame.js";
import type { ClusterTest } from "./suite.js";
import { numbered, samplePulses } from "./suite-kit.js";

export function registerPulseTests(clusterTest: ClusterTest): void {
  registerOrderTests(clusterTest);
  registerLossTests(clusterTest);
}

function registerOrderTests(clusterTest: ClusterTest): void {
  clusterTest("a beat connects and tells the durable sequence, and is no message", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    a.transport.beat(b.hostId);
    a.transport.flush();
    await b.recorder.until(() => b.recorder.beats.length === 1);
    assert.deepEqual(b.recorder.beats, [{ from: a.hello, durableSequence: 1001 }]);
    await a.recorder.until(() => a.recorder.connected.length === 1);
    assert.deepEqual(a.recorder.connected, [{ target: b.hostId, peer: b.hello }]);
    assert.deepEqual(b.recorder.connected, [], "only who made the connection can send on it");
    a.transport.beat(b.hostId);
    c.send(a, b.hostId, numbered(7));
    await b.recorder.until(() => b.recorder.received.length === 1);
    a.transport.beat(b.hostId);
    a.transport.flush();
    await b.recorder.until(() => b.recorder.beats.length === 2);
    assert.equal(a.transport.stats().messagesSent, 1, "a frame with messages is beat enough");
    assert.equal(b.transport.stats().messagesReceived, 1);
  });

  clusterTest("pulses of every form arrive equal, in order with the messages around them", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    await c.sendUntil(a, b.hostId, () => b.recorder.received.length > 0);
    const before = b.recorder.received.length;
    for (const [i, pulse] of samplePulses().entries()) {
      a.transport.send(b.hostId, numbered(10 + i));
      a.transport.pulse(b.hostId, pulse);
    }
    a.transport.send(b.hostId, numbered(99));
    a.transport.flush();
    await b.recorder.until(() => b.recorder.numbers.at(-1) === 99);
    assert.deepEqual(
      b.recorder.pulses.map((p) => p.pulse),
      samplePulses(),
    );
    assert.deepEqual(
      b.recorder.pulses.map((p) => p.after),
      [before + 1, before + 2, before + 3],
    );
    assert.deepEqual(b.recorder.pulses[0]?.from, a.hello);
  });
}

function registerLossTests(clusterTest: ClusterTest): void {
  clusterTest("a pulse alone opens the connection, and is lost until it is open", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const [pulse] = samplePulses();
    assert.ok(pulse !== undefined);
    assert.equal(a.transport.hostAt(b.address), undefined);
    a.transport.pulse(b.address, pulse);
    a.transport.flush();
    while (a.transport.hostAt(b.address) === undefined) await c.delay(5);
    assert.equal(a.transport.hostAt(b.address), b.hostId);
    assert.deepEqual(b.recorder.pulses, []);
    a.transport.pulse(b.address, pulse);
    a.transport.flush();
    await b.recorder.until(() => b.recorder.pulses.length === 1);
    await b.transport.close();
    while (a.transport.hostAt(b.address) !== undefined) {
      a.transport.pulse(b.address, pulse);
      a.transport.flush();
      await c.delay(5);
    }
    await a.recorder.until(() => a.recorder.unreachable.includes(b.address));
  });

  clusterTest("a peer of wire version 1 gets no pulses", async (c) => {
    const old = await c.host({ host: 1, wireVersions: [1, 1] });
    const a = await c.host({ host: 2 });
    await c.sendUntil(a, old.hostId, () => old.recorder.received.length > 0);
    for (const pulse of samplePulses()) a.transport.pulse(old.hostId, pulse);
    c.send(a, old.hostId, numbered(99));
    await old.recorder.until(() => old.recorder.numbers.at(-1) === 99);
    assert.deepEqual(old.recorder.pulses, []);
    assert.equal(old.transport.stats().malformedFrames, 0);
  });

  clusterTest("a malformed pulse breaks the connection and reaches nobody", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    await c.sendUntil(a, b.hostId, () => b.recorder.received.length > 0);
    const w = new ByteWriter();
    const start = beginFrame(w, FrameKind.Pulse);
    w.u8(9);
    sealFrame(w, { start, end: w.length }, 0, crc32);
    await c.harness.inject(a.hello, b.address, w.finish());
    await b.recorder.until(() => b.recorder.refused.length === 1);
    assert.equal(b.recorder.refused[0]?.code, "DL_ERR_MALFORMED");
    assert.deepEqual(b.recorder.pulses, []);
  });
}
