/**
 * P30 for on-disk machines: power loss at every single disk operation of a snapshot being saved, and of one being
 * received, recorded, recovered from, synced and shrunk. The next start finds the old state or the new one, never a
 * mix, and goes on from there. Machine, snapshot store and "log record" share one simulated disk.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { type DiskLogMachine, diskRig } from "./testing/disk-machine.js";
import { block, commands, drain, NEVER, type Rig } from "./testing/kit.js";
import type { SnapshotStream } from "./types.js";

const SEEDS = 10;

type DiskRig = Rig & { readonly machine: DiskLogMachine };

function stateAt(index: number): string {
  return Array.from({ length: index }, (_, i) => `x${i + 1}`).join(" ");
}

async function opened(disk: SimDisk, snapshot: SnapshotMeta | undefined, last: number): Promise<DiskRig> {
  const rig = diskRig(disk);
  await rig.rsm.start({ snapshot, last }, NEVER);
  return rig;
}

async function apply(rig: DiskRig, first: number, last: number): Promise<void> {
  rig.rsm.enqueue(commands(first, last));
  await drain(rig.rsm);
}

/** What the log holds: the newest recorded snapshot, and entries up to `last`. */
interface LogRecord {
  snapshot: SnapshotMeta | undefined;
  last: number;
}

interface Scenario {
  readonly name: string;
  prepare(rig: DiskRig, record: LogRecord): Promise<void>;
  /** Changes `record` where the real log would make it durable. */
  act(rig: DiskRig, record: LogRecord): Promise<void>;
}

/** A stream of the state at 60, as another replica sends it, with a no-op after it. */
async function sent(): Promise<SnapshotStream> {
  const sender = await opened(new SimDisk(), undefined, 0);
  sender.rsm.enqueue([...commands(1, 60), block(61, [{ noop: true }])]);
  await drain(sender.rsm);
  return sender.rsm.streamSnapshot(NEVER);
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: "own snapshot",
    prepare: async (rig, record) => {
      await apply(rig, 1, 10);
      record.snapshot = await rig.rsm.saveSnapshot(NEVER);
      await apply(rig, 11, 25);
      record.last = 25;
    },
    act: async (rig, record) => {
      record.snapshot = await rig.rsm.saveSnapshot(NEVER);
    },
  },
  {
    name: "received snapshot over an empty machine",
    prepare: async () => {},
    act: (rig, record) => install(rig, record),
  },
  {
    name: "received snapshot over a machine that is behind",
    prepare: async (rig, record) => {
      await apply(rig, 1, 10);
      record.snapshot = await rig.rsm.saveSnapshot(NEVER);
      await apply(rig, 11, 25);
      record.last = 25;
    },
    act: (rig, record) => install(rig, record),
  },
  {
    name: "received snapshot over a machine that holds all of it, not durably",
    prepare: async (rig, record) => {
      await apply(rig, 1, 60);
      record.last = 60;
    },
    act: (rig, record) => install(rig, record),
  },
];

async function install(rig: DiskRig, record: LogRecord): Promise<void> {
  const stream = await sent();
  const stored = await rig.store.receive({ replicaId: 1, onDisk: true }, stream.meta, stream.chunks);
  await stream.close();
  record.snapshot = stored;
  record.last = Math.max(record.last, stored.index);
  await rig.rsm.restore(stored, NEVER);
  await rig.store.prune(7, 1, stored, 1);
}

async function crashAt(scenario: Scenario, operation: number, seed: number): Promise<boolean> {
  const disk = new SimDisk();
  const rig = await opened(disk, undefined, 0);
  const record: LogRecord = { snapshot: undefined, last: 0 };
  await scenario.prepare(rig, record);
  const first = disk.operations;
  disk.fault = ({ number }) => (number === first + operation ? "stop" : undefined);
  let finished = false;
  const acting = scenario.act(rig, record).then(() => {
    finished = true;
  });
  await Promise.race([acting, disk.whenStopped()]);
  const random = seededRandom(seed * 1000 + operation);
  disk.crash(() => random.next());
  const where = `${scenario.name}, operation ${operation}, seed ${seed}`;
  await check(disk, record, where);
  // And again, with power lost in the middle of that recovery.
  disk.crash(() => random.next());
  await check(disk, record, `${where}, second start`);
  return finished;
}

async function check(disk: SimDisk, record: LogRecord, where: string): Promise<void> {
  const { snapshot, last } = record;
  const again = await opened(disk, snapshot, last);
  const held = again.machine.index;
  const least = snapshot === undefined ? 0 : (await again.store.describe(snapshot))?.machineIndex;
  assert.ok(held >= (least ?? 0) && held <= last, `${where}: opened at ${held} of ${last}`);
  assert.equal(again.machine.lookup(), stateAt(held), where);
  if (snapshot !== undefined) assert.equal((await again.store.describe(snapshot))?.shrunk, true, where);
  const recorded = new Map(snapshot === undefined ? [] : [["7-1", snapshot]]);
  await again.store.removeOrphans(recorded);
  // What the log has behind the snapshot, and more. Entry 61 is the no-op.
  const rest: number[] = [];
  for (let index = (snapshot?.index ?? 0) + 1; index <= last + 5; index++) rest.push(index);
  again.rsm.enqueue(rest.map((index) => block(index, [index === 61 ? { noop: true } : { cmd: `x${index}` }])));
  await drain(again.rsm);
  assert.equal(again.rsm.applied, last + 5, where);
  const expected = rest.filter((index) => index > held && index !== 61);
  assert.deepEqual(again.machine.given, expected, `${where}: nothing twice`);
}

for (const scenario of SCENARIOS) {
  test(`P30 on disk, ${scenario.name}: power loss at every disk operation`, async () => {
    let steps = 0;
    for (let operation = 1; ; operation++) {
      let finished = false;
      for (let seed = 0; seed < SEEDS; seed++) finished = await crashAt(scenario, operation, seed);
      if (finished) break;
      steps = operation;
    }
    assert.ok(steps >= 10, `only ${steps} operations were interrupted`);
  });
}
