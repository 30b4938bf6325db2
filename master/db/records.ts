/**
 * Bytes of the records of types.ts, for commands and snapshots. Readers are bounded and throw MalformedError only;
 * writers sort what has no order of its own, so equal states give equal bytes.
 */
import { type ByteReader, type ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { readMembership, writeMembership } from "../../shared/codec/membership.js";
import type { ReplicaSettings } from "../../shared/types/control.js";
import type {
  EventRecord,
  HostFacts,
  HostRecord,
  MasterLimits,
  Operation,
  OperationKind,
  OperationState,
  OperationStep,
  ReplicaPlace,
  Severity,
  ShardRecord,
  ShardSpec,
  StepKind,
} from "./types.js";

/** Items of any list in a record; more are refused. */
export const LIST_ITEMS_MAX = 4096;

// The position of a word is its number on disk: append only.
const OPERATION_KINDS: readonly OperationKind[] = ["create", "makeUp", "replace", "addNonVoting", "remove"];
const STEP_KINDS: readonly StepKind[] = ["create", "addNonVoting", "join", "catchUp", "promote", "remove"];
const STATES: readonly OperationState[] = ["open", "done", "canceled", "failed"];
const SEVERITIES: readonly Severity[] = ["info", "warning", "alert"];

export function readWord<T>(r: ByteReader, words: readonly T[]): T {
  const at = r.u8();
  const word = words[at];
  if (word === undefined) throw new MalformedError(`word ${at} of ${words.length}`);
  return word;
}

export function writeList<T>(w: ByteWriter, items: readonly T[], write: (w: ByteWriter, item: T) => void): void {
  w.u32(items.length);
  for (const item of items) write(w, item);
}

export function readList<T>(r: ByteReader, read: (r: ByteReader) => T, max = LIST_ITEMS_MAX): T[] {
  const count = r.u32();
  if (count > max) throw new MalformedError(`list of ${count} items, at most ${max}`);
  const items: T[] = [];
  for (let i = 0; i < count; i++) items.push(read(r));
  return items;
}

const writeText = (w: ByteWriter, value: string): void => void w.text(value);
const readText = (r: ByteReader): string => r.text();

export function writeHostFacts(w: ByteWriter, h: HostFacts): void {
  w.text(h.hostId).text(h.raftAddress).text(h.apiAddress).text(h.region);
  writeList(w, Object.keys(h.labels).sort(), (to, key) => to.text(key).text(h.labels[key] ?? ""));
  writeList(w, h.apps, writeText);
  w.u64(h.incarnation.counter).text(h.incarnation.nonce).text(h.dataSetId);
}

export function readHostFacts(r: ByteReader): HostFacts {
  const hostId = r.text();
  const raftAddress = r.text();
  const apiAddress = r.text();
  const region = r.text();
  const pairs = readList(r, (from) => [from.text(), from.text()] as const);
  // Built from pairs so that a key such as "__proto__" is a label like any other.
  const labels: Readonly<Record<string, string>> = Object.fromEntries(pairs);
  const apps = readList(r, readText);
  const incarnation = { counter: r.u64(), nonce: r.text() };
  return { hostId, raftAddress, apiAddress, region, labels, apps, incarnation, dataSetId: r.text() };
}

export function writeHost(w: ByteWriter, h: HostRecord): void {
  writeHostFacts(w, h);
  writeList(w, h.pastDataSets, writeText);
  w.u64(h.maintenanceUntilMs).text(h.maintenanceReason);
  w.u8(h.draining ? 1 : 0)
    .u8(h.removed ? 1 : 0)
    .u8(h.admitted ? 1 : 0)
    .u64(h.registeredAtMs);
}

export function readHost(r: ByteReader): HostRecord {
  return {
    ...readHostFacts(r),
    pastDataSets: readList(r, readText),
    maintenanceUntilMs: r.u64(),
    maintenanceReason: r.text(),
    draining: r.bool(),
    removed: r.bool(),
    admitted: r.bool(),
    registeredAtMs: r.u64(),
  };
}

function writeSettings(w: ByteWriter, s: ReplicaSettings): void {
  w.u64(s.electionTicks).u64(s.heartbeatTicks).u64(s.snapshotEntries).u64(s.compactionOverhead);
}

function readSettings(r: ByteReader): ReplicaSettings {
  return { electionTicks: r.u64(), heartbeatTicks: r.u64(), snapshotEntries: r.u64(), compactionOverhead: r.u64() };
}

export function writeSpec(w: ByteWriter, s: ShardSpec): void {
  w.text(s.name).text(s.app).u64(s.voters).u64(s.nonVotings).text(s.region);
  writeSettings(w, s.settings);
}

export function readSpec(r: ByteReader): ShardSpec {
  const name = r.text();
  const app = r.text();
  const voters = r.u64();
  const nonVotings = r.u64();
  const region = r.text();
  return { name, app, voters, nonVotings, region, settings: readSettings(r) };
}

export function writePlace(w: ByteWriter, p: ReplicaPlace): void {
  w.u64(p.replicaId).text(p.hostId).text(p.dataSetId);
}

export function readPlace(r: ByteReader): ReplicaPlace {
  return { replicaId: r.u64(), hostId: r.text(), dataSetId: r.text() };
}

export function writeShard(w: ByteWriter, s: ShardRecord): void {
  w.u64(s.shardId).text(s.clientKey);
  writeSpec(w, s.spec);
  writeList(w, s.bootstrap, writePlace);
  w.u8(s.confirmed === undefined ? 0 : 1);
  if (s.confirmed !== undefined) writeMembership(w, s.confirmed);
  const dataSets = [...s.dataSets].sort((a, b) => a[0] - b[0]);
  writeList(w, dataSets, (to, [replicaId, dataSetId]) => to.u64(replicaId).text(dataSetId));
  w.u8(s.tombstone ? 1 : 0).u8(s.failure === undefined ? 0 : 1);
  if (s.failure !== undefined) {
    const f = s.failure;
    w.u64(f.count).u64(f.operationId).u64(f.replicaId).text(f.hostId).text(f.reason);
  }
  w.u64(s.operationId).u64(s.createdAtMs);
}

export function readShard(r: ByteReader): ShardRecord {
  const shardId = r.u64();
  const clientKey = r.text();
  const spec = readSpec(r);
  const bootstrap = readList(r, readPlace);
  const confirmed = r.bool() ? readMembership(r) : undefined;
  const dataSets = new Map(readList(r, (from) => [from.u64(), from.text()] as const));
  const tombstone = r.bool();
  const failure = r.bool()
    ? { count: r.u64(), operationId: r.u64(), replicaId: r.u64(), hostId: r.text(), reason: r.text() }
    : undefined;
  const operationId = r.u64();
  const createdAtMs = r.u64();
  return { shardId, clientKey, spec, bootstrap, confirmed, dataSets, tombstone, failure, operationId, createdAtMs };
}

export function writeOperationKind(w: ByteWriter, kind: OperationKind): void {
  w.u8(OPERATION_KINDS.indexOf(kind));
}
export function readOperationKind(r: ByteReader): OperationKind {
  return readWord(r, OPERATION_KINDS);
}
export function writeOperationState(w: ByteWriter, state: OperationState): void {
  w.u8(STATES.indexOf(state));
}
export function readOperationState(r: ByteReader): OperationState {
  return readWord(r, STATES);
}

export function writeStep(w: ByteWriter, s: OperationStep): void {
  w.u8(STEP_KINDS.indexOf(s.kind));
  writeList(w, s.targets, writePlace);
  w.u64(s.expectedLineage).u64(s.expectedCci);
}

export function readStep(r: ByteReader): OperationStep {
  const kind = readWord(r, STEP_KINDS);
  const targets = readList(r, readPlace);
  return { kind, targets, expectedLineage: r.u64(), expectedCci: r.u64() };
}

export function writeOperation(w: ByteWriter, o: Operation): void {
  w.u64(o.operationId);
  writeOperationKind(w, o.kind);
  w.u64(o.shardId).text(o.reason);
  writeList(w, o.steps, writeStep);
  w.u64(o.step).u64(o.attempt).u64(o.attempts);
  writeOperationState(w, o.state);
  w.text(o.note).u64(o.createdAtMs).u64(o.updatedAtMs);
  writeList(w, o.history, (to, note) => to.u64(note.atMs).text(note.text));
}

export function readOperation(r: ByteReader): Operation {
  const operationId = r.u64();
  const kind = readOperationKind(r);
  const shardId = r.u64();
  const reason = r.text();
  const steps = readList(r, readStep);
  const step = r.u64();
  const attempt = r.u64();
  const attempts = r.u64();
  const state = readOperationState(r);
  const note = r.text();
  const createdAtMs = r.u64();
  const updatedAtMs = r.u64();
  const history = readList(r, (from) => ({ atMs: from.u64(), text: from.text() }));
  const plan = { operationId, kind, shardId, reason, steps };
  return { ...plan, step, attempt, attempts, state, note, createdAtMs, updatedAtMs, history };
}

export function writeSeverity(w: ByteWriter, severity: Severity): void {
  w.u8(SEVERITIES.indexOf(severity));
}
export function readSeverity(r: ByteReader): Severity {
  return readWord(r, SEVERITIES);
}

export function writeEvent(w: ByteWriter, e: EventRecord): void {
  w.u64(e.sequence).u64(e.atMs);
  writeSeverity(w, e.severity);
  w.text(e.kind).text(e.subject).text(e.text);
}

export function readEvent(r: ByteReader): EventRecord {
  const sequence = r.u64();
  const atMs = r.u64();
  return { sequence, atMs, severity: readSeverity(r), kind: r.text(), subject: r.text(), text: r.text() };
}

export function writeLimits(w: ByteWriter, l: MasterLimits): void {
  w.u64(l.repairsMax).u64(l.repairsPerHostMax).u64(l.restartsPerHostMax).u64(l.requestsPerHostMax);
}

export function readLimits(r: ByteReader): MasterLimits {
  return {
    repairsMax: r.u64(),
    repairsPerHostMax: r.u64(),
    restartsPerHostMax: r.u64(),
    requestsPerHostMax: r.u64(),
  };
}
