/**
 * A small durable map of text to text in one file: what a host must remember beside its log (peer-register.ts). The
 * whole map is in memory; a change is appended and synced, and everything that arrives meanwhile is the next append.
 *
 * One line per append: 8 hexadecimal digits of the CRC, a space, a JSON array of [key, value], value null = removed.
 * A line is written only when the one before it is durable, so only the last line can be torn: it is cut. A bad line
 * before a good one is damage (DL_ERR_LOGDB_CORRUPT). The file is written anew, whole, at open, when most of it is old,
 * and after a write that failed: what follows a failed write in the same file could not be trusted.
 */
import * as path from "node:path";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { OpError } from "../../shared/errors.js";
import { type FileHandle, type Files, readWhole } from "../../shared/files/port.js";
import { isFull, writeDurably } from "./host-dir.js";

type Change = readonly [key: string, value: string | null];

const CRC_CHARS = 8;
const FIRST_LINE: readonly Change[] = [["format", "1"]];
/** Written anew when it is longer than this and than four times what it holds. */
const REWRITE_BYTES_MIN = 64 * 1024;

export interface RowFileOptions {
  readonly files: Files;
  readonly directory: string;
  readonly name: string;
  readonly crc32: Crc32;
}

export class RowFile {
  readonly #options: RowFileOptions;
  readonly #rows: Map<string, string>;
  #handle: FileHandle | undefined;
  #sizeBytes = 0;
  #rewriteAt = REWRITE_BYTES_MIN;
  /** Not given to a write yet, newest value per key. */
  #pending = new Map<string, string | null>();
  #next: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();

  private constructor(options: RowFileOptions, rows: Map<string, string>) {
    this.#options = options;
    this.#rows = rows;
  }

  /** DL_ERR_LOGDB_CORRUPT, DL_ERR_VERSION, DL_ERR_DISK_FULL. */
  static async open(options: RowFileOptions): Promise<RowFile> {
    const { files, directory, name } = options;
    const file = path.join(directory, name);
    const exists = await files.exists(file);
    const rows = exists ? readRows(await readWhole(files, file), file, options.crc32) : new Map<string, string>();
    const opened = new RowFile(options, rows);
    await opened.#rewrite();
    return opened;
  }

  /** Durable rows and those on their way. */
  get rows(): ReadonlyMap<string, string> {
    return this.#rows;
  }

  /**
   * Seen in `rows` at once; durable when this resolves. After a rejection (DL_ERR_DISK_FULL or the disk's own error)
   * the change is still in `rows` and goes with the next one.
   */
  set(key: string, value: string | null): Promise<void> {
    if (value === null) this.#rows.delete(key);
    else this.#rows.set(key, value);
    this.#pending.set(key, value);
    this.#next ??= this.#writing.then(() => this.#write());
    return this.#next;
  }

  /** Waits for what was begun. Idempotent. */
  async close(): Promise<void> {
    await (this.#next ?? this.#writing).catch(() => {});
    await this.#writing;
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  #write(): Promise<void> {
    const changes = this.#pending;
    this.#pending = new Map();
    this.#next = undefined;
    const handle = this.#sizeBytes > this.#rewriteAt ? undefined : this.#handle;
    const work = handle === undefined ? this.#rewrite() : this.#append(handle, changes);
    this.#writing = work.catch(async () => {
      // Newer values stay; what was lost of this write goes with the next.
      for (const [key, value] of changes) if (!this.#pending.has(key)) this.#pending.set(key, value);
      const suspect = this.#handle;
      this.#handle = undefined;
      await suspect?.close().catch(() => {});
    });
    return work;
  }

  async #append(handle: FileHandle, changes: ReadonlyMap<string, string | null>): Promise<void> {
    const bytes = lineOf([...changes], this.#options.crc32);
    const at = this.#sizeBytes;
    this.#sizeBytes += bytes.length;
    try {
      await handle.write(bytes, at);
      await handle.sync();
    } catch (error) {
      if (!isFull(error)) throw error;
      throw new OpError("DL_ERR_DISK_FULL", this.#file, { cause: error });
    }
  }

  /** All rows, in a new file: also those of the next write, which then repeats them. */
  async #rewrite(): Promise<void> {
    const { files, directory, name, crc32 } = this.#options;
    const bytes = Buffer.concat([lineOf(FIRST_LINE, crc32), lineOf([...this.#rows], crc32)]);
    await writeDurably(files, directory, name, bytes);
    const before = this.#handle;
    this.#handle = await files.open(this.#file, {});
    this.#sizeBytes = bytes.length;
    this.#rewriteAt = Math.max(REWRITE_BYTES_MIN, 4 * bytes.length);
    await before?.close();
  }

  get #file(): string {
    return path.join(this.#options.directory, this.#options.name);
  }
}

function lineOf(changes: readonly Change[], crc32: Crc32): Uint8Array {
  const body = Buffer.from(JSON.stringify(changes));
  const crc = crc32(body).toString(16).padStart(CRC_CHARS, "0");
  return Buffer.concat([Buffer.from(`${crc} `), body, Buffer.from("\n")]);
}

/** Rows of all good lines. Throws when a bad line is not the last one. */
function readRows(bytes: Uint8Array, file: string, crc32: Crc32): Map<string, string> {
  const rows = new Map<string, string>();
  let badAt: number | undefined;
  let lines = 0;
  for (let at = 0; at < bytes.length; lines++) {
    const newline = bytes.indexOf(0x0a, at);
    const end = newline === -1 ? bytes.length : newline;
    const changes = newline === -1 ? undefined : readLine(bytes.subarray(at, end), crc32);
    if (changes === undefined) badAt ??= at;
    else if (badAt !== undefined) throw new OpError("DL_ERR_LOGDB_CORRUPT", damage(file, badAt));
    else if (lines === 0) checkFormat(changes, file);
    else for (const [key, value] of changes) apply(rows, key, value);
    at = end + 1;
  }
  // The first line is there since the file has its name.
  if (lines === 0 || badAt === 0) throw new OpError("DL_ERR_LOGDB_CORRUPT", damage(file, 0));
  return rows;
}

function damage(file: string, at: number): string {
  return (
    `${file} is damaged at byte ${at}: without it this host would not recognise lost, old or copied directories of ` +
    "its peers; let its replicas be replaced and start it with an empty directory"
  );
}

function apply(rows: Map<string, string>, key: string, value: string | null): void {
  if (value === null) rows.delete(key);
  else rows.set(key, value);
}

function checkFormat(changes: readonly Change[], file: string): void {
  const [first] = changes;
  if (first?.[0] === "format" && first[1] === "1") return;
  throw new OpError("DL_ERR_VERSION", `${file} has format ${String(first?.[1])}, expected 1`);
}

function readLine(line: Uint8Array, crc32: Crc32): Change[] | undefined {
  const text = Buffer.from(line.buffer, line.byteOffset, line.length);
  const body = text.subarray(CRC_CHARS + 1);
  if (
    line.length <= CRC_CHARS ||
    text.toString("latin1", 0, CRC_CHARS) !== crc32(body).toString(16).padStart(CRC_CHARS, "0")
  ) {
    return undefined;
  }
  const parsed: unknown = JSON.parse(body.toString("utf8"));
  if (!Array.isArray(parsed)) return undefined;
  const changes: Change[] = [];
  for (const item of parsed) {
    if (!Array.isArray(item) || typeof item[0] !== "string") return undefined;
    const [key, value] = item;
    if (value !== null && typeof value !== "string") return undefined;
    changes.push([key, value]);
  }
  return changes;
}
