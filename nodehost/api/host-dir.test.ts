/** A directory's identity and its lock: one process, one host, one deployment, starts counted before the first word. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import * as path from "node:path";
import { test } from "node:test";
import { createRealEnv } from "../../shared/env/real-env.js";
import { OpError } from "../../shared/errors.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import { tempDir } from "../../test/kit/temp.js";
import { isHostId, lockDirectory, openIdentity, readIdentity, writeDurably } from "./host-dir.js";

const ENV = createRealEnv();
const NO_WISH = { hostId: undefined, deploymentId: undefined };

function code(expected: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof OpError, String(error));
    assert.equal(error.code, expected);
    return true;
  };
}

async function disk(): Promise<SimDisk> {
  const files = new SimDisk();
  await files.makeDirectory("/d");
  return files;
}

test("a directory is locked by one holder at a time and names it (P50)", async (t) => {
  const dir = await tempDir(t);
  const lock = await lockDirectory(dir);
  await assert.rejects(lockDirectory(dir), (error) => code("DL_ERR_DIRECTORY_LOCKED")(error));
  await assert.rejects(lockDirectory(dir), new RegExp(`process ${process.pid}`));
  await lock.release();
  await (await lockDirectory(dir)).release();
});

/** Locks the directory given, says so, and waits to be killed. */
const HOLDER = `
  import { lockDirectory } from ${JSON.stringify(new URL("./host-dir.js", import.meta.url).href)};
  await lockDirectory(process.argv[1]);
  console.log("locked");
  setInterval(() => {}, 60000);
`;

test("a killed process leaves no lock behind (P50)", async (t) => {
  const dir = await tempDir(t);
  const child = spawn(process.execPath, ["--input-type=module", "-e", HOLDER, dir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(child.stdout, "data");
    await assert.rejects(lockDirectory(dir), code("DL_ERR_DIRECTORY_LOCKED"));
    assert.match(await readFile(path.join(dir, "LOCK"), "utf8"), new RegExp(`process ${child.pid}`));
  } finally {
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }
  await (await lockDirectory(dir)).release();
});

test("identity is made once and kept; each start counts and has a nonce of its own", async () => {
  const files = await disk();
  assert.equal(await readIdentity(files, "/d"), undefined);
  const first = await openIdentity(files, "/d", { hostId: undefined, deploymentId: 9 }, ENV);
  assert.ok(isHostId(first.hostId) && isHostId(first.dataSetId));
  assert.equal(first.incarnation.counter, 1);
  const second = await openIdentity(files, "/d", NO_WISH, ENV);
  assert.deepEqual({ ...second, incarnation: 0 }, { ...first, incarnation: 0 });
  assert.equal(second.incarnation.counter, 2);
  assert.notEqual(second.incarnation.nonce, first.incarnation.nonce);
});

test("a start is counted durably before it is used, at every point of a power loss", async () => {
  let counted = 0;
  for (let stopAt = 1; stopAt < 40; stopAt++) {
    const files = await disk();
    const before = await openIdentity(files, "/d", NO_WISH, ENV);
    const begin = files.operations;
    files.fault = ({ number }) => (number === begin + stopAt ? "stop" : undefined);
    const opening = openIdentity(files, "/d", NO_WISH, ENV);
    const done = await Promise.race([opening.then(() => true), files.whenStopped().then(() => false)]);
    let state = stopAt;
    files.crash(() => {
      state = (state * 16807) % 2147483647;
      return state / 2147483647;
    });
    const after = await openIdentity(files, "/d", NO_WISH, ENV);
    assert.equal(after.hostId, before.hostId);
    assert.equal(after.dataSetId, before.dataSetId);
    assert.ok(after.incarnation.counter >= (done ? 3 : 2), `stop at ${stopAt}: ${after.incarnation.counter}`);
    if (done) break;
    counted += 1;
  }
  assert.ok(counted >= 5, `${counted} points`);
});

test("another host's or deployment's directory is refused, and not touched", async () => {
  const files = await disk();
  const own = await openIdentity(files, "/d", { hostId: undefined, deploymentId: 9 }, ENV);
  const other = "00000000-0000-4000-8000-000000000001";
  await assert.rejects(
    openIdentity(files, "/d", { hostId: other, deploymentId: 9 }, ENV),
    code("DL_ERR_HOST_MISMATCH"),
  );
  await assert.rejects(
    openIdentity(files, "/d", { hostId: own.hostId, deploymentId: 8 }, ENV),
    code("DL_ERR_DEPLOYMENT_MISMATCH"),
  );
  assert.equal((await readIdentity(files, "/d"))?.incarnation, 1);
});

test("a file that is not an identity is refused with what is wrong", async () => {
  const files = await disk();
  const good = await openIdentity(files, "/d", NO_WISH, ENV);
  const parts = { version: 1, hostId: good.hostId, dataSetId: good.dataSetId, deploymentId: 1, incarnation: 1 };
  const cases: readonly [unknown, string][] = [
    ["{", "DL_ERR_LOGDB_CORRUPT"],
    ["7", "DL_ERR_LOGDB_CORRUPT"],
    [{ ...parts, version: 2 }, "DL_ERR_VERSION"],
    [{ ...parts, hostId: "me" }, "DL_ERR_LOGDB_CORRUPT"],
    [{ ...parts, dataSetId: 5 }, "DL_ERR_LOGDB_CORRUPT"],
    [{ ...parts, deploymentId: 0 }, "DL_ERR_LOGDB_CORRUPT"],
    [{ ...parts, incarnation: -1 }, "DL_ERR_LOGDB_CORRUPT"],
    [{ ...parts, incarnation: 2 ** 60 }, "DL_ERR_LOGDB_CORRUPT"],
  ];
  for (const [content, expected] of cases) {
    const text = typeof content === "string" ? content : JSON.stringify(content);
    await writeDurably(files, "/d", "host.json", Buffer.from(text));
    await assert.rejects(openIdentity(files, "/d", NO_WISH, ENV), code(expected), text);
  }
});

test("a full disk is said to be one, and the old file stays", async () => {
  const files = await disk();
  await writeDurably(files, "/d", "x.json", Buffer.from("old"));
  files.fault = ({ kind }) => (kind === "write" ? "ENOSPC" : undefined);
  await assert.rejects(writeDurably(files, "/d", "x.json", Buffer.from("new")), code("DL_ERR_DISK_FULL"));
  files.fault = undefined;
  await writeDurably(files, "/d", "x.json", Buffer.from("new"));
});
