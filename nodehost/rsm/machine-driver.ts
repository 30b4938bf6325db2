/**
 * One machine of any kind driven through the commands, as hostile as the contract allows: command bytes are overwritten
 * after the call, clock and randomness are watched, snapshots come back in chunks of any size. Used by the conformance
 * check (machine-kit.ts, machine-kit-disk.ts).
 */
import { errorText } from "../../shared/errors.js";
import type { Result, SmEntry } from "./state-machine.js";
import type { Machine } from "./types.js";

export const NEVER: AbortSignal = new AbortController().signal;

export class Driven {
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

  /** Of an on-disk machine. */
  async sync(): Promise<void> {
    if (this.machine.kind === "onDisk") await this.machine.machine.sync();
  }

  hash(): string | undefined {
    return this.machine.machine.getHash?.();
  }

  async close(): Promise<void> {
    await this.machine.machine.close();
  }

  async #update(entries: readonly SmEntry[]): Promise<readonly Result[]> {
    const { kind, machine } = this.machine;
    if (kind !== "memory") return this.#watched(() => machine.update(entries));
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

export function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
