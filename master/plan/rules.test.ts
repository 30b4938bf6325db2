/** Single rules that the worlds, with several defences in depth, would not show the loss of. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicaId } from "../../shared/types/ids.js";
import type { MemberFacts, ShardFacts } from "./facts.js";
import { guardStep, type MembershipStep } from "./guard.js";
import { explainShard, type PlannedAction, type PlanView, plan } from "./index.js";
import { TIMING, World } from "./world.js";

function opens(actions: readonly PlannedAction[]): PlannedAction[] {
  return actions.filter((a) => a.kind === "commit" && a.command.kind === "openOperation");
}

function planned(view: PlanView): readonly PlannedAction[] {
  return plan(view, view.detector.effectiveMs, 1).actions;
}

/** Where replica voters of shard 1 are, and the hosts left over. */
function places(world: World): { readonly members: number[]; readonly spare: number[] } {
  const members = [...(world.shards.get(1)?.membership.voters.values() ?? [])].map((h) => Number(h.slice(1)));
  const spare = [...world.hosts.keys()].map((h) => Number(h.slice(1))).filter((i) => !members.includes(i));
  return { members, spare };
}

function quietWorld(hosts: number): World {
  const world = World.ready(hosts, [{}]);
  world.run(10_000);
  assert.ok(world.whole);
  return world;
}

function member(replicaId: ReplicaId, role: MemberFacts["role"], live: boolean): MemberFacts {
  const base = { replicaId, hostId: `h${replicaId}`, role, live, lost: !live, leaving: false, match: 1 };
  return { ...base, fault: "", waiting: "", condition: live ? "running" : "down" };
}

function guardFacts(voters: number, live: number, learnerLive: boolean): ShardFacts {
  const list = Array.from({ length: voters }, (_, i) => member(i + 1, "voter", i < live));
  const learner = member(100, "nonVoting", learnerLive);
  const world = World.ready(3, [{}]);
  const shard = world.state.shards.get(1);
  const leader = world.master().image.leaderOf(1, () => true);
  assert.ok(shard?.confirmed !== undefined && leader !== undefined);
  const quorum = Math.floor(voters / 2) + 1;
  const lists = { members: [...list, learner], voters: list, nonVotings: [learner], witnesses: [] };
  const rest = { operation: undefined, toConfirm: undefined, inconsistent: "", quorum, margin: live - quorum };
  return { shard, membership: shard.confirmed, leader, ...lists, ...rest };
}

test("M1, D11: the guard allows a step exactly if live voters are a quorum before and after (1 to 6 voters)", () => {
  const steps: readonly (readonly [MembershipStep, (v: number, l: number) => readonly [number, number]])[] = [
    [{ kind: "addNonVoting" }, (v, l) => [v, l]],
    [{ kind: "promote", replicaId: 100 }, (v, l) => [v + 1, l + 1]],
    [{ kind: "remove", replicaId: 100 }, (v, l) => [v, l]],
    [{ kind: "remove", replicaId: 1 }, (v, l) => [v - 1, l > 0 ? l - 1 : l]],
    [{ kind: "remove", replicaId: 6 }, (v, l) => (v < 6 ? [v, l] : [v - 1, l === 6 ? 5 : l])],
  ];
  for (let voters = 1; voters <= 6; voters++) {
    for (let live = 0; live <= voters; live++) {
      for (const [step, after] of steps) {
        const facts = guardFacts(voters, live, true);
        const [votersAfter, liveAfter] = after(voters, live);
        const quorate = (v: number, l: number): boolean => v > 0 && l >= Math.floor(v / 2) + 1;
        const allowed = guardStep(facts, step) === undefined;
        const expected = quorate(voters, live) && quorate(votersAfter, liveAfter);
        assert.equal(allowed, expected, `${step.kind} with ${live} of ${voters} live`);
      }
    }
  }
});

test("M4: the guard never promotes a member that is not live and caught up, nor one that votes", () => {
  assert.match(guardStep(guardFacts(3, 3, false), { kind: "promote", replicaId: 100 }) ?? "", /M4/);
  assert.match(guardStep(guardFacts(3, 3, true), { kind: "promote", replicaId: 1 }) ?? "", /already votes/);
  assert.match(guardStep(guardFacts(3, 3, true), { kind: "promote", replicaId: 55 }) ?? "", /M4/);
  assert.match(
    guardStep({ ...guardFacts(3, 3, true), leader: undefined }, { kind: "addNonVoting" }) ?? "",
    /no leader/,
  );
});

test("Down counts for a shard only if its own leader misses the member (D: second witness)", () => {
  const world = quietWorld(4);
  const hostId = `h${places(world).members[1] ?? 0}`;
  const view = world.view();
  const host = view.detector.hosts.get(hostId);
  assert.ok(host !== undefined);
  const hosts = new Map(view.detector.hosts);
  hosts.set(hostId, { ...host, state: "Down", liveness: "down", fresh: false });
  assert.deepEqual(opens(planned({ ...view, detector: { ...view.detector, hosts } })), []);
});

test("Wiped: replaced at once, not after a time-out; the old id is never restarted on the new data set", () => {
  const world = quietWorld(4);
  const { members } = places(world);
  const i = members[0] ?? 0;
  const old = [...(world.host(i).replicas.get(1)?.keys() ?? [])][0] ?? 0;
  const copy = world.host(i).replica(1, old);
  world.kill(i);
  world.start(i, true);
  assert.ok(copy !== undefined);
  copy.running = false;
  world.host(i).replicas.set(1, new Map([[old, copy]]));
  const done = world.runUntil(() => world.commands.some((c) => c.kind === "openOperation"), TIMING.suspectMs - 500);
  assert.ok(done, "opened at once");
  world.run(5_000);
  assert.ok(!world.requests.some((r) => r.action.kind === "restart" && r.action.replicaId === old));
});

test("Refused: a host that peers or masters know to be an old copy is replaced at once and gets nothing", () => {
  for (const who of ["its peers", "the masters"]) {
    const world = quietWorld(4);
    const i = places(world).members[0] ?? 0;
    const host = world.host(i);
    if (who === "its peers") {
      host.directoryFault = "DL_ERR_DATA_STALE: old";
      for (const replica of host.replicas.get(1)?.values() ?? []) {
        replica.running = false;
        replica.fault = "refused: DL_ERR_DATA_STALE: old";
      }
    } else {
      world.kill(i);
      world.start(i);
      host.incarnation = 0;
    }
    const requests = world.requests.length;
    assert.ok(
      world.runUntil(() => world.whole, TIMING.downMs - 500),
      `${who}: replaced before it could be Down`,
    );
    world.run(20_000);
    assert.equal(world.view().detector.hosts.get(host.hostId)?.state, "Refused");
    const kinds = world.requests
      .slice(requests)
      .filter((r) => r.fence.hostId === host.hostId)
      .map((r) => r.action.kind);
    assert.deepEqual(kinds, [], who);
    assert.deepEqual(world.violations, []);
  }
});

test("CREATE is never sent to another data set than the place was chosen for", () => {
  const world = World.ready(4);
  world.lose = (what) => what === "request";
  const created = world.createShard();
  world.run(1_000);
  const place = world.state.shards.get(created.id)?.bootstrap[0];
  assert.ok(place !== undefined);
  const i = Number(place.hostId.slice(1));
  world.kill(i);
  world.start(i, true);
  world.run(1_000);
  world.lose = () => false;
  assert.ok(
    world.runUntil(() => world.whole, 90_000),
    explainShard(world.view(), 0, created.id).join("\n"),
  );
  const creates = world.requests.filter((r) => r.action.kind === "create" && r.fence.hostId === place.hostId);
  assert.deepEqual(creates, []);
  assert.match(world.state.history[0]?.note ?? "", /lost its data set/);
  assert.deepEqual(world.violations, []);
});

test("D14: a replica that an open operation is about to make a member is no zombie", () => {
  const world = quietWorld(4);
  const { members, spare } = places(world);
  world.kill(members[0] ?? 0);
  assert.ok(world.runUntil(() => world.state.operations.size > 0, 30_000));
  const target = [...world.state.operations.values()][0]?.steps[0]?.targets[0];
  assert.equal(target?.hostId, `h${spare[0]}`);
  const infos = world.reportOf(world.host(members[1] ?? 0)).clusterInfo.filter((c) => c.shardId === 1);
  const early = infos.map((c) => ({ ...c, replicaId: target?.replicaId ?? 0, isLeader: false, configChangeIndex: 0 }));
  const report = { ...world.reportOf(world.host(spare[0] ?? 0)), clusterInfo: early };
  world.master().image.onReport(report);
  const requests = planned(world.view()).filter((a) => a.kind === "request");
  assert.ok(
    !requests.some(
      (a) => a.kind === "request" && (a.request.action.kind === "stop" || a.request.action.kind === "removeData"),
    ),
  );
});

test("D14: without a leader's confirmation, or knowing a newer membership, a stray replica is left alone", () => {
  const world = quietWorld(4);
  const { members, spare } = places(world);
  const host = world.host(spare[0] ?? 0);
  const some = world.host(members[0] ?? 0).replicas.get(1);
  const stray = [...(some?.values() ?? [])][0];
  assert.ok(stray !== undefined);
  const zombie = { match: 5, running: true, fault: "", cci: 99 };
  host.replicas.set(1, new Map([[77, zombie]]));
  world.run(20_000);
  assert.ok(!world.requests.some((r) => r.action.replicaId === 77), "it knows a newer membership");
  zombie.cci = 3;
  for (const i of members.slice(0, 2))
    for (const r of world.host(i).replicas.get(1)?.values() ?? []) r.fault = "damaged";
  world.run(20_000);
  assert.ok(!world.requests.some((r) => r.action.replicaId === 77), "no leader confirms it");
});

test("M3: a host that still stores something of the shard is no target until it is cleared", () => {
  const world = quietWorld(4);
  const { members, spare } = places(world);
  const host = world.host(spare[0] ?? 0);
  world.kill(members[0] ?? 0);
  world.run(3_000); // the hold of the stray then ends after the member is Down
  host.replicas.set(1, new Map([[77, { match: 5, running: false, fault: "", cci: 1 }]]));
  assert.ok(world.runUntil(() => world.whole && places(world).members.includes(spare[0] ?? 0), 90_000));
  assert.deepEqual(world.violations, []);
});

test("a replica missing from a single report is not lost", () => {
  const world = quietWorld(4);
  const host = world.host(places(world).members[1] ?? 0);
  const kept = host.replicas.get(1);
  assert.ok(kept !== undefined);
  host.sequence = Math.ceil(host.sequence / 4) * 4; // the next report lists the data
  host.replicas.delete(1);
  world.step();
  host.replicas.set(1, kept);
  world.run(10_000);
  assert.ok(!world.commands.some((c) => c.kind === "openOperation"));
});

test("a refused request is tried again under a new id; the old id would get the old answer", () => {
  const world = quietWorld(4);
  const { members, spare } = places(world);
  world.host(spare[0] ?? 0).refuseNext = 2;
  world.kill(members[0] ?? 0);
  assert.ok(
    world.runUntil(() => world.whole, 120_000),
    explainShard(world.view(), 0, 1).join("\n"),
  );
  const joins = world.requests.filter((r) => r.action.kind === "join").map((r) => r.requestId);
  assert.ok(new Set(joins).size >= 3);
});

test("repair limits: no more operations at once than allowed, the rest wait with a reason", () => {
  const world = World.ready(
    5,
    Array.from({ length: 6 }, () => ({})),
  );
  world.commit({ kind: "setLimits", limits: { ...world.state.limits, repairsMax: 2 } });
  world.run(5_000);
  world.kill(1);
  let most = 0;
  let waited = "";
  for (let i = 0; i < 160; i++) {
    world.step();
    most = Math.max(most, world.state.operations.size);
    waited ||= world.lastPlan?.notDone.find((r) => /repairs are going on/.test(r.text))?.text ?? "";
  }
  assert.equal(most, 2);
  assert.match(waited, /waits: 2 repairs/);
  assert.ok(world.runUntil(() => world.whole, 120_000));
});

test("a stuck learner is given up by lack of progress, removed, and another host is chosen", () => {
  const world = quietWorld(5);
  const { members } = places(world);
  const shard = world.shards.get(1);
  assert.ok(shard !== undefined);
  shard.commit += 5_000;
  world.run(60_000);
  world.kill(members[0] ?? 0);
  assert.ok(world.runUntil(() => shard.membership.nonVotings.size === 1, 30_000));
  const [learner, hostId] = [...shard.membership.nonVotings][0] ?? [0, ""];
  const host = world.hosts.get(hostId);
  // It runs, and never gets anywhere.
  const hold = (): void => {
    const replica = host?.replica(1, learner);
    if (replica !== undefined) replica.match = 1;
  };
  const failed = world.runUntil(() => {
    hold();
    return world.state.history.some((o) => o.state === "failed");
  }, 300_000);
  assert.ok(failed);
  assert.ok(
    world.runUntil(() => world.whole, 120_000),
    explainShard(world.view(), 0, 1).join("\n"),
  );
  assert.ok(shard.membership.removed.has(learner));
  assert.ok(![...shard.membership.voters.values()].includes(hostId));
  assert.deepEqual(world.violations, []);
});

test("explain: every line of a shard in trouble says what and why", () => {
  const world = quietWorld(3);
  world.kill(1);
  world.run(20_000);
  const lines = explainShard(world.view(), world.view().detector.effectiveMs, 1).join("\n");
  assert.match(lines, /unplaceable|degraded/);
  assert.match(lines, /on h1, voter: down, not live, lost/);
  assert.match(lines, /no host may take a replica: .*already hold/);
  assert.deepEqual(explainShard(world.view(), 0, 99), ["shard 99 is not known"]);
});
