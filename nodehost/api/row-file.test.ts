/** The durable map: what was set is there after any crash, what was not is there whole or not at all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { OpError } from "../../shared/errors.js";
import { readWhole } from "../../shared/files/port.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import { RowFile } from "./row-file.js";

const FILE = "/d/rows";

async function disk(): Promise<SimDisk> {
  const files = new SimDisk();
  await files.makeDirectory("/d");
  return files;
}

function opened(files: SimDisk): Promise<RowFile> {
  return RowFile.open({ files, directory: "/d", name: "rows", crc32: (bytes, start = 0) => crc32(bytes, start) });
}

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof OpError && error.code === expected;
}

test("rows are kept over a restart, removed ones are gone", async () => {
  const files = await disk();
  const rows = await opened(files);
  await rows.set("a", "1");
  await Promise.all([rows.set("b", "2"), rows.set("c", 'x"\n\\'), rows.set("a", null)]);
  await rows.close();
  const again = await opened(files);
  assert.deepEqual(
    [...again.rows],
    [
      ["b", "2"],
      ["c", 'x"\n\\'],
    ],
  );
});

test("what was set before a power loss is there after it; the rest is there whole or not at all", async () => {
  let stops = 0;
  for (let stopAt = 1; stopAt < 200; stopAt++) {
    const files = await disk();
    const rows = await opened(files);
    const begin = files.operations;
    files.fault = ({ number }) => (number === begin + stopAt ? "stop" : undefined);
    let done = 0;
    const work = async (): Promise<boolean> => {
      for (let i = 1; i <= 6; i++) {
        // Two keys of one append, longer than a block: both or none.
        await Promise.all([rows.set("x", `${i}`), rows.set("y", `${i}`.padEnd(6_000, "."))]);
        done = i;
      }
      return true;
    };
    const finished = await Promise.race([work(), files.whenStopped().then(() => false)]);
    let state = stopAt;
    files.crash(() => {
      state = (state * 16_807) % 2_147_483_647;
      return state / 2_147_483_647;
    });
    const found = (await opened(files)).rows;
    const x = Number(found.get("x") ?? 0);
    assert.equal(Number.parseInt(found.get("y") ?? "0", 10), x);
    assert.ok(x === done || x === done + 1, `stopped at ${stopAt}: ${x}, ${done} were acknowledged`);
    if (finished) break;
    stops += 1;
  }
  assert.ok(stops >= 12, `${stops} points`);
});

test("damage before the last line is said with file and place, and nothing is opened", async () => {
  const files = await disk();
  const rows = await opened(files);
  await rows.set("a", "1");
  await rows.set("b", "2");
  await rows.set("c", "3");
  await rows.close();
  const text = Buffer.from(await readWhole(files, FILE)).toString("latin1");
  files.flip(FILE, text.indexOf('"b"'));
  await assert.rejects(
    opened(files),
    (error) => code("DL_ERR_LOGDB_CORRUPT")(error) && /\/d\/rows .* byte \d+/.test(String(error)),
  );
  files.flip(FILE, text.indexOf('"b"'));
  files.flip(FILE, text.indexOf('"format"') + 1);
  await assert.rejects(opened(files), code("DL_ERR_LOGDB_CORRUPT"));
});

test("a last line that is torn is cut, and what is written next is not lost behind it", async () => {
  const files = await disk();
  const rows = await opened(files);
  await rows.set("a", "1");
  await rows.set("b", "2");
  await rows.close();
  const text = Buffer.from(await readWhole(files, FILE)).toString("latin1");
  files.flip(FILE, text.indexOf('"b"'));
  const cut = await opened(files);
  assert.deepEqual([...cut.rows], [["a", "1"]]);
  await cut.set("c", "3");
  await cut.close();
  assert.deepEqual([...(await opened(files)).rows.keys()], ["a", "c"]);
});

test("a failed write is told, keeps the change, and the next write makes both durable in a new file", async () => {
  const files = await disk();
  const rows = await opened(files);
  await rows.set("a", "1");
  files.fault = ({ kind }) => (kind === "sync" ? "EIO" : undefined);
  await assert.rejects(rows.set("b", "2"), /EIO/);
  files.fault = ({ kind }) => (kind === "write" ? "ENOSPC" : undefined);
  await assert.rejects(rows.set("c", "3"), code("DL_ERR_DISK_FULL"));
  files.fault = undefined;
  assert.equal(rows.rows.get("b"), "2");
  await rows.set("d", "4");
  files.crash(() => 0.9);
  assert.deepEqual([...(await opened(files)).rows.keys()].sort(), ["a", "b", "c", "d"]);
});

test("the file does not grow with the number of changes", async () => {
  const files = await disk();
  const rows = await opened(files);
  const value = "v".repeat(1_000);
  let largest = 0;
  for (let i = 0; i < 300; i++) {
    await rows.set(`k${i % 5}`, `${i}${value}`);
    largest = Math.max(largest, (await readWhole(files, FILE)).length);
  }
  await rows.close();
  assert.ok(largest < 80_000, `${largest} bytes`);
  assert.equal(Number.parseInt((await opened(files)).rows.get("k4") ?? "", 10), 299);
});
