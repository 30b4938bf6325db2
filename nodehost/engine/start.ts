/**
 * Makes a running replica out of what is on disk, in one of three forms: first start of an initial member (with all
 * initial members), first start of a member added later (join), restart (neither). The bootstrap record is durable
 * before the replica runs; it is also what says later which form was used. A machine that could not be started is
 * closed again.
 */
import { BlockBuilder, type EntryBlock, EntryType, sealBlock } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import { OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { Index, ReplicaId, Target } from "../../shared/types/ids.js";
import { emptyMembership, type Membership } from "../../shared/types/membership.js";
import type { BootstrapRecord, LogUpdate, MachineKind, RecoveredReplica } from "../logdb/port.js";
import { Raft } from "../raft/index.js";
import { type Machine, type MachinePlace, Rsm, type RsmSink, WitnessRsm } from "../rsm/index.js";
import type { FullReplicaConfig } from "./config.js";
import { AsyncLogReader } from "./log-reader.js";
import type { MachinePlaces, ReplicaPorts } from "./ports.js";
import { Replica } from "./replica.js";

export interface StartSpec {
  readonly config: FullReplicaConfig;
  /** App name, "" for a machine started by code. */
  readonly app: string;
  readonly kind: MachineKind;
  /** Called once, before anything is written. `place` is for on-disk machines. Undefined for a witness. */
  readonly make: ((place: MachinePlace) => Machine) | undefined;
  /** All initial members, or empty. */
  readonly initialMembers: ReadonlyMap<ReplicaId, Target>;
  readonly join: boolean;
}

interface MadeSpec extends StartSpec {
  readonly machine: Machine | undefined;
}

export interface Started extends Prepared {
  readonly replica: Replica;
}

const READ_BYTES = 4 * 1024 * 1024;
const NO_PLACE: MachinePlace = { dataDir: "" };

/** The one door of this file: from a wish to a replica that can run. */
export async function startReplica(spec: StartSpec, ports: ReplicaPorts, machines: MachinePlaces): Promise<Started> {
  const { shardId, replicaId } = spec.config;
  const place = spec.kind === "onDisk" ? await machines.prepare({ shardId, replicaId }) : NO_PLACE;
  const machine = spec.make?.(place);
  try {
    const prepared = await prepareRecord(spec, ports);
    return { ...prepared, replica: await makeReplica({ ...spec, machine }, prepared.found, ports) };
  } catch (error) {
    await machine?.machine.close();
    throw error;
  }
}

interface Prepared {
  readonly found: RecoveredReplica;
  /** The record was written now: nothing of the replica was here. */
  readonly isFirst: boolean;
}

/**
 * Checks the form against the record on disk, and writes the record if there is none. A first start that others must
 * vouch for (see Introductions) is marked as such before, durably.
 */
async function prepareRecord(spec: StartSpec, ports: ReplicaPorts): Promise<Prepared> {
  const key = { shardId: spec.config.shardId, replicaId: spec.config.replicaId };
  const name = `shard ${key.shardId} replica ${key.replicaId}`;
  const found = ports.logDb.state(key);
  if (found !== undefined) {
    checkSameBootstrap(found.bootstrap, spec, name);
    if (found.damage !== undefined) throw new OpError("DL_ERR_LOGDB_CORRUPT", `${name}: ${found.damage}`);
    if (spec.config.assumeNew) await ports.peers.setUnproven(key.shardId, key.replicaId, false);
    return { found, isFirst: false };
  }
  const gone = ports.logDb.list().removed;
  if (gone.some((k) => k.shardId === key.shardId && k.replicaId === key.replicaId)) {
    throw new OpError("DL_ERR_REPLICA_REMOVED", `${name}: its data was removed here; ids are never used again`);
  }
  const { incomplete } = ports.logDb.recovery();
  if (incomplete !== undefined) {
    // It may have been here and voted: started as new it could vote again (P49).
    const what = `${name} may have been here, but the log lost records: ${incomplete}; use an empty directory`;
    throw new OpError("DL_ERR_DATA_LOST", what);
  }
  if (spec.join && spec.initialMembers.size > 0) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `${name}: join with ${spec.initialMembers.size} initial members`);
  }
  if (!spec.join && spec.initialMembers.size === 0) throw new OpError("DL_ERR_SHARD_NOT_BOOTSTRAPPED", name);
  if (!spec.join && spec.kind === "witness") {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `${name}: a witness is no initial member, add it and let it join`);
  }
  if (!spec.join) checkInitialMembers(spec, name);
  await ports.peers.setUnproven(key.shardId, key.replicaId, !spec.join && !spec.config.assumeNew);
  await appendDurably(ports, firstUpdate(spec, ports));
  const written = ports.logDb.state(key);
  if (written === undefined) throw new OpError("DL_ERR_STORAGE_FAILED", `${name}: bootstrap record is not there`);
  return { found: written, isFirst: true };
}

/** Restores the newest snapshot, loads the entries after it, and makes the parts. */
async function makeReplica(spec: MadeSpec, found: RecoveredReplica, ports: ReplicaPorts): Promise<Replica> {
  const { config } = spec;
  const key = { shardId: config.shardId, replicaId: config.replicaId };
  // The sink and the reader call back into a replica that is made last; nothing calls them before.
  const late: { replica: Replica | undefined } = { replica: undefined };
  const sink: RsmSink = {
    onResult: (sequence, index, result) => late.replica?.onResult(sequence, index, result),
    onRejected: (sequence, index, code) => late.replica?.onRejected(sequence, index, code),
    onConfigChange: (...args) => late.replica?.onConfigChange(...args),
  };
  const { crc32, now, timers } = ports.env;
  const applied = { ...key, incarnation: ports.incarnation, membership: found.bootstrap.initial, sink, crc32, now };
  const wait = (forMs: number): Promise<void> => new Promise((resolve) => timers.after(forMs, resolve));
  const rsm =
    spec.machine === undefined
      ? new WitnessRsm(applied)
      : new Rsm({ ...applied, machine: spec.machine, store: ports.snapshots, wait });
  await rsm.start(found, new AbortController().signal);
  const from = Math.max(found.first, rsm.applied + 1);
  const blocks = await readAll(ports, found, from);
  const reader = new AsyncLogReader(
    ports.logDb,
    key,
    () => {
      const { replica } = late;
      if (replica?.working !== true) return;
      replica.raft.entriesFetched();
      ports.ready(replica);
    },
    (error) => late.replica?.fence(`log read failed: ${error instanceof Error ? error.message : String(error)}`),
  );
  const raft = new Raft({
    config: {
      ...key,
      electionTimeoutMs: config.electionTicks * ports.rttMs,
      heartbeatIntervalMs: config.heartbeatTicks * ports.rttMs,
      witness: config.isWitness,
      preVote: config.preVote,
      checkQuorum: config.checkQuorum,
      quiesceAfterMs: config.quiesce ? config.quiesceTicks * ports.rttMs : 0,
      inflightBytesMax: LIMITS.inflightBytesMax,
      inflightMessagesMax: LIMITS.inflightMessagesMax,
      replicateBytesMax: LIMITS.replicateBytesMax,
      cacheBytesMax: LIMITS.logCacheBytesMax,
      maxInMemLogBytes: config.maxInMemLogBytes,
      promotionLagEntriesMax: config.promotionMaxLagEntries,
      autoPromote: config.autoPromote,
    },
    start: {
      hardState: found.hardState,
      membership: rsm.membership,
      applied: rsm.applied,
      first: found.first,
      precedingTerm: found.precedingTerm,
      blocks,
      last: found.last,
      snapshot: found.snapshot,
    },
    reader,
    random: () => ports.env.random.next(),
    crc32: ports.env.crc32,
    nowMs: ports.env.now(),
  });
  const replica = new Replica({ config, app: spec.app, raft, rsm, snapshot: found.snapshot }, ports);
  late.replica = replica;
  return replica;
}

/** Appends one update through the host's queue; resolves when it is durable. DL_ERR_DISK_FULL, FatalStorageError. */
export function appendDurably(ports: ReplicaPorts, update: LogUpdate): Promise<void> {
  return new Promise((resolve, reject) => {
    if (ports.wal.diskFull) {
      reject(new OpError("DL_ERR_DISK_FULL"));
      return;
    }
    ports.wal.add(update, resolve, { failed: reject, refuseWhenFull: true });
    ports.wal.start();
  });
}

async function readAll(ports: ReplicaPorts, found: RecoveredReplica, from: Index): Promise<EntryBlock[]> {
  const blocks: EntryBlock[] = [];
  let next = from;
  while (next <= found.last) {
    const chunk = await ports.logDb.read(found, next, found.last, READ_BYTES);
    const end = chunk.at(-1);
    if (end === undefined || end.last < next) {
      throw new OpError("DL_ERR_LOGDB_CORRUPT", `shard ${found.shardId}: no entries at index ${next}`);
    }
    blocks.push(...chunk);
    next = end.last + 1;
  }
  return blocks;
}

function firstUpdate(spec: StartSpec, ports: ReplicaPorts): LogUpdate {
  const { kind, config } = spec;
  const { shardId, replicaId } = config;
  const initial: Membership = { ...emptyMembership(), voters: new Map(spec.initialMembers) };
  const { assumeNew, ...recorded } = config;
  const bootstrap = { join: spec.join, kind, app: spec.app, initial, config: JSON.stringify(recorded) };
  if (spec.join) return { shardId, replicaId, bootstrap, hardState: { term: 0, vote: 0, commit: 0 } };
  const builder = new BlockBuilder();
  const members = [...spec.initialMembers].sort((a, b) => a[0] - b[0]);
  for (const [index, [id, target]] of members.entries()) {
    const change = { kind: "addVoter", replicaId: id, target, expectedConfigChangeIndex: 0, bootstrap: true } as const;
    builder.add(EntryType.ConfigChange, { replicaId: 0, incarnation: 0, sequence: index }, encodeConfigChange(change));
  }
  const block = sealBlock(builder.finish(), { shardId, firstIndex: 1, term: 1 }, ports.env.crc32);
  const hardState = { term: 1, vote: 0, commit: members.length };
  return { shardId, replicaId, bootstrap, hardState, blocks: [block] };
}

function checkInitialMembers(spec: StartSpec, name: string): void {
  const { initialMembers, config } = spec;
  if (!initialMembers.has(config.replicaId)) {
    const ids = [...initialMembers.keys()].join(", ");
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `${name} is not among the initial members ${ids}`);
  }
  const targets = new Set([...initialMembers.values()].map((t) => t.trim().toLowerCase()));
  if (targets.size !== initialMembers.size) {
    throw new OpError("DL_ERR_INVALID_TARGET", `${name}: two initial members have one target`);
  }
}

function checkSameBootstrap(record: BootstrapRecord, spec: StartSpec, name: string): void {
  if (spec.kind !== record.kind) {
    const what = `${name}: machine kind ${spec.kind}, first started as ${record.kind}`;
    throw new OpError("DL_ERR_BOOTSTRAP_MISMATCH", what);
  }
  if (!spec.join && spec.initialMembers.size === 0) return;
  const same =
    spec.join === record.join &&
    spec.initialMembers.size === record.initial.voters.size &&
    [...spec.initialMembers].every(([id, target]) => record.initial.voters.get(id) === target);
  if (!same)
    throw new OpError("DL_ERR_BOOTSTRAP_MISMATCH", `${name}: other initial members or join than at first start`);
}
