/**
 * The app `kv` as an on-disk machine on a simulated disk: a list of the commands it applied, written whole, with the
 * index of the last one, at each `sync`, and replacing the one before atomically. For tests of hosts with on-disk
 * machines on virtual time; the real one is nodehost/apps/kv-disk.
 */
import { KvMachine } from "../../nodehost/apps/kv/kv.js";
import type {
  App,
  OnDiskStateMachine,
  Result,
  SmEntry,
  SnapshotSink,
  SnapshotSource,
} from "../../nodehost/rsm/index.js";
import { ByteReader, ByteWriter } from "../../shared/codec/bytes.js";
import { type Files, readWhole } from "../../shared/files/port.js";

const CHUNK_BYTES = 64 * 1024;

/** One app per host: its machines are on that host's disk. `onMachine` sees each machine as it is made. */
export function diskKvApp(files: Files, onMachine: (machine: DiskKv) => void = () => {}): App {
  return {
    name: "sim-kv-disk",
    kind: "onDisk",
    create: (_shardId, _replicaId, { dataDir }) => {
      const machine = new DiskKv(files, dataDir);
      onMachine(machine);
      return machine;
    },
  };
}

export class DiskKv implements OnDiskStateMachine {
  readonly #files: Files;
  readonly #directory: string;
  #kv = new KvMachine();
  #index = 0;
  #commands: Uint8Array[] = [];
  /** Answered by `open`. */
  openedAt = -1;
  /** Indexes given to `update` since it was made. */
  readonly updates: number[] = [];
  syncs = 0;

  constructor(files: Files, directory: string) {
    this.#files = files;
    this.#directory = directory;
  }

  async open(): Promise<number> {
    const path = `${this.#directory}/state`;
    if (await this.#files.exists(path)) this.#take(await readWhole(this.#files, path));
    this.openedAt = this.#index;
    return this.#index;
  }

  update(entries: readonly SmEntry[]): readonly Result[] {
    for (const { index, cmd } of entries) {
      this.updates.push(index);
      this.#commands.push(cmd.slice());
      this.#index = index;
    }
    return this.#kv.update(entries);
  }

  lookup(query: unknown): unknown {
    return this.#kv.lookup(query);
  }

  async sync(): Promise<void> {
    const content = this.#content();
    const temporary = `${this.#directory}/state.new`;
    await this.#files.remove(temporary);
    const file = await this.#files.open(temporary, { create: true });
    await file.write(content, 0);
    await file.sync();
    await file.close();
    await this.#files.rename(temporary, `${this.#directory}/state`);
    await this.#files.syncDirectory(this.#directory);
    this.syncs += 1;
  }

  prepareSnapshot(): unknown {
    return this.#content();
  }

  async saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void> {
    if (!(prepared instanceof Uint8Array)) throw new TypeError("not prepared here");
    for (let at = 0; at < prepared.length; at += CHUNK_BYTES) {
      signal.throwIfAborted();
      await sink.write(prepared.subarray(at, at + CHUNK_BYTES));
    }
  }

  async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of source) chunks.push(chunk.slice());
    this.#take(Buffer.concat(chunks));
  }

  close(): void {
    this.#kv.close();
  }

  getHash(): string {
    return this.#kv.getHash();
  }

  #content(): Uint8Array {
    const w = new ByteWriter(1024).u64(this.#index).u32(this.#commands.length);
    for (const command of this.#commands) w.blob(command);
    return w.finish();
  }

  #take(bytes: Uint8Array): void {
    const r = new ByteReader(bytes);
    this.#index = r.u64();
    const count = r.u32();
    this.#commands = Array.from({ length: count }, () => r.blob().slice());
    this.#kv = new KvMachine();
    this.#kv.update(this.#commands.map((cmd, i) => ({ index: i + 1, cmd })));
  }
}
