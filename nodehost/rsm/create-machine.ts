/**
 * Makes the state machine of one replica from a registered app. Called by whoever starts replicas and by the
 * conformance check; keeps kind and machine together, so that nobody has to ask a machine what it is.
 */
import type { App, MachinePlace } from "./state-machine.js";
import type { Machine } from "./types.js";

/** `place` is for machines on disk. */
export function createMachine(app: App, replica: { shardId: number; replicaId: number }, place: MachinePlace): Machine {
  const { shardId, replicaId } = replica;
  switch (app.kind) {
    case "memory":
      return { kind: app.kind, machine: app.create(shardId, replicaId) };
    case "concurrent":
      return { kind: app.kind, machine: app.create(shardId, replicaId) };
    case "onDisk":
      return { kind: app.kind, machine: app.create(shardId, replicaId, place) };
  }
}
