/** `drumline data …` on directories of real hosts, as a shell sees it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import * as path from "node:path";
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

  it("exports a shard of a running host, and imports it elsewhere only when told --yes", async (t) => {
    const cluster = await Hosts.open(t, 1, { apiAddress: "127.0.0.1:0" });
    await cluster.startKv(1);
    await cluster.put(0, "key", "value");
    const to = path.join(await tempDir(t), "export");
    const api = cluster.host(0).apiAddress;
    const written = await drumline("shard", "export", String(SHARD), "--to", to, "--api", api);
    assert.match(written.stdout, /shard 1 up to index \d+ is in /, written.stderr);
    const twice = await drumline("shard", "export", String(SHARD), "--to", to, "--api", api);
    assert.match(twice.stderr, /DL_ERR_INVALID_ARGUMENT.*exists already/);
    await cluster.close();
    const other = await cluster.openHost(1);
    await other.close();
    const members = `21=${other.raftAddress}`;
    const call = ["--data", cluster.dataDir(1), "--from", to, "--replica", "21", "--members", members];
    const planned = await drumline("data", "import", ...call);
    assert.match(planned.stdout, /would be made from the export[\s\S]*nothing was changed/, planned.stderr);
    const done = await drumline("data", "import", ...call, "--yes", "--json");
    assert.equal(JSON.parse(done.stdout).done, true, done.stderr);
    await (await cluster.openHost(1)).restartReplica(SHARD, 21, APPS);
    assert.equal(await cluster.get(1, "key"), "value");
  });

  it("judges a disk in words", async (t) => {
    const { stdout, stderr } = await drumline("data", "checkdisk", await tempDir(t), "--for", "200ms");
    assert.match(stdout, /DURABLE WRITES OF[\s\S]*\n(good|usable|slow|unsuitable|implausible): /, stderr);
    const wrong = await drumline("data", "checkdisk", "/nowhere/at/all");
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /DL_ERR_INVALID_ARGUMENT.*does not exist/);
  });
});
