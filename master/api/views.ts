/**
 * What a master shows of itself, its hosts, operations and events: values of proto/master.proto made from the
 * planner's view. Every state comes with its reason. Pure; used by admin-service.ts.
 */
import type { ClusterInfo } from "../../shared/types/control.js";
import type { EventRecord, HostRecord, Operation } from "../db/index.js";
import type { Mode } from "../detect/index.js";
import { MASTER_SHARD, type Master } from "../loop/index.js";
import type { Plan, PlanView } from "../plan/index.js";
import type { Leading } from "./admin-service.js";
import { shardCounts } from "./shard-views.js";

const EVENTS_MAX = 1_000;
/** A master that its leader has not heard for so long is shown as unreachable. */
const MEMBER_SILENT_MS = 2_000;

const MODES: Readonly<Record<Mode, string>> = {
  standby: "following",
  warming: "warmingUp",
  normal: "running",
  braked: "running",
  observer: "observeOnly",
};

interface StatusContext {
  readonly leading: Leading | undefined;
  /** Why the leader could not be asked. */
  readonly why: string;
}

export function statusOf(master: Master, version: string, { leading, why }: StatusContext) {
  const { deploymentId, replicaId, bus, timing } = master.options;
  const { leaderId, term } = master.store.leadership();
  const db = master.store.view();
  const detector = leading?.view.detector;
  const shards = [...db.shards.values()].filter((shard) => !shard.tombstone).length;
  const counts = leading === undefined ? undefined : shardCounts(leading.view, leading.plan);
  return {
    deploymentId,
    version,
    replicaId,
    leaderId,
    term,
    masters: members(master),
    busConnected: bus.status().connected,
    mode: MODES[detector?.mode ?? "standby"],
    reason: detector === undefined ? why : detector.reasons.join("; "),
    hosts: leading === undefined ? {} : hostCounts(leading.view),
    shards,
    shardsDegraded: counts === undefined ? 0 : counts.degraded + counts.creating,
    shardsUnavailable: counts?.unavailable ?? 0,
    operationsOpen: [...db.operations.values()].length,
    featureLevel: db.featureLevel,
    downAfterMs: timing.downMs,
  };
}

/** A follower has heard nobody but its leader lately; a leader hears all that live. */
function members(master: Master) {
  const { members: all, replicaId } = master.options;
  const info: ClusterInfo = master.store.info();
  return all.map(({ replicaId: id, raftAddress, apiAddress }) => {
    const progress = info.progress.find((p) => p.replicaId === id);
    const heard = info.isLeader ? progress !== undefined && progress.silentMs < MEMBER_SILENT_MS : id === info.leaderId;
    const reachable = id === replicaId || heard;
    return { replicaId: id, raftAddress, apiAddress, isLeader: id === info.leaderId, reachable };
  });
}

function hostCounts(view: PlanView): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const record of view.db.hosts.values()) {
    const state = stateOf(view, record);
    counts[state] = (counts[state] ?? 0) + 1;
  }
  return counts;
}

function stateOf(view: PlanView, record: HostRecord): string {
  return (view.detector.hosts.get(record.hostId)?.state ?? "Unknown").toLowerCase();
}

export function hostList(view: PlanView) {
  const hosts = [...view.db.hosts.values()].map((record) => hostOf(view, record));
  hosts.sort((a, b) => (a.raftAddress < b.raftAddress ? -1 : 1));
  return { hosts, revision: view.db.revision };
}

function hostOf(view: PlanView, record: HostRecord) {
  const { hostId, raftAddress, apiAddress, region, labels, apps, incarnation, dataSetId } = record;
  const seen = view.detector.hosts.get(hostId);
  const load = view.image.report(hostId)?.load;
  const inMaintenance = record.maintenanceUntilMs > view.wallClockMs;
  const reasons = [
    seen?.reason ?? "not heard since this master listens",
    inMaintenance ? record.maintenanceReason : "",
    record.admitted || record.removed ? "" : "not admitted",
  ];
  return {
    hostId,
    raftAddress,
    apiAddress,
    region,
    labels: { ...labels },
    apps: [...apps],
    state: stateOf(view, record),
    wanted: inMaintenance ? "maintenance" : record.draining ? "draining" : "none",
    reason: reasons.filter((r) => r !== "").join("; "),
    incarnation,
    dataSetId,
    silentMs: Math.round(seen?.ageMs ?? 0),
    ...(load === undefined ? {} : { load }),
  };
}

interface OperationFilter {
  readonly includeFinished: boolean;
  readonly shardId: number;
}

export function operationList(view: PlanView, plan: Plan, filter: OperationFilter) {
  const open = [...view.db.operations.values()];
  const all = filter.includeFinished ? [...view.db.history, ...open] : open;
  const chosen = all.filter((op) => filter.shardId === 0 || op.shardId === filter.shardId);
  chosen.sort((a, b) => a.operationId - b.operationId);
  return { operations: chosen.map((op) => operationOf(view, plan, op)) };
}

function operationOf(view: PlanView, plan: Plan, operation: Operation) {
  const { operationId, shardId, kind, reason, state, step } = operation;
  const steps = operation.steps.map((s) => {
    return `${s.kind} ${s.targets.map((t) => `replica ${t.replicaId} on ${t.hostId}`).join(", ")}`;
  });
  const endMs = state === "open" ? view.wallClockMs : operation.updatedAtMs;
  const ageMs = Math.max(0, Math.round(endMs - operation.createdAtMs));
  return { operationId, shardId, kind, reason, state, steps, step, detail: detailOf(plan, operation), ageMs };
}

/** What the open step waits for, as the newest plan says; or why it ended. */
function detailOf(plan: Plan, operation: Operation): string {
  if (operation.state !== "open") return operation.note;
  const status = plan.shards.find((s) => s.shardId === operation.shardId);
  return [status?.waiting ?? "", operation.note].filter((t) => t !== "").join("; ");
}

export function eventList(view: PlanView, request: { readonly after: number; readonly limit: number }) {
  const limit = request.limit === 0 ? EVENTS_MAX : Math.min(request.limit, EVENTS_MAX);
  const events = view.db.events.filter((event) => event.sequence > request.after);
  // Without a starting point the newest ones are wanted, with one those that follow it.
  const chosen = request.after === 0 ? events.slice(-limit) : events.slice(0, limit);
  return { events: chosen.map(eventOf) };
}

const SHARD_SUBJECT = /^shard:(\d+)$/;

function eventOf({ sequence, atMs, kind, subject, text }: EventRecord) {
  const [, digits] = SHARD_SUBJECT.exec(subject) ?? [];
  const shardId = digits === undefined ? MASTER_SHARD : Number(digits);
  const hostId = digits === undefined ? subject : "";
  return { sequence, wallClockMs: atMs, kind, shardId, hostId, operationId: 0, text };
}
