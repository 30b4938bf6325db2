/**
 * Host processes with one kv shard over them, as the chaos tests start, ask, break and restart them. Replica i + 1 is
 * on host i. Everything is over real sockets; the tests talk to hosts by gRPC only.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HostClient } from "../../nodehost/client/index.js";
import type { ClusterInfo } from "../../shared/types/control.js";
import { eventually } from "../kit/wait.js";
import type { Cleanup } from "./cleanup.js";
import type { FromHost, HostSettings, ToHost } from "./host-process.js";

const PROGRAM = fileURLToPath(new URL("./host-process.js", import.meta.url));
const STDERR_CHARS_MAX = 20_000;
export const SHARD = 1;

export interface HostsOptions {
  readonly count: number;
  readonly dir: string;
  readonly rttMs: number;
  /** Command words before `node`, per host: to run it in a namespace. */
  readonly prefix?: (i: number) => readonly string[];
  /** `host:port`, port 0 = any. */
  readonly raftAddress: (i: number) => string;
  readonly apiAddress: (i: number) => string;
  readonly walDir?: string;
  /** Automatic snapshots; default each 500 entries, 0 = none. */
  readonly snapshotEntries?: number;
  /** Default 8. */
  readonly threadPoolSize?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One life of one host. */
export class HostProcess {
  readonly #child: ChildProcess;
  readonly exited: Promise<Exit>;
  #stderr = "";
  #isOpen = false;
  #isStarted = false;
  raftAddress = "";
  apiAddress = "";

  constructor(cleanup: Cleanup, words: readonly string[], threadPoolSize: number) {
    const [name = "", ...args] = words;
    const env = { ...process.env, UV_THREADPOOL_SIZE: `${threadPoolSize}`, LMDB_RESTORE: "safe" };
    const child = spawn(name, args, { env, stdio: ["ignore", "inherit", "pipe", "ipc"] });
    this.#child = child;
    // SIGKILL also ends a process that SIGSTOP holds.
    cleanup.add(() => child.kill("SIGKILL"));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARS_MAX);
    });
    child.on("message", (message: FromHost) => {
      if (message.kind === "open") ({ raftAddress: this.raftAddress, apiAddress: this.apiAddress } = message);
      this.#isOpen = true;
      if (message.kind === "started") this.#isStarted = true;
    });
    this.exited = new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code, signal) => resolve({ code, signal }));
    });
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error("the host was not started");
    return pid;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get stderr(): string {
    return this.#stderr;
  }

  async whenOpen(): Promise<void> {
    await this.#happens("open", () => this.#isOpen);
  }

  async start(message: ToHost): Promise<void> {
    this.#child.send(message);
    if (message.kind === "start") await this.#happens("started", () => this.#isStarted);
  }

  signal(name: NodeJS.Signals): void {
    if (!this.#child.kill(name)) throw new Error(`host ${this.pid} does not run any more`);
  }

  async #happens(what: string, is: () => boolean): Promise<void> {
    await eventually(`the host is ${what}`, () => {
      if (is()) return true;
      if (!this.isRunning) throw new Error(`the host ended: ${this.stderr}`);
      return undefined;
    });
  }
}

export class ChaosHosts {
  readonly #cleanup: Cleanup;
  readonly #options: HostsOptions;
  readonly #processes: HostProcess[] = [];
  readonly #clients: HostClient[] = [];

  constructor(cleanup: Cleanup, options: HostsOptions) {
    this.#cleanup = cleanup;
    this.#options = options;
  }

  /** Starts all hosts and the shard over them. */
  async start(): Promise<void> {
    const { count, snapshotEntries = 500 } = this.#options;
    const all = Array.from({ length: count }, (_, i) => i);
    await Promise.all(all.map((i) => this.open(i)));
    const members = all.map((i) => [i + 1, this.process(i).raftAddress] as const);
    await Promise.all(
      all.map((i) =>
        this.process(i).start({ kind: "start", shardId: SHARD, replicaId: i + 1, members, snapshotEntries }),
      ),
    );
    for (const i of all) {
      const client = new HostClient(this.process(i).apiAddress);
      this.#cleanup.add(() => client.close());
      this.#clients.push(client);
    }
  }

  /** Starts host i (again), where it was before. */
  async open(i: number): Promise<HostProcess> {
    const { dir, rttMs, walDir, prefix, threadPoolSize = 8 } = this.#options;
    const before = this.#processes[i];
    const settings: HostSettings = {
      dataDir: join(dir, `host-${i}`),
      ...(walDir === undefined ? {} : { walDir }),
      raftAddress: before?.raftAddress ?? this.#options.raftAddress(i),
      apiAddress: before?.apiAddress ?? this.#options.apiAddress(i),
      rttMs,
    };
    const words = [...(prefix?.(i) ?? []), process.execPath, "--enable-source-maps", PROGRAM, JSON.stringify(settings)];
    const started = new HostProcess(this.#cleanup, words, threadPoolSize);
    await started.whenOpen();
    this.#processes[i] = started;
    return started;
  }

  get count(): number {
    return this.#options.count;
  }

  process(i: number): HostProcess {
    const found = this.#processes[i];
    if (found === undefined) throw new RangeError(`no host ${i}`);
    return found;
  }

  client(i: number): HostClient {
    const found = this.#clients[i];
    if (found === undefined) throw new RangeError(`no client of host ${i}`);
    return found;
  }

  /** What host i says of its replica; undefined if it does not answer. */
  async shardInfo(i: number): Promise<ClusterInfo | undefined> {
    try {
      const info = await this.client(i).info({ timeoutMs: 500 });
      return info.clusterInfo.find((found) => found.shardId === SHARD);
    } catch {
      return undefined;
    }
  }

  /** The host among `candidates` whose replica leads. */
  leader(candidates = Array.from({ length: this.count }, (_, i) => i)): Promise<number> {
    return eventually(`a leader among hosts ${candidates.join()}`, async () => {
      for (const at of candidates) if ((await this.shardInfo(at))?.isLeader === true) return { at };
      return undefined;
    }).then((found) => found.at);
  }

  /** Waits until all replicas have applied the same and have the same state. */
  async converged(): Promise<void> {
    await eventually("equal state on all hosts", async () => {
      const infos = await Promise.all(Array.from({ length: this.count }, (_, i) => this.shardInfo(i)));
      const hashes = new Set(infos.map((info) => info?.stateHash ?? ""));
      return hashes.size === 1 && !hashes.has("") ? true : undefined;
    });
  }
}
