/** Bytes of kv commands, queries and answers: golden, round trips, and no throw on any input. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MalformedError } from "../../../shared/codec/bytes.js";
import {
  decodeKvAnswer,
  decodeKvCommand,
  decodeKvNumber,
  decodeKvQuery,
  encodeKvAnswer,
  encodeKvCommand,
  encodeKvNumber,
  encodeKvQuery,
  KV_KEY_BYTES_MAX,
  type KvCommand,
  kvBytes,
} from "./kv-codec.js";

const bytes = fc.uint8Array({ maxLength: 40 });
const command: fc.Arbitrary<KvCommand> = fc.oneof(
  fc.record({ op: fc.constantFrom("put" as const, "append" as const), key: bytes, value: bytes }),
  fc.record({ op: fc.constant("delete" as const), key: bytes }),
  fc.record({
    op: fc.constant("compareAndSet" as const),
    key: bytes,
    expected: fc.option(bytes, { nil: undefined }),
    value: bytes,
  }),
);

test("golden bytes", () => {
  const hex = (c: KvCommand): string => Buffer.from(encodeKvCommand(c)).toString("hex");
  const key = kvBytes("k1");
  assert.equal(hex({ op: "put", key, value: kvBytes("v") }), "0102006b3176");
  assert.equal(hex({ op: "delete", key }), "0202006b31");
  assert.equal(
    hex({ op: "compareAndSet", key, expected: kvBytes("a"), value: kvBytes("b") }),
    "0302006b3101010000006162",
  );
  assert.equal(hex({ op: "compareAndSet", key, expected: undefined, value: kvBytes("b") }), "0302006b31000000000062");
  assert.equal(hex({ op: "append", key, value: kvBytes("v") }), "0402006b3176");
  assert.equal(Buffer.from(encodeKvQuery({ op: "get", key })).toString("hex"), "016b31");
  assert.equal(Buffer.from(encodeKvQuery({ op: "count", prefix: key })).toString("hex"), "026b31");
  assert.equal(Buffer.from(encodeKvQuery({ op: "hash" })).toString("hex"), "03");
});

test("commands, queries and answers come back as they went", () => {
  fc.assert(fc.property(command, (c) => assert.deepEqual(plain(decodeKvCommand(encodeKvCommand(c))), plain(c))));
  fc.assert(
    fc.property(bytes, (b) => {
      assert.deepEqual(decodeKvQuery(encodeKvQuery({ op: "get", key: b })), { op: "get", key: b });
      assert.deepEqual(decodeKvQuery(encodeKvQuery({ op: "count", prefix: b })), { op: "count", prefix: b });
      assert.deepEqual(decodeKvAnswer(encodeKvAnswer({ found: true, bytes: b })), { found: true, bytes: b });
    }),
  );
  assert.deepEqual(decodeKvQuery(encodeKvQuery({ op: "hash" })), { op: "hash" });
  assert.equal(decodeKvNumber(encodeKvNumber(2 ** 40 + 3)), 2 ** 40 + 3);
});

test("no bytes make a decoder throw, and what decodes encodes to the same bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 30 }), (b) => {
      decodeKvQuery(b);
      const c = decodeKvCommand(b);
      if (c !== undefined) assert.deepEqual(encodeKvCommand(c), b);
    }),
    { numRuns: 2000 },
  );
  const whole = encodeKvCommand({
    op: "compareAndSet",
    key: kvBytes("key"),
    expected: kvBytes("abc"),
    value: kvBytes(""),
  });
  for (let length = 0; length < whole.length; length++)
    assert.equal(decodeKvCommand(whole.subarray(0, length)), undefined);
});

test("a key that is too long and an answer that is none are refused", () => {
  assert.throws(() => encodeKvCommand({ op: "delete", key: new Uint8Array(KV_KEY_BYTES_MAX + 1) }), RangeError);
  assert.throws(() => decodeKvAnswer(Uint8Array.of(2)), MalformedError);
  assert.throws(() => decodeKvAnswer(new Uint8Array(0)), MalformedError);
});

function plain(c: KvCommand | undefined): unknown {
  return Object.entries(c ?? {}).map(([name, value]) => [name, value instanceof Uint8Array ? [...value] : value]);
}
