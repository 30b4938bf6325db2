/** The snapshot file: golden bytes, round trips in chunks of any size, and every damaged byte found. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "../../shared/codec/crc32.js";
import { emptyMembership } from "../../shared/types/membership.js";
import {
  decodeSnapshotHeader,
  encodeSnapshotHeader,
  SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX,
  SNAPSHOT_SESSIONS_BYTES_MAX,
  type SnapshotHeader,
} from "./snapshot-format.js";
import { SnapshotParser } from "./snapshot-parser.js";
import { SnapshotWriter } from "./snapshot-writer.js";
import { hasCode } from "./testing/kit.js";

const HEADER: SnapshotHeader = {
  shardId: 3,
  replicaId: 2,
  index: 258,
  term: 4,
  membership: {
    ...emptyMembership(),
    lineage: 1,
    configChangeIndex: 9,
    voters: new Map([
      [1, "a:1"],
      [2, "b:1"],
    ]),
    witnesses: new Map([[5, "w"]]),
    removed: new Set([4]),
  },
};

async function written(writes: readonly Uint8Array[], sessions?: Uint8Array): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const writer = new SnapshotWriter(crc32, async (bytes) => {
    chunks.push(bytes.slice());
  });
  await writer.begin(HEADER, sessions);
  for (const bytes of writes) await writer.write(bytes);
  await writer.finish();
  return Buffer.concat(chunks);
}

interface Parsed {
  readonly payload: Buffer;
  readonly header: SnapshotHeader | undefined;
  readonly sessions: Uint8Array | undefined;
}

function parsed(file: Uint8Array, chunkBytes: number): Parsed {
  let header: SnapshotHeader | undefined;
  let sessions: Uint8Array | undefined;
  const parser = new SnapshotParser({
    crc32,
    file: "some/file",
    code: "DL_ERR_LOGDB_CORRUPT",
    onHeader: (found) => {
      header = found;
    },
    onSessions: (found) => {
      assert.equal(sessions, undefined);
      sessions = found;
    },
  });
  const payloads: Uint8Array[] = [];
  for (let at = 0; at < file.length; at += chunkBytes)
    payloads.push(...parser.feed(file.subarray(at, at + chunkBytes)));
  parser.end();
  return { payload: Buffer.concat(payloads), header, sessions };
}

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
}

/** After the header: its checksum, one block, the trailer (worked out with another implementation of CRC-32). */
const GOLDEN_REST = [
  "d3e52aa4",
  "46072753" + "0e000000" + "00000000" + "68656c6c6f20736e617073686f74",
  "d0257694" + "00000000" + "01000000" + "0e00000000000000" + "537cd3b2" + "444c534e50454e44",
].join("");

test("golden bytes of version 1", async () => {
  const file = await written([Buffer.from("hello "), Buffer.from("snapshot")]);
  const golden = [
    "444c534e41505348" + "01000000" + "9b000000" + "00000000" + "00000000", // magic, version, length, flags, zero
    "77000000", // meta
    "0300000000000000" + "0200000000000000" + "0201000000000000" + "0400000000000000" + "0000000000000000" + "0000",
    "0100000000000000" + "0900000000000000", // lineage, config change index
    "02000000" + "0100000000000000" + "0300613a31" + "0200000000000000" + "0300623a31",
    "00000000", // non-votings
    "01000000" + "0500000000000000" + "010077",
    "01000000" + "0400000000000000",
    "00000000", // session area
  ].join("");
  const headerLength = golden.length / 2 + 4;
  assert.equal(file.subarray(0, headerLength - 4).toString("hex"), golden);
  assert.equal(file.readUInt32LE(12), headerLength);
  assert.equal(file.subarray(headerLength - 4).toString("hex"), GOLDEN_REST);
});

test("golden bytes of version 2: the same with a session area", async () => {
  const sessions = Buffer.from("sessions as they are");
  const file = await written([Buffer.from("hello "), Buffer.from("snapshot")], sessions);
  const plain = await written([Buffer.from("hello "), Buffer.from("snapshot")]);
  const headerLength = file.readUInt32LE(12);
  const golden = [
    "444c534e41505348" + "02000000" + "9f000000" + "00000000" + "00000000",
    plain.subarray(24, plain.readUInt32LE(12) - 8).toString("hex"),
    "14000000" + "eda6267f", // session area: length, checksum
  ].join("");
  assert.equal(file.subarray(0, headerLength - 4).toString("hex"), golden);
  assert.equal(file.subarray(headerLength - 4, headerLength).toString("hex"), "1c7cdec1");
  assert.deepEqual(file.subarray(headerLength, headerLength + sessions.length), sessions);
  assert.equal(file.subarray(headerLength + sessions.length).toString("hex"), GOLDEN_REST.slice(8));
});

test("a session area of any size comes back, checked, before the payload", async () => {
  for (const length of [1, 100, SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX * 2 + 1]) {
    const sessions = pattern(length);
    const file = await written([pattern(50)], sessions);
    for (const chunkBytes of length > 2000 ? [65_536] : [1, 3, 4096]) {
      const found = parsed(file, chunkBytes);
      assert.equal(Buffer.compare(found.sessions ?? new Uint8Array(0), sessions), 0);
      assert.equal(Buffer.compare(found.payload, pattern(50)), 0);
      assert.deepEqual(found.header, HEADER);
    }
  }
  assert.equal(parsed(await written([pattern(50)]), 64).sessions, undefined);
});

test("a session area of another snapshot, or too long, is found", async () => {
  const one = await written([pattern(10)], pattern(40));
  const other = await written([pattern(10)], pattern(40).reverse());
  const at = one.readUInt32LE(12);
  const mixed = Buffer.concat([one.subarray(0, at), other.subarray(at, at + 40), one.subarray(at + 40)]);
  assert.throws(() => parsed(mixed, 4096), new RegExp(`offset ${at}: checksum of the session area`));
  const long = Buffer.from(encodeSnapshotHeader(HEADER, pattern(40), crc32));
  long.writeUInt32LE(SNAPSHOT_SESSIONS_BYTES_MAX + 1, long.length - 12);
  long.writeUInt32LE(crc32(long.subarray(0, -4)), long.length - 4);
  assert.throws(() => parsed(long, 4096), /session area of 16777217 bytes/);
});

test("payload of any size comes back, read in chunks of any size", async () => {
  const max = SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX;
  for (const length of [0, 1, 1000, max - 1, max, max + 1, 3 * max + 17]) {
    const payload = pattern(length);
    const file = await written([payload.subarray(0, length >> 1), new Uint8Array(0), payload.subarray(length >> 1)]);
    for (const chunkBytes of length > 2000 ? [65_536, 999_999] : [1, 2, 3, 17, 4096]) {
      const found = parsed(file, chunkBytes);
      assert.equal(Buffer.compare(found.payload, payload), 0, `${length} bytes in chunks of ${chunkBytes}`);
      assert.deepEqual(found.header, HEADER);
    }
  }
});

test("every flipped bit, every truncation, every appended byte is found and located", async () => {
  for (const sessions of [undefined, pattern(30)]) everyDamageIsFound(await written([pattern(90)], sessions));
});

function everyDamageIsFound(file: Buffer): void {
  const refused = (bytes: Uint8Array, what: string): void => {
    assert.throws(
      () => parsed(bytes, 64),
      (error) => {
        const known = hasCode("DL_ERR_LOGDB_CORRUPT")(error) || hasCode("DL_ERR_VERSION")(error);
        return (
          known &&
          error instanceof Error &&
          (/some\/file at offset \d+/.test(error.message) || /version/.test(error.message))
        );
      },
      what,
    );
  };
  for (let at = 0; at < file.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const damaged = Buffer.from(file);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << bit);
      refused(damaged, `bit ${bit} of byte ${at}`);
    }
    refused(file.subarray(0, at), `cut at ${at}`);
  }
  refused(Buffer.concat([file, Uint8Array.of(0)]), "one byte more");
}

test("blocks that were swapped, dropped or repeated are found", async () => {
  const max = SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX;
  const file = await written([pattern(2 * max), pattern(2 * max)]);
  const headerLength = file.readUInt32LE(12);
  const size = max + 12;
  const block = (n: number): Buffer => file.subarray(headerLength + n * size, headerLength + (n + 1) * size);
  const head = file.subarray(0, headerLength);
  const tail = file.subarray(headerLength + 4 * size);
  assert.equal(tail.length, 32);
  parsed(Buffer.concat([head, block(0), block(1), block(2), block(3), tail]), 100_000);
  const orders = [[1, 0, 2, 3], [0, 1, 2], [0, 1, 2, 3, 3], [2, 3, 0, 1], []];
  for (const order of orders) {
    const moved = Buffer.concat([head, ...order.map(block), tail]);
    assert.throws(() => parsed(moved, 100_000), hasCode("DL_ERR_LOGDB_CORRUPT"), order.join(","));
  }
});

test("a block of another snapshot in the same place is found", async () => {
  const one = await written([pattern(100)]);
  const other = await written([pattern(100).reverse()]);
  const headerLength = one.readUInt32LE(12);
  const mixed = Buffer.concat([one.subarray(0, headerLength), other.subarray(headerLength, -32), one.subarray(-32)]);
  assert.throws(() => parsed(mixed, 4096), /blocks do not match the trailer/);
});

test("a block in the wrong place is located there, not at the end", async () => {
  const max = SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX;
  const file = await written([pattern(2 * max)]);
  const headerLength = file.readUInt32LE(12);
  const dropped = Buffer.concat([file.subarray(0, headerLength), file.subarray(headerLength + max + 12)]);
  assert.throws(() => parsed(dropped, 4096), new RegExp(`offset ${headerLength}: block 1, expected block 0`));
});

test("the error names the offset of the part that is wrong", async () => {
  const file = await written([pattern(SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX + 10)]);
  const headerLength = file.readUInt32LE(12);
  const second = headerLength + SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX + 12;
  file[second + 15] = (file[second + 15] ?? 0) ^ 1;
  assert.throws(() => parsed(file, 4096), new RegExp(`some/file at offset ${second}: checksum of block 1`));
});

test("golden bytes of version 3", async () => {
  const disk = { machineIndex: 257, shrunk: true };
  const header = encodeSnapshotHeader({ ...HEADER, disk }, Uint8Array.of(1, 2), crc32);
  const hex = Buffer.from(header).toString("hex");
  assert.equal(hex.slice(0, 48), "444c534e41505348" + "03000000" + "a7000000" + "01000000" + "00000000");
  // Length and checksum of the session area, machine index; then the header's own checksum.
  assert.equal(hex.slice(-40, -8), "02000000" + "9242ccb6" + "0101000000000000");
  assert.deepEqual(decodeSnapshotHeader(header, crc32).header, { ...HEADER, disk });
  const whole = encodeSnapshotHeader({ ...HEADER, disk: { ...disk, shrunk: false } }, new Uint8Array(0), crc32);
  assert.equal(Buffer.from(whole).toString("hex").slice(32, 48), "00000000" + "00000000");
  const ahead = encodeSnapshotHeader({ ...HEADER, disk: { ...disk, machineIndex: 259 } }, new Uint8Array(0), crc32);
  assert.throws(() => decodeSnapshotHeader(ahead, crc32), /index 258 of a machine at 259/);
});

test("a later version is refused as such, not as damage", () => {
  const bytes = encodeSnapshotHeader(HEADER, new Uint8Array(0), crc32);
  assert.deepEqual(decodeSnapshotHeader(bytes, crc32).header, HEADER);
  bytes[8] = 4;
  assert.throws(() => parsed(bytes, 64), hasCode("DL_ERR_VERSION"));
});

test("the sink refuses a write before the last one ended, and a finish after a failed one", async () => {
  let fail = false;
  const writer = new SnapshotWriter(crc32, async () => {
    if (fail) throw new Error("disk");
  });
  await writer.begin(HEADER);
  const first = writer.write(pattern(SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX * 2));
  await assert.rejects(writer.write(Uint8Array.of(1)), /await each write/);
  await first;
  fail = true;
  await assert.rejects(writer.write(pattern(SNAPSHOT_BLOCK_PAYLOAD_BYTES_MAX)), /disk/);
  fail = false;
  await assert.rejects(writer.write(Uint8Array.of(1)), /earlier write failed/);
  await assert.rejects(writer.finish(), /failed/);
});
