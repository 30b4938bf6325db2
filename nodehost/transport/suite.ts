/**
 * Conformance suite of the Transport port, run on TCP and on the simulated network. Parts of it are in suite-*.ts.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EntryBlock } from "../../shared/codec/block.js";
import type { Env } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import { MessageType, type WireMessage } from "../../shared/types/message.js";
import type { DetailedStats } from "./core.js";
import type { TransportLimits } from "./limits.js";
import type { Hello, Transport } from "./port.js";
import { codeIs, MemoryBook, numbered, numberOf, Recorder, sampleBlock, sampleMessages } from "./suite-kit.js";
import { registerPulseTests } from "./suite-pulse.js";
import { registerSnapshotTests } from "./suite-snapshot.js";
import { registerVersionTests } from "./suite-versions.js";
import type { TcpTransportOptions } from "./tcp-transport.js";

/** A transport whose details can be asked for. */
export interface TestedTransport extends Transport {
  stats(): DetailedStats;
}

/** One implementation under test. */
export interface TransportHarness {
  readonly env: Env;
  create(options: Omit<TcpTransportOptions, "env">): TestedTransport;
  /** Sends bytes as `from` on a connection that `to` has accepted. */
  inject(from: Hello, to: string, bytes: Uint8Array): Promise<void>;
}

export interface HostOptions {
  readonly host: number;
  readonly deploymentId?: number;
  readonly incarnation?: number;
  /** Lowest and highest. */
  readonly wireVersions?: readonly [number, number];
  readonly listenAddress?: string;
  readonly limits?: Partial<TransportLimits>;
}

export interface TestHost {
  readonly transport: TestedTransport;
  readonly recorder: Recorder;
  readonly hello: Hello;
  readonly hostId: string;
  readonly address: string;
}

/** The hosts of one test, closed at its end. */
export class Cluster {
  readonly harness: TransportHarness;
  readonly book = new MemoryBook();
  readonly #transports: Transport[] = [];

  constructor(harness: TransportHarness) {
    this.harness = harness;
  }

  async host(options: HostOptions): Promise<TestHost> {
    const [wireVersionMin, wireVersionMax] = options.wireVersions ?? [1, 2];
    const digits = String(options.host).padStart(12, "0");
    const local = {
      wireVersionMin,
      wireVersionMax,
      deploymentId: options.deploymentId ?? 77,
      hostId: `00000000-0000-4000-8000-${digits}`,
      dataSetId: `11111111-0000-4000-8000-${digits}`,
      incarnation: { counter: options.incarnation ?? 1, nonce: "00112233445566ff" },
      recoveredWalSequence: 40 + options.host,
    };
    const transport = this.harness.create({
      listenAddress: options.listenAddress ?? "127.0.0.1:0",
      hello: () => local,
      addressBook: this.book,
      durableSequence: () => 1000 + options.host,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    this.#transports.push(transport);
    const recorder = new Recorder();
    const { raftAddress } = await transport.start(recorder);
    this.book.addresses.set(local.hostId, raftAddress);
    return { transport, recorder, hello: { ...local, raftAddress }, hostId: local.hostId, address: raftAddress };
  }

  send(from: TestHost, target: string, ...messages: WireMessage[]): void {
    for (const message of messages) from.transport.send(target, message);
    from.transport.flush();
  }

  delay(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.harness.env.timers.after(ms, resolve);
      // Env timers do not keep a process alive, but this test must go on.
      const keep = setInterval(() => {}, 1000);
      this.harness.env.timers.after(ms, () => clearInterval(keep));
    });
  }

  /** Sends again and again, as replicas do, until the condition holds. */
  async sendUntil(from: TestHost, target: string, met: () => boolean): Promise<void> {
    while (!met()) {
      this.send(from, target, numbered(1));
      await this.delay(20);
    }
  }

  async close(): Promise<void> {
    for (const transport of this.#transports) await transport.close();
  }
}

/** Runs one test body on a fresh cluster. */
export type ClusterTest = (name: string, body: (cluster: Cluster) => Promise<void>) => void;

export function transportSuite(name: string, make: () => TransportHarness): void {
  const clusterTest: ClusterTest = (title, body) => {
    test(title, async () => {
      const cluster = new Cluster(make());
      try {
        await body(cluster);
      } finally {
        await cluster.close();
      }
    });
  };
  describe(`transport suite: ${name}`, () => {
    registerHandshakeTests(clusterTest);
    registerMessageTests(clusterTest);
    registerFailureTests(clusterTest);
    registerBadPeerTests(clusterTest);
    registerSnapshotTests(clusterTest);
    registerVersionTests(clusterTest);
    registerPulseTests(clusterTest);
  });
}

function registerHandshakeTests(clusterTest: ClusterTest): void {
  clusterTest("both sides see each other's hello with the real address", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    c.book.addresses.delete(a.hostId);
    c.send(a, b.hostId, numbered(1));
    await b.recorder.until(() => b.recorder.received.length === 1);
    assert.deepEqual(b.recorder.hellos, [a.hello]);
    assert.deepEqual(a.recorder.hellos, [b.hello]);
    assert.deepEqual(b.recorder.received[0]?.from, a.hello);
    assert.equal(b.recorder.received[0]?.durableSequence, 1001);
    assert.equal(c.book.addresses.get(a.hostId), a.address, "the handshake feeds the address book");
    assert.notEqual(a.address.split(":")[1], "0");
  });

  clusterTest("another deployment is refused, typed on both sides", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2, deploymentId: 78 });
    c.send(a, b.hostId, numbered(1));
    await a.recorder.until(() => a.recorder.refused.length === 1 && a.recorder.unreachable.length === 1);
    await b.recorder.until(() => b.recorder.refused.length === 1);
    assert.equal(a.recorder.refused[0]?.code, "DL_ERR_DEPLOYMENT_MISMATCH");
    assert.equal(a.recorder.refused[0]?.peer, b.hostId);
    assert.equal(b.recorder.refused[0]?.code, "DL_ERR_DEPLOYMENT_MISMATCH");
    assert.equal(b.recorder.refused[0]?.peer, a.hostId);
    assert.equal(b.recorder.received.length, 0);
    assert.equal(b.transport.stats().refusedConnections, 1);
  });

  clusterTest("what onHello throws travels to the other side (accepting side)", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    b.recorder.judge = () => {
      throw new OpError("DL_ERR_DATA_STALE", "sequence 41, seen 50");
    };
    c.send(a, b.hostId, numbered(1));
    await a.recorder.until(() => a.recorder.refused.length === 1 && a.recorder.unreachable.length === 1);
    assert.deepEqual(a.recorder.refused, [{ peer: b.hostId, code: "DL_ERR_DATA_STALE", byPeer: true }]);
    assert.equal(b.recorder.received.length, 0);
    assert.equal(a.transport.stats().messagesDropped, 1);
  });

  clusterTest("what onHello throws travels to the other side (connecting side)", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    a.recorder.judge = () => {
      throw new OpError("DL_ERR_HOST_CLONED", "two nonces");
    };
    c.send(a, b.hostId, numbered(1));
    await b.recorder.until(() => b.recorder.refused.length === 1);
    await a.recorder.until(() => a.recorder.refused.length === 1);
    assert.deepEqual(b.recorder.refused, [{ peer: a.hostId, code: "DL_ERR_HOST_CLONED", byPeer: true }]);
    assert.deepEqual(a.recorder.refused, [{ peer: b.hostId, code: "DL_ERR_HOST_CLONED", byPeer: false }]);
    assert.equal(b.recorder.received.length, 0);
  });

  clusterTest("P58: another host at the expected address gets nothing", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const expected = "00000000-0000-4000-8000-000000000009";
    c.book.addresses.set(expected, b.address);
    c.send(a, expected, numbered(1));
    await a.recorder.until(() => a.recorder.unreachable.length === 1);
    assert.deepEqual(a.recorder.unreachable, [expected]);
    assert.equal(b.recorder.received.length, 0);
  });
}

function registerMessageTests(clusterTest: ClusterTest): void {
  clusterTest("messages of every type arrive equal and in order", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    // Only an open connection knows that the peer reads all of them.
    await c.sendUntil(a, b.address, () => b.recorder.received.length > 0);
    const messages = sampleMessages();
    c.send(a, b.address, ...messages);
    const arrived = (): WireMessage[] => b.recorder.received.map((r) => r.message).filter((m) => numberOf(m) !== 1);
    await b.recorder.until(() => arrived().length === messages.length);
    assert.deepEqual(arrived(), messages);
    assert.equal(a.transport.stats().messagesSent, b.recorder.received.length);
    assert.equal(b.transport.stats().messagesReceived, b.recorder.received.length);
  });

  clusterTest("order holds over many flushes on one connection, in both directions at once", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const count = 20_000;
    for (let i = 0; i < count; i++) {
      a.transport.send(b.hostId, numbered(i));
      b.transport.send(a.hostId, numbered(i));
      if (i % 100 === 99) {
        a.transport.flush();
        b.transport.flush();
      }
      if (i % 2000 === 1999) await c.delay(1);
    }
    await b.recorder.until(() => b.recorder.received.length === count);
    await a.recorder.until(() => a.recorder.received.length === count);
    const expected = Array.from({ length: count }, (_, i) => i);
    assert.deepEqual(b.recorder.numbers, expected);
    assert.deepEqual(a.recorder.numbers, expected);
  });

  clusterTest("large blocks pass through byte for byte", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const head = { type: MessageType.Replicate, shardId: 5, from: 1, to: 2, term: 3, lineage: 0 } as const;
    const sent: WireMessage[] = [];
    for (let i = 0; i < 4; i++) {
      const block = sampleBlock({ shardId: 5, firstIndex: i * 4 + 1, term: 3, count: 4, cmdBytes: 512 * 1024 });
      sent.push({ ...head, prevIndex: i * 4, prevTerm: i === 0 ? 0 : 3, commit: 0, blocks: [block] });
      sent.push({ ...head, type: MessageType.Heartbeat, commit: 0, round: i });
    }
    c.send(a, b.hostId, ...sent.slice(0, 2));
    await b.recorder.until(() => b.recorder.received.length === 2);
    c.send(a, b.hostId, ...sent.slice(2));
    await b.recorder.until(() => b.recorder.received.length === sent.length);
    for (const [i, message] of sent.entries()) {
      const got = b.recorder.received[i]?.message;
      if (message.type !== MessageType.Replicate || got?.type !== MessageType.Replicate) {
        assert.deepEqual(got, message);
        continue;
      }
      const [bytes, expected] = [got.blocks[0]?.bytes, message.blocks[0]?.bytes];
      assert.ok(bytes !== undefined && expected !== undefined && Buffer.compare(bytes, expected) === 0);
    }
  });

  clusterTest("nothing leaves before flush", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    c.send(a, b.hostId, numbered(1));
    await b.recorder.until(() => b.recorder.received.length === 1);
    a.transport.send(b.hostId, numbered(2));
    await c.delay(20);
    assert.deepEqual(b.recorder.numbers, [1]);
    a.transport.flush();
    await b.recorder.until(() => b.recorder.received.length === 2);
  });
}

function registerFailureTests(clusterTest: ClusterTest): void {
  clusterTest("a peer that restarts is reached again, and told apart by its incarnation", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    c.send(a, b.hostId, numbered(1));
    await b.recorder.until(() => b.recorder.received.length === 1);
    await b.transport.close();
    await c.sendUntil(a, b.hostId, () => a.recorder.unreachable.length > 0);
    const again = await c.host({ host: 2, incarnation: 2, listenAddress: b.address });
    await c.sendUntil(a, b.hostId, () => again.recorder.received.length > 0);
    assert.equal(again.address, b.address);
    assert.equal(a.recorder.hellos.at(-1)?.incarnation.counter, 2);
    assert.equal(b.recorder.received.length, 1);
  });

  clusterTest("unreachable targets are reported and their messages dropped, send never throws", async (c) => {
    const a = await c.host({ host: 1 });
    const gone = await c.host({ host: 2 });
    await gone.transport.close();
    const unknown = "00000000-0000-4000-8000-000000000099";
    for (const target of [unknown, gone.address, "not an address:x"]) {
      c.send(a, target, numbered(1), numbered(2));
      await a.recorder.until(() => a.recorder.unreachable.includes(target));
      await c.delay(5);
      assert.equal(a.recorder.unreachable.filter((t) => t === target).length, 1, "once per failure");
    }
    assert.equal(a.transport.stats().messagesDropped, 6);
    assert.equal(a.transport.stats().messagesSent, 0);
  });

  clusterTest("an address that changes is followed", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    c.send(a, b.hostId, numbered(1));
    await b.recorder.until(() => b.recorder.received.length === 1);
    const moved = await c.host({ host: 2, incarnation: 2 });
    assert.notEqual(moved.address, b.address);
    await c.sendUntil(a, b.hostId, () => moved.recorder.received.length > 0);
  });

  clusterTest("after close nothing is delivered and calls are harmless", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    let closing: Promise<void> | undefined;
    b.recorder.afterMessages = () => {
      closing ??= b.transport.close();
    };
    for (let i = 0; i < 50; i++) c.send(a, b.hostId, numbered(i));
    await b.recorder.until(() => closing !== undefined);
    await closing;
    const seen = { received: b.recorder.received.length, unreachable: b.recorder.unreachable.length };
    await c.sendUntil(a, b.hostId, () => a.recorder.unreachable.length > 0);
    c.send(b, a.hostId, numbered(1));
    await c.delay(50);
    assert.deepEqual({ received: b.recorder.received.length, unreachable: b.recorder.unreachable.length }, seen);
    assert.equal(a.recorder.received.length, 0);
    await b.transport.close();
  });

  clusterTest("an address in use and an address of no form are typed errors", async (c) => {
    const a = await c.host({ host: 1 });
    await assert.rejects(c.host({ host: 2, listenAddress: a.address }), codeIs("DL_ERR_ADDRESS_IN_USE"));
    for (const listenAddress of ["nonsense", "127.0.0.1:70000", "127.0.0.1:", ":1", "a b:1"]) {
      await assert.rejects(c.host({ host: 2, listenAddress }), codeIs("DL_ERR_INVALID_ADDRESS"));
    }
  });
}

function registerBadPeerTests(clusterTest: ClusterTest): void {
  clusterTest("a bad block drops its whole frame and breaks the connection, typed on both sides", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const good = sampleBlock({ shardId: 5, firstIndex: 1, term: 3, count: 1, cmdBytes: 10 });
    const bytes = good.bytes.slice();
    bytes[bytes.length - 1] = 0xee;
    const bad = new EntryBlock(bytes, 3, false, { index: 1, count: 1 }, { first: 1, last: 1 });
    const head = { type: MessageType.Replicate, shardId: 5, from: 1, to: 2, term: 3, lineage: 0 } as const;
    const message: WireMessage = { ...head, prevIndex: 0, prevTerm: 0, commit: 0, blocks: [bad] };
    c.send(a, b.hostId, numbered(1), message, numbered(2));
    await a.recorder.until(() => a.recorder.refused.length === 1 && a.recorder.unreachable.length === 1);
    await b.recorder.until(() => b.recorder.refused.length === 1);
    assert.deepEqual(a.recorder.refused, [{ peer: b.hostId, code: "DL_ERR_MALFORMED", byPeer: true }]);
    assert.deepEqual(b.recorder.refused, [{ peer: a.hostId, code: "DL_ERR_MALFORMED", byPeer: false }]);
    assert.equal(b.recorder.received.length, 0);
    assert.equal(b.transport.stats().malformedFrames, 1);
    await c.sendUntil(a, b.hostId, () => b.recorder.received.length > 0);
  });

  clusterTest("malformed bytes from one peer do not hurt the others", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const bad = await c.host({ host: 3 });
    c.send(a, b.hostId, numbered(1));
    await b.recorder.until(() => b.recorder.received.length === 1);
    for (let i = 0; i < 10; i++) {
      await c.harness.inject(bad.hello, b.address, new Uint8Array(100).fill(i * 25));
      c.send(a, b.hostId, numbered(2 + i));
    }
    await b.recorder.until(() => b.recorder.received.length === 11 && b.transport.stats().malformedFrames === 10);
    assert.deepEqual(b.recorder.numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert.equal(a.recorder.unreachable.length, 0);
  });
}
