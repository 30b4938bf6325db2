/** Small worlds by exhaustion and by chance: nothing unsafe is done (M1), everything repairable converges (V1, V2). */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PlanContext } from "./context.js";
import { explainShard } from "./index.js";
import { isQuiet } from "./quiet.js";
import { passShard } from "./shard.js";
import { TIMING, World } from "./world.js";

type Fate = "up" | "down" | "restarted" | "wiped";
const FATES: readonly Fate[] = ["up", "down", "restarted", "wiped"];

function strike(world: World, fates: readonly Fate[]): void {
  fates.forEach((fate, i) => {
    if (fate === "up") return;
    world.kill(i + 1);
    if (fate !== "down") world.start(i + 1, fate === "wiped");
  });
}

function explain(world: World): string {
  return [...world.state.shards.values()].flatMap((s) => explainShard(world.view(), 0, s.shardId)).join("\n");
}

/** Where the voters of shard 1 are, by host number. */
function memberHosts(world: World): number[] {
  return [...(world.shards.get(1)?.membership.voters.values() ?? [])].map((h) => Number(h.slice(1)));
}

for (const hosts of [3, 4]) {
  test(`M1, V1, V2: all ${FATES.length ** hosts} fates of ${hosts} hosts with a shard of 3`, () => {
    for (let code = 0; code < FATES.length ** hosts; code++) {
      const fates = Array.from(
        { length: hosts },
        (_, i) => FATES[Math.floor(code / FATES.length ** i) % FATES.length] ?? "up",
      );
      const world = World.ready(hosts, [{}]);
      const members = memberHosts(world);
      const before = world.commands.length;
      const cci = world.shards.get(1)?.membership.configChangeIndex;
      strike(world, fates);
      const intact = members.filter((i) => fates[i - 1] === "up" || fates[i - 1] === "restarted").length;
      const silent = fates.filter((f) => f === "down").length;
      const outage = silent >= hosts / 2;
      const repairable = intact >= 2 && !outage && hosts - silent >= 3;
      const name = `${fates.join(" ")} (members ${members.join(" ")})`;
      if (repairable) {
        assert.ok(
          world.runUntil(() => world.whole, 60_000),
          `${name}\n${explain(world)}`,
        );
        world.run(TIMING.zombieHoldMs + 10_000);
        for (let i = 0; i < 10; i++) assert.deepEqual(world.step().actions, [], name);
      } else {
        world.run(20_000);
        const opened = world.commands.slice(before).filter((c) => c.kind === "openOperation");
        if (outage && !fates.includes("wiped")) assert.deepEqual(opened, [], name);
        // D11: whatever was thought before the deaths were noticed, without a quorum the membership stays as it is.
        if (intact < 2) assert.equal(world.shards.get(1)?.membership.configChangeIndex, cci, name);
      }
      assert.deepEqual(world.violations, [], name);
    }
  });
}

type Event =
  | { readonly kind: "kill" | "start" | "wipe" | "unlink" | "link"; readonly host: number }
  | { readonly kind: "failover"; readonly master: number }
  | { readonly kind: "cut" | "mend" };

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("kill", "start", "start", "wipe", "unlink", "link", "link"),
    host: fc.integer({ min: 1, max: 5 }),
  }),
  fc.record({ kind: fc.constant("failover" as const), master: fc.integer({ min: 0, max: 2 }) }),
  fc.record({ kind: fc.constantFrom("cut" as const, "mend" as const) }),
);

function happen(world: World, e: Event): void {
  switch (e.kind) {
    case "kill":
      world.kill(e.host);
      return;
    case "start":
      if (!world.host(e.host).up) world.start(e.host);
      return;
    case "wipe":
      world.kill(e.host);
      world.start(e.host, true);
      return;
    case "unlink":
    case "link":
      world.host(e.host).linked = e.kind === "link";
      return;
    case "failover":
      world.failover(e.master);
      return;
    case "cut":
    case "mend":
      world.linkMasters(e.kind === "mend");
      return;
  }
}

/** What the fast path calls quiet, the full rules must call healthy, with nothing to do. */
function checkFastPath(world: World): void {
  const view = world.view();
  if (!view.detector.mayPlan) return; // then every shard says why nothing is planned
  for (const shard of view.db.shards.values()) {
    const ctx = new PlanContext(view, view.detector.effectiveMs, 1);
    const quiet = isQuiet(ctx, shard);
    const { status, confirm, creates, restarts, continues, zombies, wish } = passShard(ctx, shard);
    const idle = status.doing === "" && status.waiting === "" && confirm === undefined && wish === undefined;
    const acts = creates.length + restarts.length + continues.length + zombies.length > 0;
    if (quiet) assert.ok(status.health === "healthy" && idle && !acts, JSON.stringify(status));
  }
}

test("M1, M3, D14: whatever happens to 5 hosts and 3 masters is survived safely; peace heals what has a quorum", () => {
  const history = fc.array(fc.tuple(event, fc.integer({ min: 0, max: 12_000 })), { maxLength: 14 });
  fc.assert(
    fc.property(history, (events) => {
      const world = World.ready(5, [{}, {}]);
      for (const [e, pauseMs] of events) {
        happen(world, e);
        world.run(pauseMs);
        assert.deepEqual(world.violations, []);
        checkFastPath(world);
      }
      world.linkMasters(true);
      for (let i = 1; i <= 5; i++) {
        world.host(i).linked = true;
        if (!world.host(i).up) world.start(i);
      }
      world.run(120_000);
      assert.deepEqual(world.violations, []);
      for (const shardId of world.shards.keys()) {
        const health = world.lastPlan?.shards.find((s) => s.shardId === shardId)?.health;
        if (health === "quorumLost") continue;
        assert.ok(world.isWhole(shardId), explain(world));
      }
      for (let i = 0; i < 10; i++) assert.deepEqual(world.step().actions, []);
    }),
    { numRuns: 60, seed: 20240607 },
  );
});
