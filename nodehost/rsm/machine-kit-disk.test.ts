/** The conformance check of on-disk machines is itself checked: it passes a good one and finds each planted fault. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { App, MachinePlace, OnDiskStateMachine, Result, SmEntry, SnapshotSink, SnapshotSource } from "./index.js";
import { checkStateMachine } from "./machine-kit.js";
import type { KitDisk } from "./machine-kit-disk.js";
import { hasCode, textOf } from "./testing/kit.js";

const COMMANDS = Array.from({ length: 24 }, (_, i) => Buffer.from(`c${(i * 7) % 5}-${i}`));

/** What is durable, by directory. */
class Shelf implements KitDisk {
  readonly kept = new Map<string, { index: number; applied: string[] }>();
  #places = 0;

  async place(): Promise<MachinePlace> {
    this.#places += 1;
    return { dataDir: `/place-${this.#places}` };
  }

  async crash({ dataDir }: MachinePlace): Promise<MachinePlace> {
    const image = await this.place();
    const found = this.kept.get(dataDir);
    if (found !== undefined) this.kept.set(image.dataDir, { index: found.index, applied: [...found.applied] });
    return image;
  }
}

class Notes implements OnDiskStateMachine {
  applied: string[] = [];
  index = 0;
  readonly shelf: Shelf;
  readonly dataDir: string;

  constructor(shelf: Shelf, dataDir: string) {
    this.shelf = shelf;
    this.dataDir = dataDir;
  }

  async open(): Promise<number> {
    const found = this.shelf.kept.get(this.dataDir);
    this.index = found?.index ?? 0;
    this.applied = [...(found?.applied ?? [])];
    return this.index;
  }

  update(entries: readonly SmEntry[]): readonly Result[] {
    return entries.map(({ index, cmd }) => {
      this.applied.push(new TextDecoder().decode(cmd));
      this.index = index;
      return { value: this.applied.length };
    });
  }

  lookup(): unknown {
    return this.applied;
  }

  async sync(): Promise<void> {
    this.shelf.kept.set(this.dataDir, { index: this.index, applied: [...this.applied] });
  }

  prepareSnapshot(): unknown {
    return JSON.stringify({ index: this.index, applied: this.applied });
  }

  async saveSnapshot(prepared: unknown, sink: SnapshotSink): Promise<void> {
    await sink.write(new TextEncoder().encode(String(prepared)));
  }

  async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
    const { index, applied } = JSON.parse(await textOf(source));
    this.index = index;
    this.applied = applied;
  }

  close(): void {}

  getHash(): string {
    return this.applied.join(" ");
  }
}

function problemsOf(Kind: typeof Notes) {
  const shelf = new Shelf();
  const create = (_shard: number, _replica: number, place: MachinePlace) => new Kind(shelf, place.dataDir);
  const app: App = { name: "notes", kind: "onDisk", create };
  return checkStateMachine(app, COMMANDS, shelf);
}

async function found(Kind: typeof Notes, pattern: RegExp): Promise<void> {
  const text = (await problemsOf(Kind)).map(({ check, message }) => `${check}: ${message}`).join("\n");
  assert.match(text, pattern);
}

test("a good on-disk machine has no problems; without a disk it is not checked", async () => {
  assert.deepEqual(await problemsOf(Notes), []);
  const app: App = { name: "notes", kind: "onDisk", create: () => new Notes(new Shelf(), "") };
  await assert.rejects(checkStateMachine(app, COMMANDS), hasCode("DL_ERR_INVALID_ARGUMENT"));
});

test("finds a sync that makes nothing durable", async () => {
  class NoSync extends Notes {
    override async sync(): Promise<void> {}
  }
  await found(NoSync, /restart: closed after sync: open answered 0, expected 12/);
  await found(NoSync, /crash: crash after sync at \d+: open answered 0/);
});

test("finds an index that is durable before the state it belongs to", async () => {
  class IndexFirst extends Notes {
    override update(entries: readonly SmEntry[]): readonly Result[] {
      const results = super.update(entries);
      const { applied = [] } = this.shelf.kept.get(this.dataDir) ?? {};
      this.shelf.kept.set(this.dataDir, { index: this.index, applied });
      return results;
    }
  }
  await found(IndexFirst, /crash: crash at 1, synced at 0: state hash at index 1 is/);
});

test("finds state that is durable before its index", async () => {
  class StateFirst extends Notes {
    override update(entries: readonly SmEntry[]): readonly Result[] {
      const results = super.update(entries);
      const { index = 0 } = this.shelf.kept.get(this.dataDir) ?? {};
      this.shelf.kept.set(this.dataDir, { index, applied: [...this.applied] });
      return results;
    }
  }
  await found(StateFirst, /crash: crash at 1, synced at 0: state hash at index 0 is/);
});

test("finds a snapshot without its index", async () => {
  class NoIndex extends Notes {
    override async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
      const before = this.index;
      await super.recoverFromSnapshot(source);
      this.index = before;
    }
  }
  await found(NoIndex, /crash: crash after recovery and sync: open answered 3, expected 12/);
});

test("finds a recovery whose index is durable before its state", async () => {
  class IndexOfRecovery extends Notes {
    override async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
      const { applied = [] } = this.shelf.kept.get(this.dataDir) ?? {};
      await super.recoverFromSnapshot(source);
      this.shelf.kept.set(this.dataDir, { index: this.index, applied });
    }
  }
  await found(IndexOfRecovery, /crash: crash after recovery, before sync: opened: state hash at index 12/);
});

test("finds recovery that keeps old state, views that are not of the moment, and an index out of nowhere", async () => {
  class Mixes extends Notes {
    override async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
      const before = this.applied;
      await super.recoverFromSnapshot(source);
      this.applied = [...before, ...this.applied];
    }
  }
  class Late extends Notes {
    override prepareSnapshot(): unknown {
      return undefined;
    }
    override saveSnapshot(_prepared: unknown, sink: SnapshotSink): Promise<void> {
      return super.saveSnapshot(super.prepareSnapshot(), sink);
    }
  }
  class Nowhere extends Notes {
    override async open(): Promise<number> {
      return (await super.open()) + 1;
    }
  }
  await found(Mixes, /recovery: state hash/);
  await found(Late, /point-in-time/);
  await found(Nowhere, /determinism: open answered 1, expected 0/);
});
