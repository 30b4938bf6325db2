/** Control messages: what is encoded comes back unchanged; whatever else comes in is refused as malformed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { drumline } from "#gen/drumline.js";
import { MalformedError } from "../codec/bytes.js";
import type { ClusterInfo, HostAction, HostRequest, NodeHostInfo, RegistryView } from "../types/control.js";
import type { Membership } from "../types/membership.js";
import {
  decodeHostRequest,
  decodeHostResult,
  decodeNodeHostInfo,
  decodeRegistryView,
  decodeReportReply,
  encodeHostRequest,
  encodeHostResult,
  encodeNodeHostInfo,
  encodeRegistryView,
  encodeReportReply,
} from "./control-codec.js";
import { decodeMessage } from "./safe-reader.js";

const v1 = drumline.v1;
const uint = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 1, 127, 128, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER));
const positive = uint.map((value) => Math.max(1, value));
const name = fc.string({ minLength: 1, maxLength: 40, unit: "grapheme-ascii" });
const optionalName = fc.string({ maxLength: 40, unit: "grapheme-ascii" });
const role = fc.constantFrom("voter", "nonVoting", "witness");
const nonce = fc.stringMatching(/^[0-9a-f]{16}$/);
const few = { maxLength: 4 };

const membership: fc.Arbitrary<Membership> = fc
  .record({
    lineage: uint,
    configChangeIndex: uint,
    members: fc.uniqueArray(fc.record({ id: positive, target: name, group: fc.nat(3) }), {
      selector: (member) => member.id,
      maxLength: 8,
    }),
  })
  .map(({ lineage, configChangeIndex, members }) => {
    const group = (n: number) => members.filter((member) => member.group === n);
    const targets = (n: number) => new Map(group(n).map((member) => [member.id, member.target]));
    const removed = new Set(group(3).map((member) => member.id));
    return { lineage, configChangeIndex, voters: targets(0), nonVotings: targets(1), witnesses: targets(2), removed };
  });

const clusterInfo: fc.Arbitrary<ClusterInfo> = fc.record({
  shardId: uint,
  replicaId: positive,
  app: optionalName,
  isLeader: fc.boolean(),
  leaderId: uint,
  term: uint,
  role,
  membership: fc.option(membership, { nil: undefined }),
  configChangeIndex: uint,
  lineage: uint,
  pending: fc.boolean(),
  incomplete: fc.boolean(),
  applied: uint,
  commit: uint,
  progress: fc.array(fc.record({ replicaId: positive, match: uint, silentMs: uint }), few),
  fault: optionalName,
  stateHash: optionalName,
  waiting: optionalName,
});

const nodeHostInfo: fc.Arbitrary<NodeHostInfo> = fc.record({
  deploymentId: positive,
  hostId: name,
  dataSetId: name,
  incarnation: fc.record({ counter: uint, nonce }),
  sequence: positive,
  stateVersion: uint,
  digest: optionalName,
  raftAddress: name,
  apiAddress: optionalName,
  region: optionalName,
  labels: fc
    .uniqueArray(fc.tuple(name, optionalName), { selector: ([key]) => key, maxLength: 4 })
    .map(Object.fromEntries),
  apps: fc.array(name, few),
  clusterInfo: fc.array(clusterInfo, few),
  logInfoIncluded: fc.boolean(),
  logInfo: fc.array(fc.record({ shardId: uint, replicaId: positive }), few),
  silentPeers: fc.array(fc.record({ target: name, silentMs: uint }), few),
  stopping: fc.boolean(),
  highestMasterTerm: uint,
  directoryFault: optionalName,
  recoveredSequence: uint,
  durableSequence: uint,
  load: fc.record({ replicas: uint, leaders: uint, diskUsedBytes: uint, diskFreeBytes: uint, rssBytes: uint }),
});

const settings = fc.record({
  electionTicks: positive,
  heartbeatTicks: positive,
  snapshotEntries: uint,
  compactionOverhead: uint,
});
const replica = { replicaId: positive };
const member = { replicaId: positive, target: name, configChangeIndex: uint };
const action: fc.Arbitrary<HostAction> = fc.oneof(
  fc
    .record({ members: fc.dictionary(positive.map(String), name, { minKeys: 1, maxKeys: 5 }), app: name, settings })
    .map(({ members, app, settings: s }) => {
      const initial = new Map(Object.entries(members).map(([id, target]) => [Number(id), target]));
      return { kind: "create", replicaId: [...initial.keys()][0] ?? 1, app, settings: s, initial } as const;
    }),
  fc.record({ kind: fc.constant("join" as const), ...replica, app: name, settings }),
  fc.record({ kind: fc.constantFrom("restart" as const, "stop" as const, "removeData" as const), ...replica }),
  fc.record({ kind: fc.constantFrom("addNonVoting" as const, "promote" as const), ...member }),
  fc.record({ kind: fc.constant("remove" as const), ...replica, configChangeIndex: uint }),
);

const hostRequest: fc.Arbitrary<HostRequest> = fc.record({
  requestId: name,
  operationId: uint,
  shardId: positive,
  fence: fc.record({
    deploymentId: positive,
    masterLineage: uint,
    masterTerm: positive,
    hostId: name,
    incarnation: uint,
    dataSetId: name,
    ttlMs: positive,
  }),
  action,
});

const registryView: fc.Arbitrary<RegistryView> = fc.record({
  revision: uint,
  hosts: fc.array(fc.record({ hostId: name, raftAddress: name, apiAddress: optionalName, incarnation: uint }), few),
  shards: fc.array(
    fc.record({
      shardId: uint,
      name: optionalName,
      app: optionalName,
      configChangeIndex: uint,
      leaderReplicaId: uint,
      leaderTerm: uint,
      replicas: fc.array(fc.record({ replicaId: positive, hostId: name, role }), few),
    }),
    few,
  ),
});

function roundTrips<T>(values: fc.Arbitrary<T>, encode: (value: T) => Uint8Array, decode: (bytes: Uint8Array) => T) {
  // Cloned, because fast-check also makes objects without a prototype.
  const encoded = values.map((value) => ({ value: structuredClone(value), bytes: encode(value) }));
  fc.assert(
    fc.property(encoded, ({ value, bytes }) => assert.deepEqual(decode(bytes), value)),
    { numRuns: 200 },
  );
}

test("a report comes back as it was sent", () => roundTrips(nodeHostInfo, encodeNodeHostInfo, decodeNodeHostInfo));
test("a request comes back as it was sent", () => roundTrips(hostRequest, encodeHostRequest, decodeHostRequest));
test("a registry comes back as it was sent", () => roundTrips(registryView, encodeRegistryView, decodeRegistryView));

test("an answer to a report comes back as it was sent", () => {
  const reply = fc.record({
    masterTerm: uint,
    masterLineage: uint,
    requests: fc.array(hostRequest, few),
    refusal: fc.option(fc.record({ code: name, detail: optionalName }), { nil: undefined }),
  });
  roundTrips(reply, encodeReportReply, decodeReportReply);
});

test("a result comes back as it was sent", () => {
  const result = fc.record({
    requestId: name,
    hostId: name,
    ok: fc.boolean(),
    code: optionalName,
    detail: optionalName,
  });
  roundTrips(result, encodeHostResult, decodeHostResult);
});

const DECODERS = [decodeNodeHostInfo, decodeHostRequest, decodeReportReply, decodeHostResult, decodeRegistryView];

function refusedOrDecoded(bytes: Uint8Array): void {
  for (const decode of DECODERS) {
    try {
      decode(bytes);
    } catch (error) {
      assert.ok(error instanceof MalformedError, `${decode.name} threw ${String(error)}`);
    }
  }
}

test("garbage throws nothing but MalformedError", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), refusedOrDecoded), { numRuns: 2000 });
});

test("a damaged or cut report throws nothing but MalformedError", () => {
  const damaged = fc
    .record({ info: nodeHostInfo, at: fc.nat(), bits: fc.integer({ min: 1, max: 255 }), keep: fc.nat() })
    .map(({ info, at, bits, keep }) => {
      const bytes = Uint8Array.from(encodeNodeHostInfo(info));
      const place = at % bytes.length;
      bytes[place] = (bytes[place] ?? 0) ^ bits;
      return bytes.subarray(0, keep % 2 === 0 ? bytes.length : keep % bytes.length);
    });
  fc.assert(fc.property(damaged, refusedOrDecoded), { numRuns: 1000 });
});

test("integers above 2^53 - 1 are refused, not rounded", () => {
  const above = Buffer.from([0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
  const justAbove = Buffer.from([0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
  const largest = Buffer.from([0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
  assert.throws(() => decodeMessage(v1.LogInfo, above), MalformedError);
  assert.throws(() => decodeMessage(v1.LogInfo, justAbove), MalformedError);
  assert.equal(decodeMessage(v1.LogInfo, largest).shardId, Number.MAX_SAFE_INTEGER);
});

test("a request without an action, or with an unknown one, is refused", () => {
  const fence = { deploymentId: 1, masterTerm: 1, hostId: "h", dataSetId: "d", ttlMs: 1 };
  const none = v1.HostRequest.encode({ requestId: "r", shardId: 1, fence }).finish();
  assert.throws(() => decodeHostRequest(none), /without an action/);
  const unknown = Buffer.concat([none, Buffer.from([0xfa, 0x01, 0x00])]); // field 31, empty
  assert.throws(() => decodeHostRequest(unknown), /without an action/);
  const known = Buffer.concat([none, Buffer.from([0x5a, 0x02, 0x08, 0x07])]); // field 11, replica 7
  assert.deepEqual(decodeHostRequest(known).action, { kind: "stop", replicaId: 7 });
});

test("a replica that is a member twice is refused", () => {
  const twice = { voters: [{ replicaId: 1, target: "a" }], witnesses: [{ replicaId: 1, target: "b" }] };
  const report = v1.NodeHostInfo.encode({
    deploymentId: 1,
    hostId: "h",
    dataSetId: "d",
    incarnation: { counter: 1, nonce: "0011223344556677" },
    sequence: 1,
    raftAddress: "127.0.0.1:1",
    clusterInfo: [{ shardId: 1, replicaId: 1, role: v1.Role.ROLE_VOTER, membership: twice }],
  }).finish();
  assert.throws(() => decodeNodeHostInfo(report), /replica 1 is a member twice/);
});

test("free text longer than a receiver accepts is cut when sent", () => {
  const result = { requestId: "r", hostId: "h", ok: false, code: "DL_ERR_REJECTED", detail: "x".repeat(10_000) };
  const { detail } = decodeHostResult(encodeHostResult(result));
  assert.equal(detail.length, 4096);
  assert.ok(detail.endsWith("x…"));
});
