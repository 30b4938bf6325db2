/**
 * Keeping the registry of shard 0 in step with what hosts say of themselves: first sight, new address, labels, apps,
 * start, data set. Also the share of shards with a known leader, which warm-up waits for.
 */
import type { NodeHostInfo } from "../../shared/types/control.js";
import type { HostFacts, HostRecord, MasterView } from "../db/index.js";
import type { DetectorView, ObservationView } from "../detect/index.js";
import type { PlanContext } from "./context.js";
import { commit } from "./requests.js";
import type { PlannedAction } from "./types.js";

export function registrations(ctx: PlanContext): PlannedAction[] {
  const { db, image, wallClockMs } = ctx.view;
  if (db.deploymentId === 0) return [];
  const actions: PlannedAction[] = [...maintenanceEnds(ctx)];
  for (const report of image.reports()) {
    const record = db.hosts.get(report.hostId);
    if (ctx.host(report.hostId)?.fresh !== true || record?.removed === true) continue;
    if (report.deploymentId !== db.deploymentId) continue;
    if (record !== undefined && isSame(record, report)) continue;
    const host = factsOf(report);
    const reason = record === undefined ? `new host ${host.hostId}` : `host ${host.hostId} changed`;
    actions.push(commit(0, { kind: "registerHost", host, atMs: wallClockMs }, reason));
  }
  return actions;
}

/** Maintenance whose time is over is taken off the record, so that everybody sees it end. */
function maintenanceEnds(ctx: PlanContext): PlannedAction[] {
  const { db, wallClockMs: atMs } = ctx.view;
  const actions: PlannedAction[] = [];
  for (const { hostId, maintenanceUntilMs, removed } of db.hosts.values()) {
    if (removed || maintenanceUntilMs === 0 || maintenanceUntilMs > atMs) continue;
    actions.push(
      commit(0, { kind: "setMaintenance", hostId, untilMs: 0, reason: "", atMs }, `maintenance of ${hostId} ended`),
    );
  }
  return actions;
}

function factsOf(report: NodeHostInfo): HostFacts {
  const { hostId, raftAddress, apiAddress, region, labels, apps, incarnation, dataSetId } = report;
  return { hostId, raftAddress, apiAddress, region, labels, apps, incarnation, dataSetId };
}

function isSame(known: HostRecord, now: NodeHostInfo): boolean {
  return (
    known.dataSetId === now.dataSetId &&
    known.incarnation.counter === now.incarnation.counter &&
    known.incarnation.nonce === now.incarnation.nonce &&
    known.raftAddress === now.raftAddress &&
    known.apiAddress === now.apiAddress &&
    known.region === now.region &&
    sameList(known.apps, now.apps) &&
    sameList(pairs(known.labels), pairs(now.labels))
  );
}

function pairs(labels: Readonly<Record<string, string>>): string[] {
  return Object.keys(labels)
    .sort()
    .map((key) => JSON.stringify([key, labels[key]]));
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** For FailureDetector.onCoverage: shards whose leader a fresh report names, and shards that should have one. */
export function leaderCoverage(
  db: MasterView,
  detector: DetectorView,
  image: ObservationView,
): { readonly led: number; readonly shards: number } {
  const fresh = (hostId: string): boolean => detector.hosts.get(hostId)?.fresh === true;
  let led = 0;
  let shards = 0;
  for (const shard of db.shards.values()) {
    // A shard that never had a leader is no sign of missing reports.
    if (shard.tombstone || shard.confirmed === undefined) continue;
    shards += 1;
    if (image.leaderOf(shard.shardId, fresh) !== undefined) led += 1;
  }
  return { led, shards };
}
