/**
 * P30: power loss at every single disk operation of create, receive, prune and replace, several ways each. Afterwards
 * every directory with a final name must hold a whole file of the right state, what was answered must be there, and
 * after the clean-up of a start nothing else is left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "../../shared/codec/crc32.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import { emptyMembership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { createSnapshotStore } from "./snapshot-store.js";
import { NEVER, textOf } from "./testing/kit.js";
import type { SnapshotStore } from "./types.js";

const SEEDS = 6;

function seeded(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

function open(disk: SimDisk): SnapshotStore {
  return createSnapshotStore({ files: disk, directory: "/snapshots", crc32 });
}

/** The state of index i, longer than one block. */
function stateOf(index: number): string {
  return `<${index}>`.repeat(70_000);
}

function create(store: SnapshotStore, index: number): Promise<SnapshotMeta> {
  const membership = { ...emptyMembership(), voters: new Map([[1, "a"]]) };
  const header = { shardId: 7, replicaId: 1, index, term: 2, membership };
  return store.create(header, (sink) => sink.write(Buffer.from(stateOf(index))), NEVER);
}

interface Scenario {
  readonly name: string;
  /** Before the crash window; returns the recorded snapshot, if any. */
  prepare(store: SnapshotStore): Promise<SnapshotMeta | undefined>;
  /** Resolves to the snapshots that were answered, which must survive. */
  act(store: SnapshotStore, recorded: SnapshotMeta | undefined): Promise<readonly SnapshotMeta[]>;
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: "first snapshot of a replica",
    prepare: async () => undefined,
    act: async (store) => [await create(store, 10)],
  },
  {
    name: "second snapshot beside a recorded one",
    prepare: (store) => create(store, 10),
    act: async (store) => [await create(store, 20)],
  },
  {
    name: "received snapshot",
    prepare: (store) => create(store, 10),
    act: async (store, recorded) => {
      assert.ok(recorded !== undefined);
      return [await store.receive({ replicaId: 3, onDisk: false }, recorded, store.readFile(recorded))];
    },
  },
  {
    name: "prune",
    prepare: async (store) => {
      await create(store, 10);
      await create(store, 20);
      return create(store, 30);
    },
    act: async (store, recorded) => {
      assert.ok(recorded !== undefined);
      await store.prune(7, 1, recorded, 1);
      return [];
    },
  },
];

/** Every final name on the disk, by replica directory; each must be a whole snapshot of its index. */
async function checkFinalNames(disk: SimDisk, where: string): Promise<string[]> {
  const store = open(disk);
  const found: string[] = [];
  for (const replica of await disk.list("/snapshots")) {
    for (const name of await disk.list(`/snapshots/${replica}`)) {
      if (!/^snapshot-[0-9a-f]{16}$/.test(name)) continue;
      const index = Number.parseInt(name.slice(9), 16);
      const replicaId = Number(replica.split("-")[1]);
      const meta = {
        shardId: 7,
        replicaId,
        index,
        term: 2,
        membership: emptyMembership(),
        sizeBytes: 0,
        directory: name,
      };
      assert.equal(await textOf(store.load(meta)), stateOf(index), `${where}: ${replica}/${name}`);
      found.push(`${replica}/${name}`);
    }
  }
  return found;
}

async function crashAt(scenario: Scenario, operation: number, seed: number): Promise<boolean> {
  const disk = new SimDisk();
  const store = open(disk);
  const recorded = await scenario.prepare(store);
  const first = disk.operations;
  disk.fault = ({ number }) => (number === first + operation ? "stop" : undefined);
  let answered: readonly SnapshotMeta[] = [];
  let done = false;
  const acting = scenario.act(store, recorded).then((metas) => {
    answered = metas;
    done = true;
  });
  await Promise.race([acting, disk.whenStopped()]);
  const finished = done;
  disk.crash(seeded(seed + operation * 100));
  const where = `${scenario.name}, operation ${operation}, seed ${seed}`;
  const found = await checkFinalNames(disk, where);
  const must = [...answered, ...(recorded === undefined ? [] : [recorded])];
  for (const meta of must) {
    const name = `${meta.shardId}-${meta.replicaId}/${meta.directory}`;
    assert.ok(found.includes(name), `${where}: ${name} is gone`);
  }
  const reopened = open(disk);
  await reopened.removeOrphans(new Map(must.map((meta) => [`${meta.shardId}-${meta.replicaId}`, meta])));
  const left: string[] = [];
  for (const replica of await disk.list("/snapshots")) {
    for (const name of await disk.list(`/snapshots/${replica}`)) left.push(`${replica}/${name}`);
  }
  const newest = new Map(must.map((meta) => [`${meta.shardId}-${meta.replicaId}`, meta]));
  const expected = [...newest].map(([replica, meta]) => `${replica}/${meta.directory}`).sort();
  assert.deepEqual(left.sort(), expected, `${where}: after the clean-up of a start`);
  // And the next snapshot works on what is left.
  assert.equal(await textOf(reopened.load(await create(reopened, 40))), stateOf(40));
  return finished;
}

for (const scenario of SCENARIOS) {
  test(`P30 ${scenario.name}: power loss at every disk operation leaves whole snapshots only`, async () => {
    let steps = 0;
    for (let operation = 1; ; operation++) {
      let finished = false;
      for (let seed = 0; seed < SEEDS; seed++) finished = await crashAt(scenario, operation, seed);
      if (finished) break;
      steps = operation;
    }
    assert.ok(steps >= 5, `only ${steps} operations were interrupted`);
  });
}
