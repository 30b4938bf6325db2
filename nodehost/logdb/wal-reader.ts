/**
 * Reads blocks back: ranges that lie near each other in one segment are fetched with one read, every block is checked
 * (form, checksum, shard, term, range) before it is handed out.
 */
import { type EntryBlock, openBlock } from "../../shared/codec/block.js";
import { MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";
import { nameOf } from "./update-check.js";
import type { WalRange, WalReplica } from "./wal-replica.js";

/** Bytes between two blocks that are read along rather than skipped, and the longest single read. */
const GAP_BYTES_MAX = 32 * 1024;
const SPAN_BYTES_MAX = 1024 * 1024;

/** A block left its place while it was read: what is there now is not what was asked for. */
export class MovedError extends Error {}

interface Wanted {
  readonly first: Index;
  readonly last: Index;
}

/** See LogDb.read. Throws MovedError if the log changed under it: ask again. */
export async function readBlocks(
  replica: WalReplica,
  wanted: Wanted,
  maxBytes: number,
  crc32: Crc32,
): Promise<readonly EntryBlock[]> {
  if (replica.damage !== undefined) throw new OpError("DL_ERR_LOGDB_CORRUPT", `${nameOf(replica)}: ${replica.damage}`);
  const { log } = replica;
  if (wanted.first < log.first || wanted.last > log.last || wanted.first > wanted.last) throw outside(replica, wanted);
  const ranges: WalRange[] = [];
  let bytes = 0;
  for (const range of log.slice(wanted.first, wanted.last)) {
    if (ranges.length > 0 && bytes + range.length > maxBytes) break;
    ranges.push(range);
    bytes += range.length;
  }
  // Clips as of now: a truncation while the disk is read must not change what was asked for.
  const clips = ranges.map((range) => ({
    first: Math.max(range.first, wanted.first),
    last: Math.min(range.last, wanted.last),
  }));
  const blocks: EntryBlock[] = [];
  for (let at = 0; at < ranges.length; ) {
    const count = spanLength(ranges, at);
    const span = ranges.slice(at, at + count);
    for (const [i, stored] of (await readSpan(replica, span)).entries()) {
      const range = span[i] as WalRange;
      const clip = clips[at + i] as Wanted;
      blocks.push(check(stored, { replica, range, clip }, crc32));
    }
    at += count;
  }
  return blocks;
}

/** How many ranges from `at` on are fetched together. */
function spanLength(ranges: readonly WalRange[], at: number): number {
  const head = ranges[at] as WalRange;
  let end = head.offset + head.length;
  let count = 1;
  for (let next = ranges[at + count]; next !== undefined; next = ranges[at + count]) {
    const near = next.segment === head.segment && next.offset >= end && next.offset - end <= GAP_BYTES_MAX;
    if (!near || next.offset + next.length - head.offset > SPAN_BYTES_MAX) break;
    end = next.offset + next.length;
    count += 1;
  }
  return count;
}

async function readSpan(replica: WalReplica, span: readonly WalRange[]): Promise<Uint8Array[]> {
  const head = span[0] as WalRange;
  const tail = span[span.length - 1] as WalRange;
  const { handle } = head.segment;
  // A plain Uint8Array, as from everywhere else: a Buffer's slice() would not copy.
  const target = new Uint8Array(Buffer.allocUnsafeSlow(tail.offset + tail.length - head.offset).buffer);
  try {
    if (handle === undefined) throw new Error("the file is missing");
    const count = await handle.read(target, head.offset);
    if (count < target.length) throw new Error(`${count} of ${target.length} bytes`);
  } catch (cause) {
    if (span.some((range) => !replica.log.holds(range))) throw new MovedError();
    const what = `${nameOf(replica)}: segment ${head.segment.id} cannot be read at ${head.offset}`;
    // An error of the device may pass: it is not what the file holds.
    const code = isSystemError(cause) ? "DL_ERR_STORAGE_FAILED" : "DL_ERR_LOGDB_CORRUPT";
    throw new OpError(code, what, { cause });
  }
  return span.map((range) => target.subarray(range.offset - head.offset, range.offset - head.offset + range.length));
}

interface Stored {
  readonly replica: WalReplica;
  readonly range: WalRange;
  readonly clip: Wanted;
}

function check(bytes: Uint8Array, stored: Stored, crc32: Crc32): EntryBlock {
  const { replica, range, clip } = stored;
  try {
    const block = openBlock(bytes, replica.shardId, crc32);
    const fits = block.term === range.term && block.first <= clip.first && block.last >= clip.last;
    if (!fits) throw new MalformedError(`holds [${block.first}, ${block.last}] of term ${block.term}`);
    return block.clip(clip.first, clip.last);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    // The file may already hold something else.
    if (!replica.log.holds(range)) throw new MovedError();
    const where = `segment ${range.segment.id} at ${range.offset}, entries [${clip.first}, ${clip.last}]`;
    throw new OpError("DL_ERR_LOGDB_CORRUPT", `${nameOf(replica)}: ${where}: ${error.message}`);
  }
}

function outside(replica: WalReplica, wanted: Wanted): OpError {
  const { first, last } = replica.log;
  const what = `${nameOf(replica)} holds [${first}, ${last}], not [${wanted.first}, ${wanted.last}]`;
  return new OpError("DL_ERR_INVALID_ARGUMENT", what);
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "code" in error;
}
