/**
 * Keeps the log's disk bounded: a quiet replica whose few entries lie in the oldest segment would keep that segment,
 * and with it every later one, for ever. When there are too many segments, the replicas that hold the oldest are asked
 * to snapshot and give up their entries, a few at a time (the log itself then moves what is left of them). When even
 * that does not keep up, no proposals are taken. Called on the host's tick.
 */
import type { Logger } from "../../shared/env/env.js";
import { errorText, isOpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { ShardId, TimeMs } from "../../shared/types/ids.js";
import type { LogDb } from "../logdb/port.js";
import type { Replica } from "./replica.js";

const CHECK_INTERVAL_MS = 1_000;
const AT_ONCE = 4;

export interface LogPressurePorts {
  readonly logDb: LogDb;
  readonly logger: Logger;
  readonly replica: (shardId: ShardId) => Replica | undefined;
  /** Told at each look whether the log has so many segments that proposals must wait. */
  readonly crowded: (crowded: boolean) => void;
}

export class LogPressure {
  readonly #ports: LogPressurePorts;
  readonly #relieving = new Set<Replica>();
  #nextMs: TimeMs = 0;

  constructor(ports: LogPressurePorts) {
    this.#ports = ports;
  }

  check(nowMs: TimeMs): void {
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + CHECK_INTERVAL_MS;
    const { logDb } = this.#ports;
    const { segments } = logDb.metrics();
    this.#ports.crowded(segments > LIMITS.logSegmentsBusy);
    if (segments <= LIMITS.logSegmentsMax) return;
    for (const { shardId, replicaId } of logDb.pinning()) {
      if (this.#relieving.size >= AT_ONCE) return;
      const replica = this.#ports.replica(shardId);
      if (replica?.working === true && replica.replicaId === replicaId) this.#relieve(replica);
    }
  }

  #relieve(replica: Replica): void {
    if (this.#relieving.has(replica)) return;
    this.#relieving.add(replica);
    replica.snapshotter
      .relieve()
      .catch((error: unknown) => {
        // Busy, or nothing applied yet: the next check tries again.
        if (isOpError(error) && (error.retryable || error.code === "DL_ERR_NO_SNAPSHOT")) return;
        const { shardId, replicaId } = replica;
        this.#ports.logger.warn({ shardId, replicaId, error: errorText(error) }, "making room in the log failed");
      })
      .finally(() => this.#relieving.delete(replica));
  }
}
