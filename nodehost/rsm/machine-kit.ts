/**
 * Conformance check of a state machine: what every machine must do for replication to be right, tried on the real
 * thing with the given commands. For tests of ours and of applications (exported as part of the test kit).
 *
 * It looks for: results or hashes that differ between two replicas, clock or randomness in `update`, kept views of
 * command bytes, batches that matter, snapshots that lose or mix state, chunk boundaries that matter in recovery, and
 * snapshots that include updates made after `prepareSnapshot`. Hashes are compared only if the machine has getHash.
 */
import { errorText } from "../../shared/errors.js";
import { createMachine } from "./create-machine.js";
import type { App, Result, SmEntry } from "./state-machine.js";
import type { Machine } from "./types.js";

export interface MachineProblem {
  readonly check: "results" | "determinism" | "snapshot" | "recovery" | "point-in-time";
  readonly message: string;
}

const NEVER = new AbortController().signal;

/** What is wrong with the app's machine; [] if nothing was found. `commands` should touch every kind of command. */
export async function checkStateMachine(app: App, commands: readonly Uint8Array[]): Promise<MachineProblem[]> {
  const check = new Check(app, commands);
  await check.run();
  return check.problems;
}

class Check {
  readonly problems: MachineProblem[] = [];
  readonly #app: App;
  readonly #commands: readonly Uint8Array[];

  constructor(app: App, commands: readonly Uint8Array[]) {
    this.#app = app;
    this.#commands = commands;
  }

  async run(): Promise<void> {
    const half = Math.floor(this.#commands.length / 2);
    const reference = await this.#replica("determinism", 1);
    if (reference === undefined) return;
    const firstResults = await reference.apply(0, half, 1);
    const halfHash = reference.hash();
    const saved = await this.#try("snapshot", () => reference.save());
    const lastResults = await reference.apply(half, this.#commands.length, 1);
    const all = [...firstResults, ...lastResults];
    for (const problem of reference.found) this.#report("results", problem);
    await this.#twin(all, reference.hash());
    if (saved !== undefined) {
      for (const chunkBytes of [1, 7, 65_536]) {
        await this.#recovered(saved, chunkBytes, { half, halfHash, lastResults, hash: reference.hash() });
      }
    }
    await this.#pointInTime(half, halfHash);
    await reference.close();
  }

  /** A second replica, with other batches and another clock, must answer the same. */
  async #twin(results: readonly string[], hash: string | undefined): Promise<void> {
    const twin = await this.#replica("determinism", 2);
    if (twin === undefined) return;
    const answers = await twin.apply(0, this.#commands.length, 5);
    this.#same("determinism", answers, results);
    if (twin.hash() !== hash)
      this.#report("determinism", `state hash is ${twin.hash()} on one replica, ${hash} on another`);
    await twin.close();
  }

  async #recovered(
    bytes: Uint8Array,
    chunkBytes: number,
    expected: { half: number; halfHash: string | undefined; lastResults: readonly string[]; hash: string | undefined },
  ): Promise<void> {
    const replica = await this.#replica("recovery", 3);
    if (replica === undefined) return;
    // A machine that is restored may hold a state already; all of it must go.
    await replica.apply(0, Math.min(3, expected.half), 1);
    const done = await this.#try("recovery", async () => {
      await replica.recover(bytes, chunkBytes);
      return true;
    });
    if (done === true) {
      const where = `after recovery in chunks of ${chunkBytes} bytes`;
      if (replica.hash() !== expected.halfHash) {
        this.#report("recovery", `state hash ${where} is ${replica.hash()}, expected ${expected.halfHash}`);
      }
      this.#same("recovery", await replica.apply(expected.half, this.#commands.length, 1), expected.lastResults);
      if (replica.hash() !== expected.hash) {
        this.#report(
          "recovery",
          `state hash ${where} and further updates is ${replica.hash()}, expected ${expected.hash}`,
        );
      }
    }
    await replica.close();
  }

  /** What is saved after further updates must be the state as prepared. */
  async #pointInTime(half: number, halfHash: string | undefined): Promise<void> {
    const writer = await this.#replica("point-in-time", 4);
    const reader = await this.#replica("point-in-time", 5);
    if (writer === undefined || reader === undefined || writer.machine.kind !== "concurrent") return;
    const { machine } = writer.machine;
    await writer.apply(0, half, 1);
    const prepared = machine.prepareSnapshot();
    const chunks: Uint8Array[] = [];
    let next = half;
    const sink = {
      write: async (bytes: Uint8Array) => {
        chunks.push(new Uint8Array(bytes));
        const upTo = Math.min(this.#commands.length, next + 3);
        await writer.apply(next, upTo, 1);
        next = upTo;
      },
    };
    await writer.apply(next, Math.min(this.#commands.length, next + 3), 2);
    next = Math.min(this.#commands.length, next + 3);
    const done = await this.#try("point-in-time", async () => {
      await machine.saveSnapshot(prepared, sink, NEVER);
      await reader.recover(concat(chunks), 4096);
      return true;
    });
    if (done === true && reader.hash() !== halfHash) {
      this.#report("point-in-time", `the snapshot holds ${reader.hash()}, prepared was ${halfHash}`);
    }
    await writer.close();
    await reader.close();
  }

  async #replica(check: MachineProblem["check"], replicaId: number): Promise<Driven | undefined> {
    const machine = await this.#try(check, async () => createMachine(this.#app, 1, replicaId));
    return machine === undefined ? undefined : new Driven(machine, this.#commands);
  }

  #same(check: MachineProblem["check"], found: readonly string[], expected: readonly string[]): void {
    const at = expected.findIndex((text, i) => text !== found[i]);
    if (at >= 0) this.#report(check, `result ${at} is ${found[at]} on one replica, ${expected[at]} on another`);
  }

  async #try<T>(check: MachineProblem["check"], call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      this.#report(check, errorText(error));
      return undefined;
    }
  }

  #report(check: MachineProblem["check"], message: string): void {
    this.problems.push({ check, message });
  }
}

/** One machine driven through the commands, as hostile as the contract allows. */
class Driven {
  readonly machine: Machine;
  readonly found: string[] = [];
  readonly #commands: readonly Uint8Array[];

  constructor(machine: Machine, commands: readonly Uint8Array[]) {
    this.machine = machine;
    this.#commands = commands;
  }

  /** Applies commands [from, to); one text per result. */
  async apply(from: number, to: number, batch: number): Promise<string[]> {
    const texts: string[] = [];
    for (let at = from; at < to; at += batch) {
      const entries = this.#commands.slice(at, Math.min(to, at + batch)).map((cmd, i) => ({
        index: at + i + 1,
        cmd: new Uint8Array(cmd),
      }));
      try {
        const results = await this.#update(entries);
        if (results.length !== entries.length) this.#note(`${results.length} results for ${entries.length} entries`);
        for (const result of results) texts.push(this.#text(result));
      } catch (error) {
        this.#note(`update of entry ${at + 1} threw: ${errorText(error)}`);
        texts.push(...entries.map(() => `threw ${errorText(error)}`));
      }
      // The bytes were a view for the duration of the call.
      for (const { cmd } of entries) cmd.fill(0xa5);
    }
    return texts;
  }

  async save(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    const sink = {
      write: async (bytes: Uint8Array) => {
        chunks.push(new Uint8Array(bytes));
        await Promise.resolve();
      },
    };
    const { kind, machine } = this.machine;
    if (kind === "memory") await machine.saveSnapshot(sink, NEVER);
    else await machine.saveSnapshot(machine.prepareSnapshot(), sink, NEVER);
    return concat(chunks);
  }

  async recover(bytes: Uint8Array, chunkBytes: number): Promise<void> {
    await this.machine.machine.recoverFromSnapshot(inChunks(bytes, chunkBytes), NEVER);
  }

  hash(): string | undefined {
    return this.machine.machine.getHash?.();
  }

  async close(): Promise<void> {
    await this.machine.machine.close();
  }

  async #update(entries: readonly SmEntry[]): Promise<readonly Result[]> {
    const { kind, machine } = this.machine;
    if (kind === "concurrent") return this.#watched(() => machine.update(entries));
    const results: Result[] = [];
    for (const entry of entries) results.push(await this.#watched(() => machine.update(entry)));
    return results;
  }

  /** Runs the synchronous part of an update while clock and randomness are watched. */
  #watched<T>(call: () => T): T {
    const { random } = Math;
    const { now } = Date;
    const watch = (name: string, real: () => number): (() => number) => {
      return () => {
        this.#note(`update uses ${name}: replicas will differ`);
        return real();
      };
    };
    Math.random = watch("Math.random", random);
    Date.now = watch("Date.now", now);
    try {
      return call();
    } finally {
      Math.random = random;
      Date.now = now;
    }
  }

  #text(result: Result | undefined): string {
    if (!Number.isSafeInteger(result?.value)) {
      this.#note(`a result's value is ${String(result?.value)}, expected an integer`);
    }
    const data = result?.data;
    return `${String(result?.value)}:${data === undefined ? "-" : [...data].join(",")}`;
  }

  #note(problem: string): void {
    if (!this.found.includes(problem)) this.found.push(problem);
  }
}

async function* inChunks(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.slice(at, at + chunkBytes);
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
