/**
 * Bounds and times of a transport. Defaults come from shared/limits.ts where the whole system shares them; the rest
 * belongs to connections only. Tests replace single values.
 */
import { LIMITS } from "../../shared/limits.js";

export interface TransportLimits {
  /** Not yet written bytes of one peer; above it messages are dropped. */
  readonly sendBufferBytesMax: number;
  /** The same while the connection is still being made. */
  readonly connectBufferBytesMax: number;
  readonly frameBytesMax: number;
  readonly snapshotChunkBytes: number;
  readonly snapshotStreamsOutMax: number;
  readonly snapshotStreamsInMax: number;
  /** Connections accepted at once. */
  readonly connectionsInMax: number;
  /** Connect and both hellos together. */
  readonly connectTimeoutMs: number;
  /** Back-off between attempts: doubled from min to max, then jittered down to half. */
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  /** A receiver acknowledges that it lives so long after bytes came in. */
  readonly ackDelayMs: number;
  /** A sender breaks a connection whose bytes stay unacknowledged so long. */
  readonly ackTimeoutMs: number;
  /** A snapshot stream without progress for so long is broken. */
  readonly snapshotStallMs: number;
  /** A refused connection is kept so long for the refusal to arrive. */
  readonly lingerMs: number;
}

export const DEFAULT_TRANSPORT_LIMITS: TransportLimits = {
  sendBufferBytesMax: LIMITS.sendBufferBytesMax,
  connectBufferBytesMax: 4 * 1024 * 1024,
  frameBytesMax: LIMITS.frameBytesMax,
  snapshotChunkBytes: LIMITS.snapshotChunkBytes,
  snapshotStreamsOutMax: LIMITS.snapshotStreamsOutMax,
  snapshotStreamsInMax: LIMITS.snapshotStreamsInMax,
  connectionsInMax: 4096,
  connectTimeoutMs: 2000,
  reconnectMinMs: 50,
  reconnectMaxMs: 1000,
  ackDelayMs: 500,
  ackTimeoutMs: 5000,
  snapshotStallMs: 30_000,
  lingerMs: 1000,
};

/** How long to wait after failure number `failures` (from 0). `jitter` is uniform in [0, 1). */
export function backoffMs(limits: TransportLimits, failures: number, jitter: number): number {
  const full = Math.min(limits.reconnectMaxMs, limits.reconnectMinMs * 2 ** Math.min(failures, 16));
  return full * (0.5 + jitter / 2);
}
