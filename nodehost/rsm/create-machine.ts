/**
 * Makes the state machine of one replica from a registered app. Called by whoever starts replicas and by the
 * conformance check; keeps kind and machine together, so that nobody has to ask a machine what it is.
 */
import type { App } from "./state-machine.js";
import type { Machine } from "./types.js";

export function createMachine(app: App, shardId: number, replicaId: number): Machine {
  return app.kind === "memory"
    ? { kind: "memory", machine: app.create(shardId, replicaId) }
    : { kind: "concurrent", machine: app.create(shardId, replicaId) };
}
