/**
 * Power loss, and rot, on the real log and snapshot code: a script runs above a disk that remembers which operations
 * are durable, stops in the middle of one, and what is left of the disk (any subset of what was not synced is gone,
 * blocks may be torn, names undone) is opened again and compared with a model that knows nothing of files.
 *
 * An image is one such disk, named by its seed. Used by power-sweep.ts and its smoke test.
 */
import type { LogUpdate } from "../../nodehost/logdb/port.js";
import { Machine } from "../../nodehost/logdb/test-machine.js";
import { generator, LogModel, logText, settle, Workload } from "../../nodehost/logdb/test-support.js";
import {
  FrameKind,
  FrameParser,
  FramePart,
  frameLayout,
  segmentSeed,
  WAL_BLOCK_BYTES,
} from "../../nodehost/logdb/wal-format.js";
import { decodeSegmentList, segmentFileName } from "../../nodehost/logdb/wal-segments.js";
import { createSnapshotStore, type SnapshotStore } from "../../nodehost/rsm/index.js";
import { crc32 } from "../../shared/codec/crc32.js";
import { errorText, isOpError } from "../../shared/errors.js";
import { readWhole } from "../../shared/files/port.js";
import type { SnapshotMeta } from "../../shared/types/message.js";

const STEPS = 40;
const COMMAND_BYTES_MAX = 3000;
const SNAPSHOT_BYTES_MAX = 20_000;
/** Of the operations that a whole run makes: an image stops somewhere in it. */
const OPERATIONS_MAX = 700;
/** One image in so many is of a disk that stopped cleanly and whose bits rotted afterwards. */
const ROT_EVERY = 4;

export interface ImageResult {
  readonly seed: number;
  readonly kind: "powerLoss" | "rot";
  /** Appends that were acknowledged. */
  readonly acknowledged: number;
  /** undefined = as promised. */
  readonly problem: string | undefined;
  /** Rot only: it was noticed (the bit was in use). */
  readonly noticed: boolean;
}

export async function checkImage(seed: number): Promise<ImageResult> {
  return seed % ROT_EVERY === 0 ? rotImage(seed) : powerImage(seed);
}

interface Script {
  readonly machine: Machine;
  /** texts[i]: the log after i appends. */
  readonly texts: string[];
  acknowledged: number;
}

/** Appends and snapshots until the machine stops or the steps are done. */
async function runScript(seed: number, machine: Machine, steps: number): Promise<Script> {
  const random = generator(seed);
  const model = new LogModel();
  const workload = new Workload(random, model, COMMAND_BYTES_MAX);
  const script: Script = { machine, texts: [model.text()], acknowledged: 0 };
  const work = async (): Promise<void> => {
    const db = await machine.open();
    const store = storeOf(machine);
    for (let step = 0; step < steps; step++) {
      const updates: LogUpdate[] = [];
      for (const update of workload.next()) updates.push(await withFile(store, update));
      model.apply(updates);
      script.texts.push(model.text());
      await db.append(updates);
      script.acknowledged += 1;
      if (random() < 0.25) machine.idle();
    }
    // Long enough to seal the last frame; the end is as sudden as any other.
    machine.idle();
    await settle();
  };
  await Promise.race([work(), machine.stopped]);
  return script;
}

function storeOf(machine: Machine): SnapshotStore {
  return createSnapshotStore({ files: machine.disk, directory: "/snapshots", crc32 });
}

/** A recorded snapshot has a file: files first, then the record, as in the engine. */
async function withFile(store: SnapshotStore, update: LogUpdate): Promise<LogUpdate> {
  const { snapshot } = update;
  if (snapshot === undefined) return update;
  const { shardId, replicaId } = update;
  const { index, term, membership } = snapshot.meta;
  const header = { shardId, replicaId, index, term, membership };
  const save = (sink: { write(bytes: Uint8Array): Promise<void> }): Promise<void> => sink.write(payloadOf(header));
  const meta = await store.create(header, save, new AbortController().signal);
  return { ...update, snapshot: { ...snapshot, meta } };
}

function payloadOf(meta: Pick<SnapshotMeta, "shardId" | "replicaId" | "index" | "term">): Uint8Array {
  const { shardId, replicaId, index, term } = meta;
  const length = 1 + ((index * 7919 + shardId * 104_729) % SNAPSHOT_BYTES_MAX);
  return new TextEncoder()
    .encode(`${shardId}/${replicaId}/${index}/${term} `.repeat(1 + length / 12))
    .subarray(0, length);
}

async function powerImage(seed: number): Promise<ImageResult> {
  const random = generator(seed * 31 + 7);
  const machine = new Machine();
  machine.stopAfter(1 + Math.floor(random() * OPERATIONS_MAX));
  const script = await runScript(seed, machine, STEPS);
  await machine.halt();
  machine.crash(random);
  const { acknowledged } = script;
  return { seed, kind: "powerLoss", acknowledged, problem: await problemOf(script), noticed: false };
}

/** What is opened must be the state after some append, at or behind the last acknowledged one, files included. */
async function problemOf({ machine, texts, acknowledged }: Script): Promise<string | undefined> {
  try {
    const db = await machine.open();
    const text = await logText(db);
    const found = texts.indexOf(text, acknowledged);
    if (found === -1) return `${acknowledged} acknowledged, found ${texts.indexOf(text)}:\n${text.slice(0, 600)}`;
    const { incomplete } = db.recovery();
    if (incomplete !== undefined) return `reported as incomplete: ${incomplete}`;
    for (const key of db.list().present) {
      const snapshot = db.state(key)?.snapshot;
      if (snapshot !== undefined) await expectFile(storeOf(machine), snapshot);
    }
    await db.close();
    return undefined;
  } catch (error) {
    return errorText(error);
  }
}

async function expectFile(store: SnapshotStore, meta: SnapshotMeta): Promise<void> {
  const parts: Uint8Array[] = [];
  for await (const part of store.load(meta)) parts.push(part.slice());
  if (Buffer.compare(Buffer.concat(parts), payloadOf(meta)) === 0) return;
  throw new Error(`the snapshot ${meta.directory} of shard ${meta.shardId} holds something else`);
}

/** Killed at rest, all synced and sealed; then one bit of the newest frame, or of a snapshot file, is another one. */
async function rotImage(seed: number): Promise<ImageResult> {
  const random = generator(seed * 17 + 3);
  const machine = new Machine();
  const script = await runScript(seed, machine, 1 + Math.floor(random() * STEPS));
  const { acknowledged } = script;
  const rotten = { seed, kind: "rot", acknowledged } as const;
  await machine.halt();
  machine.kill(random);
  const expected = script.texts.at(-1) ?? "";
  try {
    const where = await flipSomething(machine, random);
    const db = await machine.open();
    const differing = differenceOf(expected, await logText(db));
    if (differing.silent !== undefined) {
      return { ...rotten, problem: `${where}: silently ${differing.silent}`, noticed: false };
    }
    const noticed = await filesNotice(
      machine,
      db.list().present.flatMap((key) => db.state(key)?.snapshot ?? []),
    );
    await db.close();
    return { ...rotten, problem: undefined, noticed: noticed || differing.damaged };
  } catch (error) {
    // Refusing to open is loud enough.
    if (isOpError(error)) return { ...rotten, problem: undefined, noticed: true };
    return { ...rotten, problem: errorText(error), noticed: false };
  }
}

interface Difference {
  readonly silent: string | undefined;
  readonly damaged: boolean;
}

/** Each replica is what it was, or says that it is damaged; also one whose removal was in the rotten frame. */
function differenceOf(expected: string, found: string): Difference {
  const before = partsOf(expected);
  const now = partsOf(found);
  const damaged = new Set([...now.replicas].filter(([, line]) => line.endsWith(" damaged")).map(([key]) => key));
  for (const [key, line] of now.replicas) {
    if (damaged.has(key) || before.replicas.get(key) === line) continue;
    return { silent: `another ${line.slice(0, 200)}`, damaged: damaged.size > 0 };
  }
  for (const key of [...before.replicas.keys(), ...before.removed]) {
    if (now.replicas.has(key) || now.removed.has(key)) continue;
    return { silent: `without ${key}`, damaged: damaged.size > 0 };
  }
  return { silent: undefined, damaged: damaged.size > 0 };
}

/** Of a text by `logText`: a line for each replica, and one that names the removed ones. */
function partsOf(text: string): { readonly replicas: ReadonlyMap<string, string>; readonly removed: Set<string> } {
  const lines = text.split("\n");
  const removed = new Set(
    (lines.pop() ?? "")
      .replace(/^removed /, "")
      .split(",")
      .filter((key) => key !== ""),
  );
  return { replicas: new Map(lines.map((line) => [line.split(" ")[0] ?? "", line])), removed };
}

/** True if a recorded file refuses to be read; one that reads as something else throws. */
async function filesNotice(machine: Machine, snapshots: readonly SnapshotMeta[]): Promise<boolean> {
  let noticed = false;
  for (const meta of snapshots) {
    try {
      await expectFile(storeOf(machine), meta);
    } catch (error) {
      if (!isOpError(error) || !error.message.includes("snapshot.dls")) throw error;
      noticed = true;
    }
  }
  return noticed;
}

async function flipSomething(machine: Machine, random: () => number): Promise<string> {
  const { disk } = machine;
  const replicas = await disk.list("/snapshots");
  if (replicas.length > 0 && random() < 0.3) {
    const replica = `/snapshots/${replicas[Math.floor(random() * replicas.length)]}`;
    const names = await disk.list(replica);
    const path = `${replica}/${names[Math.floor(random() * names.length)]}/snapshot.dls`;
    const at = Math.floor(random() * (await readWhole(disk, path)).length);
    disk.flip(path, at);
    return `${path} at ${at}`;
  }
  const { path, from, to } = await newestFrame(machine);
  const at = from + Math.floor(random() * (to - from));
  disk.flip(path, at);
  return `${path} at ${at}`;
}

/** Head, table of contents and body of the last frame with records: what a torn write would be taken for. */
async function newestFrame({ disk, checkpoints }: Machine): Promise<{ path: string; from: number; to: number }> {
  const row = checkpoints.rows.get("segments");
  let newest = { path: "", from: 0, to: 0, sequence: 0 };
  for (const { id, generation } of row === undefined ? [] : decodeSegmentList(row).used) {
    const path = `/wal/${segmentFileName(id)}`;
    const seed = segmentSeed(crc32, "set-1", id, generation);
    const parser = new FrameParser(await readWhole(disk, path), { id, generation, seed }, crc32);
    for (let block = 0; block < parser.blockCount; block++) {
      const header = parser.header(block);
      if (header?.part !== FramePart.Head || header.kind !== FrameKind.Data) continue;
      if (header.sequence <= newest.sequence) continue;
      const from = block * WAL_BLOCK_BYTES;
      const { bodyOffset } = frameLayout(header.recordCount, header.bodyBytes);
      newest = { path, from, to: from + bodyOffset + header.bodyBytes, sequence: header.sequence };
    }
  }
  return newest;
}
