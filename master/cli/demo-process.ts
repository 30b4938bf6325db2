/**
 * One process of the demo: spawned from the real CLI with an IPC channel (it exits when this process is gone, however
 * that happened), its first line on stdout awaited, its log in a file. In a process group of its own, so that Ctrl-C
 * in a terminal reaches only the parent, which stops its children in order. Also used by the end-to-end tests.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { createInterface } from "node:readline";
import { DemoFailure } from "./demo-wait.js";

export interface ProcessOptions {
  /** For messages and the log's name: "master-1". */
  readonly name: string;
  /** Of the CLI: [<path of main.js or drumline.cjs>, verb, …]. */
  readonly args: readonly string[];
  readonly logPath: string;
  readonly cwd?: string;
  /** False: no channel, as if started in a terminal. */
  readonly ipc?: boolean;
  readonly readyLimitMs?: number;
  /** Sees every line on stdout. */
  readonly onLine?: (line: string) => void;
}

/** The line `{"event":"ready",…}`; empty texts for what is not served. */
export interface ReadyLine {
  readonly raftAddress: string;
  readonly apiAddress: string;
  readonly httpAddress: string;
  readonly url: string;
  readonly hostId: string;
}

export interface ExitState {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const READY_LIMIT_MS = 30_000;
const KILL_AFTER_MS = 8_000;

export class DrumlineProcess {
  readonly name: string;
  readonly logPath: string;
  readonly exited: Promise<ExitState>;
  readonly #child: ChildProcess;
  readonly #ready: Promise<ReadyLine>;
  #exit: ExitState | undefined;

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.logPath = options.logPath;
    const log = openSync(options.logPath, "a");
    const ipc = options.ipc === false ? ([] as const) : (["ipc"] as const);
    const cwd = options.cwd === undefined ? {} : { cwd: options.cwd };
    this.#child = spawn(process.execPath, [...options.args], {
      stdio: ["ignore", "pipe", log, ...ipc],
      env: childEnvironment(),
      detached: true,
      ...cwd,
    });
    writeSync(log, `${JSON.stringify({ event: "spawned", name: options.name, pid: this.pid })}\n`);
    this.exited = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        this.#exit ??= { code, signal };
        resolve(this.#exit);
      };
      this.#child.once("exit", end);
      this.#child.once("error", () => end(null, null));
    });
    this.#ready = this.#awaitReady(log, options);
    this.#ready.catch(() => {}); // whoever waits for it sees it
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** Rejects with DemoFailure when it ends or stays silent instead. */
  ready(): Promise<ReadyLine> {
    return this.#ready;
  }

  /** SIGKILL: as if the power of this one process failed. */
  async kill(): Promise<void> {
    if (this.running) this.#child.kill("SIGKILL");
    await this.exited;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** SIGTERM, and SIGKILL if that takes too long. True if it went in order. */
  async stop(killAfterMs = KILL_AFTER_MS): Promise<boolean> {
    if (!this.running) return true;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), killAfterMs);
    const { code } = await this.exited;
    clearTimeout(timer);
    return code === 0;
  }

  #awaitReady(log: number, { readyLimitMs: limitMs = READY_LIMIT_MS, onLine }: ProcessOptions): Promise<ReadyLine> {
    const { stdout } = this.#child;
    return new Promise((resolve, reject) => {
      const fail = (what: string): void => reject(new DemoFailure(`${this.name} ${what}${this.#lastWords()}`));
      const timer = setTimeout(() => fail(`said nothing within ${limitMs / 1000} s`), limitMs);
      void this.exited.then(({ code, signal }) => {
        clearTimeout(timer);
        fail(`ended before it was ready (${signal ?? `exit code ${code}`})`);
      });
      if (stdout === null) return;
      const lines = createInterface({ input: stdout });
      lines.on("line", (line) => {
        writeSync(log, `${line}\n`);
        onLine?.(line);
        const ready = parseReadyLine(line);
        if (ready === undefined) return;
        clearTimeout(timer);
        resolve(ready);
      });
      lines.once("close", () => closeSync(log));
    });
  }

  /** The last lines of its log: why it did not start is there. */
  #lastWords(): string {
    if (!existsSync(this.logPath)) return "";
    const lines = readFileSync(this.logPath, "utf8").trimEnd().split("\n");
    const last = lines.slice(-3).join("\n  ");
    return last === "" ? "" : `:\n  ${last}`;
  }
}

/** Undefined for any other line. */
export function parseReadyLine(line: string): ReadyLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(value));
  if (fields.get("event") !== "ready") return undefined;
  const text = (key: string): string => {
    const found = fields.get(key);
    return typeof found === "string" ? found : "";
  };
  return {
    raftAddress: text("raftAddress"),
    apiAddress: text("apiAddress"),
    httpAddress: text("httpAddress"),
    url: text("url"),
    hostId: text("hostId"),
  };
}

/** Children see none of our settings, and get those that must be set before Node starts. */
export function childEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, UV_THREADPOOL_SIZE: "16", LMDB_RESTORE: "safe" };
  delete env["NODE_TEST_CONTEXT"];
  for (const name of Object.keys(env)) if (name.startsWith("DRUMLINE_")) delete env[name];
  return env;
}

/** Below the ranges from which systems take ports for outgoing connections and for port 0. */
const FIRST_PORT = 11_000;
const LAST_PORT = 32_000;
const TRIES = 200;

/** `count` base ports p on 127.0.0.1 with p, p + 1 and p + 2 free now; no two triples overlap. */
export async function freePortTriples(count: number): Promise<number[]> {
  const bases: number[] = [];
  const held: Server[] = [];
  try {
    for (let tries = 0; bases.length < count && tries < TRIES; tries++) {
      const base = FIRST_PORT + 3 * Math.floor((Math.random() * (LAST_PORT - FIRST_PORT)) / 3);
      if (bases.includes(base)) continue;
      const servers = await Promise.all([0, 1, 2].map((offset) => tryListen(base + offset)));
      for (const server of servers) if (server !== undefined) held.push(server);
      if (servers.every((server) => server !== undefined)) bases.push(base);
    }
  } finally {
    await Promise.all(held.map((server) => new Promise((done) => server.close(done))));
  }
  if (bases.length < count)
    throw new DemoFailure(`no ${count} free port triples between ${FIRST_PORT} and ${LAST_PORT}`);
  return bases;
}

function tryListen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
