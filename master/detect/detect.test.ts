/** Detection rule by rule, on virtual time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { NodeHostInfo } from "../../shared/types/control.js";
import { deriveTiming, FailureDetector, type HostState, type RegisteredHost, timingProblems } from "./index.js";

const T = deriveTiming(5_000);
const STEP = 250;

import { info } from "./fixtures.js";

class Bench {
  nowMs = 0;
  readonly detector = new FailureDetector(T, 0);
  readonly silent = new Set<string>();
  readonly misses = new Map<string, string>();
  probing = true;
  hosts: string[];
  #sequence = 0;

  constructor(count: number) {
    this.hosts = Array.from({ length: count }, (_, i) => `h${i + 1}`);
    this.register();
    this.detector.onLink(true, 0);
  }

  register(change: Partial<RegisteredHost> = {}, of?: string): void {
    this.detector.setHosts(
      this.hosts.map((hostId) => ({
        hostId,
        raftAddress: `${hostId}:1`,
        dataSetId: `d-${hostId}`,
        pastDataSets: [],
        incarnation: { counter: 1, nonce: "n" },
        maintenance: false,
        removed: false,
        ...(of === undefined || of === hostId ? change : {}),
      })),
    );
  }

  report(hostId: string, change: Partial<NodeHostInfo> = {}): string {
    this.#sequence += 1;
    const missed = this.misses.get(hostId);
    const silentPeers = missed === undefined ? [] : [{ target: missed, silentMs: T.peerEvidenceMs + 1 }];
    return this.detector.onReport(info(hostId, this.#sequence, { silentPeers, ...change }), this.nowMs);
  }

  run(forMs: number): void {
    for (let passed = 0; passed < forMs; passed += STEP) {
      this.nowMs += STEP;
      if (this.probing) this.detector.onProbe(this.nowMs);
      for (const hostId of this.hosts) if (!this.silent.has(hostId)) this.report(hostId);
      this.detector.tick(this.nowMs);
    }
  }

  lead(): this {
    this.detector.onLeadership(true, this.nowMs);
    this.run(T.warmUpCapMs + STEP);
    return this;
  }

  state(hostId: string): HostState | undefined {
    return this.detector.view().hosts.get(hostId)?.state;
  }

  get mode(): string {
    return this.detector.view().mode;
  }
}

test("times keep their order at every setting, and impossible ones are named", () => {
  for (const downMs of [2_000, 5_000, 60_000, 300_000, 86_400_000])
    assert.deepEqual(timingProblems(deriveTiming(downMs)), [], `${downMs}`);
  assert.deepEqual(
    [T.reportIntervalMs, T.suspectMs, T.disconnectedMs, T.peerEvidenceMs, T.warmUpMs, T.zombieHoldMs],
    [500, 1_500, 3_000, 3_000, 3_000, 5_000],
  );
  const long = deriveTiming();
  assert.deepEqual(
    [long.reportIntervalMs, long.suspectMs, long.disconnectedMs, long.warmUpMs],
    [3_000, 10_000, 30_000, 30_000],
  );
  assert.deepEqual([deriveTiming(2_000).warmUpMs, deriveTiming(2_000).zombieHoldMs], [3_000, 5_000], "floors");
  assert.equal(timingProblems({ ...T, suspectMs: 100 }).length, 1);
  assert.equal(timingProblems({ ...T, warmUpCapMs: 100 }).length, 1);
});

test("D2: Up → Suspect → Disconnected by age; Down only with a second witness", () => {
  const b = new Bench(5).lead();
  assert.equal(b.state("h1"), "Up");
  b.silent.add("h1");
  b.run(T.suspectMs + STEP);
  assert.equal(b.state("h1"), "Suspect");
  b.run(T.disconnectedMs - T.suspectMs);
  assert.equal(b.state("h1"), "Disconnected");
  b.run(10 * T.downMs);
  assert.equal(b.state("h1"), "Disconnected", "nobody misses it");
  assert.match(b.detector.view().hosts.get("h1")?.reason ?? "", /no leader misses it/);
  b.misses.set("h2", "h1");
  b.run(STEP);
  assert.equal(b.state("h1"), "Down");
  b.misses.clear();
  b.run(10_000);
  assert.equal(b.state("h1"), "Down", "stays Down when leaders have replaced it");
});

test("a witness may name the raft address; a silent witness and the host itself do not count", () => {
  const b = new Bench(5).lead();
  b.silent.add("h1");
  b.run(T.downMs + STEP);
  b.misses.set("h1", "h1");
  b.misses.set("h2", "h1");
  b.silent.add("h2");
  b.run(T.downMs);
  assert.equal(b.state("h1"), "Disconnected");
  b.misses.set("h3", "h1:1");
  b.run(STEP);
  assert.equal(b.state("h1"), "Down");
});

test("D1: the clock stops while the link is cut, probes are lost or the loop stalls", () => {
  const b = new Bench(3).lead();
  const at = (): number => b.detector.view().effectiveMs;
  let before = at();
  b.detector.onLink(false, b.nowMs);
  b.run(20_000);
  assert.equal(at(), before);
  b.detector.onLink(true, b.nowMs);
  b.run(20_000);
  assert.ok(at() - before >= 20_000 - STEP);
  before = at();
  b.probing = false;
  b.run(20_000);
  assert.ok(at() - before <= T.probeTimeoutMs + STEP);
  assert.equal(b.mode, "observer");
  b.probing = true;
  b.run(5_000);
  before = at();
  b.nowMs += 60_000; // nobody called for a minute
  b.run(STEP);
  assert.ok(at() - before <= 2 * STEP);
  before = at();
  b.nowMs += 900;
  b.detector.onStall(900, b.nowMs);
  assert.equal(at(), before);
});

test("D1: a stall never makes a host Suspect, even if the tick comes before the queued reports", () => {
  const b = new Bench(3).lead();
  b.nowMs += 60_000;
  b.detector.tick(b.nowMs);
  assert.equal(b.state("h1"), "Up");
});

test("D10: after a cut everybody gets a full TTL, and nothing is planned for a while", () => {
  const b = new Bench(5).lead();
  b.detector.onLink(false, b.nowMs);
  assert.equal(b.mode, "observer");
  b.run(60_000);
  b.silent.add("h1");
  b.detector.onLink(true, b.nowMs);
  b.run(STEP);
  assert.equal(b.state("h1"), "Unknown");
  assert.equal(b.mode, "observer");
  assert.equal(b.detector.view().mayRestart, false);
  b.run(T.reconnectQuietMs);
  assert.equal(b.mode, "normal");
  b.misses.set("h2", "h1");
  b.run(T.downMs - T.reconnectQuietMs - 2 * STEP);
  assert.notEqual(b.state("h1"), "Down");
  b.run(4 * STEP);
  assert.equal(b.state("h1"), "Down");
});

test("D4: a new leader keeps an age it listened to without a gap", () => {
  const b = new Bench(5);
  b.run(10_000);
  b.silent.add("h1");
  b.misses.set("h2", "h1");
  b.run(4_000);
  b.detector.onLeadership(true, b.nowMs);
  b.run(T.downMs - 4_000 + 2 * STEP);
  assert.equal(b.state("h1"), "Down");
});

test("D4: after a gap in its own listening a new leader grants a fresh TTL", () => {
  for (const gap of ["stall", "link"] as const) {
    const b = new Bench(5);
    b.run(10_000);
    b.silent.add("h1");
    b.misses.set("h2", "h1");
    b.run(4_000);
    if (gap === "link") b.detector.onLink(false, b.nowMs);
    b.nowMs += 2_000;
    b.detector.tick(b.nowMs);
    b.detector.onLink(true, b.nowMs);
    b.detector.onLeadership(true, b.nowMs);
    b.run(T.downMs - STEP);
    assert.notEqual(b.state("h1"), "Down", gap);
    b.run(2 * STEP);
    assert.equal(b.state("h1"), "Down", gap);
  }
});

test("D5, D6: no plan before warm-up; 90 % of hosts and shards; the cap ends it", () => {
  const quick = new Bench(3);
  quick.detector.onLeadership(true, 0);
  quick.run(T.warmUpMs - STEP);
  assert.equal(quick.mode, "warming");
  assert.equal(quick.detector.view().mayRestart, false);
  quick.run(STEP);
  assert.equal(quick.mode, "normal");

  const noLeaders = new Bench(3);
  noLeaders.detector.onLeadership(true, 0);
  noLeaders.detector.onCoverage(8, 10);
  noLeaders.run(T.warmUpMs + STEP);
  assert.equal(noLeaders.mode, "warming");
  assert.equal(noLeaders.detector.view().mayRestart, true, "restart in place is allowed");
  noLeaders.detector.onCoverage(9, 10);
  noLeaders.run(STEP);
  assert.equal(noLeaders.mode, "normal");

  const capped = new Bench(5);
  capped.silent.add("h1");
  capped.detector.onLeadership(true, 0);
  capped.run(T.warmUpCapMs - STEP);
  assert.equal(capped.mode, "warming");
  capped.run(STEP);
  assert.equal(capped.mode, "normal");
});

test("D7: more than 2 and 20 % silent slows repairs down", () => {
  const b = new Bench(9).lead();
  b.silent.add("h1").add("h2");
  b.run(T.downMs);
  assert.equal(b.mode, "normal");
  const braked = new Bench(9).lead();
  braked.silent.add("h1").add("h2").add("h3");
  braked.run(T.downMs);
  assert.equal(braked.mode, "braked");
  assert.equal(braked.detector.view().repairFraction, 0.1);
});

test("D8, M7: half silent, or more than a third of ten: observe only; 1 of 3 and 2 of 5 are repaired", () => {
  const modeWith = (hosts: number, silent: number): string => {
    const b = new Bench(hosts).lead();
    for (let i = 1; i <= silent; i++) b.silent.add(`h${i}`);
    b.run(T.downMs);
    return b.mode;
  };
  assert.deepEqual([modeWith(3, 1), modeWith(5, 2)], ["normal", "normal"]);
  assert.deepEqual(
    [modeWith(2, 1), modeWith(4, 2), modeWith(3, 2), modeWith(12, 5)],
    ["observer", "observer", "observer", "observer"],
  );
  assert.equal(modeWith(12, 4), "braked");
});

test("D8: observing ends when 90 % are back for a while, with fresh timers, or by acknowledgement", () => {
  const b = new Bench(4).lead();
  b.silent.add("h1").add("h2");
  b.run(T.downMs);
  assert.equal(b.mode, "observer");
  b.run(20 * T.outageWindowMs);
  assert.equal(b.mode, "observer", "time alone does not end it");
  b.silent.delete("h1");
  b.run(T.outageExitMs * 2);
  assert.equal(b.mode, "observer");
  b.silent.delete("h2");
  b.run(T.outageExitMs + 2 * STEP);
  assert.equal(b.mode, "normal");
  const c = new Bench(4).lead();
  c.silent.add("h1").add("h2");
  c.run(T.downMs);
  c.detector.acknowledgeOutage(c.nowMs);
  c.run(STEP);
  assert.equal(c.mode, "normal");
});

test("flapping: a returning host stays Suspect for a while, longer each time", () => {
  const b = new Bench(5).lead();
  const flap = (): number => {
    b.silent.add("h1");
    b.run(T.disconnectedMs + 2 * STEP);
    b.silent.delete("h1");
    b.run(STEP);
    let ms = 0;
    while (b.state("h1") === "Suspect" && ms < 60_000) {
      b.run(STEP);
      ms += STEP;
    }
    return ms;
  };
  const first = flap();
  const second = flap();
  assert.ok(first >= T.flapCoolMs - STEP, `${first}`);
  assert.ok(second > first, `${second} after ${first}`);
});

test("Restarted, Wiped, Stopping, Maintenance, Removed", () => {
  const b = new Bench(5).lead();
  assert.equal(b.report("h1", { incarnation: { counter: 2, nonce: "m" } }), "accepted");
  assert.equal(b.state("h1"), "Restarted");
  b.hosts = ["h2", "h3", "h4", "h5"];
  b.report("h2", { dataSetId: "another", incarnation: { counter: 1, nonce: "q" } });
  assert.equal(b.state("h2"), "Wiped");
  assert.equal(b.report("h2"), "stale", "the old disk is not believed any more");
  b.report("h3", { stopping: true });
  assert.equal(b.state("h3"), "Stopping");
  b.register({ maintenance: true }, "h4");
  assert.equal(b.state("h4"), "Maintenance");
  b.register({ removed: true }, "h5");
  assert.equal(b.state("h5"), "Removed");
});

test("D19: older starts, repeated reports, clones and replaced data sets are not believed", () => {
  const b = new Bench(1);
  assert.equal(b.detector.onReport(info("h1", 5), 0), "accepted");
  assert.equal(b.detector.onReport(info("h1", 5), 0), "duplicate");
  assert.equal(b.detector.onReport(info("h1", 9, { incarnation: { counter: 0, nonce: "n" } }), 0), "stale");
  assert.equal(b.detector.onReport(info("h1", 9, { incarnation: { counter: 1, nonce: "clone" } }), 0), "cloned");
  assert.equal(b.state("h1"), "Cloned");
  b.register({ pastDataSets: ["old"] });
  assert.equal(b.detector.onReport(info("h1", 9, { dataSetId: "old" }), 0), "stale");
});

test("a host that comes back on an older copy of its directory is Refused at once, not silent until Down (P49)", () => {
  const b = new Bench(2).lead();
  for (const [why, change] of [
    ["an earlier start", { incarnation: { counter: 0, nonce: "z" } }],
    [
      "a log that ends earlier",
      { incarnation: { counter: 3, nonce: "z" }, recoveredSequence: 499, durableSequence: 600 },
    ],
  ] as const) {
    b.silent.clear();
    b.report("h1", { incarnation: { counter: 2, nonce: "m" }, durableSequence: 500, recoveredSequence: 300 });
    assert.equal(b.report("h1", change), "stale", why);
    b.silent.add("h1");
    b.run(T.suspectMs + STEP);
    const refused = b.report("h1", change);
    b.run(STEP);
    assert.equal(b.state("h1"), "Refused", why);
    const refusal = b.detector.refusalOf("h1", "stale");
    assert.equal(refusal?.code, "DL_ERR_DATA_STALE");
    assert.match(
      b.detector.view().hosts.get("h1")?.reason ?? "",
      /old copy: it (counts start 0|recovered its log up to 499)/,
    );
    assert.equal(refused, "stale");
  }
  assert.equal(
    b.report("h1", { incarnation: { counter: 3, nonce: "y" }, recoveredSequence: 500, durableSequence: 500 }),
    "accepted",
  );
});

test("a host that says itself that its directory must not be used is Refused, with its own reason", () => {
  const b = new Bench(2).lead();
  b.hosts = ["h2"];
  assert.equal(b.report("h1", { directoryFault: "DL_ERR_DATA_STALE: h2 knows better" }), "accepted");
  assert.equal(b.state("h1"), "Refused");
  assert.equal(b.detector.view().hosts.get("h1")?.reason, "DL_ERR_DATA_STALE: h2 knows better");
  b.report("h1");
  assert.equal(b.state("h1"), "Up");
});

test("a second process with a host's identity is refused; the first one is Cloned while it reports (P50)", () => {
  const b = new Bench(1).lead();
  // A later start, which its peers have refused already, does not take the place of the one that is heard.
  const copy = { incarnation: { counter: 2, nonce: "copy" }, directoryFault: "DL_ERR_DATA_STALE: no" };
  assert.equal(b.report("h1", copy), "cloned");
  assert.equal(b.state("h1"), "Cloned");
  assert.equal(b.detector.refusalOf("h1", "cloned")?.code, "DL_ERR_HOST_CLONED");
  b.run(T.disconnectedMs + STEP);
  assert.equal(b.state("h1"), "Up");
  // One that nobody else knows about does, and then it is the first one that is refused.
  assert.equal(b.report("h1", { incarnation: { counter: 2, nonce: "copy" } }), "accepted");
  assert.equal(b.report("h1"), "cloned");
  assert.match(b.detector.refusalOf("h1", "cloned")?.detail ?? "", /starts 1 and 2 both report/);
  assert.equal(b.detector.refusalOf("h1", "duplicate"), undefined);
});
