/**
 * Clients that write and read the kv shard through every host at once, and write down what they saw as a history for
 * the linearizability checker.
 *
 * Two kinds of keys: "reg" (get, put, delete, compare-and-set) and "log" (append and get: an append that was lost or
 * applied twice shows in the value). Both are replaced often, because every unknown outcome stays open in its key's
 * history for ever. Written values are unique.
 */
import { setTimeout as pause } from "node:timers/promises";
import {
  decodeKvAnswer,
  decodeKvNumber,
  encodeKvCommand,
  encodeKvQuery,
  type KvCommand,
  KvStatus,
  kvBytes,
} from "../../nodehost/apps/index.js";
import type { HostClient } from "../../nodehost/client/index.js";
import { errorText, isOpError } from "../../shared/errors.js";
import type { Operation } from "../linear/history.js";
import type { KvInput, KvOutput } from "../linear/models.js";
import type { Cleanup } from "./cleanup.js";
import { SHARD } from "./hosts.js";

const CLIENTS_PER_HOST = 2;
const CALL_TIMEOUT_MS = 1000;
const PROBE_TIMEOUT_MS = 10_000;
/** Between two calls of a client; more after a refusal. */
const THINK_MS = 8;
const REFUSED_PAUSE_MS = 40;
const KEY_LIFE_MS = 1500;
const KEY_OPERATIONS_MAX = 250;

export type KvHistory = Operation<KvInput, KvOutput>[];

interface Asked {
  readonly key: string;
  readonly input: KvInput;
}

/** By which a call goes to host `at`. */
interface Way {
  readonly at: number;
  readonly host: HostClient;
  readonly timeoutMs: number;
}

export class Clients {
  readonly #hosts: readonly HostClient[];
  readonly history: KvHistory = [];
  /** Acknowledged writes per host. */
  readonly writes: number[];
  /** How often each error code was met. */
  readonly errors = new Map<string, number>();
  #acknowledged = 0;
  #processes = 0;
  #serial = 0;
  #epoch = 0;
  #epochEndMs = 0;
  #epochOperations = 0;
  #running: Promise<void>[] = [];
  #stopped = false;
  #bug: unknown;

  constructor(cleanup: Cleanup, hosts: readonly HostClient[]) {
    cleanup.add(() => {
      this.#stopped = true;
    });
    this.#hosts = hosts;
    this.writes = hosts.map(() => 0);
  }

  /** Operations with a known outcome that is not a refusal. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  start(): void {
    this.#running = this.#hosts.flatMap((host, at) =>
      Array.from({ length: CLIENTS_PER_HOST }, () =>
        this.#work({ at, host, timeoutMs: CALL_TIMEOUT_MS }).catch((error: unknown) => {
          this.#bug ??= error;
        }),
      ),
    );
  }

  /** Resolves when no call is open. Throws if a client met what it cannot explain. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
    if (this.#bug !== undefined) throw this.#bug;
  }

  /** Reads every key through every host, linearizably; part of the history. */
  async readAll(): Promise<void> {
    const keys = [...new Set(this.history.map((op) => op.key))];
    for (const [at, host] of this.#hosts.entries()) {
      const process = this.#newProcess();
      const way: Way = { at, host, timeoutMs: CALL_TIMEOUT_MS };
      for (const key of keys) await this.#call(way, process, { key, input: { op: "get" } });
    }
  }

  /** Asks each of these clients of host `at` once for what is written now; the answers may come late. */
  async probe(at: number, probes: readonly HostClient[]): Promise<void> {
    const keys = [`reg-${this.#epoch}`, `log-${this.#epoch}`];
    await Promise.all(
      probes.flatMap((host) =>
        keys.map((key) =>
          this.#call({ at, host, timeoutMs: PROBE_TIMEOUT_MS }, this.#newProcess(), { key, input: { op: "get" } }),
        ),
      ),
    );
  }

  /** Acknowledged appends that the last value read of their key does not hold exactly once. */
  lostAppends(): string[] {
    const last = new Map<string, string>();
    const byReturn = this.history.filter((op) => op.output?.op === "get").sort((a, b) => a.returnMs - b.returnMs);
    for (const { key, output } of byReturn) if (output?.op === "get") last.set(key, output.value ?? "");
    return this.history.flatMap(({ key, input, output }) => {
      if (input.op !== "append" || output === undefined) return [];
      const count = (last.get(key) ?? "").split(input.value).length - 1;
      return count === 1 ? [] : [`${input.value} is ${count} times in ${key}`];
    });
  }

  #newProcess(): number {
    this.#processes += 1;
    return this.#processes;
  }

  async #work(way: Way): Promise<void> {
    let process = this.#newProcess();
    /** What this client last saw in a key, for compare-and-set. */
    const seen = new Map<string, string | null>();
    while (!this.#stopped) {
      const asked = this.#next(seen);
      const outcome = await this.#call(way, process, asked);
      if (outcome === "unknown") process = this.#newProcess();
      else if (outcome !== "refused") remember(seen, asked, outcome);
      await pause(outcome === "refused" ? REFUSED_PAUSE_MS : THINK_MS * (0.5 + Math.random()));
    }
  }

  #next(seen: ReadonlyMap<string, string | null>): Asked {
    const nowMs = performance.now();
    if (nowMs > this.#epochEndMs || this.#epochOperations >= KEY_OPERATIONS_MAX) {
      this.#epoch += 1;
      this.#epochEndMs = nowMs + KEY_LIFE_MS;
      this.#epochOperations = 0;
    }
    this.#epochOperations += 1;
    this.#serial += 1;
    const value = `(${this.#serial})`;
    const reg = `reg-${this.#epoch}`;
    const log = `log-${this.#epoch}`;
    const roll = Math.random();
    if (roll < 0.2) return { key: reg, input: { op: "get" } };
    if (roll < 0.35) return { key: reg, input: { op: "put", value } };
    if (roll < 0.4) return { key: reg, input: { op: "delete" } };
    if (roll < 0.6) return { key: reg, input: { op: "cas", expected: seen.get(reg) ?? null, value } };
    if (roll < 0.75) return { key: log, input: { op: "get" } };
    return { key: log, input: { op: "append", value } };
  }

  async #call(way: Way, process: number, asked: Asked): Promise<KvOutput | "refused" | "unknown"> {
    const { at, host, timeoutMs } = way;
    const callMs = performance.now();
    const call = { process, key: asked.key, input: asked.input, callMs };
    try {
      const output = await send(host, asked, timeoutMs);
      this.history.push({ ...call, output, returnMs: performance.now() });
      this.#acknowledged += 1;
      if (asked.input.op !== "get") this.writes[at] = (this.writes[at] ?? 0) + 1;
      return output;
    } catch (error) {
      if (!isOpError(error)) throw error;
      this.errors.set(error.code, (this.errors.get(error.code) ?? 0) + 1);
      if (error.code === "DL_ERR_INTERNAL") throw new Error(`host ${at}: ${errorText(error)}`, { cause: error });
      if (asked.input.op === "get" || error.outcome === "rejected") return "refused";
      this.history.push({ ...call, output: undefined, returnMs: 0 });
      return "unknown";
    }
  }
}

function remember(seen: Map<string, string | null>, { key, input }: Asked, output: KvOutput): void {
  if (output.op === "get") seen.set(key, output.value);
  else if (output.op === "cas" && !output.done && output.actual !== undefined) seen.set(key, output.actual);
  else if (output.op === "delete") seen.set(key, null);
  else if ("value" in input && input.op !== "append") seen.set(key, input.value);
}

async function send(host: HostClient, { key, input }: Asked, timeoutMs: number): Promise<KvOutput> {
  const options = { timeoutMs };
  if (input.op === "get") {
    const data = await host.read(SHARD, encodeKvQuery({ op: "get", key: kvBytes(key) }), options);
    const { found, bytes } = decodeKvAnswer(data ?? new Uint8Array(1));
    return { op: "get", value: found ? text(bytes) : null };
  }
  const { value: status, data } = await host.propose(SHARD, encodeKvCommand(commandOf(key, input)), options);
  switch (input.op) {
    case "put":
      expectStatus(status, KvStatus.Ok);
      return { op: "put" };
    case "delete":
      expectStatus(status, KvStatus.Ok, KvStatus.NotFound);
      return { op: "delete", found: status === KvStatus.Ok };
    case "append":
      expectStatus(status, KvStatus.Ok);
      return { op: "append", length: decodeKvNumber(data) };
    default:
      expectStatus(status, KvStatus.Ok, KvStatus.CompareFailed);
      if (status === KvStatus.Ok) return { op: "cas", done: true };
      // No value of these tests is empty: no data means that there was none.
      return { op: "cas", done: false, actual: data.length === 0 ? null : text(data) };
  }
}

function commandOf(name: string, input: Exclude<KvInput, { op: "get" }>): KvCommand {
  const key = kvBytes(name);
  switch (input.op) {
    case "delete":
      return { op: "delete", key };
    case "cas": {
      const expected = input.expected === null ? undefined : kvBytes(input.expected);
      return { op: "compareAndSet", key, expected, value: kvBytes(input.value) };
    }
    default:
      return { op: input.op, key, value: kvBytes(input.value) };
  }
}

function expectStatus(status: number, ...expected: readonly number[]): void {
  if (!expected.includes(status)) throw new Error(`kv answered status ${status}`);
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
