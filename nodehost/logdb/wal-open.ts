/**
 * Opens the log: checkpoint rows, then the segments in order, then what recovery read is made true before anyone may
 * build on it (the last frame is written again in place, every live segment synced). Called by nodehost/api and tests.
 *
 * Refuses to open when the directories do not belong together (another data set, a WAL that is gone or that nobody
 * lists): DL_ERR_DATA_LOST, DL_ERR_LOGDB_CORRUPT. Damage that concerns some replicas is theirs alone (see port.ts).
 */
import { MalformedError } from "../../shared/codec/bytes.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, FatalStorageError, isOpError, OpError } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import { LIMITS } from "../../shared/limits.js";
import type { DataSetId } from "../../shared/types/ids.js";
import type { CheckpointStore, CheckpointStoreFactory } from "./checkpoint-store.js";
import { FrameKind, WAL_BLOCK_BYTES } from "./wal-format.js";
import { WalLog, type WalLogDb, type WalStart } from "./wal-logdb.js";
import { Merge } from "./wal-merge.js";
import { RemovedSet, type Segment } from "./wal-replica.js";
import {
  FLOOR_ROW,
  FORMAT_ROW,
  formatRow,
  INCOMPLETE_ROW,
  LOG_FORMAT_VERSION,
  numberRow,
  readFormatRow,
  readNumberRow,
  removedKey,
} from "./wal-rows.js";
import { Scan, type ScanResult } from "./wal-scan.js";
import {
  decodeSegmentList,
  isSegmentFileName,
  SEGMENTS_ROW,
  type SegmentList,
  SegmentSet,
  type SegmentSizes,
} from "./wal-segments.js";
import { Watch } from "./wal-watch.js";

const MIB = 1024 * 1024;

export interface WalLogDbOptions {
  readonly files: Files;
  /** Directory of the segments; may be on another disk than `dataDir`. */
  readonly walDir: string;
  /** The checkpoint store goes to `checkpoint` below it. */
  readonly dataDir: string;
  readonly dataSetId: DataSetId;
  readonly env: Env;
  readonly checkpointStore: CheckpointStoreFactory;
  /** Called once: durability can no longer be promised, the host must stop. */
  readonly onFatal: (error: FatalStorageError) => void;
  /** Default 8 MiB, growing to 64 MiB. */
  readonly segmentSizes?: SegmentSizes;
  /** Default LIMITS.walWriteDeadlineMs. */
  readonly writeDeadlineMs?: number;
  /** Idle time after which the last frame is sealed; default 10. */
  readonly sealAfterMs?: number;
  /** Above so many segments live blocks of the oldest are moved, paced; defaults: shared/limits.ts. */
  readonly relocation?: { readonly above: number; readonly bytesPerSecond: number };
}

interface Opening {
  readonly options: WalLogDbOptions;
  readonly store: CheckpointStore;
  readonly segments: SegmentSet;
  readonly watch: Watch;
  readonly merge: Merge;
}

/** What is there already when opening fails. */
interface Late {
  log: WalLog | undefined;
  store: CheckpointStore | undefined;
  segments: SegmentSet | undefined;
  fail: (error: Error) => void;
}

/** Rejects with OpError (see above) or FatalStorageError; nothing stays open then. */
export async function openWalLogDb(options: WalLogDbOptions): Promise<WalLogDb> {
  const late: Late = { log: undefined, store: undefined, segments: undefined, fail: () => undefined };
  const overdue = new Promise<never>((_, reject) => {
    late.fail = reject;
  });
  overdue.catch(() => undefined);
  const watch = new Watch(options.env, options.writeDeadlineMs ?? LIMITS.walWriteDeadlineMs, (what) => {
    late.log?.overdue(what);
    late.fail(new FatalStorageError(`${what} did not settle in time`, { stuck: true }));
  });
  try {
    return await Promise.race([openWatched(options, watch, late), overdue]);
  } catch (error) {
    watch.stop();
    const closed = closeAll(late);
    // After a stuck operation closing may be stuck, too.
    if (!(error instanceof FatalStorageError)) await closed;
    throw typed(error);
  }
}

async function openWatched(options: WalLogDbOptions, watch: Watch, late: Late): Promise<WalLogDb> {
  const { files, walDir, dataDir, dataSetId } = options;
  const directory = `${dataDir}/checkpoint`;
  await watch.during("making the directories", files.makeDirectory(walDir));
  await watch.during("making the directories", files.makeDirectory(directory));
  const store = await options.checkpointStore(directory);
  late.store = store;
  await watch.during("syncing the directory", files.syncDirectory(directory));
  const { crc32 } = options.env;
  const sizes = options.segmentSizes ?? { firstBytes: 8 * MIB, maxBytes: 64 * MIB };
  const segments = new SegmentSet({ files, walDir, dataSetId, crc32, store, watch, sizes });
  late.segments = segments;
  const rows = await store.load();
  const opening: Opening = { options, store, segments, watch, merge: new Merge(removedOf(rows)) };
  await checkDirectories(opening, rows);
  late.log = await recover(opening, rows);
  return late.log;
}

async function closeAll({ segments, store }: Late): Promise<void> {
  await segments?.closeFiles().catch(() => undefined);
  await store?.close().catch(() => undefined);
}

function typed(error: unknown): Error {
  if (isOpError(error) || error instanceof FatalStorageError) return error;
  if (error instanceof MalformedError) return new OpError("DL_ERR_LOGDB_CORRUPT", error.message, { cause: error });
  return new FatalStorageError(`the log cannot be opened: ${errorText(error)}`, { cause: error });
}

/** The directories must be of this data set, and of each other. Claims them when they are new. */
async function checkDirectories(opening: Opening, rows: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const { files, walDir, dataSetId } = opening.options;
  const present = (await files.list(walDir)).filter(isSegmentFileName);
  const format = rows.get(FORMAT_ROW);
  if (format === undefined) {
    if (present.length > 0) {
      throw new OpError("DL_ERR_LOGDB_CORRUPT", `${walDir} holds ${present.length} segments of another data directory`);
    }
    const claim = { key: FORMAT_ROW, value: formatRow(dataSetId) };
    await opening.watch.during("the first commit", opening.store.commit([claim]));
    return;
  }
  const found = readFormatRow(format);
  if (found.dataSetId !== dataSetId) {
    throw new OpError("DL_ERR_DATA_LOST", `the log is of data set ${found.dataSetId}, expected ${dataSetId}`);
  }
  const list = listOf(rows);
  if (list.used.length > 0 && present.length === 0) {
    throw new OpError("DL_ERR_DATA_LOST", `${walDir} is empty, ${list.used.length} segments should be in it`);
  }
  if (found.version === LOG_FORMAT_VERSION) return;
  const raised = { key: FORMAT_ROW, value: formatRow(dataSetId) };
  await opening.watch.during("raising the version of the log", opening.store.commit([raised]));
}

async function recover(opening: Opening, rows: ReadonlyMap<string, Uint8Array>): Promise<WalLog> {
  const { options, segments, merge } = opening;
  await segments.openListed(listOf(rows));
  const scan = new Scan(merge, options.env.crc32);
  for (const segment of segments.used) {
    if (segment.handle === undefined) {
      scan.missing(segment);
      continue;
    }
    const bytes = new Uint8Array(segment.length);
    scan.segment(segment, bytes.subarray(0, await segment.handle.read(bytes, 0)));
  }
  const floor = rows.get(FLOOR_ROW);
  const found = scan.finish(floor === undefined ? 0 : readNumberRow(floor));
  merge.finish();
  await makeTrue(opening, found);
  const incomplete = merge.incomplete ?? textOf(rows.get(INCOMPLETE_ROW));
  const log = new WalLog(startOf(opening, found, incomplete));
  if (found.corrupt || found.current === undefined) await log.begin();
  const marks = [{ key: FLOOR_ROW, value: numberRow(log.durableSequence()) }];
  if (incomplete !== undefined) marks.push({ key: INCOMPLETE_ROW, value: new TextEncoder().encode(incomplete) });
  if (found.corrupt || floor === undefined) await segments.commit(marks);
  log.opened();
  return log;
}

/** What was read may not have been durable: it is now. What was torn can never be met again. */
async function makeTrue(opening: Opening, found: ScanResult): Promise<void> {
  const { watch, segments } = opening;
  const { current, lastFrame } = found;
  for (const { segment, at } of found.remains) {
    if (segment.handle === undefined) continue;
    await watch.during("clearing a torn frame", segment.handle.write(new Uint8Array(WAL_BLOCK_BYTES), at));
  }
  if (current?.handle !== undefined && lastFrame !== undefined) {
    await watch.during("rewriting the last frame", current.handle.write(lastFrame.restored(), lastFrame.at));
  }
  for (const { handle } of segments.used) {
    if (handle !== undefined) await watch.during("syncing a segment", handle.sync());
  }
}

function startOf(opening: Opening, found: ScanResult, incomplete: string | undefined): WalStart {
  const { options, merge, segments, store, watch } = opening;
  const { current, offset, lastSequence } = found;
  const recovery = {
    replicas: [...merge.table.values()].map((replica) => replica.recovered()),
    removed: merge.removed.list(),
    walSequence: lastSequence,
    ...(incomplete === undefined ? {} : { incomplete }),
  };
  const sealed = found.lastFrame?.kind === FrameKind.Seal;
  for (const { shardId, replicaId, damage } of recovery.replicas) {
    if (damage !== undefined)
      options.env.logger.error({ shardId, replicaId, damage }, "the log of a replica is damaged");
  }
  return {
    env: options.env,
    recovery,
    replicas: { table: merge.table, removed: merge.removed },
    removedNow: merge.removedNow,
    segments,
    store,
    watch,
    lastSequence,
    place: current === undefined || found.corrupt ? undefined : { segment: current, offset, sealed },
    spare: found.corrupt ? undefined : unusedAfter(segments.used, current),
    sealAfterMs: options.sealAfterMs ?? 10,
    relocation: options.relocation ?? {
      above: LIMITS.logSegmentsRelocate,
      bytesPerSecond: LIMITS.logRelocateBytesPerSecond,
    },
    onFatal: options.onFatal,
  };
}

function unusedAfter(used: readonly Segment[], current: Segment | undefined): Segment | undefined {
  const next = used[current === undefined ? 0 : used.indexOf(current) + 1];
  return next === undefined || next.damaged ? undefined : next;
}

function listOf(rows: ReadonlyMap<string, Uint8Array>): SegmentList {
  const row = rows.get(SEGMENTS_ROW);
  return row === undefined ? { used: [], spares: [] } : decodeSegmentList(row);
}

function removedOf(rows: ReadonlyMap<string, Uint8Array>): RemovedSet {
  const removed = new RemovedSet();
  for (const row of rows.keys()) {
    const key = removedKey(row);
    if (key !== undefined) removed.add(key);
  }
  return removed;
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : `${new TextDecoder().decode(bytes)}`;
}
