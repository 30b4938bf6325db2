/** The conformance check is itself checked: it passes good machines and finds each planted fault. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkStateMachine } from "./machine-kit.js";
import type { App, Result, SmEntry, SnapshotSink, SnapshotSource } from "./state-machine.js";
import { BatchMachine, LogMachine, textOf } from "./testing/kit.js";

// Buffers: their slice() is a view, which the check must not fall for.
const COMMANDS = Array.from({ length: 24 }, (_, i) => Buffer.from(`c${(i * 7) % 5}-${i}`));

function memory(create: () => LogMachine): App {
  return { name: "log", kind: "memory", create };
}

function concurrent(create: () => BatchMachine): App {
  return { name: "batch", kind: "concurrent", create };
}

async function found(app: App, pattern: RegExp): Promise<void> {
  const problems = await checkStateMachine(app, COMMANDS);
  const text = problems.map(({ check, message }) => `${check}: ${message}`).join("\n");
  assert.match(text, pattern);
}

test("good machines of both kinds have no problems", async () => {
  assert.deepEqual(
    await checkStateMachine(
      memory(() => new LogMachine()),
      COMMANDS,
    ),
    [],
  );
  assert.deepEqual(
    await checkStateMachine(
      concurrent(() => new BatchMachine()),
      COMMANDS,
    ),
    [],
  );
});

test("finds randomness and the clock", async () => {
  class Dice extends LogMachine {
    override update(entry: SmEntry): Result | Promise<Result> {
      const result = super.update(entry);
      this.applied.push(String(Math.random()));
      return result;
    }
  }
  class Timed extends LogMachine {
    override update(entry: SmEntry): Result | Promise<Result> {
      return Date.now() < 0 ? { value: 0 } : super.update(entry);
    }
  }
  await found(
    memory(() => new Dice()),
    /Math\.random/,
  );
  await found(
    memory(() => new Dice()),
    /determinism: state hash/,
  );
  await found(
    memory(() => new Timed()),
    /Date\.now/,
  );
});

test("finds results that depend on what another machine of the process did", async () => {
  let shared = 0;
  class Leaky extends LogMachine {
    override update(): Result | Promise<Result> {
      this.applied.push("x");
      shared += 1;
      return { value: shared };
    }
  }
  await found(
    memory(() => new Leaky()),
    /determinism: result 0/,
  );
});

test("finds kept views of command bytes", async () => {
  class Keeper extends LogMachine {
    readonly #kept: Uint8Array[] = [];
    override update(entry: SmEntry): Result | Promise<Result> {
      this.#kept.push(entry.cmd);
      return { value: entry.index };
    }
    override getHash(): string {
      return this.#kept.map((bytes) => Buffer.from(bytes).toString()).join(" ");
    }
    override async saveSnapshot(sink: SnapshotSink): Promise<void> {
      for (const bytes of this.#kept) await sink.write(bytes);
    }
  }
  await found(
    memory(() => new Keeper()),
    /recovery: state hash/,
  );
});

test("finds batches that matter", async () => {
  class LastWins extends BatchMachine {
    override update(entries: readonly SmEntry[]): readonly Result[] | Promise<readonly Result[]> {
      this.applied.push(String(entries[entries.length - 1]?.index));
      return entries.map(({ index }) => ({ value: index }));
    }
  }
  await found(
    concurrent(() => new LastWins()),
    /determinism: state hash/,
  );
});

test("finds results that are missing or not integers, and throws", async () => {
  class Short extends BatchMachine {
    override short = true;
  }
  class NotANumber extends LogMachine {
    override update(entry: SmEntry): Result | Promise<Result> {
      this.applied.push("x");
      return { value: entry.index + 0.5 };
    }
  }
  class Thrower extends LogMachine {
    override update(entry: SmEntry): Result | Promise<Result> {
      if (entry.index === 20) throw new Error("no");
      return super.update(entry);
    }
  }
  await found(
    concurrent(() => new Short()),
    /results: 0 results for 1 entries/,
  );
  await found(
    memory(() => new NotANumber()),
    /results: a result's value is 1\.5/,
  );
  await found(
    memory(() => new Thrower()),
    /results: update of entry 20 threw: no/,
  );
});

test("finds snapshots that lose state, recovery that keeps old state or depends on chunks", async () => {
  class Loses extends LogMachine {
    override async saveSnapshot(sink: SnapshotSink): Promise<void> {
      await sink.write(Buffer.from(this.applied.slice(1).join(" ")));
    }
  }
  class Mixes extends LogMachine {
    override async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
      this.applied.push(...(await textOf(source)).split(" "));
    }
  }
  class FirstChunk extends LogMachine {
    override async recoverFromSnapshot(source: SnapshotSource): Promise<void> {
      for await (const chunk of source) {
        this.applied = Buffer.from(chunk).toString().split(" ");
        return;
      }
    }
  }
  class CannotSave extends LogMachine {
    override saveSnapshot(): Promise<void> {
      return Promise.reject(new Error("cannot"));
    }
  }
  await found(
    memory(() => new Loses()),
    /recovery: state hash/,
  );
  await found(
    memory(() => new Mixes()),
    /recovery: state hash/,
  );
  await found(
    memory(() => new FirstChunk()),
    /recovery: state hash after recovery in chunks of 1 bytes/,
  );
  await found(
    memory(() => new CannotSave()),
    /snapshot: cannot/,
  );
});

test("finds a snapshot that is not of the moment it was prepared", async () => {
  class Late extends BatchMachine {
    override prepareSnapshot(): unknown {
      return this.applied;
    }
  }
  await found(
    concurrent(() => new Late()),
    /point-in-time/,
  );
});
