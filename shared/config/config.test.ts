/** Configuration: which source wins, what is refused and how it is said, what is shown. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { OpError } from "../errors.js";
import { addressesOf, describeConfig } from "./describe.js";
import { initFileText, newDeploymentId } from "./init-file.js";
import { type ConfigSources, loadConfig, readConfigFile } from "./load.js";
import { settingsOf } from "./schema.js";
import { controlTimingProblems, DOWN_AFTER_MAX_MS, DOWN_AFTER_MIN_MS, deriveControlTiming } from "./timing.js";
import { durationText, parseDuration, parseSize } from "./values.js";

const NEEDED = { data: "d", ports: 7500 };

function sources(parts: Partial<ConfigSources> & { readonly yaml?: string } = {}): ConfigSources {
  const file = parts.yaml === undefined ? undefined : { path: "x.yaml", text: parts.yaml };
  return { flags: { ...NEEDED, ...parts.flags }, env: parts.env ?? {}, file };
}

function refusal(parts: Parameters<typeof sources>[0], kind: "master" | "nodehost" = "nodehost"): string {
  try {
    loadConfig(kind, sources(parts));
  } catch (error) {
    assert.ok(error instanceof OpError);
    assert.equal(error.code, "DL_ERR_INVALID_CONFIG");
    return error.message;
  }
  return assert.fail("it was accepted");
}

test("flags win over environment, environment over file, file over defaults", () => {
  const yaml = "rttMs: 11\nelectionTicks: 12\nregion: from-file\n";
  const env = { DRUMLINE_RTT_MS: "21", DRUMLINE_ELECTION_TICKS: "22" };
  const { values, origins } = loadConfig("nodehost", sources({ yaml, env, flags: { rttMs: "31" } }));
  assert.deepEqual(
    [values.rttMs, values.electionTicks, values.region, values.heartbeatTicks],
    [31, 22, "from-file", 1],
  );
  assert.equal(origins.rttMs, "--rtt-ms");
  assert.equal(origins.electionTicks, "DRUMLINE_ELECTION_TICKS");
  assert.equal(origins.region, "x.yaml");
  assert.equal(origins.heartbeatTicks, "default");
});

test("text forms of lists, labels, and durations", () => {
  const flags = {
    masters: "7400,db2:7410",
    labels: "zone=a,machine=m=1",
    downAfter: "5s",
    apps: "kv,./x.js",
  };
  const { values } = loadConfig("nodehost", sources({ flags }));
  assert.deepEqual(values.masters, ["127.0.0.1:7400", "db2:7410"]);
  assert.deepEqual(values.labels, { zone: "a", machine: "m=1" });
  assert.equal(values.downAfter, 5000);
  assert.deepEqual(values.apps, ["kv", "./x.js"]);
});

test("YAML lists and maps", () => {
  const yaml = "masters: [7400, 'a:1']\nnats:\n  - nats://a:4222\n  - tls://b:4222\nlabels: {zone: a}\n";
  const { values } = loadConfig("nodehost", sources({ yaml }));
  assert.deepEqual(values.masters, ["127.0.0.1:7400", "a:1"]);
  assert.deepEqual(values.nats, ["nats://a:4222", "tls://b:4222"]);
  assert.deepEqual(values.labels, { zone: "a" });
});

test("defaults", () => {
  const { values } = loadConfig("nodehost", sources());
  assert.equal(values.downAfter, 300_000);
  assert.equal(values.shutdownTimeout, 15_000);
  assert.deepEqual(values.nats, ["nats://127.0.0.1:4222"]);
  assert.deepEqual([values.apps, values.labels, values.deploymentId], [["kv", "kv-disk"], {}, undefined]);
});

test("unknown keys are refused in files and in the environment", () => {
  assert.match(refusal({ yaml: "wal-dir: x\n" }), /wal-dir in x\.yaml is not a setting, did you mean walDir\?/);
  assert.match(refusal({ yaml: "colour: red\n" }), /colour in x\.yaml is not a setting$/);
  assert.match(refusal({ env: { DRUMLINE_WALDIR: "x" } }), /DRUMLINE_WALDIR is not a setting/);
});

test("variables that Kubernetes and the CLI set are not taken for settings", () => {
  const env = {
    DRUMLINE_MASTER: "127.0.0.1:7401",
    DRUMLINE_SERVICE_HOST: "10.0.0.1",
    DRUMLINE_SERVICE_PORT_API: "7501",
    DRUMLINE_MASTER_PORT: "tcp://10.0.0.1:7401",
    DRUMLINE_PORT_7500_TCP_ADDR: "10.0.0.1",
    PATH: "/bin",
  };
  assert.equal(loadConfig("nodehost", sources({ env })).values.rttMs, 50);
});

test("a file may hold keys of the other kind of process", () => {
  const yaml = "deploymentId: 7\nlabels: {zone: a}\n";
  assert.equal(loadConfig("master", sources({ yaml })).values.deploymentId, 7);
});

test("a refused value is named with its origin and what was expected", () => {
  const message = refusal({ env: { DRUMLINE_DOWN_AFTER: "5x" }, flags: { rttMs: "fast" } });
  assert.match(message, /downAfter is "5x" \(from DRUMLINE_DOWN_AFTER\), expected a duration from 2s to 1d/);
  assert.match(message, /rttMs is "fast" \(from --rtt-ms\), expected an integer from 1 to 60000/);
});

test("what is refused", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ downAfter: "1s" }, /downAfter is "1s"/],
    [{ downAfter: 5000 }, /downAfter is 5000/],
    [{ masters: "nowhere" }, /masters is "nowhere" \(from --masters\), expected host:port/],
    [{ masters: "a:1,a:1" }, /masters holds an address twice/],
    [{ masters: "a:70000" }, /expected host:port/],
    [{ nats: "http://x" }, /expected nats:\/\/host:port/],
    [{ hostId: "host1" }, /expected a UUID/],
    [{ labels: "zone" }, /labels is "zone" .* expected key=value pairs/],
    [{ labels: "__proto__=x,zo ne=b" }, /expected key=value pairs/],
    [{ electionTicks: 3, heartbeatTicks: 2 }, /electionTicks must be at least twice heartbeatTicks/],
    [{ tlsCert: "a" }, /tlsCert, tlsKey and tlsCa belong together/],
    [{ natsUser: "a" }, /natsUser and natsPassword belong together/],
    [{ natsToken: "a", natsCreds: "b" }, /exclude each other/],
    [{ ports: undefined }, /ports is missing/],
    [{ ports: 65_534 }, /ports is 65534/],
    [{ data: undefined }, /data is missing, expected a directory/],
    [{ logLevel: "loud" }, /expected debug, info, warn or error/],
    [{ deploymentId: 2 ** 53 }, /deploymentId/],
  ];
  for (const [flags, expected] of cases) assert.match(refusal({ flags }), expected);
});

test("a master needs a deployment id", () => {
  assert.match(refusal({}, "master"), /deploymentId is missing, expected an integer/);
});

test("files that are no YAML maps are refused", () => {
  assert.match(refusal({ yaml: "a: [1" }), /x\.yaml is not YAML/);
  assert.match(refusal({ yaml: "- 1\n" }), /x\.yaml must hold/);
  assert.equal(loadConfig("nodehost", sources({ yaml: "# nothing\n" })).values.rttMs, 50);
});

test("secrets and passwords in addresses are never shown", () => {
  const flags = { natsUser: "u", natsPassword: "hunter2", nats: "nats://me:hunter2@a:1" };
  const loaded = loadConfig("nodehost", sources({ flags, yaml: "downAfter: 90s\n" }));
  const rows = describeConfig(loaded);
  assert.doesNotMatch(JSON.stringify(rows), /hunter2/);
  const row = (key: string) => rows.find((found) => found.key === key);
  assert.deepEqual(row("natsPassword"), { key: "natsPassword", value: "***", origin: "--nats-password" });
  assert.deepEqual(row("nats"), { key: "nats", value: '["nats://***@a:1"]', origin: "--nats" });
  assert.deepEqual(row("downAfter"), { key: "downAfter", value: "90s", origin: "x.yaml" });
  assert.equal(rows.length, settingsOf("nodehost").length);
  assert.doesNotMatch(refusal({ flags: { natsPassword: ["hunter2"], natsUser: "u" } }), /hunter2/);
});

test("addresses come from host and ports unless given", () => {
  const of = (flags: Record<string, unknown>) => addressesOf(loadConfig("nodehost", sources({ flags })).values);
  assert.deepEqual(of({}), {
    raftAddress: "127.0.0.1:7500",
    apiAddress: "127.0.0.1:7501",
    httpAddress: "127.0.0.1:7502",
  });
  assert.deepEqual(of({ host: "db1", apiAddress: "db1:9" }).apiAddress, "db1:9");
  assert.equal(of({ ports: 0 }).httpAddress, "127.0.0.1:0");
  assert.deepEqual(of({ ports: undefined, raftAddress: "a:1" }), {
    raftAddress: "a:1",
    apiAddress: undefined,
    httpAddress: undefined,
  });
});

test("the file of init is read back by masters and hosts", () => {
  const folder = mkdtempSync(join(tmpdir(), "drumline-config-"));
  try {
    const path = join(folder, "drumline.yaml");
    const init = { deploymentId: 2 ** 53 - 1, masters: ["127.0.0.1:7400"], nats: ["nats://127.0.0.1:4222"] };
    writeFileSync(path, initFileText(init));
    for (const kind of ["master", "nodehost"] as const) {
      const { values } = loadConfig(kind, { ...sources(), file: readConfigFile(path) });
      assert.deepEqual({ deploymentId: values.deploymentId, masters: values.masters, nats: values.nats }, init);
    }
    assert.throws(() => readConfigFile(join(folder, "missing.yaml")), { code: "DL_ERR_INVALID_CONFIG" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("deployment ids are safe integers from 1", () => {
  assert.equal(newDeploymentId({ hex: () => "ffffffffffffff" }), 2 ** 52 - 1);
  assert.equal(newDeploymentId({ hex: () => "00000000000000" }), 1);
});

test("and durations survive being written", () => {
  fc.assert(fc.property(fc.nat(10 ** 9), (ms) => assert.equal(parseDuration(durationText(ms)), ms)));
  assert.deepEqual([parseDuration("1.5s"), parseDuration("5"), parseDuration("5 s")], [1500, undefined, undefined]);
  assert.deepEqual([parseSize("1KiB"), parseSize("2GB"), parseSize("9")], [1024, 2e9, undefined]);
});

test("times at 5 seconds and at 5 minutes", () => {
  const { downMs: _five, ...five } = deriveControlTiming(5_000);
  assert.deepEqual(five, {
    reportIntervalMs: 500,
    suspectMs: 1_500,
    disconnectedMs: 3_000,
    peerEvidenceMs: 3_000,
    warmUpMs: 3_000,
    zombieHoldMs: 5_000,
  });
  const { downMs: _minutes, ...minutes } = deriveControlTiming(300_000);
  assert.deepEqual(minutes, {
    reportIntervalMs: 3_000,
    suspectMs: 10_000,
    disconnectedMs: 30_000,
    peerEvidenceMs: 60_000,
    warmUpMs: 30_000,
    zombieHoldMs: 60_000,
  });
});

test("derived times fit together at every allowed setting", () => {
  const downAfterMs = fc.integer({ min: DOWN_AFTER_MIN_MS, max: DOWN_AFTER_MAX_MS });
  fc.assert(fc.property(downAfterMs, (ms) => assert.deepEqual(controlTimingProblems(deriveControlTiming(ms)), [])));
});

test("times that do not fit together are refused", () => {
  const good = deriveControlTiming(5_000);
  const broken = [{ suspectMs: 1_400 }, { disconnectedMs: 1_500 }, { downMs: 3_000 }, { warmUpMs: 2_999 }];
  for (const change of broken)
    assert.ok(controlTimingProblems({ ...good, ...change }).length > 0, JSON.stringify(change));
});
