/** Messages and frames as bytes: golden bytes, every value survives, and no input but good input gets through. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import { HostMessageType, MessageType, type WireMessage } from "../../shared/types/message.js";
import type { HostPulse } from "../../shared/types/pulse.js";
import { beginFrame, FRAME_HEADER_BYTES, FrameKind, FrameReader, sealFrame } from "./frame.js";
import { GOLDEN_BYTES } from "./golden-bytes.js";
import { Lane, readError, readHello, writeAccept, writeHello, writeRefuse } from "./hello.js";
import { MessageBatch } from "./message-batch.js";
import { MessageDecoder, MessageEncoder } from "./message-codec.js";
import { readPulse, writePulse } from "./pulse-codec.js";
import {
  decodeSnapshotChunk,
  decodeSnapshotEnd,
  decodeSnapshotHeader,
  decodeSnapshotStatus,
  encodeSnapshotChunk,
  encodeSnapshotEnd,
  encodeSnapshotHeader,
  encodeSnapshotStatus,
} from "./snapshot-codec.js";
import { numbered, sampleBlock, sampleHeader, sampleMessages, samplePulses } from "./suite-kit.js";

function encode(message: WireMessage): Uint8Array {
  const w = new ByteWriter();
  new MessageEncoder().write(w, message);
  return w.finish();
}

function decode(bytes: Uint8Array): WireMessage[] {
  return new MessageDecoder(crc32).decode(bytes, 0);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const hello = {
  wireVersionMin: 1,
  wireVersionMax: 1,
  deploymentId: 77,
  hostId: "00112233-4455-6677-8899-aabbccddeeff",
  dataSetId: "ffeeddcc-bbaa-9988-7766-554433221100",
  incarnation: { counter: 3, nonce: "0123456789abcdef" },
  recoveredWalSequence: 4_294_967_297,
  raftAddress: "host-1.example:7500",
};

/** Every frame the product sends, by name. */
function goldenFrames(): Map<string, Uint8Array> {
  const frames = new Map<string, Uint8Array>();
  const types: readonly (readonly [string, WireMessage["type"]])[] = [
    ...Object.entries(MessageType),
    ...Object.entries(HostMessageType),
  ];
  const names = new Map(types.map(([name, type]) => [type, name]));
  for (const message of sampleMessages()) frames.set(names.get(message.type) ?? "?", encode(message));
  const batch = new MessageBatch(new MessageEncoder(), crc32);
  batch.add(numbered(1));
  batch.add(numbered(2));
  frames.set("frame of two messages", batch.take(258));
  for (const pulse of samplePulses()) {
    batch.addPulse(pulse);
    frames.set(`pulse ${pulse.kind}`, batch.take(258));
  }
  const w = new ByteWriter();
  writeHello(w, { lane: Lane.Snapshot, hello }, crc32);
  frames.set("hello", w.finish());
  w.reset();
  writeAccept(w, crc32);
  frames.set("accept", w.finish());
  w.reset();
  writeRefuse(w, new OpError("DL_ERR_DATA_STALE", "sequence 5, seen 9"), crc32);
  frames.set("refuse", w.finish());
  frames.set("snapshot header", encodeSnapshotHeader(sampleHeader, crc32));
  frames.set("snapshot chunk", encodeSnapshotChunk(65_536, new Uint8Array([1, 2, 3]), crc32));
  frames.set("snapshot end", encodeSnapshotEnd(65_539, 0x12345678, crc32));
  frames.set("snapshot stored", encodeSnapshotStatus(undefined, crc32));
  frames.set("snapshot refused", encodeSnapshotStatus(new OpError("DL_ERR_DISK_FULL"), crc32));
  return frames;
}

test("golden bytes of every message and frame", () => {
  const actual = Object.fromEntries([...goldenFrames()].map(([name, bytes]) => [name, hex(bytes)]));
  assert.deepEqual(actual, Object.fromEntries(GOLDEN_BYTES.map(([name, ...lines]) => [name, lines.join("")])));
});

test("every message type survives, alone and in a row", () => {
  const messages = sampleMessages();
  assert.equal(messages.length, Object.keys({ ...MessageType, ...HostMessageType }).length);
  for (const message of messages) assert.deepEqual(decode(encode(message)), [message]);
  const w = new ByteWriter();
  const encoder = new MessageEncoder();
  for (const message of messages) encoder.write(w, message);
  assert.deepEqual(decode(w.finish()), messages);
});

const uint = fc.oneof(
  fc.constantFrom(0, 1, 0xffff, 0x10000, 0xffffffff, 0x100000000, Number.MAX_SAFE_INTEGER),
  fc.maxSafeNat(),
  fc.nat(70_000),
);
const id = uint.map((value) => Math.max(1, value));

test("any integers survive in every compact row", () => {
  const u32 = fc.nat(0xffffffff);
  const row = fc.record({ shardId: uint, from: id, to: id, term: uint, lineage: uint });
  const extras = fc.record({ a: uint, b: uint, c: uint, small: u32, yes: fc.boolean() });
  fc.assert(
    fc.property(row, extras, (head, e) => {
      const key = { replicaId: e.a, incarnation: e.small, sequence: e.c };
      const messages: WireMessage[] = [
        { ...head, type: MessageType.Vote, lastIndex: e.a, lastTerm: e.b, transfer: e.yes },
        { ...head, type: MessageType.PreVoteResp, granted: e.yes },
        { ...head, type: MessageType.ReplicateResp, index: e.a, rejected: e.yes, hintIndex: e.b, hintTerm: e.c },
        { ...head, type: MessageType.Heartbeat, commit: e.a, round: e.b },
        { ...head, type: MessageType.MemoryReport, bytes: e.a },
        { ...head, type: MessageType.Replicate, prevIndex: e.a, prevTerm: e.b, commit: e.c, blocks: [] },
        { ...head, type: MessageType.ReadIndexResp, key, index: e.b },
        { ...head, type: MessageType.ProposeDropped, incarnation: e.small, firstSequence: e.b, count: e.c },
      ];
      for (const message of messages) assert.deepEqual(decode(encode(message)), [message]);
    }),
    { numRuns: 300 },
  );
});

test("a heartbeat of an ordinary shard takes at most 20 bytes", () => {
  const head = { shardId: 40_000, from: 3, to: 2, term: 900, lineage: 0 };
  assert.ok(encode({ ...head, type: MessageType.Heartbeat, commit: 1_000_000, round: 0 }).length <= 20);
});

test("pulses with another number of rows than they say, or more bytes, are malformed", () => {
  const bytesOf = (pulse: HostPulse): Uint8Array => {
    const w = new ByteWriter();
    writePulse(w, pulse);
    return w.finish();
  };
  for (const pulse of samplePulses()) {
    const bytes = bytesOf(pulse);
    assert.deepEqual(readPulse(new ByteReader(bytes)), pulse);
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => readPulse(new ByteReader(bytes.slice(0, length))), MalformedError, `${pulse.kind} ${length}`);
    }
    const longer = new Uint8Array(bytes.length + 32);
    longer.set(bytes);
    assert.throws(() => readPulse(new ByteReader(longer)), MalformedError);
  }
  const row = { shardId: 1, term: 1, leaderId: 0, memberId: 2 };
  assert.throws(() => readPulse(new ByteReader(bytesOf({ kind: "stale", rows: [row] }))), /without leader/);
});

/** Malformed or decoded: nothing else may happen. */
function survives(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
  }
}

test("random and mutated bytes give MalformedError or messages, never anything else", () => {
  const decoder = new MessageDecoder(crc32);
  const seeds = [...goldenFrames().values()];
  const readers: ((frame: Uint8Array) => unknown)[] = [
    (f) => decoder.decode(f, 0),
    (f) => decoder.decode(f, Math.min(f.length, FRAME_HEADER_BYTES)),
    (f) => readHello(new ByteReader(f, Math.min(f.length, FRAME_HEADER_BYTES))),
    (f) => readError(new ByteReader(f, Math.min(f.length, FRAME_HEADER_BYTES))),
    (f) => readPulse(new ByteReader(f, Math.min(f.length, FRAME_HEADER_BYTES))),
    (f) => decodeSnapshotHeader(f),
    (f) => decodeSnapshotChunk(f),
    (f) => decodeSnapshotEnd(f),
    (f) => decodeSnapshotStatus(f),
    (f) => new FrameReader(crc32, { onFrame: () => true }, 1 << 20).push(f),
  ];
  const edits = fc.array(fc.tuple(fc.nat(2000), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 });
  const mutated = fc.tuple(fc.nat(seeds.length - 1), edits, fc.nat(2000)).map(([which, changes, cut]) => {
    const seed = seeds[which] ?? new Uint8Array(0);
    const bytes = seed.slice(0, cut > 1500 ? cut % (seed.length + 1) : seed.length);
    for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated), (bytes) => {
      for (const read of readers) survives(() => read(bytes));
    }),
    { numRuns: 5000 },
  );
});

test("every truncation of every message is malformed", () => {
  for (const message of sampleMessages()) {
    const bytes = encode(message);
    for (let length = 1; length < bytes.length; length++) {
      assert.throws(() => decode(bytes.slice(0, length)), MalformedError, `${message.type} cut to ${length}`);
    }
  }
});

test("unknown types, flags and integers, zero ids and huge integers are malformed", () => {
  const row = encode(numbered(1));
  const patched = (at: number, value: number): Uint8Array => {
    const copy = row.slice();
    copy[at] = value;
    return copy;
  };
  assert.throws(() => decode(patched(0, 0)), /unknown message type 0/);
  assert.throws(() => decode(patched(0, 99)), /unknown message type 99/);
  assert.throws(() => decode(patched(1, 1)), /flags 1/);
  assert.throws(() => decode(patched(3, 0x55)), /too many integers/);
  assert.throws(() => decode(encode({ ...numbered(1), from: 0 })), /without sender/);
  assert.throws(() => decode(encode(numbered(2 ** 53))), MalformedError);
  const key = { replicaId: 1, incarnation: 2 ** 32, sequence: 1 };
  const head = { shardId: 5, from: 1, to: 2, term: 3, lineage: 0 };
  assert.throws(() => decode(encode({ ...head, type: MessageType.ReadIndex, key })), /incarnation/);
});

test("blocks must be whole, of their shard, contiguous and within the sender's term", () => {
  const block = sampleBlock({ shardId: 5, firstIndex: 8, term: 2, count: 4, cmdBytes: 3 });
  const replicate = (change: object): WireMessage => ({
    ...{ type: MessageType.Replicate, shardId: 5, from: 1, to: 2, term: 3, lineage: 0 },
    ...{ prevIndex: 7, prevTerm: 2, commit: 7, blocks: [block], ...change },
  });
  assert.deepEqual(decode(encode(replicate({}))), [replicate({})]);
  assert.throws(() => decode(encode(replicate({ shardId: 6 }))), MalformedError);
  assert.throws(() => decode(encode(replicate({ prevIndex: 8 }))), /starts at 8, expected 9/);
  assert.throws(() => decode(encode(replicate({ blocks: [block, block] }))), /starts at 8, expected 12/);
  assert.throws(() => decode(encode(replicate({ term: 1 }))), /of term 2/);
  assert.throws(() => decode(encode(replicate({ prevTerm: 3 }))), /of term 2/);
  const bytes = encode(replicate({}));
  for (let at = bytes.length - block.bytes.length; at < bytes.length; at++) {
    const bad = bytes.slice();
    bad[at] = (bad[at] ?? 0) ^ 1;
    assert.throws(() => decode(bad), MalformedError, `byte ${at}`);
  }
});

test("decoded blocks do not keep the frame's memory", () => {
  const chunk = new Uint8Array(65_536);
  for (const cmdBytes of [3, 5000]) {
    const block = sampleBlock({ shardId: 5, firstIndex: 1, term: 2, count: 1, cmdBytes });
    const head = { type: MessageType.Replicate, shardId: 5, from: 1, to: 2, term: 3, lineage: 0 } as const;
    const bytes = encode({ ...head, prevIndex: 0, prevTerm: 0, commit: 0, blocks: [block] });
    chunk.set(bytes);
    const [message] = decode(chunk.subarray(0, bytes.length));
    assert.ok(message?.type === MessageType.Replicate);
    const got = message.blocks[0]?.bytes;
    assert.ok(got !== undefined && got.buffer !== chunk.buffer && got.buffer.byteLength <= 16_384);
    assert.ok(!Buffer.isBuffer(got));
  }
});

test("a batch above the soft limit becomes several frames, all stamped with the durable sequence", () => {
  const batch = new MessageBatch(new MessageEncoder(), crc32);
  const head = { type: MessageType.Replicate, shardId: 5, from: 1, to: 2, term: 3, lineage: 0 } as const;
  for (let i = 0; i < 5; i++) {
    const block = sampleBlock({ shardId: 5, firstIndex: i + 1, term: 3, count: 1, cmdBytes: 600_000 });
    batch.add({ ...head, prevIndex: i, prevTerm: i === 0 ? 0 : 3, commit: 0, blocks: [block] });
  }
  const frames: number[] = [];
  const onFrame = (kind: number, frame: Uint8Array, durable: number): boolean => {
    assert.equal(kind, FrameKind.Messages);
    assert.equal(durable, 2 ** 40);
    frames.push(new MessageDecoder(crc32).decode(frame, FRAME_HEADER_BYTES).length);
    return true;
  };
  new FrameReader(crc32, { onFrame }, 1 << 24).push(batch.take(2 ** 40));
  assert.deepEqual(frames, [2, 2, 1]);
  assert.equal(batch.count, 0);
  batch.add(numbered(1));
  new FrameReader(crc32, { onFrame }, 1 << 24).push(batch.take(2 ** 40));
  assert.deepEqual(frames, [2, 2, 1, 1]);
});

test("frames survive any cutting of the stream", () => {
  const w = new ByteWriter();
  const sizes = [0, 1, 100, 20_000, 3, 70_000, 0];
  for (const size of sizes) {
    const start = beginFrame(w, FrameKind.SnapshotChunk);
    w.bytes(new Uint8Array(size).fill(size & 0xff));
    sealFrame(w, { start, end: w.length }, size, crc32);
  }
  const stream = w.finish();
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 65_536 }))), (cuts) => {
      const seen: number[] = [];
      const onFrame = (_kind: number, frame: Uint8Array, durable: number): boolean => {
        assert.equal(frame.length, FRAME_HEADER_BYTES + durable);
        assert.ok(frame.subarray(FRAME_HEADER_BYTES).every((byte) => byte === (durable & 0xff)));
        seen.push(durable);
        return true;
      };
      const reader = new FrameReader(crc32, { onFrame }, 1 << 20);
      let at = 0;
      for (const cut of cuts) {
        reader.push(stream.subarray(at, at + cut));
        at = Math.min(stream.length, at + cut);
      }
      reader.push(stream.subarray(at));
      assert.deepEqual(seen, sizes);
    }),
    { numRuns: 60 },
  );
});

test("a frame is refused by length before its bytes are there, and by one flipped bit", () => {
  const reader = (): FrameReader => new FrameReader(crc32, { onFrame: () => true }, 1000);
  assert.throws(() => reader().push(new Uint8Array([0xe9, 3, 0, 0])), /frame of 1001 bytes/);
  assert.throws(() => reader().push(new Uint8Array([19, 0, 0, 0])), /frame of 19 bytes/);
  const batch = new MessageBatch(new MessageEncoder(), crc32);
  batch.add(numbered(1));
  const frame = batch.take(5);
  for (let at = 4; at < frame.length; at++) {
    const bad = new Uint8Array(frame);
    bad[at] = (bad[at] ?? 0) ^ 4;
    assert.throws(() => reader().push(bad), MalformedError, `byte ${at}`);
  }
});
