/** An open file of SimDisk. Used by sim-files.ts only. */
import type { FileHandle } from "./port.js";
import type { SimOperationKind } from "./sim-files.js";
import type { SimFile } from "./sim-node.js";

/** What a handle needs of its disk. */
export interface DiskAccess {
  readonly path: string;
  readonly durable: boolean;
  readonly readOnly: boolean;
  run<T>(kind: SimOperationKind, begin: () => () => T): Promise<T>;
  nextMark(): number;
  /** Throws ENOSPC. */
  reserve(blocks: number): void;
}

export class SimHandle implements FileHandle {
  readonly #disk: DiskAccess;
  readonly #file: SimFile;
  #closed = false;

  constructor(disk: DiskAccess, file: SimFile) {
    this.#disk = disk;
    this.#file = file;
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#operation("read", () => {
      const count = this.#file.read(target, position);
      return () => count;
    });
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return this.#operation("write", () => {
      if (this.#disk.readOnly) throw failure("EBADF", this.#disk.path);
      this.#disk.reserve(this.#file.newBlocks(position, bytes.length));
      const mark = this.#disk.nextMark();
      this.#file.write(bytes, position, mark);
      const range = { position, length: bytes.length };
      return () => {
        if (this.#disk.durable) this.#file.makeDurable(mark, range);
      };
    });
  }

  sync(): Promise<void> {
    return this.#operation("sync", () => {
      const mark = this.#disk.nextMark();
      return () => this.#file.makeDurable(mark);
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#operation("truncate", () => {
      this.#file.truncate(sizeBytes, this.#disk.nextMark());
      return () => undefined;
    });
  }

  size(): Promise<number> {
    return this.#operation("read", () => {
      const { size } = this.#file;
      return () => size;
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  #operation<T>(kind: SimOperationKind, begin: () => () => T): Promise<T> {
    if (this.#closed) return Promise.reject(failure("EBADF", this.#disk.path));
    return this.#disk.run(kind, begin);
  }
}

/** As Node's errors are. */
export function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
