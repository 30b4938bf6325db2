/**
 * The control channel: small messages between NodeHosts and masters, at most once. A message may be lost at any time
 * (broker restart, reconnect, slow consumer); whoever needs an answer asks again. Never used for Raft traffic.
 *
 * Three implementations pass one suite (`suite.ts`): NATS (`nats-bus.ts`, the only file that names the npm package),
 * NATS against the embedded broker, and the simulated one (`sim-bus.ts`).
 * Payloads above the broker's limit are split and put together again by the bus; a message with a lost part is lost.
 */

export interface BusMessage {
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Answers the sender's `request`. Absent for a publication. At most once; throws nothing. */
  readonly respond?: (payload: Uint8Array) => void;
}

export interface BusSubscription {
  close(): void;
}

/** What happened to the link. `lost` counts messages this side knows were dropped (slow consumer, disconnect). */
export interface BusStatus {
  readonly connected: boolean;
  /** Number of completed connects, the first included. */
  readonly connects: number;
  readonly lost: number;
}

export interface RequestOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface Bus {
  /** The link now. A bus that never reached its broker keeps trying with jitter, for ever. */
  status(): BusStatus;
  /** Called at each change of `connected` and when messages were lost. Returns a function that stops the calls. */
  onStatus(listener: (status: BusStatus) => void): () => void;
  /**
   * Hands one message to the broker. Throws OpError DL_ERR_BUS_LOST when not connected (nothing is buffered across a
   * reconnect: a stale burst would be worse than a loss). No confirmation of delivery.
   */
  publish(subject: string, payload: Uint8Array): void;
  /** `subject` may hold the wildcards `*` and a final `>`. Survives reconnects. Handlers must not throw. */
  subscribe(subject: string, handler: (message: BusMessage) => void): BusSubscription;
  /**
   * Publishes and waits for the first answer, correlated by id over one inbox of this bus. Rejects with
   * DL_ERR_TIMEOUT, DL_ERR_CANCELED, DL_ERR_UNREACHABLE (nobody listens), DL_ERR_BUS_LOST, DL_ERR_CLOSED.
   */
  request(subject: string, payload: Uint8Array, options: RequestOptions): Promise<Uint8Array>;
  /** Resolves when connected; rejects with DL_ERR_TIMEOUT / DL_ERR_CLOSED. */
  ready(options: RequestOptions): Promise<void>;
  /** Idempotent; pending requests reject with DL_ERR_CLOSED. */
  close(): Promise<void>;
}
