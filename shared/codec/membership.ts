/** Bytes of membership, config changes and snapshot records: inside entries, WAL records and snapshot headers. */
import type { Target } from "../types/ids.js";
import type { ConfigChange, ConfigChangeKind, Membership } from "../types/membership.js";
import type { SnapshotMeta } from "../types/message.js";
import { ByteReader, ByteWriter, MalformedError } from "./bytes.js";

/** Members and removed ids of one shard are refused above this when decoding. */
const MEMBERS_MAX = 100_000;
const KINDS: readonly ConfigChangeKind[] = ["addVoter", "addNonVoting", "addWitness", "remove", "shrink"];

export function encodeConfigChange(change: ConfigChange): Uint8Array {
  return new ByteWriter(64)
    .u8(KINDS.indexOf(change.kind))
    .u8(change.bootstrap ? 1 : 0)
    .u64(change.replicaId)
    .u64(change.expectedConfigChangeIndex)
    .text(change.target)
    .finish();
}

export function decodeConfigChange(bytes: Uint8Array): ConfigChange {
  const r = new ByteReader(bytes);
  const kind = KINDS[r.u8()];
  if (kind === undefined) throw new MalformedError("unknown kind of config change");
  const bootstrap = r.bool();
  const replicaId = r.u64();
  const expectedConfigChangeIndex = r.u64();
  const target = r.text();
  r.end();
  return { kind, bootstrap, replicaId, expectedConfigChangeIndex, target };
}

export function writeMembership(w: ByteWriter, m: Membership): void {
  w.u64(m.lineage).u64(m.configChangeIndex);
  for (const group of [m.voters, m.nonVotings, m.witnesses]) {
    w.u32(group.size);
    for (const [id, target] of sorted(group)) w.u64(id).text(target);
  }
  w.u32(m.removed.size);
  for (const id of [...m.removed].sort((a, b) => a - b)) w.u64(id);
}

export function readMembership(r: ByteReader): Membership {
  const lineage = r.u64();
  const configChangeIndex = r.u64();
  const voters = readMembers(r);
  const nonVotings = readMembers(r);
  const witnesses = readMembers(r);
  const removed = new Set<number>();
  const count = readCount(r);
  for (let i = 0; i < count; i++) removed.add(r.u64());
  return { lineage, configChangeIndex, voters, nonVotings, witnesses, removed };
}

function readMembers(r: ByteReader): Map<number, Target> {
  const count = readCount(r);
  const members = new Map<number, Target>();
  for (let i = 0; i < count; i++) {
    const id = r.u64();
    members.set(id, r.text());
  }
  return members;
}

function readCount(r: ByteReader): number {
  const count = r.u32();
  if (count > MEMBERS_MAX) throw new MalformedError(`${count} members, at most ${MEMBERS_MAX}`);
  return count;
}

export function encodeMembership(m: Membership): Uint8Array {
  const w = new ByteWriter(256);
  writeMembership(w, m);
  return w.finish();
}

export function writeSnapshotMeta(w: ByteWriter, s: SnapshotMeta): void {
  w.u64(s.shardId).u64(s.replicaId).u64(s.index).u64(s.term).u64(s.sizeBytes).text(s.directory);
  writeMembership(w, s.membership);
}

export function readSnapshotMeta(r: ByteReader): SnapshotMeta {
  const shardId = r.u64();
  const replicaId = r.u64();
  const index = r.u64();
  const term = r.u64();
  const sizeBytes = r.u64();
  const directory = r.text();
  return { shardId, replicaId, index, term, sizeBytes, directory, membership: readMembership(r) };
}

function sorted(group: ReadonlyMap<number, Target>): [number, Target][] {
  return [...group].sort((a, b) => a[0] - b[0]);
}
