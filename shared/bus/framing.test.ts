/** Splitting and joining of payloads above the bus limit: round trips, losses, bounded memory, hostile bytes. */
import assert from "node:assert/strict";
import { it } from "node:test";
import * as zlib from "node:zlib";
import fc from "fast-check";
import { MalformedError } from "../codec/bytes.js";
import { isOpError } from "../errors.js";
import { FRAMING_LIMITS, type FramingLimits, MessageIds, Reassembler, splitPayload } from "./framing.js";

const crc32 = (bytes: Uint8Array, seed = 0): number => zlib.crc32(bytes, seed);

function reassembler(limits: Partial<FramingLimits> = {}) {
  const lost = { count: 0 };
  const onLost = (count: number): void => {
    lost.count += count;
  };
  return { reassembler: new Reassembler({ crc32, onLost, limits }), lost };
}

const split = (payload: Uint8Array, frameBytesMax: number, ids = new MessageIds(1)): Uint8Array[] =>
  splitPayload(payload, { frameBytesMax, ids, crc32 });

it("golden: the bytes of a whole frame and of a part", () => {
  assert.equal(Buffer.from(split(Uint8Array.of(5, 6), 100)[0] ?? []).toString("hex"), "010506");
  const payload = new Uint8Array(26).fill(7);
  const parts = split(payload, 24, new MessageIds(0x0a0b0c0d)).map((frame) => Buffer.from(frame).toString("hex"));
  // kind, sender, count, part, parts, payload bytes, crc32, bytes
  const checksum = "a6528414";
  assert.equal(parts.length, 9);
  assert.equal(parts[0], `020d0c0b0a0100000000000900${"1a000000"}${checksum}070707`);
  assert.equal(parts[8], `020d0c0b0a0100000008000900${"1a000000"}${checksum}0707`);
});

it("whatever the size, the payload comes out as it went in, in any order of its parts", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.integer({ min: 22, max: 80 }),
      fc.infiniteStream(fc.nat()),
      (payload, frameBytesMax, order) => {
        const frames = split(payload, frameBytesMax);
        for (const frame of frames) assert.ok(frame.length <= frameBytesMax);
        const mixed = frames
          .flatMap((frame) => (order.next().value % 4 === 0 ? [frame, frame] : [frame]))
          .map((frame) => ({ frame, at: order.next().value }))
          .sort((a, b) => a.at - b.at);
        const { reassembler: into, lost } = reassembler();
        const out = mixed.map(({ frame }) => into.accept("s", frame, 0)).filter((each) => each !== undefined);
        // A whole frame sent twice is two messages; of a split one, repeats are seen.
        assert.equal(out.length, frames.length === 1 ? mixed.length : 1);
        for (const each of out) assert.equal(Buffer.compare(each, payload), 0);
        assert.equal(into.pending, 0);
        assert.equal(into.heldBytes, 0);
        assert.equal(lost.count, 0);
      },
    ),
    { numRuns: 300 },
  );
});

it("a message with a lost part is lost, counted once, and its late parts start nothing", () => {
  const { reassembler: into, lost } = reassembler({ expiryMs: 100 });
  const frames = split(new Uint8Array(200), 60);
  for (const frame of frames.slice(1)) assert.equal(into.accept("s", frame, 50), undefined);
  into.expire(149);
  assert.equal(into.pending, 1);
  into.expire(150);
  assert.deepEqual([into.pending, into.heldBytes, lost.count], [0, 0, 1]);
  for (const frame of frames) assert.equal(into.accept("s", frame, 151), undefined);
  assert.equal(into.pending, 0);
});

it("number and bytes of unfinished messages are bounded, the oldest are given up", () => {
  const many = reassembler({ partialMessagesMax: 3 });
  const ids = new MessageIds(9);
  const messages = Array.from({ length: 5 }, () => split(new Uint8Array(100), 60, ids));
  for (const [first] of messages) many.reassembler.accept("s", first ?? new Uint8Array(), 0);
  assert.deepEqual([many.reassembler.pending, many.lost.count], [3, 2]);
  const heavy = reassembler({ partialBytesMax: 100 });
  for (const [first] of messages) heavy.reassembler.accept("s", first ?? new Uint8Array(), 0);
  assert.ok(heavy.reassembler.heldBytes <= 100);
  assert.equal(heavy.lost.count, 5 - heavy.reassembler.pending);
  heavy.reassembler.clear();
  assert.deepEqual([heavy.reassembler.pending, heavy.reassembler.heldBytes, heavy.lost.count], [0, 0, 5]);
});

it("streams and senders do not mix", () => {
  const { reassembler: into } = reassembler();
  const [one, two] = [split(new Uint8Array(50).fill(1), 60, new MessageIds(1)), split(new Uint8Array(50).fill(2), 60)];
  assert.equal(one.length, 1);
  assert.equal(two.length, 1);
  const [a, b] = [
    split(new Uint8Array(70).fill(1), 60, new MessageIds(1)),
    split(new Uint8Array(70).fill(2), 60, new MessageIds(2)),
  ];
  const at = (frames: Uint8Array[], index: number): Uint8Array => frames[index] ?? new Uint8Array();
  assert.equal(into.accept("s", at(a, 0), 0), undefined);
  assert.equal(into.accept("t", at(a, 1), 0), undefined);
  assert.equal(into.accept("s", at(b, 1), 0), undefined);
  assert.equal(into.pending, 3);
  assert.equal(into.accept("s", at(b, 0), 0)?.[69], 2);
  assert.equal(into.accept("s", at(a, 1), 0)?.[69], 1);
});

it("a payload that was changed on the way is not delivered", () => {
  const { reassembler: into } = reassembler();
  const frames = split(new Uint8Array(100), 60);
  const last = frames.at(-1);
  assert.ok(last);
  last[last.length - 1] = 1;
  assert.throws(() => {
    for (const frame of frames) into.accept("s", frame, 0);
  }, MalformedError);
  assert.equal(into.heldBytes, 0);
});

it("any bytes: a payload, nothing, or MalformedError; never more memory than the bound", () => {
  const { reassembler: into } = reassembler({ partialBytesMax: 2000, partialMessagesMax: 8 });
  const good = split(new Uint8Array(300), 100);
  const frame = fc.oneof(
    fc.uint8Array({ maxLength: 120 }),
    fc.uint8Array({ maxLength: 120 }).map((rest) => Uint8Array.of(2, ...rest)),
    fc.tuple(fc.constantFrom(...good), fc.nat(99), fc.nat(255)).map(([part, at, value]) => {
      const changed = part.slice();
      changed[at % changed.length] = value;
      return changed;
    }),
  );
  fc.assert(
    fc.property(frame, fc.nat(20), (bytes, now) => {
      try {
        into.accept("s", bytes, now);
      } catch (error) {
        assert.ok(error instanceof MalformedError);
      }
      assert.ok(into.heldBytes <= 2000 && into.pending <= 8);
    }),
    { numRuns: 3000 },
  );
});

it("what could never be put together again is refused at the sender", () => {
  const tooBig = (error: unknown): boolean => isOpError(error) && error.code === "DL_ERR_PAYLOAD_TOO_BIG";
  assert.throws(() => split(new Uint8Array(FRAMING_LIMITS.messageBytesMax + 1), 900 * 1024), tooBig);
  assert.throws(() => split(new Uint8Array(70_000), 22), tooBig);
  assert.throws(() => split(new Uint8Array(100), 21), tooBig);
  assert.equal(split(new Uint8Array(FRAMING_LIMITS.messageBytesMax), 900 * 1024).length, 37);
});
