/** The snapshot lane's part of the conformance suite. */
import assert from "node:assert/strict";
import { isOpError, OpError } from "../../shared/errors.js";
import type { SnapshotHeader } from "./port.js";
import type { ClusterTest } from "./suite.js";
import { codeIs, sampleHeader } from "./suite-kit.js";

const CHUNK = 64 * 1024;

/** A promise with its handles outside. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

async function* source(chunks: number, seen: { produced: number; returned: boolean }): AsyncGenerator<Uint8Array> {
  try {
    for (let i = 0; i < chunks; i++) {
      seen.produced += 1;
      yield new Uint8Array(CHUNK).fill(i & 0xff);
    }
  } finally {
    seen.returned = true;
  }
}

function fresh(): { produced: number; returned: boolean } {
  return { produced: 0, returned: false };
}

/** Never settles. */
function endless(): Promise<void> {
  return new Promise(() => {});
}

export function registerSnapshotTests(clusterTest: ClusterTest): void {
  registerTransferTests(clusterTest);
  registerBreakTests(clusterTest);
  registerEndTests(clusterTest);
  registerBoundTests(clusterTest);
}

function registerTransferTests(clusterTest: ClusterTest): void {
  clusterTest("a snapshot arrives whole, with its header, and is acknowledged after it is stored", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    let header: SnapshotHeader | undefined;
    const parts: Uint8Array[] = [];
    let stored = false;
    b.recorder.store = async (from, h, chunks) => {
      assert.equal(from.hostId, a.hostId);
      header = h;
      for await (const chunk of chunks) parts.push(chunk.slice());
      await c.delay(5);
      stored = true;
    };
    const big = new Uint8Array(700_001).map((_, i) => (i * 7) & 0xff);
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield big.subarray(0, 1);
      yield new Uint8Array(0);
      yield big.subarray(1);
    }
    await a.transport.sendSnapshot(b.hostId, sampleHeader, chunks());
    assert.ok(stored);
    assert.deepEqual(header, sampleHeader);
    assert.equal(Buffer.compare(Buffer.concat(parts), big), 0);
    assert.ok(parts.every((p) => p.length <= 256 * 1024));
    assert.equal(a.transport.stats().snapshotsSent, 1);
    assert.equal(b.transport.stats().snapshotsReceived, 1);
  });

  clusterTest("an empty snapshot is a snapshot", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    await a.transport.sendSnapshot(b.hostId, sampleHeader, source(0, fresh()));
    assert.equal(b.transport.stats().snapshotsReceived, 1);
  });

  clusterTest("a receiver that needs nothing more may accept early", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    b.recorder.store = async () => {};
    const seen = fresh();
    await a.transport.sendSnapshot(b.hostId, sampleHeader, source(2000, seen));
    assert.ok(seen.returned);
    assert.ok(seen.produced < 2000);
  });

  clusterTest("backpressure: the source is read only as fast as the receiver reads", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const seen = fresh();
    const total = 1024;
    let consumed = 0;
    let furthest = 0;
    b.recorder.store = async (_from, _header, chunks) => {
      for await (const _ of chunks) {
        if (consumed < 30) await c.delay(5);
        consumed += 1;
        furthest = Math.max(furthest, seen.produced - consumed);
      }
    };
    await a.transport.sendSnapshot(b.hostId, sampleHeader, source(total, seen));
    assert.equal(consumed, total);
    assert.ok(furthest < total / 2, `the source ran ${furthest} of ${total} chunks ahead`);
  });
}

function registerBreakTests(clusterTest: ClusterTest): void {
  clusterTest("the receiver's error reaches the sender with its code", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    b.recorder.store = async (_from, _header, chunks) => {
      for await (const _ of chunks) throw new OpError("DL_ERR_DISK_FULL", "no room");
    };
    const seen = fresh();
    const sent = a.transport.sendSnapshot(b.hostId, sampleHeader, source(2000, seen));
    await assert.rejects(sent, codeIs("DL_ERR_DISK_FULL"));
    assert.ok(seen.returned);
    assert.equal(b.transport.stats().snapshotsReceived, 0);
  });

  clusterTest("a refused hello refuses the stream with its code", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2, deploymentId: 78 });
    const sent = a.transport.sendSnapshot(b.hostId, sampleHeader, source(1, fresh()));
    await assert.rejects(sent, codeIs("DL_ERR_DEPLOYMENT_MISMATCH"));
  });

  clusterTest("abort: the sender gets DL_ERR_CANCELED, the receiver's reader an error", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const abort = new AbortController();
    const broken = gate();
    let error: unknown;
    b.recorder.store = async (_from, _header, chunks) => {
      try {
        for await (const _ of chunks) abort.abort();
      } catch (e) {
        error = e;
        broken.open();
        throw e;
      }
    };
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      await endless();
    }
    const sent = a.transport.sendSnapshot(b.hostId, sampleHeader, slow(), abort.signal);
    await assert.rejects(sent, codeIs("DL_ERR_CANCELED"));
    await broken.opened;
    assert.ok(isOpError(error));
    const again = a.transport.sendSnapshot(b.hostId, sampleHeader, source(1, fresh()), abort.signal);
    await assert.rejects(again, codeIs("DL_ERR_CANCELED"));
  });
}

function registerEndTests(clusterTest: ClusterTest): void {
  clusterTest("a source that fails ends the stream on both sides", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const broken = gate();
    b.recorder.store = async (_from, _header, chunks) => {
      try {
        for await (const _ of chunks);
      } catch (e) {
        broken.open();
        throw e;
      }
    };
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      throw new Error("disk gone");
    }
    await assert.rejects(a.transport.sendSnapshot(b.hostId, sampleHeader, failing()), codeIs("DL_ERR_ABORTED"));
    await broken.opened;
    assert.equal(b.transport.stats().snapshotsReceived, 0);
  });

  clusterTest("a host that closes breaks its streams on both sides", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const reading = gate();
    const broken = gate();
    b.recorder.store = async (_from, _header, chunks) => {
      try {
        for await (const _ of chunks) reading.open();
      } catch (e) {
        broken.open();
        throw e;
      }
    };
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      await endless();
    }
    const sent = a.transport.sendSnapshot(b.hostId, sampleHeader, slow());
    const rejected = assert.rejects(sent, codeIs("DL_ERR_UNREACHABLE"));
    await reading.opened;
    await b.transport.close();
    await broken.opened;
    await rejected;
    const closed = assert.rejects(b.transport.sendSnapshot(a.hostId, sampleHeader, slow()), codeIs("DL_ERR_CLOSED"));
    await closed;
    const gone = a.transport.sendSnapshot(b.hostId, sampleHeader, source(1, fresh()));
    await assert.rejects(gone, codeIs("DL_ERR_UNREACHABLE"));
  });
}

function registerBoundTests(clusterTest: ClusterTest): void {
  clusterTest("too many streams are DL_ERR_SYSTEM_BUSY, at the receiver and at the sender", async (c) => {
    const a = await c.host({ host: 1, limits: { snapshotStreamsOutMax: 2 } });
    const b = await c.host({ host: 2, limits: { snapshotStreamsInMax: 1 } });
    const other = await c.host({ host: 3 });
    const begun = gate();
    const release = gate();
    b.recorder.store = async (_from, _header, chunks) => {
      for await (const _ of chunks);
      begun.open();
      await release.opened;
    };
    other.recorder.store = b.recorder.store;
    const first = a.transport.sendSnapshot(b.hostId, sampleHeader, source(1, fresh()));
    await begun.opened;
    const second = a.transport.sendSnapshot(b.hostId, sampleHeader, source(1, fresh()));
    await assert.rejects(second, codeIs("DL_ERR_SYSTEM_BUSY"));
    const third = a.transport.sendSnapshot(other.hostId, sampleHeader, source(1, fresh()));
    const fourth = a.transport.sendSnapshot(other.hostId, sampleHeader, source(1, fresh()));
    await assert.rejects(fourth, codeIs("DL_ERR_SYSTEM_BUSY"));
    release.open();
    await first;
    await third;
    await a.transport.sendSnapshot(b.hostId, sampleHeader, source(1, fresh()));
    assert.equal(b.transport.stats().snapshotsReceived, 2);
  });

  clusterTest("P56: messages go on while a snapshot streams", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2 });
    const release = gate();
    b.recorder.store = async (_from, _header, chunks) => {
      await release.opened;
      for await (const _ of chunks);
    };
    const sent = a.transport.sendSnapshot(b.hostId, sampleHeader, source(300, fresh()));
    await c.sendUntil(a, b.hostId, () => b.recorder.received.length > 5);
    release.open();
    await sent;
    assert.equal(b.transport.stats().snapshotsReceived, 1);
  });
}
