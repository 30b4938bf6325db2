/**
 * Starting replicas: configuration and targets are checked before the engine is asked. Used by class NodeHost only.
 */
import { OpError } from "../../shared/errors.js";
import type { ReplicaId, ShardId } from "../../shared/types/ids.js";
import { completeConfig, type Engine, type ReplicaConfig, type StartSpec } from "../engine/index.js";
import type { LogDb } from "../logdb/port.js";
import {
  type App,
  type ConcurrentStateMachineFactory,
  createMachine,
  type OnDiskStateMachineFactory,
  type StateMachineFactory,
} from "../rsm/index.js";
import { checkTarget } from "./options.js";

export interface ReplicaStart extends Omit<StartSpec, "config"> {
  readonly config: ReplicaConfig;
}

/** How the machine of a replica is made. App "": by code. */
type MachineSpec = Pick<StartSpec, "app" | "kind" | "make">;

export function memoryMachine(factory: StateMachineFactory, { shardId, replicaId }: ReplicaConfig): MachineSpec {
  return { app: "", kind: "memory", make: () => ({ kind: "memory", machine: factory(shardId, replicaId) }) };
}

export function concurrentMachine(
  factory: ConcurrentStateMachineFactory,
  { shardId, replicaId }: ReplicaConfig,
): MachineSpec {
  return { app: "", kind: "concurrent", make: () => ({ kind: "concurrent", machine: factory(shardId, replicaId) }) };
}

export function onDiskMachine(factory: OnDiskStateMachineFactory, { shardId, replicaId }: ReplicaConfig): MachineSpec {
  return { app: "", kind: "onDisk", make: (at) => ({ kind: "onDisk", machine: factory(shardId, replicaId, at) }) };
}

export function appMachine(app: App, config: ReplicaConfig): MachineSpec {
  return { app: app.name, kind: app.kind, make: (place) => createMachine(app, config, place) };
}

export const WITNESS: MachineSpec = { app: "", kind: "witness", make: undefined };

export async function startReplica(engine: Engine, start: ReplicaStart): Promise<void> {
  const config = completeConfig(start.config);
  if (config.isWitness !== (start.kind === "witness")) {
    const given = start.kind === "witness" ? "no machine" : `a machine of kind ${start.kind}`;
    const expected = config.isWitness ? "none for a witness" : "one, unless isWitness is true";
    throw new OpError(
      "DL_ERR_INVALID_CONFIG",
      `isWitness is ${config.isWitness}, ${given} is given, expected ${expected}`,
    );
  }
  for (const target of start.initialMembers.values()) checkTarget(target);
  await engine.startReplica({ ...start, config });
}

/** Machine and configuration a replica was first started with. DL_ERR_SHARD_NOT_BOOTSTRAPPED, DL_ERR_APP_UNKNOWN. */
export function recordedStart(
  logDb: LogDb,
  key: { readonly shardId: ShardId; readonly replicaId: ReplicaId },
  apps: ReadonlyMap<string, App>,
): MachineSpec & { readonly config: ReplicaConfig } {
  const { shardId, replicaId } = key;
  const found = logDb.state(key);
  if (found === undefined) throw new OpError("DL_ERR_SHARD_NOT_BOOTSTRAPPED", `shard ${shardId}`);
  const { bootstrap } = found;
  const config: ReplicaConfig = { ...JSON.parse(bootstrap.config), shardId, replicaId };
  if (bootstrap.kind === "witness") return { ...WITNESS, config };
  const app = apps.get(bootstrap.app);
  if (app === undefined) throw new OpError("DL_ERR_APP_UNKNOWN", `shard ${shardId} runs ${bootstrap.app}`);
  return { ...appMachine(app, config), config };
}
