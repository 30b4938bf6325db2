/** The packed block: golden bytes, round trips, clipping, and refusal of everything that is not a block. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  BlockBuilder,
  EntryType,
  entriesOf,
  metadataBody,
  openBlock,
  openBody,
  sealBlock,
  singleBody,
} from "./block.js";
import { MalformedError } from "./bytes.js";
import { crc32 } from "./crc32.js";

const key = (sequence: number) => ({ replicaId: 3, incarnation: 7, sequence });

function block(commands: readonly string[], first = 10) {
  const builder = new BlockBuilder();
  for (const [i, command] of commands.entries()) builder.add(EntryType.Application, key(100 + i), Buffer.from(command));
  return sealBlock(builder.finish(), { shardId: 5, firstIndex: first, term: 2 });
}

test("golden bytes of a block with an implicit, an explicit and a session entry", () => {
  const builder = new BlockBuilder();
  builder.add(EntryType.Application, key(100), Buffer.from("ab"));
  builder.add(EntryType.Application, { replicaId: 9, incarnation: 1, sequence: 2 }, Buffer.from("c"));
  const session = { clientId: "0011223344556677", seriesId: 4, respondedTo: 3 };
  builder.add(EntryType.Application, key(102), Buffer.from("d"), session);
  const sealed = sealBlock(builder.finish(), { shardId: 5, firstIndex: 10, term: 2 });
  assert.equal(
    Buffer.from(sealed.bytes).toString("hex"),
    [
      "1f946f92820000000100000003000000",
      "05000000000000000a00000000000000",
      "02000000000000000300000000000000",
      "07000000000000006400000000000000",
      "0200000001006162",
      "0100000001010900000000000000010000000200000000000000" + "63",
      "010000000102" + "001122334455667704000000000000000300000000000000" + "64",
    ].join(""),
  );
});

test("entries decode as they were added, with their keys", () => {
  const entries = [...entriesOf(openBlock(block(["a", "bb", ""]).bytes, 5))];
  assert.deepEqual(
    entries.map((e) => [e.index, e.term, e.key.sequence, Buffer.from(e.cmd).toString()]),
    [
      [10, 2, 100, "a"],
      [11, 2, 101, "bb"],
      [12, 2, 102, ""],
    ],
  );
});

test("a clipped block keeps its bytes and shows only its range", () => {
  const clipped = block(["a", "b", "c", "d"]).clip(11, 12);
  assert.equal(clipped.count, 2);
  assert.deepEqual(
    [...entriesOf(clipped)].map((e) => e.index),
    [11, 12],
  );
  assert.equal(clipped.clip(1, 99), clipped);
});

test("any changed byte is refused, and so is another shard", () => {
  const { bytes } = block(["hello", "world"]);
  assert.throws(() => openBlock(bytes, 6), MalformedError);
  for (let i = 0; i < bytes.length; i++) {
    const changed = bytes.slice();
    changed[i] = (changed[i] ?? 0) ^ 1;
    assert.throws(() => openBlock(changed, 5), MalformedError, `byte ${i}`);
  }
  for (let i = 0; i < bytes.length; i++) assert.throws(() => openBlock(bytes.subarray(0, i), 5), MalformedError);
});

test("explicit keys and sessions above 2^53 and unknown flags are refused when the block is opened (P59)", () => {
  const body = singleBody(EntryType.Application, key(1), Buffer.from("x"), {
    clientId: "0011223344556677",
    seriesId: 1,
    respondedTo: 0,
  });
  const sealed = sealBlock(body, { shardId: 5, firstIndex: 1, term: 1 });
  const reseal = (change: (bytes: Uint8Array) => void): Uint8Array => {
    const bytes = sealed.bytes.slice();
    change(bytes);
    new DataView(bytes.buffer).setUint32(0, crc32(bytes.subarray(4)), true);
    return bytes;
  };
  assert.doesNotThrow(() =>
    openBlock(
      reseal(() => {}),
      5,
    ),
  );
  assert.throws(
    () =>
      openBlock(
        reseal((b) => b.fill(255, 78, 86)),
        5,
      ),
    MalformedError,
  );
  assert.throws(
    () =>
      openBlock(
        reseal((b) => void b.set([8], 69)),
        5,
      ),
    MalformedError,
  );
  assert.throws(
    () =>
      openBlock(
        reseal((b) => b.fill(255, 40, 48)),
        5,
      ),
    MalformedError,
  );
});

/** A no-op, a command of a session and a config change, as a leader's block. */
function mixed() {
  const builder = new BlockBuilder();
  const session = { clientId: "0011223344556677", seriesId: 4, respondedTo: 3 };
  builder.add(EntryType.Noop, key(100), Buffer.from(""));
  builder.add(EntryType.Application, key(101), Buffer.from("secret"), session);
  builder.add(EntryType.ConfigChange, key(102), Buffer.from("change"));
  return sealBlock(builder.finish(), { shardId: 5, firstIndex: 10, term: 2 });
}

test("golden bytes of a metadata block: only config changes keep key and command", () => {
  const data = mixed();
  const at = { shardId: 5, firstIndex: 10, term: 2 };
  const sealed = sealBlock(metadataBody(data.clip(11, 11)), at);
  assert.equal(
    Buffer.from(sealed.bytes).toString("hex"),
    [
      "b637bc356c0000000103000003000000",
      "05000000000000000a00000000000000",
      "02000000000000000000000000000000",
      "00000000000000000000000000000000",
      "000000000300" + "000000000300",
      "060000000201" + "0300000000000000070000006600000000000000" + "6368616e6765",
    ].join(""),
  );
  const opened = openBlock(sealed.bytes, 5);
  assert.deepEqual([opened.isMetadata, opened.hasConfigChange, opened.first, opened.last], [true, true, 10, 12]);
  assert.equal(data.isMetadata, false);
  assert.deepEqual(
    [...entriesOf(opened)].map((e) => [e.index, e.type, e.key.replicaId, e.key.sequence, e.session, e.cmd.length]),
    [
      [10, EntryType.Metadata, 0, 0, undefined, 0],
      [11, EntryType.Metadata, 0, 1, undefined, 0],
      [12, EntryType.ConfigChange, 3, 102, undefined, 6],
    ],
  );
  assert.deepEqual(sealBlock(metadataBody(sealed), at).bytes, sealed.bytes, "of metadata it is the same again");
});

test("metadata beside data, with a command or a session, or proposed, is refused", () => {
  const at = { shardId: 5, firstIndex: 10, term: 2 };
  const flagged = (type: EntryType, cmd: string, flags: number, session = false) => {
    const end = { clientId: "0011223344556677", seriesId: 1, respondedTo: 0 };
    const body = singleBody(type, key(1), Buffer.from(cmd), session ? end : undefined);
    body.bytes[9] = flags;
    return sealBlock(body, at).bytes;
  };
  assert.doesNotThrow(() => openBlock(flagged(EntryType.Metadata, "", 2), 5));
  for (const bytes of [
    flagged(EntryType.Metadata, "", 0),
    flagged(EntryType.Metadata, "x", 2),
    flagged(EntryType.Metadata, "", 2, true),
    flagged(EntryType.Application, "", 2),
    flagged(EntryType.Noop, "", 2),
  ]) {
    assert.throws(() => openBlock(bytes, 5), MalformedError);
  }
  assert.throws(() => openBody(metadataBody(mixed()).bytes), /cannot be proposed/);
});

test("random bytes never do worse than a MalformedError", () => {
  void fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const open of [() => openBlock(bytes, 1), () => openBody(bytes)]) {
        try {
          open();
        } catch (error) {
          assert.ok(error instanceof MalformedError);
        }
      }
    }),
  );
});
