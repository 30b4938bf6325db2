/** Commands and states for this folder's tests. Nothing of the product imports it. */
import type { Membership } from "../../shared/types/membership.js";
import {
  applyCommand,
  type Command,
  type HostFacts,
  MasterState,
  type OperationStep,
  type ShardSpec,
} from "./index.js";

export const settings = { electionTicks: 10, heartbeatTicks: 1, snapshotEntries: 5, compactionOverhead: 2 };
export const spec: ShardSpec = { name: "", app: "kv", voters: 3, nonVotings: 0, region: "", settings };

export function facts(i: number, change: Partial<HostFacts> = {}): HostFacts {
  const hostId = `h${i}`;
  const incarnation = { counter: 1, nonce: "aa" };
  const labels = { zone: `z${i}`, __proto__x: "1" };
  return {
    hostId,
    raftAddress: `${hostId}:1`,
    apiAddress: "",
    region: "eu",
    labels,
    apps: ["kv"],
    incarnation,
    dataSetId: `d${i}`,
    ...change,
  };
}

export function fresh(hosts = 4): MasterState {
  const state = new MasterState();
  applyCommand(state, { kind: "initDeployment", deploymentId: 7, atMs: 1 });
  for (let i = 1; i <= hosts; i++) applyCommand(state, { kind: "registerHost", host: facts(i), atMs: 1 });
  return state;
}

export function place(i: number, replicaId = 0): { replicaId: number; hostId: string; dataSetId: string } {
  return { replicaId, hostId: `h${i}`, dataSetId: `d${i}` };
}

export function create(change: Partial<Extract<Command, { kind: "createShard" }>> = {}): Command {
  return { kind: "createShard", clientKey: "", spec, places: [place(1), place(2), place(3)], atMs: 5, ...change };
}

export function membership(cci: number, voters: readonly (readonly [number, string])[], lineage = 0): Membership {
  return {
    lineage,
    configChangeIndex: cci,
    voters: new Map(voters),
    nonVotings: new Map(),
    witnesses: new Map(),
    removed: new Set(),
  };
}

export const THREE = membership(3, [
  [1, "h1"],
  [2, "h2"],
  [3, "h3"],
]);
export const confirm = (m: Membership, shardId = 1): Command => ({
  kind: "confirmMembership",
  entries: [{ shardId, membership: m }],
  atMs: 6,
});
export const step = (kind: OperationStep["kind"], replicaId: number, host: number): OperationStep => {
  return { kind, targets: [place(host, replicaId)], expectedLineage: 0, expectedCci: 0 };
};
export const open = (change: Partial<Extract<Command, { kind: "openOperation" }>> = {}): Command => ({
  kind: "openOperation",
  operation: "replace",
  shardId: 1,
  reason: "h1 is Down",
  steps: [
    step("addNonVoting", 0, 4),
    step("join", 0, 4),
    step("catchUp", 0, 4),
    step("promote", 0, 4),
    step("remove", 1, 1),
  ],
  lineage: 0,
  cci: 3,
  atMs: 7,
  ...change,
});

export function withShard(): MasterState {
  const state = fresh();
  applyCommand(state, create());
  applyCommand(state, confirm(THREE));
  applyCommand(state, { kind: "finishOperation", operationId: 1, fromStep: 0, state: "done", note: "", atMs: 6 });
  return state;
}
