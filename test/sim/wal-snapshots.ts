/**
 * The real snapshot store of a simulated node. The file holds what the small machine is: hash, count of updates, and
 * padding that makes files of several sizes; sessions go into the session area, the membership into the record.
 *
 * W2: a recorded snapshot can be read, and holds the state of its index (R4 and R17 look at what was read).
 */
import type { SnapshotHeader } from "../../nodehost/rsm/snapshot-format.js";
import { createSnapshotStore, replicaDirectoryName } from "../../nodehost/rsm/snapshot-store.js";
import { SnapshotWriter } from "../../nodehost/rsm/snapshot-writer.js";
import type { SnapshotStore } from "../../nodehost/rsm/types.js";
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { crc32 } from "../../shared/codec/crc32.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, isOpError } from "../../shared/errors.js";
import type { SimDisk } from "../../shared/files/sim-files.js";
import { LIMITS } from "../../shared/limits.js";
import type { Term } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { NodeSnapshots } from "./disk.js";
import type { MachineState } from "./machine.js";
import { SHARD_ID, type SimNode, Violation } from "./model.js";
import { mix } from "./prng.js";
import { EventKind } from "./queue.js";

const DIRECTORY = "/data/snapshots";

export class WalSnapshots implements NodeSnapshots {
  readonly #node: SimNode;
  readonly #files: SimDisk;
  readonly #store: SnapshotStore;

  constructor(node: SimNode, files: SimDisk, env: Env) {
    this.#node = node;
    this.#files = files;
    this.#store = createSnapshotStore({ files, directory: DIRECTORY, crc32: env.crc32 });
  }

  save(state: MachineState, term: Term, done: (meta: SnapshotMeta | undefined) => void): void {
    const { world } = this.#node;
    const header = this.#header(state, term);
    // Of a machine on disk only what it does not hold itself.
    const payload = state.disk === undefined ? encodeState(state, world.options.snapshotPadding) : new Uint8Array(0);
    world.stirred = true;
    this.#store
      .create(header, (sink) => sink.write(payload), new AbortController().signal, state.sessions)
      .then(
        (meta) => this.#later(() => done(meta)),
        (error: unknown) => this.#failed(error, () => done(undefined)),
      );
  }

  #header({ applied: index, membership, disk }: MachineState, term: Term): SnapshotHeader {
    const header = { shardId: SHARD_ID, replicaId: this.#node.id, index, term, membership };
    if (disk === undefined) return header;
    return { ...header, disk: { machineIndex: disk.machineIndex, shrunk: disk.content === undefined } };
  }

  stream(state: MachineState, term: Term, done: (meta: SnapshotMeta, file: Uint8Array) => void): void {
    const chunks: Uint8Array[] = [];
    const writer = new SnapshotWriter(crc32, async (bytes) => void chunks.push(bytes.slice()));
    const { world } = this.#node;
    const header = this.#header(state, term);
    const write = async (): Promise<void> => {
      await writer.begin(header, state.sessions);
      await writer.write(encodeState(state, world.options.snapshotPadding));
      await writer.finish();
    };
    world.stirred = true;
    write().then(
      () => this.#later(() => done({ ...header, sizeBytes: 0, directory: "" }, Buffer.concat(chunks))),
      (error: unknown) => world.fail(error),
    );
  }

  shrink(meta: SnapshotMeta, done: () => void): void {
    this.#node.world.stirred = true;
    this.#store.shrink(meta).then(
      () => this.#later(done),
      (error: unknown) => this.#failed(error, done),
    );
  }

  load(meta: SnapshotMeta, done: (state: MachineState) => void): void {
    this.#node.world.stirred = true;
    this.#read(meta).then(
      (state) => this.#later(() => done(state)),
      (error: unknown) => this.#unreadable(meta, error, () => this.#fence(error)),
    );
  }

  async #read(meta: SnapshotMeta): Promise<MachineState> {
    let sessions: Uint8Array = new Uint8Array(0);
    const chunks: Uint8Array[] = [];
    const onSessions = (area: Uint8Array): void => {
      sessions = area;
    };
    for await (const chunk of this.#store.load(meta, onSessions)) chunks.push(chunk);
    const { world } = this.#node;
    const facts = world.options.onDisk ? await this.#store.describe(meta) : undefined;
    if (facts === undefined) return decodeState(Buffer.concat(chunks), meta, sessions);
    const { machineIndex, shrunk } = facts;
    if (!shrunk) return decodeState(Buffer.concat(chunks), meta, sessions);
    const hash = world.ledger.hashes[meta.index] ?? 0;
    const updates = world.ledger.updates[meta.index] ?? 0;
    const disk = { machineIndex, content: undefined };
    return { applied: meta.index, hash, updates, membership: meta.membership, sessions, disk };
  }

  path(meta: SnapshotMeta): string {
    return `${DIRECTORY}/${replicaDirectoryName(SHARD_ID, this.#node.id)}/${meta.directory}/snapshot.dls`;
  }

  prune(newest: SnapshotMeta): void {
    this.#node.world.stirred = true;
    this.#store.prune(SHARD_ID, this.#node.id, newest, LIMITS.snapshotsKeptMax).catch((error: unknown) => {
      this.#failed(error, () => undefined);
    });
  }

  /** Part of opening: what no record names goes. */
  async removeOrphans(recorded: SnapshotMeta | undefined): Promise<void> {
    const name = replicaDirectoryName(SHARD_ID, this.#node.id);
    await this.#store.removeOrphans(recorded === undefined ? new Map() : new Map([[name, recorded]]));
    for (const found of this.#files.peekNames(`${DIRECTORY}/${name}`)) {
      if (found === recorded?.directory) continue;
      throw new Violation("W2", `node ${this.#node.id} starts with ${found}, which no record names`);
    }
  }

  read(meta: SnapshotMeta, done: (file: Uint8Array | undefined) => void): void {
    this.#node.world.stirred = true;
    this.#whole(meta).then(
      (file) => this.#later(() => done(file)),
      (error: unknown) => this.#unreadable(meta, error, () => done(undefined)),
    );
  }

  /** It may be gone if a newer one is recorded, and the disk may fail to read. */
  #unreadable(meta: SnapshotMeta, error: unknown, call: () => void): void {
    const { world, id, disk } = this.#node;
    const failed = isOpError(error) && error.code === "DL_ERR_STORAGE_FAILED";
    const damaged = isOpError(error) && disk.damaged !== undefined;
    if (damaged) {
      world.ledger.faults.add("damageFound");
      this.#later(() => this.#node.refuse(errorText(error)));
    } else if (failed || meta.index < (disk.snapshot?.index ?? 0)) this.#later(call);
    else world.fail(new Violation("W2", `node ${id} cannot read snapshot ${meta.index}: ${errorText(error)}`));
  }

  /** The machine is in no state to go on from: this start of the replica is over. */
  #fence(error: unknown): void {
    const { world } = this.#node;
    world.ledger.faults.add("fenced");
    world.nemesis.crash(this.#node, errorText(error));
  }

  async #whole(meta: SnapshotMeta): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.#store.readFile(meta)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  verify(meta: SnapshotMeta): void {
    this.load(meta, () => undefined);
  }

  land(meta: SnapshotMeta, chunks: readonly Uint8Array[], done: (landed: SnapshotMeta | undefined) => void): void {
    this.#node.world.stirred = true;
    this.#store
      .receive({ replicaId: this.#node.id, onDisk: this.#node.world.options.onDisk }, meta, streamOf(chunks))
      .then(
        (landed) => this.#later(() => done(landed)),
        (error: unknown) => this.#failed(error, () => done(undefined)),
      );
  }

  #later(call: () => void): void {
    this.#node.world.after(0, EventKind.Snapshot, this.#node, call);
  }

  /** Only this snapshot is lost, unless it was a bug. */
  #failed(error: unknown, call: () => void): void {
    const { world } = this.#node;
    if (!isOpError(error)) world.fail(error);
    else {
      world.ledger.faults.add("snapshotsRefused");
      this.#later(call);
    }
  }
}

async function* streamOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

function encodeState(state: MachineState, padding: number): Uint8Array {
  const length = padding === 0 ? 0 : mix(state.hash, 1) >>> 0;
  const content = state.disk?.content;
  const w = new ByteWriter(64)
    .u64(state.applied)
    .u32(state.hash >>> 0)
    .u64(state.updates)
    .u8(content === undefined ? 0 : 1);
  if (content !== undefined) w.u64(content.index).u32(content.digest >>> 0);
  return w.blob(pad(state.hash, padding === 0 ? 0 : length % padding)).finish();
}

function decodeState(bytes: Uint8Array, meta: SnapshotMeta, sessions: Uint8Array): MachineState {
  const r = new ByteReader(bytes);
  const applied = r.u64();
  const hash = r.u32() | 0;
  const updates = r.u64();
  const content = r.bool() ? { index: r.u64(), digest: r.u32() | 0 } : undefined;
  const padding = r.blob();
  r.end();
  if (applied !== meta.index) throw new MalformedError(`holds the state of ${applied}`);
  if (Buffer.compare(padding, pad(hash, padding.length)) !== 0) throw new MalformedError("padding is not as written");
  const state = { applied, hash, updates, membership: meta.membership, sessions };
  return content === undefined ? state : { ...state, disk: { machineIndex: content.index, content } };
}

function pad(hash: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let value = hash;
  for (let at = 0; at < length; at++) {
    value = mix(value, at);
    bytes[at] = value & 255;
  }
  return bytes;
}
