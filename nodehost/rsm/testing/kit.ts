/** What the tests of this folder share: machines, blocks and sinks that are easy to look into. Tests only. */
import { BlockBuilder, type EntryBlock, type EntrySession, EntryType, sealBlock } from "../../../shared/codec/block.js";
import { crc32 } from "../../../shared/codec/crc32.js";
import { encodeConfigChange } from "../../../shared/codec/membership.js";
import { isOpError, type OpError } from "../../../shared/errors.js";
import { SimDisk } from "../../../shared/files/sim-files.js";
import type { RequestKey } from "../../../shared/types/ids.js";
import { type ConfigChange, emptyMembership, type Membership } from "../../../shared/types/membership.js";
import { Rsm } from "../rsm.js";
import { createSnapshotStore } from "../snapshot-store.js";
import type {
  ConcurrentStateMachine,
  Result,
  SmEntry,
  SnapshotSink,
  SnapshotSource,
  StateMachine,
} from "../state-machine.js";
import type { Machine, RsmSink, SnapshotStore } from "../types.js";

export const SHARD = 7;
export const NEVER: AbortSignal = new AbortController().signal;

export type PlannedEntry =
  | { readonly cmd: string; readonly key?: RequestKey; readonly session?: EntrySession }
  | { readonly noop: true; readonly key?: RequestKey }
  | { readonly change: ConfigChange; readonly key?: RequestKey }
  | { readonly badChange: true };

export function key(sequence: number, replicaId = 1, incarnation = 5): RequestKey {
  return { replicaId, incarnation, sequence };
}

/** A sealed block of entries from `firstIndex` on; entries without a key get (1, 5, index), no-ops none. */
export function block(firstIndex: number, entries: readonly PlannedEntry[], term = 1): EntryBlock {
  const builder = new BlockBuilder();
  for (const [i, entry] of entries.entries()) {
    const own = key(firstIndex + i);
    if ("noop" in entry) builder.add(EntryType.Noop, entry.key ?? key(0, 0, 0), new Uint8Array(0));
    else if ("badChange" in entry) builder.add(EntryType.ConfigChange, own, Uint8Array.of(9, 9));
    else if ("change" in entry) builder.add(EntryType.ConfigChange, entry.key ?? own, encodeConfigChange(entry.change));
    else builder.add(EntryType.Application, entry.key ?? own, new TextEncoder().encode(entry.cmd), entry.session);
  }
  return sealBlock(builder.finish(), { shardId: SHARD, firstIndex, term });
}

/** Blocks of one command each: "x<index>". */
export function commands(first: number, last: number): EntryBlock[] {
  const blocks: EntryBlock[] = [];
  for (let index = first; index <= last; index++) blocks.push(block(index, [{ cmd: `x${index}` }]));
  return blocks;
}

/** A log of the commands it saw; "boom" throws, "reject" rejects, "bad" answers nonsense. */
export class LogMachine implements StateMachine {
  applied: string[] = [];
  closed = 0;
  /** When set, updates answer by promise, settled by the test. */
  gate: (() => Promise<void>) | undefined;
  saveGate: (() => Promise<void>) | undefined;

  update(entry: SmEntry): Result | Promise<Result> {
    const cmd = new TextDecoder().decode(entry.cmd);
    if (cmd === "boom") throw new TypeError("boom");
    if (cmd === "reject") return Promise.reject(new Error("late boom"));
    const { gate } = this;
    if (gate === undefined) return this.#apply(entry.index, cmd);
    return gate().then(() => this.#apply(entry.index, cmd));
  }

  lookup(query: unknown): unknown {
    return query === "all" ? this.applied.join(" ") : undefined;
  }

  async saveSnapshot(sink: SnapshotSink, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.saveGate?.();
    signal.throwIfAborted();
    await sink.write(new TextEncoder().encode(this.applied.join(" ")));
  }

  async recoverFromSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.applied = (await textOf(source)).split(" ");
  }

  close(): void {
    this.closed += 1;
  }

  getHash(): string {
    return this.applied.join(" ");
  }

  #apply(index: number, cmd: string): Result {
    this.applied.push(cmd);
    return cmd === "bad" ? { value: Number.NaN } : { value: index };
  }
}

/** The same, concurrent; remembers the sizes of its batches. */
export class BatchMachine implements ConcurrentStateMachine {
  applied: string[] = [];
  batches: number[] = [];
  gate: (() => Promise<void>) | undefined;
  saveGate: (() => Promise<void>) | undefined;
  /** Called once per entry, for tests that make time pass. */
  onEntry: () => void = () => {};
  prepared = 0;
  savesEnded = 0;
  short = false;

  update(entries: readonly SmEntry[]): readonly Result[] | Promise<readonly Result[]> {
    this.batches.push(entries.length);
    const texts = entries.map((entry) => new TextDecoder().decode(entry.cmd));
    const apply = (): readonly Result[] => {
      const results = texts.map((cmd, i) => {
        if (cmd === "boom") throw new TypeError("boom");
        this.onEntry();
        this.applied.push(cmd);
        return { value: entries[i]?.index ?? 0 };
      });
      return this.short ? results.slice(1) : results;
    };
    return this.gate === undefined ? apply() : this.gate().then(apply);
  }

  lookup(): unknown {
    return this.applied.join(" ");
  }

  prepareSnapshot(): unknown {
    this.prepared += 1;
    return [...this.applied];
  }

  async saveSnapshot(prepared: unknown, sink: SnapshotSink, signal: AbortSignal): Promise<void> {
    try {
      signal.throwIfAborted();
      await this.saveGate?.();
      signal.throwIfAborted();
      await sink.write(new TextEncoder().encode(Array.isArray(prepared) ? prepared.join(" ") : ""));
    } finally {
      this.savesEnded += 1;
    }
  }

  async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
    this.applied = (await textOf(source)).split(" ");
  }

  close(): void {}

  getHash(): string {
    return this.applied.join(" ");
  }
}

export class RecordingSink implements RsmSink {
  readonly results: { sequence: number; index: number; value: number }[] = [];
  /** Data of the results, in the same order. */
  readonly data: (Uint8Array | undefined)[] = [];
  readonly refused: { sequence: number; index: number; code: string }[] = [];
  readonly changes: { index: number; refusal: string | undefined; membership: Membership; change: ConfigChange }[] = [];

  onResult(sequence: number, index: number, result: Result): void {
    this.results.push({ sequence, index, value: result.value });
    this.data.push(result.data);
  }

  onRejected(sequence: number, index: number, code: string): void {
    this.refused.push({ sequence, index, code });
  }

  onConfigChange(...args: Parameters<RsmSink["onConfigChange"]>): void {
    const [index, change, membership, , refusal] = args;
    this.changes.push({ index, refusal, membership, change });
  }
}

/** A promise opened by the test. */
export function latch(): { readonly wait: () => Promise<void>; open(): void; readonly waiting: number } {
  const open: (() => void)[] = [];
  return {
    wait: () => new Promise<void>((resolve) => open.push(resolve)),
    open: () => {
      for (const resolve of open.splice(0)) resolve();
    },
    get waiting() {
      return open.length;
    },
  };
}

export async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return new TextDecoder().decode(Buffer.concat(chunks));
}

/** Lets everything that is already due in microtasks happen. */
export async function settle(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

/** An Rsm of replica 1, incarnation 5, of SHARD, on a simulated disk, with a clock that tests move. */
export interface Rig {
  readonly rsm: Rsm;
  readonly sink: RecordingSink;
  readonly clock: { ms: number };
  readonly store: SnapshotStore;
  readonly disk: SimDisk;
}

export function rig(of: Machine | ((disk: SimDisk) => Machine), disk: SimDisk = new SimDisk()): Rig {
  const machine = typeof of === "function" ? of(disk) : of;
  const sink = new RecordingSink();
  const clock = { ms: 0 };
  const store = createSnapshotStore({ files: disk, directory: "/snapshots", crc32 });
  const membership = { ...emptyMembership(), voters: new Map([[1, "a"]]) };
  const options = { shardId: SHARD, replicaId: 1, incarnation: 5, machine, membership, sink, store, crc32 };
  return { rsm: new Rsm({ ...options, now: () => clock.ms }), sink, clock, store, disk };
}

export function memoryRig(disk?: SimDisk): Rig & { readonly machine: LogMachine } {
  const machine = new LogMachine();
  return { ...rig({ kind: "memory", machine }, disk), machine };
}

export function concurrentRig(disk?: SimDisk): Rig & { readonly machine: BatchMachine } {
  const machine = new BatchMachine();
  return { ...rig({ kind: "concurrent", machine }, disk), machine };
}

/** Runs until nothing is left, whatever the machine's way of answering. */
export async function drain(rsm: Rsm): Promise<void> {
  for (;;) {
    const outcome = rsm.run(1000);
    if (outcome === "idle") return;
    if (outcome !== "more") await outcome;
  }
}

export function change(kind: ConfigChange["kind"], replicaId: number, target = "", expected = 0): ConfigChange {
  return { kind, replicaId, target, expectedConfigChangeIndex: expected, bootstrap: false };
}

/** For assert.rejects and assert.throws. */
export function hasCode(code: OpError["code"]): (error: unknown) => boolean {
  return (error) => isOpError(error) && error.code === code;
}
