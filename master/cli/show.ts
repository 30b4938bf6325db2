/** `status`, `host list`, `op list`, `events`: what the masters know, as tables or JSON. */
import { MASTER_SERVICE } from "../../shared/wire/index.js";
import type { AdminClient } from "./admin-client.js";
import { ageText, type Output, pick, stateCell } from "./output.js";

export async function showStatus(output: Output, admin: AdminClient): Promise<void> {
  const status = await admin.call(MASTER_SERVICE.status, {});
  const masters = status.masters.map((m) => ({
    replicaId: m.replicaId ?? 0,
    raftAddress: m.raftAddress ?? "",
    apiAddress: m.apiAddress ?? "",
    isLeader: m.isLeader ?? false,
    reachable: m.reachable ?? false,
  }));
  if (output.json) {
    const rest = pick(status, "deploymentId", "version", "replicaId", "leaderId", "term", "busConnected", "mode");
    const counts = pick(status, "reason", "hosts", "shards", "shardsDegraded", "shardsUnavailable", "operationsOpen");
    const levels = pick(status, "featureLevel", "downAfterMs");
    output.object({ ...rest, ...counts, ...levels, masters });
    return;
  }
  const { deploymentId, leaderId, term, mode, reason, busConnected, downAfterMs } = status;
  const why = reason === "" ? "" : `: ${reason}`;
  output.line(`deployment ${deploymentId}, version ${status.version}`);
  output.line(
    `masters    ${leaderId === 0 ? "no leader known" : `master ${leaderId} leads in term ${term}`}; ${mode}${why}`,
  );
  output.line(`NATS       ${busConnected ? "connected" : output.paint("red", "not connected")}`);
  const hosts = Object.entries(status.hosts).map(([state, count]) => `${count} ${state}`);
  output.line(`hosts      ${hosts.length === 0 ? "none known" : hosts.join(", ")}`);
  const { shards, shardsDegraded, shardsUnavailable, operationsOpen } = status;
  const healthy = shards - shardsDegraded - shardsUnavailable;
  const known = `${healthy} healthy, ${shardsDegraded} degraded, ${shardsUnavailable} unavailable`;
  // Only a leader knows; the answer of another one means that none could be asked.
  output.line(`shards     ${shards}: ${mode === "following" ? "their state is known to a leader only" : known}`);
  output.line(`operations ${operationsOpen} open; a host is replaced after ${ageText(downAfterMs)} of silence`);
  output.line("");
  output.table(
    ["MASTER", "RAFT", "API", "ROLE", "REACHABLE"],
    masters.map((m) => [
      m.replicaId,
      m.raftAddress,
      m.apiAddress,
      m.isLeader ? "leader" : "follower",
      m.reachable ? "yes" : "no",
    ]),
  );
}

export async function showHosts(output: Output, admin: AdminClient): Promise<void> {
  const { hosts, revision } = await admin.call(MASTER_SERVICE.listHosts, {});
  const shown = hosts.map((h) => ({
    hostId: h.hostId ?? "",
    state: h.state ?? "",
    wanted: h.wanted ?? "",
    reason: h.reason ?? "",
    raftAddress: h.raftAddress ?? "",
    apiAddress: h.apiAddress ?? "",
    region: h.region ?? "",
    labels: h.labels ?? {},
    apps: h.apps ?? [],
    silentMs: h.silentMs ?? 0,
    replicas: h.load?.replicas ?? 0,
    leaders: h.load?.leaders ?? 0,
    diskUsedBytes: h.load?.diskUsedBytes ?? 0,
    diskFreeBytes: h.load?.diskFreeBytes ?? 0,
    rssBytes: h.load?.rssBytes ?? 0,
    incarnation: h.incarnation?.counter ?? 0,
    dataSetId: h.dataSetId ?? "",
  }));
  if (output.json) {
    output.object({ hosts: shown, revision });
    return;
  }
  output.table(
    ["HOST", "STATE", "RAFT", "API", "REPLICAS", "LEADERS", "HEARD", "WHY"],
    shown.map((h) => {
      const heard = `${ageText(h.silentMs)} ago`;
      const wanted = h.wanted === "none" ? "" : h.wanted;
      const why = [wanted, h.reason].filter((t) => t !== "").join("; ");
      return [h.hostId, stateCell(h.state), h.raftAddress, h.apiAddress, h.replicas, h.leaders, heard, why];
    }),
  );
}

export interface OperationFlags {
  readonly all?: boolean;
  readonly shard?: string;
}

export async function showOperations(output: Output, admin: AdminClient, flags: OperationFlags): Promise<void> {
  const request = { includeFinished: flags.all === true, shardId: Number(flags.shard ?? 0) };
  const { operations } = await admin.call(MASTER_SERVICE.listOperations, request);
  const shown = operations.map((o) => ({
    operationId: o.operationId ?? 0,
    shardId: o.shardId ?? 0,
    kind: o.kind ?? "",
    state: o.state ?? "",
    reason: o.reason ?? "",
    steps: o.steps ?? [],
    step: o.step ?? 0,
    detail: o.detail ?? "",
    ageMs: o.ageMs ?? 0,
  }));
  if (output.json) {
    output.object({ operations: shown });
    return;
  }
  output.table(
    ["OP", "SHARD", "KIND", "STATE", "STEP", "AGE", "REASON", "DETAIL"],
    shown.map((o) => {
      const step = o.state === "open" ? `${o.step + 1}/${o.steps.length} ${(o.steps[o.step] ?? "").split(" ")[0]}` : "";
      return [o.operationId, o.shardId, o.kind, stateCell(o.state), step, ageText(o.ageMs), o.reason, o.detail];
    }),
  );
}

export async function showEvents(
  output: Output,
  admin: AdminClient,
  flags: { readonly after?: string },
): Promise<void> {
  const { events } = await admin.call(MASTER_SERVICE.listEvents, { after: Number(flags.after ?? 0), limit: 0 });
  const shown = events.map((e) => ({
    sequence: e.sequence ?? 0,
    at: new Date(e.wallClockMs ?? 0).toISOString(),
    kind: e.kind ?? "",
    shardId: e.shardId ?? 0,
    hostId: e.hostId ?? "",
    text: e.text ?? "",
  }));
  if (output.json) {
    output.object({ events: shown });
    return;
  }
  output.table(
    ["SEQ", "TIME", "KIND", "SUBJECT", "TEXT"],
    shown.map((e) => [e.sequence, e.at, e.kind, e.shardId === 0 ? e.hostId : `shard ${e.shardId}`, e.text]),
  );
}
