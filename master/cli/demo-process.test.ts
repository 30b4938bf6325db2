/** Children of the demo: ready lines, early ends, stopping; waiting with a limit. Real processes of small scripts. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { tempDir } from "../../test/kit/temp.js";
import { DrumlineProcess, freePortTriples } from "./demo-process.js";
import { DemoFailure, Limit } from "./demo-wait.js";

async function run(t: TestContext, script: string): Promise<DrumlineProcess> {
  const dir = await tempDir(t);
  const path = join(dir, "script.mjs");
  writeFileSync(path, script);
  const child = new DrumlineProcess({ name: "child", args: [path], logPath: join(dir, "child.log") });
  t.after(() => child.kill());
  return child;
}

const READY = 'console.log(JSON.stringify({ event: "ready", apiAddress: "127.0.0.1:7" }));';
const STAY = "setInterval(() => {}, 1000);";

test("a child is ready with its first ready line, and stops in order", async (t) => {
  const child = await run(t, `process.on("SIGTERM", () => process.exit(0)); console.log("hello"); ${READY} ${STAY}`);
  assert.equal((await child.ready()).apiAddress, "127.0.0.1:7");
  assert.ok(child.running && child.pid > 0);
  assert.equal(await child.stop(), true);
  assert.ok(!child.running);
});

test("a child that ends before it is ready is a failure that shows its last words", async (t) => {
  const child = await run(t, 'console.error("drumline: DL_ERR_X: broken"); process.exitCode = 2;');
  await assert.rejects(child.ready(), (error) => {
    assert.ok(error instanceof DemoFailure);
    assert.match(error.message, /^child ended before it was ready \(exit code 2\):[\s\S]*DL_ERR_X: broken/);
    return true;
  });
});

test("a child that ignores SIGTERM is killed", async (t) => {
  const child = await run(t, `process.on("SIGTERM", () => {}); ${READY} ${STAY}`);
  await child.ready();
  assert.equal(await child.stop(50), false);
  assert.deepEqual(await child.exited, { code: null, signal: "SIGKILL" });
});

test("port triples do not overlap", async () => {
  const bases = await freePortTriples(5);
  const ports = new Set(bases.flatMap((base) => [base, base + 1, base + 2]));
  assert.equal(ports.size, 15);
});

test("a wait ends with what was waited for and why it did not come", async () => {
  const limit = new Limit(30, new AbortController().signal);
  const probe = (): never => {
    throw new Error("not yet");
  };
  await assert.rejects(
    limit.until("the moon", probe, { everyMs: 5 }),
    /did not happen within .* s: the moon \(last: not yet\)/,
  );
});

test("a wait answers what the probe answered, and ends when stopped", async () => {
  const stop = new AbortController();
  const limit = new Limit(60_000, stop.signal);
  let calls = 0;
  assert.equal(await limit.until("third time", () => (++calls === 3 ? "here" : undefined), { everyMs: 1 }), "here");
  const waiting = limit.until("never", () => false, { everyMs: 1 });
  stop.abort();
  await assert.rejects(waiting, /stopped while waiting: never/);
});
