/**
 * Reads a log as recovery does and changes nothing: for people who look into a directory, also a damaged one. The same
 * scan and the same merge as at a start, on files opened for reading; what a start would do is told instead of done.
 * The owner of the directory must not run. Used by nodehost/tools/inspect.ts.
 */
import { MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import type { CheckpointStoreFactory } from "./checkpoint-store.js";
import type { RecoveredReplica, ReplicaKey } from "./port.js";
import { type GoodFrame, Merge } from "./wal-merge.js";
import { RemovedSet } from "./wal-replica.js";
import { FLOOR_ROW, FORMAT_ROW, INCOMPLETE_ROW, readFormatRow, readNumberRow, removedKey } from "./wal-rows.js";
import { Scan } from "./wal-scan.js";
import { decodeSegmentList, describeSegment, SEGMENTS_ROW, segmentFileName } from "./wal-segments.js";

export interface InspectOptions {
  readonly files: Files;
  readonly walDir: string;
  readonly dataDir: string;
  readonly crc32: Crc32;
  /** Opened for reading. */
  readonly checkpointStore: CheckpointStoreFactory;
}

export interface InspectedSegment {
  readonly fileName: string;
  readonly id: number;
  readonly generation: number;
  /** As listed. */
  readonly lengthBytes: number;
  /** As found; undefined = the file is missing. */
  readonly foundBytes: number | undefined;
  readonly frames: number;
  readonly firstSequence: number | undefined;
  readonly lastSequence: number | undefined;
  readonly liveBlocks: number;
}

export interface InspectedLog {
  readonly formatVersion: number;
  readonly dataSetId: string;
  /** Oldest first. */
  readonly segments: readonly InspectedSegment[];
  /** Files free to be used again. */
  readonly spares: readonly string[];
  readonly lastSequence: number;
  /** The last write was cut off by a crash: the next start removes it. */
  readonly tornTail: boolean;
  /** Something that was durable is lost. */
  readonly corrupt: boolean;
  /** Records are lost of which it is not known whose they were. */
  readonly incomplete: string | undefined;
  readonly replicas: readonly RecoveredReplica[];
  readonly removed: readonly ReplicaKey[];
}

interface Counted {
  frames: number;
  firstSequence: number | undefined;
  lastSequence: number | undefined;
}

class CountingMerge extends Merge {
  readonly counts = new Map<number, Counted>();

  override frame(frame: GoodFrame): void {
    const { id } = frame.segment;
    const counted = this.counts.get(id) ?? { frames: 0, firstSequence: undefined, lastSequence: undefined };
    counted.frames += 1;
    counted.firstSequence ??= frame.sequence;
    counted.lastSequence = frame.sequence;
    this.counts.set(id, counted);
    super.frame(frame);
  }
}

/** DL_ERR_LOGDB_CORRUPT when not even the rows can be read; DL_ERR_DATA_LOST when there is no log here. */
export async function inspectWal(options: InspectOptions): Promise<InspectedLog> {
  const rows = await readRows(options);
  try {
    return await inspectRows(options, rows);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    throw new OpError("DL_ERR_LOGDB_CORRUPT", `the rows of the log: ${errorText(error)}`, { cause: error });
  }
}

async function readRows({ files, dataDir, checkpointStore }: InspectOptions): Promise<ReadonlyMap<string, Uint8Array>> {
  const directory = `${dataDir}/checkpoint`;
  if (!(await files.exists(directory))) throw new OpError("DL_ERR_DATA_LOST", `${directory} is not there`);
  const store = await checkpointStore(directory);
  try {
    return await store.load();
  } finally {
    await store.close();
  }
}

async function inspectRows(options: InspectOptions, rows: ReadonlyMap<string, Uint8Array>): Promise<InspectedLog> {
  const format = rows.get(FORMAT_ROW);
  if (format === undefined) throw new OpError("DL_ERR_DATA_LOST", `${options.dataDir} holds no log`);
  const { version, dataSetId } = readFormatRow(format);
  const listRow = rows.get(SEGMENTS_ROW);
  const list = listRow === undefined ? { used: [], spares: [] } : decodeSegmentList(listRow);
  const removed = new RemovedSet();
  for (const key of [...rows.keys()].map(removedKey)) if (key !== undefined) removed.add(key);
  const merge = new CountingMerge(removed);
  const scan = new Scan(merge, options.crc32);
  const segments: { readonly segment: ReturnType<typeof describeSegment>; readonly foundBytes: number | undefined }[] =
    [];
  for (const record of list.used) {
    const segment = describeSegment({ crc32: options.crc32, dataSetId }, record, undefined);
    const bytes = await readFile(options.files, `${options.walDir}/${segment.fileName}`);
    segment.damaged = false;
    if (bytes === undefined) scan.missing(segment);
    else scan.segment(segment, bytes.subarray(0, segment.length));
    segments.push({ segment, foundBytes: bytes?.length });
  }
  const floor = rows.get(FLOOR_ROW);
  const found = scan.finish(floor === undefined ? 0 : readNumberRow(floor));
  merge.finish();
  const incomplete = rows.get(INCOMPLETE_ROW);
  return {
    formatVersion: version,
    dataSetId,
    segments: segments.map(({ segment, foundBytes }) => ({
      fileName: segment.fileName,
      id: segment.id,
      generation: segment.generation,
      lengthBytes: segment.length,
      foundBytes,
      liveBlocks: segment.liveRanges,
      ...(merge.counts.get(segment.id) ?? { frames: 0, firstSequence: undefined, lastSequence: undefined }),
    })),
    spares: list.spares.map(({ id }) => segmentFileName(id)),
    lastSequence: found.lastSequence,
    tornTail: found.remains.length > 0,
    corrupt: found.corrupt,
    incomplete: merge.incomplete ?? (incomplete === undefined ? undefined : new TextDecoder().decode(incomplete)),
    replicas: [...merge.table.values()].map((replica) => replica.recovered()),
    removed: merge.removed.list(),
  };
}

async function readFile(files: Files, path: string): Promise<Uint8Array | undefined> {
  if (!(await files.exists(path))) return undefined;
  const handle = await files.open(path, { readOnly: true });
  try {
    const bytes = new Uint8Array(await handle.size());
    return bytes.subarray(0, await handle.read(bytes, 0));
  } finally {
    await handle.close();
  }
}
