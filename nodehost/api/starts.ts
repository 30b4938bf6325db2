/**
 * Starting replicas: configuration and targets are checked before a machine is made, and a machine that could not be
 * started is closed again. Used by class NodeHost only.
 */
import { OpError } from "../../shared/errors.js";
import type { ReplicaId, ShardId, Target } from "../../shared/types/ids.js";
import { completeConfig, type Engine, type ReplicaConfig } from "../engine/index.js";
import type { LogDb } from "../logdb/port.js";
import type { App, Machine } from "../rsm/index.js";
import { checkTarget } from "./options.js";

export interface ReplicaStart {
  readonly initialMembers: ReadonlyMap<ReplicaId, Target>;
  readonly join: boolean;
  readonly config: ReplicaConfig;
  /** "" for a machine started by code. */
  readonly app: string;
  make(): Machine;
}

export async function startReplica(engine: Engine, start: ReplicaStart): Promise<void> {
  const { initialMembers, join, app } = start;
  const config = completeConfig(start.config);
  for (const target of initialMembers.values()) checkTarget(target);
  const machine = start.make();
  try {
    await engine.startReplica({ config, app, machine, initialMembers, join });
  } catch (error) {
    await machine.machine.close();
    throw error;
  }
}

/** App and configuration a replica was first started with. DL_ERR_SHARD_NOT_BOOTSTRAPPED, DL_ERR_APP_UNKNOWN. */
export function recordedStart(
  logDb: LogDb,
  key: { readonly shardId: ShardId; readonly replicaId: ReplicaId },
  apps: ReadonlyMap<string, App>,
): { readonly app: App; readonly config: ReplicaConfig } {
  const { shardId, replicaId } = key;
  const found = logDb.state(key);
  if (found === undefined) throw new OpError("DL_ERR_SHARD_NOT_BOOTSTRAPPED", `shard ${shardId}`);
  const app = apps.get(found.bootstrap.app);
  if (app === undefined) throw new OpError("DL_ERR_APP_UNKNOWN", `shard ${shardId} runs ${found.bootstrap.app}`);
  return { app, config: { ...JSON.parse(found.bootstrap.config), shardId, replicaId } };
}
