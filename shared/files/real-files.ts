/**
 * The disk of a real process. Callback calls of node:fs on a bare descriptor, wrapped once: half the overhead of
 * fs/promises, which counts on the log's path (one write per append). Used by nodehost/api, the CLI and tests.
 *
 * Invariants: a durable write is one system call where O_DSYNC is honoured (Linux), else write + fdatasync. A handle is
 * closed only after its last operation settled, so that a stuck write can never hit a descriptor given to someone else.
 */
import * as fs from "node:fs";
import { resolve as absolute, dirname, join } from "node:path";
import type { FileHandle, Files, OpenOptions } from "./port.js";

/** On macOS O_DSYNC exists but does not reach the medium; fdatasync there is F_FULLFSYNC (libuv). */
const O_DSYNC_HONOURED = process.platform === "linux";

export function createRealFiles(): Files {
  return new RealFiles();
}

class RealFiles implements Files {
  async open(path: string, options: OpenOptions): Promise<FileHandle> {
    const { O_CREAT, O_DSYNC, O_EXCL, O_RDONLY, O_RDWR } = fs.constants;
    let flags = options.readOnly === true ? O_RDONLY : O_RDWR;
    if (options.create === true) flags |= O_CREAT;
    if (options.exclusive === true) flags |= O_EXCL;
    const durable = options.durable === true;
    if (durable && O_DSYNC_HONOURED) flags |= O_DSYNC;
    const fd = await call<number>((done) => fs.open(path, flags, 0o644, done));
    return new RealHandle(fd, durable && !O_DSYNC_HONOURED);
  }

  async makeDirectory(path: string): Promise<void> {
    const target = absolute(path);
    const made = await call<string | undefined>((done) => fs.mkdir(target, { recursive: true }, done));
    if (made === undefined) return;
    const top = dirname(made);
    let parent = target;
    do {
      parent = dirname(parent);
      await this.syncDirectory(parent);
    } while (parent !== top);
  }

  async list(path: string): Promise<string[]> {
    try {
      const names = await call<string[]>((done) => fs.readdir(path, done));
      return names.sort();
    } catch (error) {
      if (isCode(error, "ENOENT")) return [];
      throw error;
    }
  }

  async exists(path: string): Promise<boolean> {
    try {
      await call<fs.Stats>((done) => fs.stat(path, done));
      return true;
    } catch (error) {
      if (isCode(error, "ENOENT") || isCode(error, "ENOTDIR")) return false;
      throw error;
    }
  }

  rename(from: string, to: string): Promise<void> {
    return finish((done) => fs.rename(from, to, done));
  }

  remove(path: string): Promise<void> {
    return finish((done) => fs.rm(path, { recursive: true, force: true }, done));
  }

  async syncDirectory(path: string): Promise<void> {
    const fd = await call<number>((done) => fs.open(join(path, "."), fs.constants.O_RDONLY, done));
    try {
      await finish((done) => fs.fsync(fd, done));
    } finally {
      await finish((done) => fs.close(fd, done));
    }
  }
}

class RealHandle implements FileHandle {
  readonly #fd: number;
  readonly #syncAfterWrite: boolean;
  #running = 0;
  #closed = false;
  #closing: Promise<void> | undefined;
  #whenQuiet: (() => void) | undefined;

  constructor(fd: number, syncAfterWrite: boolean) {
    this.#fd = fd;
    this.#syncAfterWrite = syncAfterWrite;
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#operation<number>((resolve, reject) => {
      let filled = 0;
      const step = () => {
        fs.read(this.#fd, target, filled, target.length - filled, position + filled, (error, count) => {
          if (error !== null) return reject(error);
          filled += count;
          if (count === 0 || filled === target.length) resolve(filled);
          else step();
        });
      };
      step();
    });
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return this.#operation<void>((resolve, reject) => {
      let written = 0;
      const step = () => {
        fs.write(this.#fd, bytes, written, bytes.length - written, position + written, (error, count) => {
          if (error !== null) return reject(error);
          written += count;
          if (written === bytes.length) this.#finishWrite(resolve, reject);
          else if (count === 0) reject(Object.assign(new Error("EIO: write made no progress"), { code: "EIO" }));
          else step();
        });
      };
      step();
    });
  }

  sync(): Promise<void> {
    return this.#operation<void>((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#operation<void>((resolve, reject) => {
      fs.ftruncate(this.#fd, sizeBytes, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  size(): Promise<number> {
    return this.#operation<number>((resolve, reject) => {
      fs.fstat(this.#fd, (error, stats) => (error === null ? resolve(stats.size) : reject(error)));
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    if (this.#running > 0) await new Promise<void>((resolve) => (this.#whenQuiet = resolve));
    await finish((done) => fs.close(this.#fd, done));
  }

  #finishWrite(resolve: () => void, reject: (error: Error) => void): void {
    if (this.#syncAfterWrite) fs.fdatasync(this.#fd, (error) => (error === null ? resolve() : reject(error)));
    else resolve();
  }

  #operation<T>(start: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    if (this.#closed) return Promise.reject(Object.assign(new Error("EBADF: file is closed"), { code: "EBADF" }));
    this.#running += 1;
    return new Promise<T>((resolve, reject) => {
      start(
        (value) => {
          this.#settle();
          resolve(value);
        },
        (error) => {
          this.#settle();
          reject(error);
        },
      );
    });
  }

  #settle(): void {
    this.#running -= 1;
    if (this.#running === 0) this.#whenQuiet?.();
  }
}

function call<T>(start: (done: (error: NodeJS.ErrnoException | null, value?: T) => void) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    start((error, value) => (error === null ? resolve(value as T) : reject(error)));
  });
}

function finish(start: (done: (error: NodeJS.ErrnoException | null) => void) => void): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    start((error) => (error === null ? resolve() : reject(error)));
  });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
