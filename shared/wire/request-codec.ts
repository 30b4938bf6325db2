/**
 * A master's orders to one host, its answers to reports, and a host's results, as bytes of proto/control.proto.
 * Decoding checks every value and throws MalformedError: a request that is not understood in full is not done at all.
 */
import { drumline } from "#gen/drumline.js";
import { assertNever } from "../assert.js";
import { MalformedError } from "../codec/bytes.js";
import { LIMITS } from "../limits.js";
import type {
  HostAction,
  HostRequest,
  HostResult,
  ReplicaSettings,
  ReportReply,
  RequestFence,
} from "../types/control.js";
import { cut, list, name, optionalName, positive, present, text, uint } from "./check.js";
import { membersFromWire, membersToWire } from "./membership-codec.js";
import { decodeMessage } from "./safe-reader.js";

const v1 = drumline.v1;

type RequestMessage = Omit<drumline.v1.HostRequest.$Properties, "action">;

export function encodeReportReply(reply: ReportReply): Uint8Array {
  const { masterTerm, masterLineage, refusal } = reply;
  const requests = reply.requests.map(requestToWire);
  const said = { refusalCode: refusal?.code ?? "", refusalDetail: cut(refusal?.detail ?? "") };
  return v1.ReportReply.encode({ masterTerm, masterLineage, requests, ...said }).finish();
}

export function decodeReportReply(bytes: Uint8Array): ReportReply {
  const m = decodeMessage(v1.ReportReply, bytes);
  const code = optionalName(m.refusalCode, "refusalCode");
  return {
    masterTerm: uint(m.masterTerm, "masterTerm"),
    masterLineage: uint(m.masterLineage, "masterLineage"),
    requests: list(m.requests, LIMITS.requestsPerReplyMax, "requests").map(requestFromWire),
    refusal: code === "" ? undefined : { code, detail: text(m.refusalDetail, "refusalDetail") },
  };
}

export function encodeHostRequest(request: HostRequest): Uint8Array {
  return v1.HostRequest.encode(requestToWire(request)).finish();
}

export function decodeHostRequest(bytes: Uint8Array): HostRequest {
  return requestFromWire(decodeMessage(v1.HostRequest, bytes));
}

export function encodeHostResult(result: HostResult): Uint8Array {
  return v1.HostResult.encode({ ...result, detail: cut(result.detail) }).finish();
}

export function decodeHostResult(bytes: Uint8Array): HostResult {
  const m = decodeMessage(v1.HostResult, bytes);
  return {
    requestId: name(m.requestId, "requestId"),
    hostId: name(m.hostId, "hostId"),
    ok: m.ok,
    code: optionalName(m.code, "code"),
    detail: text(m.detail, "detail"),
  };
}

function requestToWire(request: HostRequest): drumline.v1.HostRequest.$Properties {
  const { requestId, operationId, shardId, fence } = request;
  return { requestId, operationId, shardId, fence, ...actionToWire(request.action) };
}

function requestFromWire(m: RequestMessage): HostRequest {
  return {
    requestId: name(m.requestId, "requestId"),
    operationId: uint(m.operationId, "operationId"),
    shardId: positive(m.shardId, "shardId"),
    fence: fenceFromWire(present(m.fence, "fence")),
    action: actionFromWire(m),
  };
}

function fenceFromWire(m: drumline.v1.RequestFence.$Properties): RequestFence {
  return {
    deploymentId: positive(m.deploymentId, "deploymentId"),
    masterLineage: uint(m.masterLineage, "masterLineage"),
    masterTerm: positive(m.masterTerm, "masterTerm"),
    hostId: name(m.hostId, "hostId"),
    incarnation: uint(m.incarnation, "incarnation"),
    dataSetId: name(m.dataSetId, "dataSetId"),
    ttlMs: positive(m.ttlMs, "ttlMs"),
  };
}

function actionToWire(action: HostAction): drumline.v1.HostRequest.$Properties {
  switch (action.kind) {
    case "create": {
      const { replicaId, app, settings } = action;
      return { create: { replicaId, app, settings, initial: membersToWire(action.initial) } };
    }
    case "join":
    case "restart":
    case "addNonVoting":
    case "promote":
    case "remove":
    case "stop":
    case "removeData": {
      const { kind, ...fields } = action;
      return { [kind]: fields };
    }
    default:
      return assertNever(action);
  }
}

function actionFromWire(m: RequestMessage): HostAction {
  // At most one is there: the decoder keeps the last member of a oneof, as protobuf demands.
  if (m.create) {
    const initial = membersFromWire(m.create.initial);
    const replicaId = positive(m.create.replicaId, "replicaId");
    if (!initial.has(replicaId)) throw new MalformedError(`replica ${replicaId} is not in its own initial members`);
    return { kind: "create", replicaId, app: name(m.create.app, "app"), settings: settingsFromWire(m.create), initial };
  }
  if (m.join) {
    const replicaId = positive(m.join.replicaId, "replicaId");
    return { kind: "join", replicaId, app: name(m.join.app, "app"), settings: settingsFromWire(m.join) };
  }
  if (m.restart) return { kind: "restart", replicaId: positive(m.restart.replicaId, "replicaId") };
  if (m.addNonVoting) return { kind: "addNonVoting", ...memberFromWire(m.addNonVoting) };
  if (m.promote) return { kind: "promote", ...memberFromWire(m.promote) };
  if (m.remove) {
    const configChangeIndex = uint(m.remove.configChangeIndex, "configChangeIndex");
    return { kind: "remove", replicaId: positive(m.remove.replicaId, "replicaId"), configChangeIndex };
  }
  if (m.stop) return { kind: "stop", replicaId: positive(m.stop.replicaId, "replicaId") };
  if (m.removeData) return { kind: "removeData", replicaId: positive(m.removeData.replicaId, "replicaId") };
  throw new MalformedError("request without an action that this version knows");
}

function memberFromWire(m: drumline.v1.MemberAction.$Properties) {
  return {
    replicaId: positive(m.replicaId, "replicaId"),
    target: name(m.target, "target"),
    configChangeIndex: uint(m.configChangeIndex, "configChangeIndex"),
  };
}

function settingsFromWire(m: { settings?: drumline.v1.ReplicaSettings.$Properties | null }): ReplicaSettings {
  const settings = present(m.settings, "settings");
  return {
    electionTicks: positive(settings.electionTicks, "electionTicks"),
    heartbeatTicks: positive(settings.heartbeatTicks, "heartbeatTicks"),
    snapshotEntries: uint(settings.snapshotEntries, "snapshotEntries"),
    compactionOverhead: uint(settings.compactionOverhead, "compactionOverhead"),
  };
}
