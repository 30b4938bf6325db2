/**
 * For the tests of this folder: an Env on hand-moved time, a seeded generator, blocks, and a model of what a log must
 * hold, with random appends that fit it. The model is deliberately naive: one map entry per log entry.
 */
import * as zlib from "node:zlib";
import { BlockBuilder, type EntryBlock, EntryType, entriesOf, sealBlock } from "../../shared/codec/block.js";
import { encodeMembership } from "../../shared/codec/membership.js";
import { type Env, noMetrics, silentLogger } from "../../shared/env/env.js";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";
import type { Index, Term } from "../../shared/types/ids.js";
import { emptyMembership } from "../../shared/types/membership.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";
import type { BootstrapRecord, LogDb, LogUpdate, ReplicaKey } from "./port.js";

/** Numbers in [0, 1) that depend on the seed only. */
export function generator(seed: number): () => number {
  return seededRandom(seed).next;
}

/** Time moves only by `advance`, which runs the timers that are due. */
export class ManualEnv {
  #nowMs = 0;
  #timers: { atMs: number; call: () => void }[] = [];
  readonly env: Env;

  constructor(seed = 1) {
    const next = generator(seed);
    const after = (delayMs: number, call: () => void) => {
      const timer = { atMs: this.#nowMs + delayMs, call };
      this.#timers.push(timer);
      return {
        cancel: () => {
          this.#timers = this.#timers.filter((t) => t !== timer);
        },
      };
    };
    this.env = {
      now: () => this.#nowMs,
      wallClockMs: () => this.#nowMs,
      timers: { after, every: (ms, call) => after(ms, call), soon: (call) => after(0, call) },
      random: { next, int: (bound) => Math.floor(next() * bound), hex: () => "00", uuid: () => "uuid" },
      logger: silentLogger,
      metrics: noMetrics,
      crc32: (bytes, start = 0) => zlib.crc32(bytes, start),
    };
  }

  get pending(): number {
    return this.#timers.length;
  }

  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (;;) {
      this.#timers.sort((a, b) => a.atMs - b.atMs);
      const due = this.#timers[0];
      if (due === undefined || due.atMs > untilMs) break;
      this.#timers.shift();
      this.#nowMs = due.atMs;
      due.call();
    }
    this.#nowMs = untilMs;
  }
}

/** Lets everything that is ready to run do so. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export const BOOTSTRAP: BootstrapRecord = {
  join: false,
  kind: "memory",
  app: "kv",
  initial: { ...emptyMembership(), voters: new Map([[1, "host-a:1"]]) },
  config: '{"a":1}',
};

/** A block whose entries say where they belong: "shard/index/term/salt". */
export function makeBlock(shardId: number, first: Index, term: Term, options: BlockOptions = {}): EntryBlock {
  const builder = new BlockBuilder();
  const { count = 1, salt = "", bytes = 0 } = options;
  for (let i = 0; i < count; i++) {
    const text = `${shardId}/${first + i}/${term}/${salt}`.padEnd(bytes, ".");
    builder.add(
      EntryType.Application,
      { replicaId: 1, incarnation: 1, sequence: i + 1 },
      new TextEncoder().encode(text),
    );
  }
  return sealBlock(builder.finish(), { shardId, firstIndex: first, term });
}

export interface BlockOptions {
  readonly count?: number;
  readonly salt?: string;
  /** Each command is padded to this length. */
  readonly bytes?: number;
}

export function makeSnapshot(shardId: number, index: Index, term: Term): SnapshotMeta {
  const directory = `snapshot-${index}`;
  return { shardId, replicaId: 1, index, term, membership: BOOTSTRAP.initial, sizeBytes: index * 10, directory };
}

export function hard(term: Term, commit: Index, vote = 0): HardState {
  return { term, vote, commit };
}

interface ModelReplica {
  readonly key: ReplicaKey;
  bootstrap: BootstrapRecord;
  hardState: HardState;
  snapshot: SnapshotMeta | undefined;
  first: Index;
  last: Index;
  precedingTerm: Term;
  readonly entries: Map<Index, { readonly term: Term; readonly text: string }>;
}

export class LogModel {
  readonly replicas = new Map<string, ModelReplica>();
  readonly removed = new Set<string>();

  apply(updates: readonly LogUpdate[]): void {
    for (const update of updates) this.#applyOne(update);
  }

  #applyOne(update: LogUpdate): void {
    const id = `${update.shardId}/${update.replicaId}`;
    if (update.remove === true) {
      this.replicas.delete(id);
      this.removed.add(id);
      return;
    }
    let r = this.replicas.get(id);
    if (r === undefined) {
      const key = { shardId: update.shardId, replicaId: update.replicaId };
      const numbers = { first: 1, last: 0, precedingTerm: 0, entries: new Map() };
      r = { key, bootstrap: BOOTSTRAP, hardState: hard(0, 0), snapshot: undefined, ...numbers };
      this.replicas.set(id, r);
    }
    if (update.bootstrap !== undefined) r.bootstrap = update.bootstrap;
    if (update.snapshot !== undefined) {
      r.snapshot = update.snapshot.meta;
      if (update.snapshot.reset) {
        r.entries.clear();
        r.first = r.snapshot.index + 1;
        r.last = r.snapshot.index;
        r.precedingTerm = r.snapshot.term;
      }
    }
    for (const block of update.blocks ?? []) {
      for (let i = block.first; i <= r.last; i++) r.entries.delete(i);
      for (const entry of entriesOf(block)) {
        r.entries.set(entry.index, { term: entry.term, text: new TextDecoder().decode(entry.cmd) });
      }
      r.last = block.last;
    }
    if (update.hardState !== undefined) r.hardState = update.hardState;
    if (update.compactTo !== undefined && update.compactTo >= r.first) {
      r.precedingTerm = r.entries.get(update.compactTo)?.term ?? 0;
      for (let i = r.first; i <= update.compactTo; i++) r.entries.delete(i);
      r.first = update.compactTo + 1;
    }
  }

  /** Everything the model holds, as text. */
  text(): string {
    const lines = [...this.replicas.values()].map((r) => {
      const entries: string[] = [];
      for (let i = r.first; i <= r.last; i++) entries.push(r.entries.get(i)?.text ?? "missing");
      return [headText(r.key, r), ...entries].join(" ");
    });
    return finishText(lines, [...this.removed]);
  }
}

/** What a LogDb holds, read back entry by entry, in the form of LogModel.text. Damaged replicas say so instead. */
export async function logText(db: LogDb): Promise<string> {
  const { present, removed } = db.list();
  const lines: string[] = [];
  for (const key of present) {
    const r = db.state(key);
    if (r === undefined) throw new Error("listed, but without state");
    if (r.damage !== undefined) {
      lines.push(`${key.shardId}/${key.replicaId} damaged`);
      continue;
    }
    const texts: string[] = [];
    for (let next = r.first; next <= r.last; ) {
      for (const block of await db.read(key, next, r.last, 10_000)) {
        for (const entry of entriesOf(block)) {
          if (entry.index !== next || db.term(key, next) !== entry.term) throw new Error(`read ${entry.index}`);
          texts.push(new TextDecoder().decode(entry.cmd));
          next += 1;
        }
      }
    }
    lines.push([headText(key, r), ...texts].join(" "));
  }
  return finishText(
    lines,
    removed.map((key) => `${key.shardId}/${key.replicaId}`),
  );
}

function headText(
  key: ReplicaKey,
  r: {
    readonly bootstrap: BootstrapRecord;
    readonly hardState: HardState;
    readonly snapshot: SnapshotMeta | undefined;
    readonly first: Index;
    readonly last: Index;
    readonly precedingTerm: Term;
  },
): string {
  const { join, kind, app, initial, config } = r.bootstrap;
  const bootstrap = [join, kind, app, Buffer.from(encodeMembership(initial)).toString("hex"), config].join();
  const { term, vote, commit } = r.hardState;
  const s = r.snapshot;
  const snapshot = s === undefined ? "none" : `${s.index},${s.term},${s.directory},${s.sizeBytes},${s.replicaId}`;
  const numbers = `[${r.first},${r.last}] after ${r.precedingTerm}`;
  return `${key.shardId}/${key.replicaId} ${bootstrap} ${term},${vote},${commit} ${snapshot} ${numbers}`;
}

function finishText(lines: readonly string[], removed: readonly string[]): string {
  return [...[...lines].sort(), `removed ${[...removed].sort().join()}`].join("\n");
}

/** Random appends that a host could make, given what the model holds. */
export class Workload {
  readonly #random: () => number;
  readonly #model: LogModel;
  readonly #bytesMax: number;
  #salt = 0;

  constructor(random: () => number, model: LogModel, bytesMax: number) {
    this.#random = random;
    this.#model = model;
    this.#bytesMax = bytesMax;
  }

  next(): LogUpdate[] {
    const updates = new Map<string, LogUpdate>();
    const count = 1 + this.#int(3);
    for (let i = 0; i < count; i++) {
      const shardId = 1 + this.#int(4);
      let replicaId = 1 + this.#int(2);
      while (this.#model.removed.has(`${shardId}/${replicaId}`)) replicaId += 2;
      const id = `${shardId}/${replicaId}`;
      if (updates.has(id)) continue;
      updates.set(id, this.#update({ shardId, replicaId }, this.#model.replicas.get(id)));
    }
    return [...updates.values()];
  }

  #int(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  #update(key: ReplicaKey, r: ModelReplica | undefined): LogUpdate {
    if (r === undefined)
      return { ...key, bootstrap: { ...BOOTSTRAP, app: `app-${this.#int(100)}` }, ...this.#append(key, 1, 1) };
    const { last, hardState } = r;
    const roll = this.#random();
    const term = hardState.term + (this.#random() < 0.2 ? 1 : 0);
    if (roll < 0.45) return { ...key, ...this.#append(key, last + 1, term) };
    if (roll < 0.6)
      return { ...key, ...this.#append(key, hardState.commit + 1 + this.#int(last - hardState.commit + 1), term + 1) };
    if (roll < 0.7)
      return { ...key, hardState: hard(term, hardState.commit + this.#int(last - hardState.commit + 1), 1) };
    if (roll < 0.75) {
      const index = last + this.#int(20);
      const snapshot = { meta: makeSnapshot(key.shardId, index, term), reset: true };
      return { ...key, snapshot, hardState: hard(term, index) };
    }
    if (roll < 0.97 && hardState.commit >= r.first) {
      const index = r.first + this.#int(hardState.commit - r.first + 1);
      const meta = makeSnapshot(key.shardId, index, r.entries.get(index)?.term ?? 0);
      return { ...key, snapshot: { meta, reset: false }, compactTo: Math.max(0, index - this.#int(4)) };
    }
    if (roll < 0.985) return { ...key, remove: true };
    return { ...key, ...this.#append(key, last + 1, term) };
  }

  #append(key: ReplicaKey, at: Index, term: Term): Pick<LogUpdate, "blocks" | "hardState"> {
    const blocks: EntryBlock[] = [];
    let next = at;
    const count = 1 + this.#int(3);
    for (let i = 0; i < count; i++) {
      this.#salt += 1;
      const bytes = this.#random() < 0.2 ? this.#int(this.#bytesMax) : 0;
      const block = makeBlock(key.shardId, next, term, { count: 1 + this.#int(4), salt: String(this.#salt), bytes });
      // Sometimes a block comes clipped, as from a leader's older block.
      const clipped =
        i === 0 && block.count > 1 && this.#random() < 0.2 ? block.clip(block.first, block.last - 1) : block;
      blocks.push(clipped);
      next = clipped.last + 1;
    }
    const commit = Math.max(0, at - 1 + this.#int(next - at));
    return { blocks, hardState: hard(term, commit, this.#int(3)) };
  }
}
