/**
 * Shard 0 as the loop sees it: the local view, who leads, and proposals with typed answers. The engine under it is an
 * ordinary NodeHost; the master is its first user.
 */

import { NodeHost, type NodeHostOptions } from "../../nodehost/index.js";
import { OpError } from "../../shared/errors.js";
import type { ClusterInfo } from "../../shared/types/control.js";
import type { ReplicaId, Term } from "../../shared/types/ids.js";
import {
  type Command,
  type CommandResult,
  decodeResult,
  encodeCommand,
  MasterDb,
  type MasterView,
} from "../db/index.js";

/** The master's own shard. */
export const MASTER_SHARD = 0;
const PROPOSE_TIMEOUT_MS = 5_000;
const HANDOVER_TIMEOUT_MS = 1_000;

export interface MasterMember {
  readonly replicaId: ReplicaId;
  readonly raftAddress: string;
  readonly apiAddress: string;
}

export interface StoreOptions extends NodeHostOptions {
  readonly replicaId: ReplicaId;
  readonly members: readonly MasterMember[];
  /** Called after commands were applied here. */
  readonly onApplied: () => void;
}

export interface Leadership {
  readonly leading: boolean;
  readonly leaderId: ReplicaId;
  readonly term: Term;
}

export class Store {
  readonly #host: NodeHost;
  readonly #db: MasterDb;
  readonly #replicaId: ReplicaId;

  private constructor(host: NodeHost, db: MasterDb, replicaId: ReplicaId) {
    this.#host = host;
    this.#db = db;
    this.#replicaId = replicaId;
  }

  /** Opens the directory and starts this master's replica of shard 0: first start or restart. */
  static async open(options: StoreOptions): Promise<Store> {
    const { replicaId, members, onApplied, ...rest } = options;
    const db = new MasterDb(onApplied);
    const host = await NodeHost.open(rest);
    try {
      refuseOthersData(host, replicaId, rest.dataDir);
      const known = host.hasNodeInfo(MASTER_SHARD, replicaId);
      const initial = known ? new Map<number, string>() : new Map(members.map((m) => [m.replicaId, m.raftAddress]));
      const config = { shardId: MASTER_SHARD, replicaId, snapshotEntries: 5_000, compactionOverhead: 1_000 };
      await host.startConcurrentReplica(initial, false, () => db, config);
    } catch (error) {
      await host.close();
      throw error;
    }
    return new Store(host, db, replicaId);
  }

  get raftAddress(): string {
    return this.#host.raftAddress;
  }

  get hostId(): string {
    return this.#host.hostId;
  }

  /** As applied here; a leader that has just won must `catchUp` before it relies on it. */
  view(): MasterView {
    return this.#db.view();
  }

  leadership(): Leadership {
    const info = this.#host.getShardInfo(MASTER_SHARD);
    return { leading: info.isLeader, leaderId: info.leaderId, term: info.term };
  }

  lineage(): number {
    return this.#host.getShardInfo(MASTER_SHARD).lineage;
  }

  /** Resolves when everything committed before the call is applied here. */
  async catchUp(): Promise<void> {
    const { error } = await this.#host.readIndex(MASTER_SHARD, { timeoutMs: PROPOSE_TIMEOUT_MS }).completed;
    if (error !== undefined) throw error;
  }

  /** Commits one command and answers what applying it said. Throws OpError when it was not applied (or unknown). */
  async propose(command: Command): Promise<CommandResult> {
    const session = this.#host.getNoOPSession(MASTER_SHARD);
    const result = await this.#host.syncPropose(session, encodeCommand(command), { timeoutMs: PROPOSE_TIMEOUT_MS });
    return decodeResult(result);
  }

  /** As `propose`, and a refusal is thrown too. Answers the id of what was made. */
  async commit(command: Command): Promise<number> {
    const { code, id, detail } = await this.propose(command);
    if (code !== "ok") throw new OpError(code, detail);
    return id;
  }

  get replicaId(): ReplicaId {
    return this.#replicaId;
  }

  /** The local replica as it would be reported; on the leader with how far each member is. */
  info(): ClusterInfo {
    return this.#host.getShardInfo(MASTER_SHARD);
  }

  /** Lets another master lead, by transfer if one can take over at once. */
  async stepDown(): Promise<void> {
    await this.#host.drain({ timeoutMs: HANDOVER_TIMEOUT_MS });
  }

  close(): Promise<void> {
    return this.#host.close();
  }
}

/** A master with the directory of another would have voted twice; with that of a NodeHost it would run its shards. */
function refuseOthersData(host: NodeHost, replicaId: ReplicaId, directory: string): void {
  for (const log of host.getNodeHostInfo().logInfo) {
    if (log.shardId === MASTER_SHARD && log.replicaId === replicaId) continue;
    const whose = log.shardId === MASTER_SHARD ? `master ${log.replicaId}` : "a NodeHost";
    throw new OpError("DL_ERR_HOST_MISMATCH", `${directory} is the directory of ${whose}, this is master ${replicaId}`);
  }
}
