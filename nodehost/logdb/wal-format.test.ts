/** Golden bytes of one frame, and what must never parse: another life or place in the file, cut or changed bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "../../shared/codec/crc32.js";
import { BOOTSTRAP, hard, makeBlock, makeSnapshot } from "./test-support.js";
import { FrameBuilder, FrameKind, FrameParser, segmentSeed, WAL_BLOCK_BYTES } from "./wal-format.js";
import { decodeBootstrap, decodeSnapshot, decodeUpdate, encodeUpdate, writeUpdate } from "./wal-record.js";

const SEGMENT = { id: 3, generation: 2, seed: segmentSeed(crc32, "set-1", 3, 2) };

function goldenFrame(): Uint8Array {
  const block = makeBlock(7, 21, 4, { count: 2 });
  const key = { shardId: 7, replicaId: 9 };
  const update = { ...key, blocks: [block.clip(22, 22)], hardState: hard(4, 20, 9), compactTo: 11 };
  const encoded = encodeUpdate(update, 3);
  const frame = new FrameBuilder(crc32);
  frame.begin(1, encoded.bytes);
  frame.record(key, 255, encoded.bytes);
  writeUpdate(frame, encoded, () => undefined);
  return new Uint8Array(frame.finish({ kind: FrameKind.Data, sequence: 258, startBlock: 5, segment: SEGMENT }));
}

/** The frame at its place in an otherwise empty segment. */
function segmentWith(frame: Uint8Array, block = 5): Uint8Array {
  const bytes = new Uint8Array(16 * WAL_BLOCK_BYTES);
  bytes.set(frame, block * WAL_BLOCK_BYTES);
  return bytes;
}

function hex(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.subarray(from, to)).toString("hex");
}

test("golden bytes of a data frame (format version 1)", () => {
  const frame = goldenFrame();
  assert.equal(frame.length, 2 * WAL_BLOCK_BYTES);
  const used = frame.findLastIndex((byte, i) => i < WAL_BLOCK_BYTES && byte !== 0) + 1;
  assert.equal(hex(frame, 0, 64), GOLDEN.head);
  assert.equal(hex(frame, 64, 96), GOLDEN.toc);
  assert.equal(hex(frame, 96, used), GOLDEN.body);
  assert.equal(hex(frame, 4096, 4160), GOLDEN.trailer);
  assert.equal(hex(frame, 4160, 4192), GOLDEN.toc);
  assert.ok(frame.subarray(4192).every((byte) => byte === 0));
});

const GOLDEN = {
  head:
    "c04fc9ac444c574601010000050000000201000000000000030000000000000002000000000000000200000001000000" +
    "a2000000f8f6a418c374aa1b05000000",
  toc: "07000000000000000900000000000000ff0000000000000000000000a2000000",
  body:
    "18000000010000000400000000000000090000000000000014000000000000000b000000000000000300000000000000" +
    "160000000000000016000000000000005a00000000000000a8578bae5a00000001000000020000000700000000000000" +
    "15000000000000000400000000000000010000000000000001000000000000000100000000000000070000000100372f" +
    "32312f342f070000000100372f32322f342f",
  trailer:
    "61e23917444c574601010100060000000201000000000000030000000000000002000000000000000200000001000000" +
    "a2000000f8f6a418c374aa1b05000000",
};

test("a frame parses at its place, and its record comes back", () => {
  const bytes = segmentWith(goldenFrame());
  const parser = new FrameParser(bytes, SEGMENT, crc32);
  const header = parser.header(5);
  assert.ok(header);
  assert.deepEqual([header.sequence, header.kind, header.frameBlocks], [258, FrameKind.Data, 2]);
  const toc = parser.toc(header);
  const bodyAt = parser.body(header);
  assert.ok(toc?.[0] !== undefined && bodyAt !== undefined);
  assert.deepEqual([toc[0].shardId, toc[0].replicaId, toc[0].previousSequence], [7, 9, 255]);
  const update = decodeUpdate(bytes, bodyAt + toc[0].offset, toc[0].length);
  assert.deepEqual(update.hardState, hard(4, 20, 9));
  assert.deepEqual([update.compactTo, update.compactTerm, update.remove], [11, 3, false]);
  const [stored] = update.blocks;
  assert.deepEqual([stored?.first, stored?.last, stored?.term], [22, 22, 4]);
  assert.deepEqual(parser.restored(header), goldenFrame());
});

test("bytes of another data set, segment, generation or place never parse", () => {
  const bytes = segmentWith(goldenFrame());
  const others = [
    { ...SEGMENT, seed: segmentSeed(crc32, "set-2", 3, 2) },
    { id: 4, generation: 2, seed: segmentSeed(crc32, "set-1", 4, 2) },
    { id: 3, generation: 3, seed: segmentSeed(crc32, "set-1", 3, 3) },
  ];
  for (const other of others) {
    const parser = new FrameParser(bytes, other, crc32);
    for (let block = 0; block < parser.blockCount; block++) assert.equal(parser.header(block), undefined);
  }
  const moved = new FrameParser(segmentWith(goldenFrame(), 6), SEGMENT, crc32);
  for (let block = 0; block < moved.blockCount; block++) assert.equal(moved.header(block), undefined);
  const cut = new FrameParser(bytes.subarray(0, 6 * WAL_BLOCK_BYTES), SEGMENT, crc32);
  assert.equal(cut.header(5), undefined);
});

test("no changed byte of a frame goes unnoticed", () => {
  const good = goldenFrame();
  const used = good.findLastIndex((byte, i) => i < WAL_BLOCK_BYTES && byte !== 0) + 1;
  for (let i = 0; i < used; i++) {
    const frame = good.slice();
    frame[i] = (frame[i] ?? 0) ^ 0x10;
    const parser = new FrameParser(segmentWith(frame), SEGMENT, crc32);
    const header = parser.header(5);
    if (i < 64) assert.equal(header, undefined, `byte ${i}`);
    else if (i < 96) assert.ok(header && parser.toc(header) !== undefined, `byte ${i}: the other copy is used`);
    else assert.ok(header && parser.body(header) === undefined, `byte ${i}`);
    assert.ok(parser.header(6), "the trailer still tells");
  }
});

test("bootstrap and snapshot records come back whole", () => {
  const meta = makeSnapshot(7, 20, 3);
  const encoded = encodeUpdate({ shardId: 7, replicaId: 9, bootstrap: BOOTSTRAP, snapshot: { meta, reset: true } }, 0);
  assert.deepEqual(decodeBootstrap(encoded.bootstrap), BOOTSTRAP);
  assert.deepEqual(decodeSnapshot(encoded.snapshot), meta);
  const frame = new FrameBuilder(crc32);
  frame.begin(1, encoded.bytes);
  const begin = frame.at;
  writeUpdate(frame, encoded, () => undefined);
  assert.equal(frame.at - begin, encoded.bytes);
  const update = decodeUpdate(frame.bytes, begin, encoded.bytes);
  assert.deepEqual([update.reset, update.hardState, update.blocks], [true, undefined, []]);
  assert.deepEqual(update.bootstrap, encoded.bootstrap);
  assert.deepEqual(update.snapshot, encoded.snapshot);
});
