/**
 * SimDisk: a disk in memory that loses what was not made durable. Used by the simulator and by crash tests; the code
 * above it is the real one.
 *
 * A write is seen by reads at once and durable when its promise resolves (durable handle) or after `sync`. `crash`
 * leaves any subset of what was not durable: blocks, torn blocks, sizes, names. Every operation begun before a crash
 * and not settled never settles, as for a dead process. `makeDirectory` is durable when it resolves.
 */
import type { Timers } from "../env/env.js";
import type { FileHandle, Files, OpenOptions } from "./port.js";
import { type DiskAccess, failure, SimHandle } from "./sim-handle.js";
import {
  applyNames,
  type NameChange,
  SIM_BLOCK_BYTES,
  SimDirectory,
  type SimEntry,
  SimFile,
  type SimLosses,
} from "./sim-node.js";

export type SimOperationKind = "open" | "read" | "write" | "sync" | "truncate" | "names" | "syncDirectory";

export interface SimOperation {
  readonly kind: SimOperationKind;
  readonly path: string;
  /** Counts all operations of this disk, from 1. */
  readonly number: number;
}

/** EIO, ENOSPC: rejected without effect. stuck: begun, never settles. stop: begun, and the machine stands still. */
export type SimFault = "EIO" | "ENOSPC" | "stuck" | "stop";

export interface SimDiskOptions {
  /** With `latencyMs`: operations settle after that time, if it is not 0, instead of after one microtask. */
  readonly timers?: Timers;
  readonly latencyMs?: (operation: SimOperation) => number;
  /** Writes that would need more fail with ENOSPC. */
  readonly capacityBytes?: number;
}

export class SimDisk implements Files {
  readonly #options: SimDiskOptions;
  #root = new SimDirectory();
  #unsynced: NameChange[] = [];
  #mark = 0;
  #epoch = 0;
  #operations = 0;
  #usedBlocks = 0;
  #stopped = false;
  #onStop: (() => void) | undefined;
  /** Asked before every operation. */
  fault: ((operation: SimOperation) => SimFault | undefined) | undefined;
  /** May be changed while running (a disk that fills up, or is enlarged). */
  capacityBytes: number;

  constructor(options: SimDiskOptions = {}) {
    this.#options = options;
    this.capacityBytes = options.capacityBytes ?? Number.MAX_SAFE_INTEGER;
  }

  get operations(): number {
    return this.#operations;
  }

  get usedBytes(): number {
    return this.#usedBlocks * SIM_BLOCK_BYTES;
  }

  /** Resolves when a fault "stop" was met: now crash and reopen. */
  whenStopped(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onStop = resolve;
    });
  }

  /** Death and restart of the process: what was written is still seen, and can still vanish in a power loss. */
  kill(): void {
    this.#epoch += 1;
    this.#stopped = false;
    this.#onStop = undefined;
    this.fault = undefined;
  }

  /** Power loss and restart: what was not durable may vanish, in any subset; old handles are dead. */
  crash(random: () => number): SimLosses {
    const losses: SimLosses = { lostBlocks: 0, tornBlocks: 0, lostNames: 0 };
    this.kill();
    for (const change of this.#unsynced) {
      if (random() < 0.5) applyNames(change, "durable");
      else losses.lostNames += 1;
    }
    this.#unsynced = [];
    this.#usedBlocks = 0;
    this.#restart(this.#root, new Set(), (file) => file.crash(random, losses));
    return losses;
  }

  #restart(directory: SimDirectory, seen: Set<SimFile>, crash: (file: SimFile) => void): void {
    directory.names.clear();
    for (const [name, entry] of directory.durable) {
      directory.names.set(name, entry);
      if (entry instanceof SimDirectory) this.#restart(entry, seen, crash);
      else if (!seen.has(entry)) {
        seen.add(entry);
        crash(entry);
        this.#usedBlocks += entry.blockCount;
      }
    }
  }

  /** A file as reads see it now; undefined if it is not there. */
  peek(path: string): Uint8Array | undefined {
    const entry = this.#find(path);
    if (!(entry instanceof SimFile)) return undefined;
    const bytes = new Uint8Array(entry.size);
    entry.read(bytes, 0);
    return bytes;
  }

  /** The same of a directory. */
  peekNames(path: string): string[] {
    const entry = this.#find(path);
    return entry instanceof SimDirectory ? [...entry.names.keys()].sort() : [];
  }

  /** Loses a file or a directory, for good. */
  lose(path: string): void {
    if (this.#find(path) === undefined) return;
    const [directory, name] = this.#parent(path);
    this.#release(directory.names.get(name), undefined);
    directory.names.delete(name);
    directory.durable.delete(name);
    this.#unsynced = this.#unsynced.filter(({ parts }) => parts.every((part) => part.name !== name));
  }

  /** Loses the end of a file, for good. */
  cut(path: string, sizeBytes: number): void {
    this.#file(path).cut(sizeBytes);
    this.#usedBlocks = this.#root.blockCount();
  }

  /** A copy of everything as it is now, all of it durable. */
  image(): SimDirectory {
    return this.#root.copy();
  }

  /** Another start on what `image` was; of a top directory alone if `only` names it. */
  restore(image: SimDirectory, only?: string): void {
    this.kill();
    const old = image.copy();
    if (only === undefined) this.#root = old;
    else {
      const entry = old.names.get(only) ?? new SimDirectory();
      this.#root.names.set(only, entry);
      this.#root.durable.set(only, entry);
    }
    this.#unsynced = [];
    this.#usedBlocks = this.#root.blockCount();
  }

  /** Flips bits of one byte on the medium (rot). */
  flip(path: string, position: number, bits = 0xff): void {
    this.#file(path).damage(position, (byte) => byte ^ bits);
  }

  /** Overwrites bytes on the medium. */
  rot(path: string, position: number, bytes: Uint8Array): void {
    const file = this.#file(path);
    bytes.forEach((byte, i) => {
      file.damage(position + i, () => byte);
    });
  }

  open(path: string, options: OpenOptions): Promise<FileHandle> {
    return this.#run("open", path, () => {
      const [directory, name] = this.#parent(path);
      const found = directory.names.get(name);
      if (found instanceof SimDirectory) throw failure("EISDIR", path);
      if (found !== undefined && options.create === true && options.exclusive === true) throw failure("EEXIST", path);
      if (found === undefined && options.create !== true) throw failure("ENOENT", path);
      const file = found ?? new SimFile();
      if (found === undefined) this.#change(directory, [{ directory, name, entry: file }]);
      return () => new SimHandle(this.#access(path, options), file);
    });
  }

  makeDirectory(path: string): Promise<void> {
    return this.#run("names", path, () => {
      let directory = this.#root;
      for (const name of split(path)) {
        const found = directory.names.get(name);
        if (found instanceof SimFile) throw failure("EEXIST", path);
        // Its parent is synced, so what was changed there before is durable too.
        if (found === undefined) this.#settleNames(directory, this.#mark);
        const next: SimDirectory = found ?? new SimDirectory();
        directory.names.set(name, next);
        directory.durable.set(name, next);
        directory = next;
      }
      return () => undefined;
    });
  }

  list(path: string): Promise<string[]> {
    return this.#run("read", path, () => {
      const names = this.peekNames(path);
      return () => names;
    });
  }

  exists(path: string): Promise<boolean> {
    return this.#run("read", path, () => {
      const found = this.#find(path) !== undefined;
      return () => found;
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run("names", from, () => {
      const [source, sourceName] = this.#parent(from);
      const [target, targetName] = this.#parent(to);
      const entry = source.names.get(sourceName);
      if (entry === undefined) throw failure("ENOENT", from);
      this.#release(target.names.get(targetName), entry);
      this.#change(target, [
        { directory: target, name: targetName, entry },
        { directory: source, name: sourceName, entry: undefined },
      ]);
      return () => undefined;
    });
  }

  remove(path: string): Promise<void> {
    return this.#run("names", path, () => {
      if (this.#find(path) !== undefined) {
        const [directory, name] = this.#parent(path);
        this.#release(directory.names.get(name), undefined);
        this.#change(directory, [{ directory, name, entry: undefined }]);
      }
      return () => undefined;
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.#run("syncDirectory", path, () => {
      const directory = this.#find(path);
      if (!(directory instanceof SimDirectory)) throw failure("ENOENT", path);
      const mark = this.#mark;
      return () => this.#settleNames(directory, mark);
    });
  }

  #settleNames(directory: SimDirectory, mark: number): void {
    const done = (change: NameChange) => change.home === directory && change.mark <= mark;
    for (const change of this.#unsynced) if (done(change)) applyNames(change, "durable");
    this.#unsynced = this.#unsynced.filter((change) => !done(change));
  }

  #access(path: string, options: OpenOptions): DiskAccess {
    const epoch = this.#epoch;
    return {
      path,
      durable: options.durable === true,
      readOnly: options.readOnly === true,
      run: (kind, begin) => (epoch === this.#epoch ? this.#run(kind, path, begin) : new Promise(() => {})),
      nextMark: () => {
        this.#mark += 1;
        return this.#mark;
      },
      reserve: (blocks) => {
        if ((this.#usedBlocks + blocks) * SIM_BLOCK_BYTES > this.capacityBytes) throw failure("ENOSPC", path);
        this.#usedBlocks += blocks;
      },
    };
  }

  /** `begin` takes effect at once and returns what happens when the operation settles. */
  #run<T>(kind: SimOperationKind, path: string, begin: () => () => T): Promise<T> {
    this.#operations += 1;
    const operation = { kind, path, number: this.#operations };
    const epoch = this.#epoch;
    return new Promise<T>((resolve, reject) => {
      if (this.#stopped) return;
      const fault = this.fault?.(operation);
      const settle = (call: () => void) => {
        const now = () => {
          if (epoch === this.#epoch && !this.#stopped) call();
        };
        const { timers, latencyMs } = this.#options;
        const delayMs = latencyMs?.(operation) ?? 0;
        if (timers !== undefined && delayMs > 0) timers.after(delayMs, now);
        else queueMicrotask(now);
      };
      if (fault === "EIO" || fault === "ENOSPC") return settle(() => reject(failure(fault, path)));
      try {
        const finish = begin();
        if (fault === "stop") this.#stop();
        if (fault === undefined) settle(() => resolve(finish()));
      } catch (error) {
        settle(() => reject(error instanceof Error ? error : new Error(String(error))));
      }
    });
  }

  #stop(): void {
    this.#stopped = true;
    this.#onStop?.();
  }

  #change(home: SimDirectory, parts: NameChange["parts"]): void {
    this.#mark += 1;
    const change = { home, mark: this.#mark, parts };
    applyNames(change, "names");
    this.#unsynced.push(change);
  }

  /** Gives back the space of what is no longer named. */
  #release(entry: SimEntry | undefined, replacement: SimEntry | undefined): void {
    if (entry === undefined || entry === replacement) return;
    if (entry instanceof SimFile) this.#usedBlocks -= entry.blockCount;
    else for (const child of entry.names.values()) this.#release(child, undefined);
  }

  #find(path: string): SimEntry | undefined {
    let entry: SimEntry | undefined = this.#root;
    for (const name of split(path)) {
      if (!(entry instanceof SimDirectory)) return undefined;
      entry = entry.names.get(name);
    }
    return entry;
  }

  #file(path: string): SimFile {
    const entry = this.#find(path);
    if (entry instanceof SimFile) return entry;
    throw failure("ENOENT", path);
  }

  #parent(path: string): [SimDirectory, string] {
    const names = split(path);
    const name = names.pop();
    const directory = this.#find(names.join("/"));
    if (name === undefined || !(directory instanceof SimDirectory)) throw failure("ENOENT", path);
    return [directory, name];
  }
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}
