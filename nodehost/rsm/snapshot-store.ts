/**
 * Snapshot files of all replicas of a host:
 *   <directory>/<shardId>-<replicaId>/snapshot-<index, 16 hex digits>/snapshot.dls
 * and beside them, while something is under way, <name>.generating-<n>, .receiving-<n>, .removing-<n>.
 *
 * Invariant (P30): a directory with a final name holds a whole, synced file or does not exist: everything is written
 * under a temporary name, synced, renamed, and the parent synced; removal first renames back. A file without payload
 * takes the place of the whole one in the same way. Whether a whole file counts is not known here: the log's record
 * decides, and `removeOrphans` removes what no record names.
 * Called by Rsm (create, load), the engine (readFile, receive, prune, removeAll) and at start (removeOrphans).
 */
import type { Crc32 } from "../../shared/codec/crc32.js";
import { isOpError, OpError } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import { LIMITS } from "../../shared/limits.js";
import type { Index, ReplicaId, ShardId } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { isMissing, translate } from "./disk-errors.js";
import { readChunks, SnapshotFile } from "./snapshot-file.js";
import type { DiskSnapshot, SnapshotHeader } from "./snapshot-format.js";
import { SnapshotParser } from "./snapshot-parser.js";
import { SnapshotWriter } from "./snapshot-writer.js";
import type { SnapshotSink, SnapshotSource } from "./state-machine.js";
import type { SnapshotStore } from "./types.js";

const FILE_NAME = "snapshot.dls";
const REPLICA_NAME = /^\d+-\d+$/;
const SNAPSHOT_NAME = /^snapshot-[0-9a-f]{16}$/;

export interface SnapshotStoreOptions {
  readonly files: Files;
  /** Made if missing. */
  readonly directory: string;
  readonly crc32: Crc32;
}

export function createSnapshotStore(options: SnapshotStoreOptions): SnapshotStore {
  return new FileSnapshotStore(options);
}

/** Name of a replica's directory, and the key of `removeOrphans`. */
export function replicaDirectoryName(shardId: ShardId, replicaId: ReplicaId): string {
  return `${shardId}-${replicaId}`;
}

export function snapshotDirectoryName(index: Index): string {
  return `snapshot-${index.toString(16).padStart(16, "0")}`;
}

class FileSnapshotStore implements SnapshotStore {
  readonly #files: Files;
  readonly #directory: string;
  readonly #crc32: Crc32;
  /** Tells temporary directories of this process apart. */
  #attempts = 0;

  constructor(options: SnapshotStoreOptions) {
    this.#files = options.files;
    this.#directory = options.directory;
    this.#crc32 = options.crc32;
  }

  async create(
    header: SnapshotHeader,
    save: (sink: SnapshotSink) => Promise<void>,
    signal: AbortSignal,
    sessions?: Uint8Array,
  ): Promise<SnapshotMeta> {
    const sizeBytes = await this.#land(header.replicaId, { header, suffix: "generating" }, async (file) => {
      const writer = new SnapshotWriter(this.#crc32, (bytes) => {
        signal.throwIfAborted();
        return file.append(bytes);
      });
      await writer.begin(header, sessions);
      await save(writer);
      await writer.finish();
      signal.throwIfAborted();
    });
    const { shardId, replicaId, index, term, membership } = header;
    return { shardId, replicaId, index, term, membership, sizeBytes, directory: snapshotDirectoryName(index) };
  }

  async receive(
    replica: { readonly replicaId: ReplicaId; readonly onDisk: boolean },
    meta: SnapshotMeta,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<SnapshotMeta> {
    const { shardId, index } = meta;
    const { replicaId, onDisk } = replica;
    const sizeMax = meta.sizeBytes === 0 && onDisk ? Number.POSITIVE_INFINITY : meta.sizeBytes;
    const sizeBytes = await this.#land(replicaId, { header: meta, suffix: "receiving" }, async (file) => {
      const name = `snapshot ${shardId}/${index} from replica ${meta.replicaId}`;
      const code = "DL_ERR_MALFORMED";
      const onHeader = (header: SnapshotHeader): void => {
        mustMatch(header, meta, { file: name, code });
        if ((header.disk !== undefined) === onDisk && header.disk?.shrunk !== true) return;
        throw new OpError(code, `${name} is not of ${onDisk ? "an on-disk machine" : "a machine in memory"}`);
      };
      const parser = new SnapshotParser({ crc32: this.#crc32, file: name, code, onHeader });
      for await (const chunk of chunks) {
        if (file.sizeBytes + chunk.length > sizeMax) {
          throw new OpError(code, `${name} is longer than the ${meta.sizeBytes} bytes announced`);
        }
        parser.feed(chunk);
        await file.append(chunk);
      }
      parser.end();
      if (file.sizeBytes !== meta.sizeBytes && sizeMax === meta.sizeBytes) {
        throw new OpError(code, `${name} has ${file.sizeBytes} bytes, announced were ${meta.sizeBytes}`);
      }
    });
    // From here on it is this replica's own: `load` finds it by these names.
    return { ...meta, replicaId, sizeBytes, directory: snapshotDirectoryName(index) };
  }

  load(meta: SnapshotMeta, onSessions: (sessions: Uint8Array) => void = () => {}): SnapshotSource {
    return this.#load(meta, onSessions);
  }

  async describe(meta: SnapshotMeta): Promise<DiskSnapshot | undefined> {
    return (await this.#readHead(meta)).header.disk;
  }

  async shrink(meta: SnapshotMeta): Promise<void> {
    const { header, sessions } = await this.#readHead(meta);
    const { disk } = header;
    if (disk === undefined || disk.shrunk) return;
    const directory = `${this.#replicaPath(meta.shardId, meta.replicaId)}/${meta.directory}`;
    const temporary = `${directory}/${FILE_NAME}.shrinking`;
    try {
      // A leftover of an earlier start.
      await this.#files.remove(temporary);
      const file = await SnapshotFile.create(this.#files, temporary);
      try {
        const writer = new SnapshotWriter(this.#crc32, (bytes) => file.append(bytes));
        await writer.begin({ ...header, disk: { ...disk, shrunk: true } }, sessions);
        await writer.finish();
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#files.rename(temporary, `${directory}/${FILE_NAME}`);
      await this.#files.syncDirectory(directory);
    } catch (error) {
      throw translate(error, temporary);
    }
  }

  async *readFile(meta: SnapshotMeta): AsyncGenerator<Uint8Array> {
    const path = this.#pathOf(meta);
    try {
      yield* readChunks(this.#files, path, LIMITS.snapshotChunkBytes);
    } catch (error) {
      throw translate(error, path);
    }
  }

  prune(shardId: ShardId, replicaId: ReplicaId, newest: SnapshotMeta, keep: number): Promise<void> {
    const directory = this.#replicaPath(shardId, replicaId);
    return this.#prune(directory, newest, keep).catch((error: unknown) => Promise.reject(translate(error, directory)));
  }

  async #prune(directory: string, newest: SnapshotMeta, keep: number): Promise<void> {
    const names = (await this.#files.list(directory)).filter((name) => SNAPSHOT_NAME.test(name));
    // Fixed width: order of names is order of indexes. Later ones may have landed and not be recorded yet: they stay.
    const older = names.filter((name) => name < snapshotDirectoryName(newest.index));
    const surplus = older.slice(0, Math.max(0, older.length - Math.max(0, keep - 1)));
    for (const name of surplus) await this.#discard(directory, name);
    if (surplus.length > 0) await this.#files.syncDirectory(directory);
  }

  removeOrphans(recorded: ReadonlyMap<string, SnapshotMeta>): Promise<void> {
    const failed = (error: unknown) => Promise.reject(translate(error, this.#directory));
    return this.#removeOrphans(recorded).catch(failed);
  }

  async #removeOrphans(recorded: ReadonlyMap<string, SnapshotMeta>): Promise<void> {
    const wanted = new Set<string>();
    for (const [key, meta] of recorded) wanted.add(`${key}/${meta.directory}`);
    for (const replica of await this.#files.list(this.#directory)) {
      if (!REPLICA_NAME.test(replica)) continue;
      const directory = `${this.#directory}/${replica}`;
      const names = await this.#files.list(directory);
      const orphans = names.filter((name) => !wanted.has(`${replica}/${name}`));
      for (const name of orphans) await this.#files.remove(`${directory}/${name}`);
      if (orphans.length === names.length) await this.#files.remove(directory);
      else if (orphans.length > 0) await this.#files.syncDirectory(directory);
    }
  }

  async removeAll(shardId: ShardId, replicaId: ReplicaId): Promise<void> {
    const directory = this.#replicaPath(shardId, replicaId);
    if (!(await this.#files.exists(directory))) return;
    await this.#files.remove(directory);
    await this.#files.syncDirectory(this.#directory);
  }

  /** Temporary directory → content → sync → rename → sync of the parent. Returns the size of the file. */
  async #land(
    replicaId: ReplicaId,
    what: { readonly header: SnapshotHeader; readonly suffix: string },
    fill: (file: SnapshotFile) => Promise<void>,
  ): Promise<number> {
    const { header, suffix } = what;
    const directory = this.#replicaPath(header.shardId, replicaId);
    const name = snapshotDirectoryName(header.index);
    const temporary = `${directory}/${name}.${suffix}-${this.#nextAttempt()}`;
    try {
      await this.#files.makeDirectory(directory);
      // A leftover of an earlier start that was never cleaned up.
      await this.#files.remove(temporary);
      await this.#files.makeDirectory(temporary);
      const file = await SnapshotFile.create(this.#files, `${temporary}/${FILE_NAME}`);
      try {
        await fill(file);
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#files.syncDirectory(temporary);
      const existing = await this.#existingSize(`${directory}/${name}`, header);
      if (existing !== undefined) {
        await this.#files.remove(temporary);
        await this.#files.syncDirectory(directory);
        return existing;
      }
      await this.#files.rename(temporary, `${directory}/${name}`);
      await this.#files.syncDirectory(directory);
      return file.sizeBytes;
    } catch (error) {
      await this.#files.remove(temporary).catch(() => {});
      throw translate(error, temporary);
    }
  }

  /**
   * Size of a whole file of the same state that is there already (its record was not written, or it was sent twice):
   * it may be recorded, so it must not be replaced. Anything else under that name is moved away.
   */
  async #existingSize(path: string, header: SnapshotHeader): Promise<number | undefined> {
    if (!(await this.#files.exists(path))) return undefined;
    try {
      const file = `${path}/${FILE_NAME}`;
      let sizeBytes = 0;
      const code = "DL_ERR_LOGDB_CORRUPT";
      const onHeader = (found: SnapshotHeader): void => mustMatch(found, header, { file, code });
      const parser = new SnapshotParser({ crc32: this.#crc32, file, code, onHeader });
      for await (const chunk of readChunks(this.#files, file, LIMITS.snapshotChunkBytes)) {
        parser.feed(chunk);
        sizeBytes += chunk.length;
      }
      parser.end();
      return sizeBytes;
    } catch (error) {
      if (!isDamage(error)) throw error;
      const slash = path.lastIndexOf("/");
      await this.#discard(path.slice(0, slash), path.slice(slash + 1));
      return undefined;
    }
  }

  async #discard(directory: string, name: string): Promise<void> {
    const doomed = `${directory}/${name}.removing-${this.#nextAttempt()}`;
    await this.#files.remove(doomed);
    try {
      await this.#files.rename(`${directory}/${name}`, doomed);
    } catch (error) {
      // Another call removes it at the same time.
      if (!isMissing(error)) throw error;
      return;
    }
    await this.#files.syncDirectory(directory);
    await this.#files.remove(doomed);
  }

  async *#load(meta: SnapshotMeta, onSessions: (sessions: Uint8Array) => void): AsyncGenerator<Uint8Array> {
    const file = this.#pathOf(meta);
    const code = "DL_ERR_LOGDB_CORRUPT";
    const onHeader = (header: SnapshotHeader): void => mustMatch(header, meta, { file, code });
    const parser = new SnapshotParser({ crc32: this.#crc32, file, code, onHeader, onSessions });
    try {
      for await (const chunk of readChunks(this.#files, file, LIMITS.snapshotChunkBytes)) yield* parser.feed(chunk);
    } catch (error) {
      if (!isMissing(error)) throw translate(error, file);
      throw new OpError(code, `${file} is missing`, { cause: error });
    }
    parser.end();
  }

  /** Header and sessions; no payload is read but what shares their chunks. */
  async #readHead(meta: SnapshotMeta): Promise<{ readonly header: SnapshotHeader; readonly sessions: Uint8Array }> {
    const file = this.#pathOf(meta);
    const code = "DL_ERR_LOGDB_CORRUPT";
    let header: SnapshotHeader | undefined;
    let sessions: Uint8Array = new Uint8Array(0);
    const parser = new SnapshotParser({
      crc32: this.#crc32,
      file,
      code,
      onHeader: (found) => {
        mustMatch(found, meta, { file, code });
        header = found;
      },
      onSessions: (found) => {
        sessions = found;
      },
    });
    try {
      for await (const chunk of readChunks(this.#files, file, LIMITS.snapshotChunkBytes)) {
        parser.feed(chunk);
        if (parser.headRead) break;
      }
    } catch (error) {
      if (!isMissing(error)) throw translate(error, file);
      throw new OpError(code, `${file} is missing`, { cause: error });
    }
    if (header === undefined || !parser.headRead) throw new OpError(code, `${file} ends within its head`);
    return { header, sessions };
  }

  #pathOf(meta: SnapshotMeta): string {
    return `${this.#replicaPath(meta.shardId, meta.replicaId)}/${meta.directory}/${FILE_NAME}`;
  }

  #replicaPath(shardId: ShardId, replicaId: ReplicaId): string {
    return `${this.#directory}/${replicaDirectoryName(shardId, replicaId)}`;
  }

  #nextAttempt(): number {
    this.#attempts += 1;
    return this.#attempts;
  }
}

/**
 * The same state: shard, index, term. Who wrote it does not matter, and the membership that counts is the recorded
 * one: a shard whose membership was forced keeps its files.
 */
function mustMatch(
  found: SnapshotHeader,
  expected: SnapshotHeader,
  where: { readonly file: string; readonly code: "DL_ERR_LOGDB_CORRUPT" | "DL_ERR_MALFORMED" },
): void {
  for (const field of ["shardId", "index", "term"] as const) {
    if (found[field] === expected[field]) continue;
    throw new OpError(where.code, `${where.file}: ${field} is ${found[field]}, expected ${expected[field]}`);
  }
}

function isDamage(error: unknown): boolean {
  return isMissing(error) || (isOpError(error) && ["DL_ERR_LOGDB_CORRUPT", "DL_ERR_VERSION"].includes(error.code));
}
