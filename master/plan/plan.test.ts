/** The planner against the small world of world.ts: repair, restraint, continuation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { explainShard, plan } from "./index.js";
import { STEP_MS, specOf, TIMING, World } from "./world.js";

const REPAIR_MS = 90_000;

function settled(world: World, forMs = REPAIR_MS): void {
  const whole = world.runUntil(() => world.whole, forMs);
  assert.deepEqual(world.violations, []);
  const why = [...world.state.shards.values()].flatMap((s) => explainShard(world.view(), 0, s.shardId)).join("\n");
  assert.ok(whole, `not whole after ${forMs} ms\n${why}`);
}

function quiet(world: World): void {
  world.run(TIMING.zombieHoldMs + 20_000);
  for (let i = 0; i < 10; i++) assert.deepEqual(world.step().actions, []);
}

test("create: all initial members start, the operation ends, then nothing is emitted (V1, V2)", () => {
  const world = World.ready(4, [{ name: "a" }, { name: "b", voters: 1 }]);
  settled(world);
  quiet(world);
  assert.equal(world.state.history.length, 2);
  assert.equal(world.lastPlan?.healthyShards, 2);
  assert.deepEqual(world.lastPlan?.notDone, []);
});

test("V3: 1 of 4 hosts lost for ever is replaced by learner, catch-up, promotion, removal (M4)", () => {
  const world = World.ready(4, [{}, {}, {}]);
  world.kill(2);
  settled(world);
  const kinds = world.requests
    .map((r) => r.action.kind)
    .filter((k) => ["addNonVoting", "promote", "remove"].includes(k));
  assert.equal(kinds[0], "addNonVoting");
  assert.ok(kinds.indexOf("promote") < kinds.indexOf("remove"), "the dead voter goes only after the new one votes");
  for (const shard of world.shards.values()) assert.ok(![...shard.membership.voters.values()].includes("h2"));
  quiet(world);
});

test("V3: 2 of 5 hosts lost at once are repaired (D8 lets 2 of 5 pass)", () => {
  const world = World.ready(5, [{}, {}, { voters: 5 }].slice(0, 2));
  world.kill(1);
  world.kill(2);
  const repairable = [...world.shards].filter(([, s]) => {
    const left = [...s.membership.voters.values()].filter((h) => h !== "h1" && h !== "h2");
    return left.length >= 2;
  });
  world.run(REPAIR_MS);
  assert.deepEqual(world.violations, []);
  assert.ok(repairable.length > 0);
  for (const [shardId] of repairable)
    assert.ok(world.isWhole(shardId), explainShard(world.view(), 0, shardId).join("\n"));
});

test("D10: a cut link of the master causes zero actions, then and after it returns", () => {
  const world = World.ready(4, [{}, {}]);
  quiet(world);
  world.linkMasters(false);
  const before = [world.commands.length, world.requests.length];
  for (let at = 0; at < 6 * TIMING.downMs; at += STEP_MS) assert.deepEqual(world.step().actions, []);
  world.linkMasters(true);
  for (let at = 0; at < 6 * TIMING.downMs; at += STEP_MS) assert.deepEqual(world.step().actions, []);
  assert.deepEqual([world.commands.length, world.requests.length], before);
});

test("D10: hosts cut off the bus but alive are not repaired, for leaders still hear them", () => {
  const world = World.ready(4, [{}, {}]);
  quiet(world);
  world.host(3).linked = false;
  for (let at = 0; at < 6 * TIMING.downMs; at += STEP_MS) assert.deepEqual(world.step().actions, []);
  assert.equal(world.view().detector.hosts.get("h3")?.state, "Disconnected");
});

test("D8, M7: half of the hosts vanish: observe only; restarts stay allowed; back again without a change", () => {
  const world = World.ready(4, [{}, {}, {}]);
  quiet(world);
  const before = world.commands.length;
  world.kill(1);
  world.kill(2);
  world.run(8 * TIMING.downMs);
  assert.equal(world.view().detector.mode, "observer");
  assert.equal(world.commands.length, before);
  world.start(1);
  world.start(2);
  settled(world);
  assert.ok(!world.commands.slice(before).some((c) => c.kind === "openOperation"));
  quiet(world);
});

test("restart in place is preferred over replacement (V6): all hosts restart, no membership changes", () => {
  const world = World.ready(3, [{}, {}]);
  quiet(world);
  const before = world.commands.length;
  for (const i of [1, 2, 3]) {
    world.kill(i);
    world.start(i);
  }
  settled(world);
  assert.ok(world.requests.some((r) => r.action.kind === "restart"));
  assert.ok(world.commands.slice(before).every((c) => c.kind === "registerHost"));
});

test("D13: a host back before the promotion cancels the operation, and the learner is removed", () => {
  const world = World.ready(4, [{}]);
  quiet(world);
  const shard = world.shards.get(1);
  const victim = [...(shard?.membership.voters.values() ?? [])][0] ?? "";
  world.kill(Number(victim.slice(1)));
  assert.ok(world.runUntil(() => (shard?.membership.nonVotings.size ?? 0) > 0, REPAIR_MS));
  world.start(Number(victim.slice(1)));
  settled(world);
  assert.equal(shard?.membership.removed.size, 1, "the learner, and only it, is gone");
  assert.ok([...(shard?.membership.voters.values() ?? [])].includes(victim));
  assert.equal(world.state.history.find((o) => o.kind === "replace")?.state, "canceled");
  quiet(world);
});

test("D13, D14, V4: a host back after the promotion is removed; its zombie is stopped, then cleared", () => {
  const world = World.ready(4, [{}]);
  quiet(world);
  const shard = world.shards.get(1);
  const victim = [...(shard?.membership.voters.values() ?? [])][0] ?? "";
  const host = world.host(Number(victim.slice(1)));
  world.kill(Number(victim.slice(1)));
  settled(world);
  host.up = true; // comes back with its replica running: a zombie
  for (const replicas of host.replicas.values()) for (const r of replicas.values()) r.running = true;
  assert.ok(
    world.runUntil(() => world.requests.some((r) => r.action.kind === "stop"), 3_000),
    "stopped at once",
  );
  const stopped = world.nowMs;
  assert.ok(
    world.runUntil(() => host.replicas.size === 0, 60_000),
    "its data is removed",
  );
  assert.ok(world.nowMs - stopped >= TIMING.zombieHoldMs - STEP_MS, "not before the hold");
  assert.deepEqual(world.violations, []);
  quiet(world);
});

test("Wiped: replicas of a replaced disk are failed at once and never restarted under their id (spare host)", () => {
  const world = World.ready(4, [{}, {}]);
  quiet(world);
  world.kill(1);
  world.start(1, true);
  settled(world, 30_000);
  quiet(world);
});

test("Wiped: with no spare host the wiped one takes a new replica of its own shard (M3)", () => {
  const world = World.ready(3, [{}, {}]);
  quiet(world);
  world.kill(1);
  world.start(1, true);
  settled(world);
  quiet(world);
});

test("flapping: a host that comes and goes faster than Down causes no membership change", () => {
  const world = World.ready(4, [{}, {}]);
  quiet(world);
  const before = world.commands.length;
  for (let i = 0; i < 6; i++) {
    world.kill(2);
    world.run(4_000);
    world.start(2);
    world.run(4_000);
  }
  settled(world);
  assert.ok(world.commands.slice(before).every((c) => c.kind === "registerHost"));
});

test("D18: an unplaceable shard states its reason and blocks no other", () => {
  const world = World.ready(5, [{}, {}]);
  quiet(world);
  const first = world.shards.get(1);
  const members = [...(first?.membership.voters.values() ?? [])];
  // Shard 1 may only go where app "rare" is, and that is on its members' hosts alone.
  for (const host of world.hosts.values()) host.apps = members.includes(host.hostId) ? ["kv", "rare"] : ["kv"];
  world.run(2_000);
  world.commit({ kind: "tombstoneShard", shardId: 1, reason: "test", atMs: 0 });
  const places = members.map((hostId) => ({
    replicaId: 0,
    hostId,
    dataSetId: world.host(Number(hostId.slice(1))).dataSetId,
  }));
  const created = world.commit({ kind: "createShard", clientKey: "", spec: specOf({ app: "rare" }), places, atMs: 0 });
  assert.equal(created.code, "ok");
  settled(world);
  const both = members.find((h) => [...(world.shards.get(2)?.membership.voters.values() ?? [])].includes(h)) ?? "";
  world.kill(Number(both.slice(1)));
  assert.ok(
    world.runUntil(() => world.isWhole(2) && world.nowMs > 0 && world.lastPlan?.shards[0] !== undefined, REPAIR_MS),
  );
  world.run(20_000);
  assert.ok(world.isWhole(2));
  const status = world.lastPlan?.shards.find((s) => s.shardId === created.id);
  assert.equal(status?.health, "unplaceable");
  assert.match(status?.waiting ?? "", /without app rare/);
});

test("D11, V8: a shard without a quorum of data is listed and never touched", () => {
  const world = World.ready(5, [{}]);
  quiet(world);
  const members = [...(world.shards.get(1)?.membership.voters.values() ?? [])].slice(0, 2);
  const before = world.commands.length;
  for (const hostId of members) world.kill(Number(hostId.slice(1)));
  world.run(REPAIR_MS);
  assert.equal(world.commands.length, before);
  assert.equal(world.lastPlan?.shards[0]?.health, "quorumLost");
  assert.match(world.lastPlan?.shards[0]?.waiting ?? "", /operator/);
});

test("V7: a failover in the middle of each step goes on with the same operation", () => {
  for (const stepKind of ["addNonVoting", "join", "catchUp", "promote", "remove"] as const) {
    const world = World.ready(4, [{}]);
    const shard = world.shards.get(1);
    if (shard !== undefined) shard.commit += 3_000; // so that catching up takes a while
    quiet(world);
    const victim = [...(shard?.membership.voters.values() ?? [])][0] ?? "";
    world.kill(Number(victim.slice(1)));
    const at = (): string => {
      const operation = [...world.state.operations.values()][0];
      return operation?.steps[operation.step]?.kind ?? "";
    };
    assert.ok(
      world.runUntil(() => at() === stepKind, REPAIR_MS),
      `never in step ${stepKind}`,
    );
    const operationId = [...world.state.operations.values()][0]?.operationId;
    world.failover(1);
    settled(world);
    const replaced = world.state.history.filter((o) => o.kind === "replace");
    assert.deepEqual(
      replaced.map((o) => [o.operationId, o.state]),
      [[operationId, "done"]],
      stepKind,
    );
    assert.ok(
      world.requests.some((r) => r.operationId === operationId && r.fence.masterTerm === 2) || stepKind === "remove",
    );
    quiet(world);
  }
});

test("D16: a third of all commits and requests lost: it still converges, nothing is done twice", () => {
  const world = World.ready(5, [{}, {}, {}]);
  let n = 0;
  world.lose = () => {
    n = (Math.imul(n, 1103515245) + 12345) & 0x7fffffff;
    return n % 3 === 0;
  };
  world.kill(3);
  settled(world, 3 * REPAIR_MS);
});

test("drain and removeHost: live replicas leave, one operation per shard at a time", () => {
  const world = World.ready(5, [{}, {}, {}]);
  quiet(world);
  world.commit({ kind: "setDraining", hostId: "h1", draining: true, atMs: 0 });
  const gone = (): boolean =>
    [...world.shards.values()].every((s) => ![...s.membership.voters.values()].includes("h1"));
  assert.ok(world.runUntil(() => gone() && world.whole, REPAIR_MS));
  world.commit({ kind: "removeHost", hostId: "h1", reason: "scrapped", atMs: 0 });
  quiet(world);
  assert.deepEqual(world.violations, []);
});

test("maintenance: a silent host in maintenance is not replaced until it ends", () => {
  const world = World.ready(4, [{}, {}]);
  quiet(world);
  const untilMs = world.nowMs + 60_000;
  world.commit({ kind: "setMaintenance", hostId: "h2", untilMs, reason: "kernel", atMs: 0 });
  world.kill(2);
  const before = world.commands.length;
  world.run(55_000);
  assert.equal(world.commands.length, before);
  settled(world, REPAIR_MS);
});

test("tombstone: a deleted shard's replicas are stopped and their data removed after the hold", () => {
  const world = World.ready(3, [{}, {}]);
  quiet(world);
  world.commit({ kind: "tombstoneShard", shardId: 1, reason: "no longer needed", atMs: 0 });
  assert.ok(world.runUntil(() => [...world.hosts.values()].every((h) => !h.replicas.has(1)), 30_000));
  quiet(world);
  assert.ok(world.isWhole(2));
});

test("spec change: more voters, fewer voters, non-voting members", () => {
  const world = World.ready(5, [{ nonVotings: 1 }]);
  settled(world);
  world.commit({ kind: "updateSpec", shardId: 1, spec: specOf({ voters: 5 }), atMs: 0 });
  settled(world);
  world.commit({ kind: "updateSpec", shardId: 1, spec: specOf({ voters: 3 }), atMs: 0 });
  settled(world);
  quiet(world);
});

test("a faulty replica on a live host is replaced; two that fail alike are not (poisoned entry)", () => {
  const world = World.ready(5, [{}, {}]);
  quiet(world);
  const fail = (shardId: number, count: number): void => {
    for (const [id, hostId] of [...(world.shards.get(shardId)?.membership.voters ?? [])].slice(0, count)) {
      const replica = world.hosts.get(hostId)?.replica(shardId, id);
      if (replica !== undefined) Object.assign(replica, { fault: "fenced: abc", running: false });
    }
  };
  fail(1, 1);
  fail(2, 2);
  assert.ok(world.runUntil(() => world.isWhole(1), REPAIR_MS));
  assert.equal(world.lastPlan?.shards.find((s) => s.shardId === 2)?.health, "inconsistent");
  assert.ok(!world.commands.some((c) => c.kind === "openOperation" && c.shardId === 2));
});

test("spread: replicas go to different zones and machines where there are any", () => {
  const world = World.ready(6, [{}, {}, {}, {}], (i) => ({ zone: `z${i % 3}`, machine: `m${Math.ceil(i / 2)}` }));
  for (const shard of world.shards.values()) {
    const zones = [...shard.membership.voters.values()].map((h) => world.hosts.get(h)?.labels["zone"]);
    assert.equal(new Set(zones).size, 3);
  }
});

test("1,000 new shards spread evenly, operations to come included", () => {
  const world = World.ready(5);
  for (let i = 0; i < 1_000; i++) world.createShard();
  const counts = [...world.hosts.keys()].map((h) => world.state.view().placedCounts.get(h) ?? 0);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 2, String(counts));
});

test("purity: the same view, time and seed give the same plan", () => {
  const world = World.ready(4, [{}, {}]);
  world.kill(1);
  for (let i = 0; i < 80; i++) {
    world.step();
    const view = world.view();
    assert.deepEqual(plan(view, view.detector.effectiveMs, 3), plan(view, view.detector.effectiveMs, 3));
  }
});

test("M5: requests carry deployment, term, incarnation and data set; a host restarted meanwhile refuses", () => {
  const world = World.ready(4, [{}]);
  for (const r of world.requests) {
    const host = world.hosts.get(r.fence.hostId);
    assert.equal(r.fence.dataSetId, host?.dataSetId);
    assert.equal(r.fence.incarnation, host?.incarnation);
    assert.equal(r.fence.deploymentId, 77);
    assert.ok(r.fence.masterTerm >= 1 && r.fence.ttlMs > 0);
  }
});
