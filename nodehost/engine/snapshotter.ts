/**
 * Snapshots of one replica: made each `snapshotEntries` applied entries (jittered, so that shards do not snapshot
 * together) or on request, recorded in the log, older ones reclaimed; streamed to followers that need them.
 * Order: files synced and renamed → record durable in the log → older files removed.
 */
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { Index, ReplicaId } from "../../shared/types/ids.js";
import { targetOf } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { LogUpdate } from "../logdb/port.js";
import type { SnapshotRequest } from "../raft/types.js";
import type { ReplicaPorts } from "./ports.js";
import type { Replica } from "./replica.js";

export interface SnapshotOptions {
  /** Entries to keep behind the snapshot instead of the configured overhead. */
  readonly compactionOverhead?: number;
}

export class Snapshotter {
  readonly #replica: Replica;
  readonly #ports: ReplicaPorts;
  readonly #cancel = new AbortController();
  readonly #sending = new Set<ReplicaId>();
  #newest: SnapshotMeta | undefined;
  /** Of the newest snapshot that replaced the log, also while it is not restored yet. */
  #installedIndex: Index = 0;
  #saving = false;
  #nextAt: Index;

  constructor(replica: Replica, ports: ReplicaPorts, newest: SnapshotMeta | undefined) {
    this.#replica = replica;
    this.#ports = ports;
    this.#newest = newest;
    this.#nextAt = this.#schedule(newest?.index ?? 0);
  }

  get newest(): SnapshotMeta | undefined {
    return this.#newest;
  }

  cancel(): void {
    this.#cancel.abort();
  }

  /** Called as entries are applied. */
  applied(index: Index): void {
    if (index < this.#nextAt || this.#saving) return;
    this.#nextAt = this.#schedule(index);
    this.request({}).catch((error: unknown) => {
      if (isOpError(error) && (error.code === "DL_ERR_NO_SNAPSHOT" || error.code === "DL_ERR_SYSTEM_BUSY")) return;
      this.#warn(error, "automatic snapshot failed");
    });
  }

  /** Saves a snapshot of what is applied; resolves to its index when it is recorded. */
  request(options: SnapshotOptions): Promise<Index> {
    if (this.#saving) return Promise.reject(new OpError("DL_ERR_SYSTEM_BUSY", "a snapshot is being saved"));
    this.#saving = true;
    return new Promise((resolve, reject) => {
      this.#ports.snapshotJob(() =>
        this.#save(options)
          .then(resolve, reject)
          .finally(() => {
            this.#saving = false;
            this.#ports.ready(this.#replica);
          }),
      );
    });
  }

  /** Makes this replica's log as short as it may be, whatever the configured overhead: the disk needs the room. */
  async relieve(): Promise<void> {
    try {
      await this.request({ compactionOverhead: 0 });
    } catch (error) {
      const meta = this.#newest;
      if (!isOpError(error) || error.code !== "DL_ERR_NO_SNAPSHOT" || meta === undefined) throw error;
      // Nothing was applied since the newest snapshot: what it covers can go.
      await this.#record({ compactTo: meta.index });
      if (this.#replica.working) this.#replica.raft.snapshotCreated(meta, meta.index);
    }
  }

  /** A snapshot from the leader replaces the log from the next append on. */
  installing(meta: SnapshotMeta): void {
    this.#installedIndex = Math.max(this.#installedIndex, meta.index);
  }

  /** A snapshot from the leader is in force. */
  installed(meta: SnapshotMeta): void {
    this.#newest = meta;
    this.#nextAt = this.#schedule(meta.index);
    this.#prune(meta);
  }

  /** Streams the newest snapshot to a follower, once at a time per follower. */
  send(request: SnapshotRequest): void {
    const meta = this.#newest;
    const { raft, shardId, replicaId } = this.#replica;
    const target = targetOf(raft.membership, request.to);
    if (meta === undefined || target === undefined || this.#sending.has(request.to)) {
      if (!this.#sending.has(request.to)) raft.snapshotSent(request.to, 0, false);
      return;
    }
    this.#sending.add(request.to);
    const { lineage } = raft.membership;
    const header = { shardId, from: replicaId, to: request.to, term: request.term, lineage, snapshot: meta };
    const stream = this.#ports.snapshots.readFile(meta);
    this.#ports.transport.sendSnapshot(target, header, stream, this.#cancel.signal).then(
      () => this.#sent(request.to, meta.index, true),
      (error: unknown) => {
        this.#warn(error, "sending a snapshot failed");
        this.#sent(request.to, meta.index, false);
      },
    );
  }

  #sent(to: ReplicaId, index: Index, ok: boolean): void {
    this.#sending.delete(to);
    if (!this.#replica.working) return;
    this.#replica.raft.snapshotSent(to, index, ok);
    this.#ports.ready(this.#replica);
  }

  async #save(options: SnapshotOptions): Promise<Index> {
    const { rsm, config, shardId, replicaId } = this.#replica;
    const meta = await rsm.saveSnapshot(this.#cancel.signal);
    // Stopped meanwhile: a record now could reach the log after the replica's next start, or after its removal.
    if (!this.#replica.working) throw new OpError("DL_ERR_SHARD_CLOSED", `shard ${shardId}`);
    // The log begins after a newer one meanwhile: it has no place for this record.
    if (meta.index <= this.#installedIndex) throw new OpError("DL_ERR_NO_SNAPSHOT", "the leader sent a newer one");
    const compactTo = Math.max(0, meta.index - (options.compactionOverhead ?? config.compactionOverhead));
    await this.#record({ snapshot: { meta, reset: false }, compactTo });
    const newestIndex = Math.max(this.#newest?.index ?? 0, this.#installedIndex);
    if (this.#replica.working && meta.index > newestIndex) {
      this.#newest = meta;
      this.#replica.raft.snapshotCreated(meta, compactTo);
      this.#ports.listeners.snapshotCreated?.(shardId, replicaId, meta.index);
      this.#prune(meta);
    }
    return meta.index;
  }

  /** Resolves when the change is durable. */
  #record(change: Pick<LogUpdate, "snapshot" | "compactTo">): Promise<void> {
    const { shardId, replicaId } = this.#replica;
    return new Promise((resolve, reject) => {
      this.#ports.wal.add({ shardId, replicaId, ...change }, resolve, { failed: reject });
      this.#ports.ready(this.#replica);
    });
  }

  #prune(meta: SnapshotMeta): void {
    const { shardId, replicaId } = this.#replica;
    this.#ports.snapshots.prune(shardId, replicaId, meta, LIMITS.snapshotsKeptMax).catch((error: unknown) => {
      this.#warn(error, "removing old snapshots failed");
    });
  }

  /** Next automatic snapshot: 0.75 … 1.25 intervals after `from`. */
  #schedule(from: Index): Index {
    const interval = this.#replica.config.snapshotEntries;
    if (interval === 0) return Number.POSITIVE_INFINITY;
    return from + Math.max(1, Math.floor(interval * (0.75 + this.#ports.env.random.next() / 2)));
  }

  #warn(error: unknown, message: string): void {
    const { shardId, replicaId } = this.#replica;
    this.#ports.logger.warn({ shardId, replicaId, error: errorText(error) }, message);
  }
}
