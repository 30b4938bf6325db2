/** A shard to which somebody added a witness by hand: it counts, is restarted, and is otherwise left as it is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { explainShard } from "./index.js";
import { TIMING, World } from "./world.js";

const WITNESS = 77;

/** Three voters, a witness on host `at`, and hosts to spare. */
function withWitness(): {
  readonly world: World;
  readonly at: number;
  readonly voters: number[];
  readonly spare: number[];
} {
  const world = World.ready(6, [{}]);
  world.run(10_000);
  const voters = numbers(world.shards.get(1)?.membership.voters);
  const free = [1, 2, 3, 4, 5, 6].filter((i) => !voters.includes(i));
  const [at = 0, ...spare] = free;
  world.addWitness(1, WITNESS, world.host(at));
  world.run(5_000);
  return { world, at, voters, spare };
}

function numbers(members: ReadonlyMap<number, string> | undefined): number[] {
  return [...(members?.values() ?? [])].map((hostId) => Number(hostId.slice(1)));
}

function explained(world: World): string {
  return explainShard(world.view(), world.view().detector.effectiveMs, 1).join("; ");
}

test("a witness beside all wanted voters is no surplus: nothing is planned", () => {
  const { world } = withWitness();
  const { length } = world.requests;
  world.run(60_000);
  assert.equal(world.requests.length, length);
  assert.ok(world.whole);
  assert.deepEqual([...(world.shards.get(1)?.membership.witnesses.keys() ?? [])], [WITNESS]);
  assert.deepEqual(world.violations, []);
});

test("the voter of a dead host is replaced beside a witness, which stays", () => {
  const { world, at, voters } = withWitness();
  world.kill(voters[0] ?? 0);
  world.run(10 * TIMING.downMs);
  const { membership } = world.shards.get(1) ?? {};
  assert.ok(world.whole, explained(world));
  assert.ok(!numbers(membership?.voters).includes(voters[0] ?? 0));
  assert.deepEqual(numbers(membership?.witnesses), [at]);
  assert.deepEqual(world.violations, []);
});

test("a witness whose host died is shown and not removed; when its host returns it is restarted", () => {
  const { world, at } = withWitness();
  world.kill(at);
  world.run(10 * TIMING.downMs);
  assert.deepEqual(numbers(world.shards.get(1)?.membership.witnesses), [at]);
  assert.match(explained(world), /replica 77 on h\d: witness down/);
  world.start(at);
  world.run(30_000);
  assert.equal(world.host(at).replica(1, WITNESS)?.running, true);
  assert.deepEqual(world.violations, []);
});

test("the witness and a voter lost: the quorum holds, and the voter is replaced", () => {
  const { world, at, voters } = withWitness();
  world.kill(at);
  world.run(10 * TIMING.downMs);
  // Two of four are left after this one, and three are a quorum: nothing may be changed until one returns.
  world.kill(voters[0] ?? 0);
  world.run(10 * TIMING.downMs);
  assert.ok(numbers(world.shards.get(1)?.membership.voters).includes(voters[0] ?? 0));
  assert.match(explained(world), /quorum/);
  world.start(at);
  world.run(10 * TIMING.downMs);
  assert.ok(world.whole, explained(world));
  assert.deepEqual(world.violations, []);
});
