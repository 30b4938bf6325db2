/** Picks what a node keeps its state on: the model, or the real storage code. */
import type { NodeDisk, NodeSnapshots } from "./disk.js";
import type { SimNode } from "./model.js";
import { ModelDisk, ModelSnapshots } from "./model-disk.js";
import { EventKind } from "./queue.js";
import { SimReader } from "./reader.js";
import { StorageDevice } from "./storage-device.js";
import { storageEnv } from "./storage-env.js";
import { WalDisk } from "./wal-disk.js";
import { WalSnapshots } from "./wal-snapshots.js";

/** Stream of what happens in a node's storage. */
const STREAM = 200;

export function createStorage(node: SimNode): { readonly disk: NodeDisk; readonly snapshots: NodeSnapshots } {
  return node.world.options.wal ? realStorage(node) : modelStorage(node);
}

function realStorage(node: SimNode): { readonly disk: NodeDisk; readonly snapshots: NodeSnapshots } {
  const random = node.world.stream(STREAM + node.id);
  const env = storageEnv(node, random);
  const device = new StorageDevice(node, random, env);
  const snapshots = new WalSnapshots(node, device.files, env);
  return { disk: new WalDisk(node, { device, env, snapshots }), snapshots };
}

function modelStorage(node: SimNode): { readonly disk: NodeDisk; readonly snapshots: NodeSnapshots } {
  const { world, random } = node;
  const { groupCommit, survive } = world.options;
  const latency = (): number => {
    const { options, faults } = world;
    if (!faults) return 1;
    const slow = random.chance(options.diskSlowChance) ? random.int(options.diskSlowMs) : 0;
    return random.int(options.diskMs + 1) + slow;
  };
  const disk = new ModelDisk({
    groupCommit,
    now: () => world.now,
    latency,
    schedule: (delayMs, call) => world.after(delayMs, EventKind.Disk, node, call),
    beforeDurable: (update) => world.checks.beforeDurable(node, update),
    survives: () => random.chance(survive),
    reader: () => new SimReader(node),
  });
  return { disk, snapshots: new ModelSnapshots(node) };
}
