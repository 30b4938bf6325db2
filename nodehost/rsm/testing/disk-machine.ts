/**
 * A log of the commands it saw, kept in a file of a simulated disk: the on-disk machine of this folder's tests. Updates
 * are in memory until `sync`, which replaces the file atomically: index and state in one. Tests only.
 */
import { readWhole } from "../../../shared/files/port.js";
import type { SimDisk } from "../../../shared/files/sim-files.js";
import type { OnDiskStateMachine, Result, SmEntry, SnapshotSink, SnapshotSource } from "../state-machine.js";
import { type Rig, rig, textOf } from "./kit.js";

interface Content {
  readonly index: number;
  readonly applied: readonly string[];
}

const FILE = "state.json";

export class DiskLogMachine implements OnDiskStateMachine {
  applied: string[] = [];
  index = 0;
  /** Indexes given to `update`, since it was made. */
  readonly given: number[] = [];
  recoveries = 0;
  syncs = 0;
  /** Views that were prepared and not saved yet. */
  prepared = 0;
  closed = 0;
  /** When set, `sync` waits for it before it begins. */
  syncGate: (() => Promise<void>) | undefined;
  readonly #disk: SimDisk;
  readonly #directory: string;

  constructor(disk: SimDisk, directory = "/machine") {
    this.#disk = disk;
    this.#directory = directory;
  }

  async open(): Promise<number> {
    await this.#disk.makeDirectory(this.#directory);
    const path = `${this.#directory}/${FILE}`;
    if (!(await this.#disk.exists(path))) return 0;
    this.#take(JSON.parse(new TextDecoder().decode(await readWhole(this.#disk, path))));
    return this.index;
  }

  update(entries: readonly SmEntry[]): readonly Result[] {
    return entries.map(({ index, cmd }) => {
      const text = new TextDecoder().decode(cmd);
      if (text === "boom") throw new TypeError("boom");
      this.applied.push(text);
      this.given.push(index);
      this.index = index;
      return { value: index, data: Uint8Array.of(index) };
    });
  }

  lookup(): unknown {
    return this.applied.join(" ");
  }

  async sync(): Promise<void> {
    const content = this.#content();
    await this.syncGate?.();
    this.syncs += 1;
    await this.persist(content);
  }

  /** Makes a state durable; also behind the back of whoever drives the machine. */
  async persist(content: Content = this.#content()): Promise<void> {
    const temporary = `${this.#directory}/${FILE}.new`;
    const file = await this.#disk.open(temporary, { create: true });
    await file.truncate(0);
    await file.write(new TextEncoder().encode(JSON.stringify(content)), 0);
    await file.sync();
    await file.close();
    await this.#disk.rename(temporary, `${this.#directory}/${FILE}`);
    await this.#disk.syncDirectory(this.#directory);
  }

  prepareSnapshot(): unknown {
    this.prepared += 1;
    return JSON.stringify(this.#content());
  }

  async saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void> {
    try {
      const bytes = new TextEncoder().encode(String(prepared));
      for (let at = 0; at < bytes.length; at += 1000) {
        signal.throwIfAborted();
        await sink.write(bytes.subarray(at, at + 1000));
      }
    } finally {
      this.prepared -= 1;
    }
  }

  async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
    this.recoveries += 1;
    this.#take(JSON.parse(await textOf(source)));
  }

  close(): void {
    this.closed += 1;
  }

  getHash(): string {
    return `${this.index}:${this.applied.join(" ")}`;
  }

  #content(): Content {
    return { index: this.index, applied: [...this.applied] };
  }

  #take({ index, applied }: Content): void {
    this.index = index;
    this.applied = [...applied];
  }
}

/** An Rsm over such a machine; both on one simulated disk. Not started yet. */
export function diskRig(disk?: SimDisk): Rig & { readonly machine: DiskLogMachine } {
  const late: { machine: DiskLogMachine | undefined } = { machine: undefined };
  const made = rig((files) => {
    const machine = new DiskLogMachine(files);
    late.machine = machine;
    return { kind: "onDisk", machine };
  }, disk);
  if (late.machine === undefined) throw new Error("no machine was made");
  return { ...made, machine: late.machine };
}
