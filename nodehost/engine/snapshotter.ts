/**
 * Snapshots of one replica: made each `snapshotEntries` applied entries (jittered, so that shards do not snapshot
 * together) or on request, recorded in the log, older ones reclaimed; sent to followers that need them. Also sees to it
 * that an on-disk machine is synced now and then, so that a restart need not apply much again.
 * Order: files synced and renamed → record durable in the log → older files removed.
 */
import type { TimerHandle } from "../../shared/env/env.js";
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { Index } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { LogUpdate } from "../logdb/port.js";
import type { SnapshotRequest } from "../raft/types.js";
import type { SnapshotStream } from "../rsm/types.js";
import type { ReplicaPorts } from "./ports.js";
import type { Replica } from "./replica.js";
import { SnapshotOutbox } from "./snapshot-outbox.js";

export interface SnapshotOptions {
  /** Entries to keep behind the snapshot instead of the configured overhead. */
  readonly compactionOverhead?: number;
  /** Also write it, whole, into this new directory, to be imported elsewhere (see `importSnapshot`). */
  readonly exportPath?: string;
}

export class Snapshotter {
  readonly #replica: Replica;
  readonly #ports: ReplicaPorts;
  readonly #cancel = new AbortController();
  readonly #outbox: SnapshotOutbox;
  #newest: SnapshotMeta | undefined;
  /** Of the newest snapshot that replaced the log, also while it is not restored yet. */
  #installedIndex: Index = 0;
  #saving = false;
  #nextAt: Index;
  /** Set while an on-disk machine has something to sync. */
  #syncTimer: TimerHandle | undefined;

  constructor(replica: Replica, ports: ReplicaPorts, newest: SnapshotMeta | undefined) {
    this.#replica = replica;
    this.#ports = ports;
    this.#newest = newest;
    this.#nextAt = this.#schedule(newest?.index ?? 0);
    this.#outbox = new SnapshotOutbox(replica, ports, this.#cancel.signal);
  }

  get newest(): SnapshotMeta | undefined {
    return this.#newest;
  }

  cancel(): void {
    this.#cancel.abort();
    this.#syncTimer?.cancel();
  }

  /** Called as entries are applied. */
  applied(index: Index): void {
    if (this.#replica.rsm.onDisk) this.#syncTimer ??= this.#syncLater();
    if (index < this.#nextAt || this.#saving) return;
    this.#nextAt = this.#schedule(index);
    this.request({}).catch((error: unknown) => {
      if (isOpError(error) && (error.code === "DL_ERR_NO_SNAPSHOT" || error.code === "DL_ERR_SYSTEM_BUSY")) return;
      this.#warn(error, "automatic snapshot failed");
    });
  }

  /** Jittered: not all machines of a host at once, also after they were started together. */
  #syncLater(): TimerHandle {
    const { timers, random } = this.#ports.env;
    return timers.after(LIMITS.machineSyncIntervalMs * (0.5 + random.next() / 2), () => {
      this.#syncTimer = undefined;
      if (!this.#replica.working) return;
      this.#replica.rsm.sync().catch((error: unknown) => {
        this.#warn(error, "syncing the machine failed");
        this.#ports.ready(this.#replica);
      });
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

  /** The state of now as bytes, recorded here as well. To be closed. DL_ERR_NO_SNAPSHOT if nothing was ever applied. */
  async open(options: SnapshotOptions): Promise<SnapshotStream> {
    try {
      await this.request(options);
    } catch (error) {
      if (!isOpError(error) || error.code !== "DL_ERR_NO_SNAPSHOT") throw error;
    }
    const meta = this.#newest;
    if (meta === undefined) throw new OpError("DL_ERR_NO_SNAPSHOT", `shard ${this.#replica.shardId}`);
    return await this.#outbox.open(meta);
  }

  /** Makes this replica's log as short as it may be, whatever the configured overhead: the disk needs the room. */
  async relieve(): Promise<void> {
    try {
      await this.request({ compactionOverhead: 0 });
    } catch (error) {
      const meta = this.#newest;
      if (!isOpError(error) || error.code !== "DL_ERR_NO_SNAPSHOT" || meta === undefined) throw error;
      // Nothing was applied since the newest snapshot: what it covers can go.
      const compactTo = this.#outbox.bound(meta.index);
      await this.#record({ compactTo });
      if (this.#replica.working) this.#replica.raft.snapshotCreated(meta, compactTo);
    }
  }

  /** A snapshot from the leader replaces the log from the next append on. */
  installing(meta: SnapshotMeta): void {
    this.#installedIndex = Math.max(this.#installedIndex, meta.index);
  }

  /** A snapshot from the leader is in force. */
  installed(meta: SnapshotMeta): void {
    const { shardId, replicaId } = this.#replica;
    this.#newest = meta;
    this.#nextAt = this.#schedule(meta.index);
    this.#prune(meta);
    this.#ports.listeners.snapshotRecovered?.(shardId, replicaId, meta.index);
  }

  /** To a follower that needs entries that are gone. */
  send(request: SnapshotRequest): void {
    this.#outbox.send(request, this.#newest);
  }

  async #save(options: SnapshotOptions): Promise<Index> {
    const { rsm, config, shardId, replicaId } = this.#replica;
    const meta = await rsm.saveSnapshot(this.#cancel.signal);
    // Stopped meanwhile: a record now could reach the log after the replica's next start, or after its removal.
    if (!this.#replica.working) throw new OpError("DL_ERR_SHARD_CLOSED", `shard ${shardId}`);
    // The log begins after a newer one meanwhile: it has no place for this record.
    if (meta.index <= this.#installedIndex) throw new OpError("DL_ERR_NO_SNAPSHOT", "the leader sent a newer one");
    // The log of a witness feeds nobody.
    const overhead = config.isWitness ? 0 : (options.compactionOverhead ?? config.compactionOverhead);
    const wanted = Math.max(0, meta.index - overhead);
    const compactTo = this.#outbox.bound(wanted);
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
    const { shardId, replicaId, config } = this.#replica;
    if (config.isWitness) return;
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
