/** TCP: conformance, and what only sockets can do: garbage, half-open, slow readers, lost acknowledgements. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { ByteReader, ByteWriter } from "../../shared/codec/bytes.js";
import { crc32 } from "../../shared/codec/crc32.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { isOpError } from "../../shared/errors.js";
import { parseAddress } from "./address.js";
import { FRAME_HEADER_BYTES, FrameKind, FrameReader } from "./frame.js";
import { Lane, readError, writeAccept, writeHello } from "./hello.js";
import type { Hello } from "./port.js";
import { type Cluster, transportSuite } from "./suite.js";
import { numbered, sampleHeader } from "./suite-kit.js";
import { closeOf, closeRaw, frameOf, greetAs, HandClock, rawServer, TcpHarness, withCluster } from "./tcp-kit.js";
import { TcpTransport } from "./tcp-transport.js";

transportSuite("tcp", () => new TcpHarness());

test("garbage on the port is cut off without an answer and hurts nobody", async () => {
  await withCluster(createRealEnv(), async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const inputs = [
      "GET / HTTP/1.1\r\n\r\n",
      "\x00\x00\x00\x00\x00\x00\x00\x00",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for (const input of [...inputs, "\xff".repeat(100_000)]) {
      const socket = connect(parseAddress(b.address));
      socket.on("error", () => {});
      let answered = 0;
      socket.on("data", (chunk: Buffer) => {
        answered += chunk.length;
      });
      socket.write(Buffer.from(input, "latin1"));
      await closeOf(socket);
      assert.equal(answered, 0);
    }
    assert.equal(b.transport.stats().malformedFrames, 4);
    c.send(a, b.hostId, numbered(1));
    await b.recorder.until(() => b.recorder.received.length === 1);
  });
});

test("a frame out of turn during the handshake breaks the connection", async () => {
  await withCluster(createRealEnv(), async (c) => {
    const b = await c.host({ host: 2 });
    const other = await c.host({ host: 3 });
    const socket = connect(parseAddress(b.address));
    socket.on("error", () => {});
    const w = new ByteWriter();
    writeHello(w, { hello: other.hello, lane: Lane.Messages }, crc32);
    writeHello(w, { hello: other.hello, lane: Lane.Messages }, crc32);
    const refuse = frameOf(socket, FrameKind.Refuse);
    socket.write(w.finish());
    const error = readError(new ByteReader(await refuse, FRAME_HEADER_BYTES));
    assert.equal(error.code, "DL_ERR_MALFORMED");
    socket.destroy();
  });
});

test("a connection that never says hello is closed when its time is over", async () => {
  const clock = new HandClock();
  await withCluster(clock.env, async (c) => {
    const b = await c.host({ host: 2 });
    const socket = connect(parseAddress(b.address));
    socket.on("error", () => {});
    socket.resume();
    await once(socket, "connect");
    const closed = closeOf(socket);
    // The server may not have accepted yet: time goes on until it has.
    const tick = setInterval(() => clock.advance(2000), 5);
    await closed;
    clearInterval(tick);
  });
});

test("a peer that was started again replaces its older life's connection", async () => {
  await withCluster(createRealEnv(), async (c) => {
    const b = await c.host({ host: 2 });
    const peer = { ...b.hello, hostId: "00000000-0000-4000-8000-000000000001", raftAddress: "127.0.0.1:1" };
    const older = await greetAs(peer, b.address, Lane.Messages);
    const same = await greetAs(peer, b.address, Lane.Messages);
    const closed = closeOf(older);
    const sameClosed = closeOf(same);
    await greetAs({ ...peer, incarnation: { ...peer.incarnation, counter: 2 } }, b.address, Lane.Messages);
    await Promise.all([closed, sameClosed]);
    assert.equal(b.transport.stats().connections, 1);
  });
});

test("connections and streams leave nothing behind", async () => {
  await withCluster(createRealEnv(), async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    async function* one(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
    }
    for (let i = 0; i < 20; i++) await a.transport.sendSnapshot(b.hostId, sampleHeader, one());
    assert.equal(a.transport.stats().connections, 0);
    assert.ok(b.transport instanceof TcpTransport);
    while (b.transport.inboundCount > 0) await localReads();
    assert.equal(b.transport.stats().connections, 0);
  });
});

test("half-open: a peer that never answers is unreachable after the connect timeout", async () => {
  const clock = new HandClock();
  const silent = await rawServer(() => {});
  await withCluster(clock.env, async (c) => {
    const a = await c.host({ host: 1 });
    c.send(a, silent.address, numbered(1));
    clock.advance(1999);
    assert.equal(a.recorder.unreachable.length, 0);
    clock.advance(1);
    await a.recorder.until(() => a.recorder.unreachable.length === 1);
    assert.equal(a.transport.stats().messagesDropped, 1);
    c.send(a, silent.address, numbered(2));
    assert.equal(a.transport.stats().messagesDropped, 2, "back-off drops");
    await closeRaw(silent);
  });
});

/** A peer that accepts the handshake and then reads nothing (or says nothing). */
async function mutePeer(hello: Hello, pause: boolean): ReturnType<typeof rawServer> {
  return rawServer((socket) => {
    const onFrame = (kind: number): boolean => {
      if (kind === FrameKind.Hello) {
        const w = new ByteWriter();
        writeHello(w, { hello, lane: Lane.Messages }, crc32);
        writeAccept(w, crc32);
        socket.write(w.finish());
      }
      if (kind === FrameKind.Accept && pause) socket.pause();
      return true;
    };
    const reader = new FrameReader(crc32, { onFrame }, 1 << 26);
    socket.on("data", (chunk: Buffer) => reader.push(chunk));
  });
}

async function connectedTo(
  c: Cluster,
  pause: boolean,
): Promise<{ a: Awaited<ReturnType<Cluster["host"]>>; raw: Awaited<ReturnType<typeof rawServer>> }> {
  const a = await c.host({ host: 1, limits: { sendBufferBytesMax: 4 << 20, reconnectMinMs: 50 } });
  const raw = await mutePeer({ ...a.hello, hostId: "00000000-0000-4000-8000-000000000002" }, pause);
  c.send(a, raw.address, numbered(0));
  const open = (): boolean => a.transport.stats().messagesSent === 1;
  while (!open()) await new Promise((resolve) => setImmediate(resolve));
  return { a, raw };
}

test("P54: a peer that reads nothing fills its buffer, then loses messages, then the connection", async () => {
  const clock = new HandClock();
  await withCluster(clock.env, async (c) => {
    const { a, raw } = await connectedTo(c, true);
    const padding = Array.from({ length: 20_000 }, (_, i) => numbered(i));
    let flushes = 0;
    while (a.transport.stats().messagesDropped === 0) {
      c.send(a, raw.address, ...padding);
      flushes += 1;
      assert.ok(flushes < 1000, "the buffer is bounded");
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(a.recorder.unreachable.length, 0);
    clock.advance(5001);
    // Everything in the buffer is unacknowledged: the next flush with anything to send notices. A full buffer takes
    // no message, so that case is noticed by the send itself.
    c.send(a, raw.address, numbered(1));
    await a.recorder.until(() => a.recorder.unreachable.length === 1);
    assert.equal(a.transport.stats().connections, 0);
    await closeRaw(raw);
  });
});

test("a path that swallows packets is noticed: unacknowledged bytes break the connection", async () => {
  const clock = new HandClock();
  await withCluster(clock.env, async (c) => {
    const { a, raw } = await connectedTo(c, false);
    clock.advance(5000);
    c.send(a, raw.address, numbered(1));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(a.recorder.unreachable.length, 0, "not before the time is over");
    clock.advance(1);
    c.send(a, raw.address, numbered(2));
    await a.recorder.until(() => a.recorder.unreachable.length === 1);
    clock.advance(1000);
    c.send(a, raw.address, numbered(3));
    while (raw.sockets.length < 2) await once(raw.server, "connection");
    await closeRaw(raw);
  });
});

test("a live peer acknowledges, so that idle times never break a connection", async () => {
  const clock = new HandClock();
  await withCluster(clock.env, async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    for (let i = 1; i <= 5; i++) {
      c.send(a, b.hostId, numbered(i));
      await b.recorder.until(() => b.recorder.received.length === 2 * i - 1);
      c.send(a, b.hostId, numbered(i));
      await b.recorder.until(() => b.recorder.received.length === 2 * i);
      const before = b.transport.stats().bytesSent;
      clock.advance(500);
      assert.equal(b.transport.stats().bytesSent - before, FRAME_HEADER_BYTES, "one acknowledgement for both");
      await localReads();
      clock.advance(60_000);
    }
    assert.equal(a.recorder.unreachable.length, 0);
    assert.equal(a.recorder.hellos.length, 1, "one connection all the time");
  });
});

/** Lets the event loop deliver what is already in local sockets. */
async function localReads(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

test("a snapshot stream that stalls ends with an error on both sides", async () => {
  const clock = new HandClock();
  await withCluster(clock.env, async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    let readerError: unknown;
    const waiting = new Promise<void>((resolve) => {
      b.recorder.store = async (_from, _header, chunks) => {
        const reader = chunks[Symbol.asyncIterator]();
        await reader.next();
        const second = reader.next();
        resolve();
        await second.catch((error: unknown) => {
          readerError = error;
          throw error;
        });
      };
    });
    async function* stuck(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      await new Promise(() => {});
    }
    const sent = a.transport.sendSnapshot(b.hostId, sampleHeader, stuck());
    const rejected = assert.rejects(sent, (error) => isOpError(error) && error.code === "DL_ERR_UNREACHABLE");
    await waiting;
    clock.advance(30_000);
    await rejected;
    assert.ok(isOpError(readerError));
  });
});

test("a receiver that stores for long keeps the sender waiting, not failing", async () => {
  const clock = new HandClock();
  await withCluster(clock.env, async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const storing = new Promise<void>((resolve) => {
      b.recorder.store = async (_from, _header, chunks) => {
        for await (const _ of chunks);
        resolve();
        await held;
      };
    });
    async function* one(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
    }
    const sent = a.transport.sendSnapshot(b.hostId, sampleHeader, one());
    await storing;
    for (let i = 0; i < 10; i++) {
      clock.advance(10_000);
      await localReads();
    }
    release();
    await sent;
  });
});

test("an advertised address replaces the bound one; every interface is no address", async () => {
  const c = new TcpHarness();
  const parts = {
    hello: () => ({
      deploymentId: 1,
      hostId: "00000000-0000-4000-8000-000000000001",
      dataSetId: "00000000-0000-4000-8000-000000000002",
      incarnation: { counter: 1, nonce: "0000000000000000" },
      recoveredWalSequence: 0,
    }),
    addressBook: { resolve: () => undefined, learn() {} },
    durableSequence: () => 0,
  };
  const handler = { onMessages() {}, onPulse() {}, onHello() {}, onUnreachable() {}, onSnapshot: async () => {} };
  const named = c.create({ ...parts, listenAddress: "127.0.0.1:0", advertiseAddress: "localhost:0" });
  const { raftAddress } = await named.start(handler);
  assert.match(raftAddress, /^localhost:[1-9][0-9]*$/);
  await named.close();
  const wild = c.create({ ...parts, listenAddress: "0.0.0.0:0" });
  await assert.rejects(wild.start(handler), (error) => isOpError(error) && error.code === "DL_ERR_INVALID_ADDRESS");
  await wild.close();
});
