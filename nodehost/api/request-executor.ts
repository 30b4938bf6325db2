/**
 * Carries out a master's requests: checked against the fence first, once per requestId, in order per shard. A result
 * is only a hint for the master; what counts is what the next report shows.
 */
import * as path from "node:path";
import type { Env } from "../../shared/env/env.js";
import { type ErrorCode, errorText, isOpError, OpError } from "../../shared/errors.js";
import { type Files, readWhole } from "../../shared/files/port.js";
import type { HostAction, HostRequest, HostResult, ReplicaSettings } from "../../shared/types/control.js";
import { isSafeUint, type ReplicaId, type ShardId, type Target } from "../../shared/types/ids.js";
import type { ReplicaConfig } from "../engine/index.js";
import type { App } from "../rsm/index.js";
import { type HostIdentity, writeDurably } from "./host-dir.js";
import type { NodeHost } from "./nodehost.js";

const REMEMBERED_RESULTS = 4096;
const STEP_TIMEOUT_MS = 5_000;
const FILE = "fence.json";

interface MasterFence {
  readonly lineage: number;
  readonly term: number;
}

export interface ExecutorOptions {
  readonly host: NodeHost;
  readonly identity: HostIdentity;
  readonly apps: ReadonlyMap<string, App>;
  readonly files: Files;
  readonly dataDir: string;
  readonly env: Env;
  /** A request was carried out: what the host reports has changed. */
  readonly onDone?: () => void;
}

export class RequestExecutor {
  readonly #options: ExecutorOptions;
  readonly #done = new Map<string, HostResult>();
  readonly #running = new Map<string, Promise<HostResult>>();
  readonly #shards = new Map<ShardId, Promise<unknown>>();
  /** Highest master heard, and highest one that is durable. */
  #fence: MasterFence = { lineage: 0, term: 0 };
  #durableFence: MasterFence = { lineage: 0, term: 0 };
  #fenceWrite: Promise<void> = Promise.resolve();

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  /** Reads the highest master seen before the last stop. DL_ERR_LOGDB_CORRUPT if that cannot be known. */
  async open(): Promise<void> {
    const { files, dataDir } = this.#options;
    const file = path.join(dataDir, FILE);
    if (!(await files.exists(file))) return;
    const fence = readFence(Buffer.from(await readWhole(files, file)).toString("utf8"));
    if (fence === undefined) throw new OpError("DL_ERR_LOGDB_CORRUPT", `${file} is not readable`);
    this.#fence = fence;
    this.#durableFence = fence;
  }

  get highestMasterTerm(): number {
    return this.#fence.term;
  }

  /** Never rejects. The same requestId again answers the same without doing it again. */
  execute(request: HostRequest): Promise<HostResult> {
    const { requestId, shardId } = request;
    const earlier = this.#done.get(requestId);
    if (earlier !== undefined) return Promise.resolve(earlier);
    const running = this.#running.get(requestId);
    if (running !== undefined) return running;
    const receivedMs = this.#options.env.now();
    const before = this.#shards.get(shardId) ?? Promise.resolve();
    const result = before.then(() => this.#run(request, receivedMs));
    this.#running.set(requestId, result);
    this.#shards.set(shardId, result);
    return result.finally(() => {
      this.#running.delete(requestId);
      if (this.#shards.get(shardId) === result) this.#shards.delete(shardId);
    });
  }

  async #run(request: HostRequest, receivedMs: number): Promise<HostResult> {
    const { requestId, shardId, action } = request;
    const { hostId } = this.#options.identity;
    let result: HostResult;
    try {
      await this.#checkFence(request, receivedMs);
      await this.#perform(shardId, action);
      result = { requestId, hostId, ok: true, code: "", detail: "" };
    } catch (error) {
      const code: ErrorCode = isOpError(error) ? error.code : "DL_ERR_REJECTED";
      result = { requestId, hostId, ok: false, code, detail: errorText(error) };
      // What may succeed later is not remembered: the master repeats the request and it is tried again.
      if (!isOpError(error) || error.retryable) return result;
    }
    this.#remember(result);
    if (result.ok) this.#options.onDone?.();
    return result;
  }

  #remember(result: HostResult): void {
    this.#done.set(result.requestId, result);
    if (this.#done.size <= REMEMBERED_RESULTS) return;
    for (const oldest of this.#done.keys()) {
      this.#done.delete(oldest);
      return;
    }
  }

  async #checkFence(request: HostRequest, receivedMs: number): Promise<void> {
    const { fence } = request;
    const { identity, env } = this.#options;
    const refuse = (what: string): never => {
      throw new OpError("DL_ERR_FENCED", what);
    };
    if (fence.deploymentId !== identity.deploymentId) refuse(`deployment ${fence.deploymentId}`);
    if (fence.hostId !== identity.hostId) refuse(`for host ${fence.hostId}`);
    if (fence.dataSetId !== identity.dataSetId) refuse(`for data set ${fence.dataSetId}`);
    if (fence.incarnation !== identity.incarnation.counter) refuse(`for start ${fence.incarnation}`);
    if (env.now() - receivedMs > fence.ttlMs) refuse(`older than ${fence.ttlMs} ms`);
    const master = { lineage: fence.masterLineage, term: fence.masterTerm };
    if (isNewer(this.#fence, master)) refuse(`master term ${master.term}, seen ${this.#fence.term}`);
    this.#fence = master;
    if (isNewer(master, this.#durableFence)) {
      this.#fenceWrite = this.#fenceWrite.then(
        () => this.#saveFence(),
        () => this.#saveFence(),
      );
    }
    await this.#fenceWrite;
  }

  async #saveFence(): Promise<void> {
    const { files, dataDir } = this.#options;
    const fence = this.#fence;
    if (!isNewer(fence, this.#durableFence)) return;
    await writeDurably(files, dataDir, FILE, Buffer.from(`${JSON.stringify(fence)}\n`));
    this.#durableFence = fence;
  }

  async #perform(shardId: ShardId, action: HostAction): Promise<void> {
    const { host, apps } = this.#options;
    const { replicaId } = action;
    switch (action.kind) {
      case "create":
        return this.#startOrRestart(shardId, action, action.initial);
      case "join":
        return this.#startOrRestart(shardId, action, new Map());
      case "restart":
        if (this.#runs(shardId, replicaId)) return;
        return host.restartReplica(shardId, replicaId, apps);
      case "addNonVoting": {
        const { target, configChangeIndex } = action;
        return host.syncRequestAddNonVoting(shardId, replicaId, target, configChangeIndex, {
          timeoutMs: STEP_TIMEOUT_MS,
        });
      }
      case "promote": {
        const { target, configChangeIndex } = action;
        return host.syncRequestAddReplica(shardId, replicaId, target, configChangeIndex, {
          timeoutMs: STEP_TIMEOUT_MS,
        });
      }
      case "remove":
        return host.syncRequestDeleteReplica(shardId, replicaId, action.configChangeIndex, {
          timeoutMs: STEP_TIMEOUT_MS,
        });
      case "stop":
        if (this.#holds(shardId, replicaId)) await host.stopReplica(shardId, replicaId);
        return;
      case "removeData":
        if (this.#holds(shardId, replicaId)) await host.stopReplica(shardId, replicaId);
        if (host.hasNodeInfo(shardId, replicaId)) await host.removeData(shardId, replicaId);
        return;
    }
  }

  async #startOrRestart(
    shardId: ShardId,
    action: { readonly replicaId: ReplicaId; readonly app: string; readonly settings: ReplicaSettings },
    initial: ReadonlyMap<ReplicaId, Target>,
  ): Promise<void> {
    const { host, apps } = this.#options;
    const { replicaId, settings } = action;
    if (this.#runs(shardId, replicaId)) return;
    if (host.hasNodeInfo(shardId, replicaId)) return host.restartReplica(shardId, replicaId, apps);
    const app = apps.get(action.app);
    if (app === undefined) {
      const known = [...apps.keys()].join(", ");
      throw new OpError("DL_ERR_APP_UNKNOWN", `app ${action.app}, this host has ${known}`);
    }
    // The masters allot each id once, and the fence names this very directory: nobody need be asked (Introductions).
    const config: ReplicaConfig = { shardId, replicaId, ...settings, managed: true, assumeNew: true };
    await host.startApp(initial, initial.size === 0, app, config);
  }

  #runs(shardId: ShardId, replicaId: ReplicaId): boolean {
    return this.#infoOf(shardId, replicaId)?.fault === "";
  }

  #holds(shardId: ShardId, replicaId: ReplicaId): boolean {
    return this.#infoOf(shardId, replicaId) !== undefined;
  }

  #infoOf(shardId: ShardId, replicaId: ReplicaId): { readonly fault: string } | undefined {
    try {
      const info = this.#options.host.getShardInfo(shardId);
      return info.replicaId === replicaId ? info : undefined;
    } catch (error) {
      if (isOpError(error) && error.code === "DL_ERR_SHARD_NOT_FOUND") return undefined;
      throw error;
    }
  }
}

function isNewer(a: MasterFence, b: MasterFence): boolean {
  return a.lineage > b.lineage || (a.lineage === b.lineage && a.term > b.term);
}

function readFence(text: string): MasterFence | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(parsed));
  const lineage = fields.get("lineage");
  const term = fields.get("term");
  return isSafeUint(lineage) && isSafeUint(term) ? { lineage, term } : undefined;
}
