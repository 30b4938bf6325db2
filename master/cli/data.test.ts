/** `drumline data …` on directories of real hosts, as a shell sees it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { APPS, Hosts, SHARD } from "../../test/kit/hosts.js";
import { tempDir } from "../../test/kit/temp.js";

const MAIN = fileURLToPath(new URL("./main.js", import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function drumline(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { timeout: 30_000 }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, stdout, stderr });
    });
  });
}

describe("drumline data", () => {
  it("inspects a directory, and shrinks a shard only when told --yes", async (t) => {
    const cluster = await Hosts.open(t, 3);
    await cluster.startKv(3);
    await cluster.put(0, "key", "value");
    await cluster.get(2, "key");
    await cluster.close();
    const place = ["--data", cluster.dataDir(2)];

    const shown = await drumline("data", "inspect", ...place);
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /SHARD +REPLICA[\s\S]*1 +3 +kv +concurrent/);
    const parsed = JSON.parse((await drumline("data", "inspect", ...place, "--json")).stdout);
    assert.deepEqual(Object.keys(parsed.replicas[0].membership.voters), ["1", "2", "3"]);

    const planned = await drumline("data", "shrink", ...place, "--shard", String(SHARD));
    assert.equal(planned.code, 0, planned.stderr);
    assert.match(planned.stdout, /would be the only member[\s\S]*removed for ever: 1, 2[\s\S]*nothing was changed/);
    const again = await drumline("data", "shrink", ...place, "--shard", "1", "--yes", "--dry-run", "--json");
    assert.equal(JSON.parse(again.stdout).done, false);
    const done = await drumline("data", "shrink", ...place, "--shard", "1", "--yes", "--json");
    assert.deepEqual(JSON.parse(done.stdout).after.removed, [1, 2]);

    const host = await cluster.openHost(2);
    await host.restartReplica(SHARD, 3, APPS);
    assert.equal(await cluster.get(2, "key"), "value");
    const locked = await drumline("data", "inspect", ...place);
    assert.equal(locked.code, 1);
    assert.match(locked.stderr, /^drumline: DL_ERR_DIRECTORY_LOCKED: .*\ntry: /);
  });

  it("judges a disk in words", async (t) => {
    const { stdout, stderr } = await drumline("data", "checkdisk", await tempDir(t), "--for", "200ms");
    assert.match(stdout, /DURABLE WRITES OF[\s\S]*\n(good|usable|slow|unsuitable|implausible): /, stderr);
    const wrong = await drumline("data", "checkdisk", "/nowhere/at/all");
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /DL_ERR_INVALID_ARGUMENT.*does not exist/);
  });
});
