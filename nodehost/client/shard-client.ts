/**
 * ShardClient: finds a host that serves the shard and keeps to the one that leads. A write is tried elsewhere only
 * when it certainly was not proposed (`rejected` and retryable); an unknown outcome is the caller's to decide, unless
 * it is under a session (`withSession`): then it is tried again until it is answered. A read is tried again after any
 * failure that another host may not have.
 */
import { isOpError, OpError } from "../../shared/errors.js";
import type { ShardId } from "../../shared/types/ids.js";
import { type ClientCallOptions, HostClient, type ProposeAnswer } from "./host-client.js";
import { ShardSession } from "./shard-session.js";

/** Where a shard may be asked, leader first; asked again whenever an answer shows that it is out of date. */
export type Route = (shardId: ShardId) => Promise<readonly string[]>;

const DEFAULT_TIMEOUT_MS = 10_000;
const PAUSE_MS = 20;
/** Under a session an attempt costs nothing: another host is asked soon. */
const SESSION_ATTEMPT_MS = 2_000;

export class ShardClient {
  readonly #route: Route;
  readonly #clients = new Map<string, HostClient>();
  readonly #addresses = new Map<ShardId, readonly string[]>();

  constructor(route: Route) {
    this.#route = route;
  }

  /** Rejects with the last error when nothing worked within `timeoutMs`. Never retried when the outcome is unknown. */
  propose(shardId: ShardId, command: Uint8Array, options?: ClientCallOptions): Promise<ProposeAnswer> {
    const again = (error: OpError): boolean => error.outcome === "rejected" && error.retryable;
    return this.#try(shardId, options, {
      call: (host, timeoutMs) => host.propose(shardId, command, callOf(timeoutMs, options)),
      again: (error) => again(error) || error.code === "DL_ERR_SHARD_NOT_FOUND",
    });
  }

  read(shardId: ShardId, query: Uint8Array, options?: ClientCallOptions): Promise<Uint8Array | undefined> {
    return this.#try(shardId, options, {
      call: (host, timeoutMs) => host.read(shardId, query, callOf(timeoutMs, options)),
      again: (error) => error.retryable || error.code === "DL_ERR_SHARD_NOT_FOUND",
    });
  }

  /** Opens a session: what is proposed under it is retried safely until it is answered. Close it after use. */
  withSession(shardId: ShardId, options?: ClientCallOptions): Promise<ShardSession> {
    return ShardSession.open(
      {
        open: (limit, again) =>
          this.#try(shardId, limit, { call: (host, ms) => host.openSession(shardId, callOf(ms, limit)), again }),
        propose: ({ session, command }, limit, again) =>
          this.#try(shardId, limit, {
            call: (host, ms) => {
              const call = callOf(Math.min(ms, SESSION_ATTEMPT_MS), limit);
              return host.propose(shardId, command, { ...call, session });
            },
            again,
          }),
        close: (session, limit, again) =>
          this.#try(shardId, limit, { call: (host, ms) => host.closeSession(session, callOf(ms, limit)), again }),
      },
      options,
    );
  }

  /** The client of one host, made at first use. */
  host(address: string): HostClient {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new HostClient(address);
      this.#clients.set(address, client);
    }
    return client;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  async #try<T>(shardId: ShardId, options: ClientCallOptions | undefined, attempt: Attempt<T>): Promise<T> {
    const endMs = performance.now() + (options?.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    let last = new OpError("DL_ERR_UNREACHABLE", `no host known for shard ${shardId}`, { outcome: "rejected" });
    // A call that was sent and aborted has thrown before: here nothing is under way.
    const checkAborted = (): void => {
      if (options?.signal?.aborted === true) throw new OpError("DL_ERR_ABORTED");
    };
    for (;;) {
      checkAborted();
      const addresses = await this.#resolve(shardId);
      for (const address of addresses) {
        const leftMs = endMs - performance.now();
        checkAborted();
        if (leftMs <= 0) throw last;
        try {
          const answer = await attempt.call(this.host(address), leftMs);
          if (address !== addresses[0])
            this.#addresses.set(shardId, [address, ...addresses.filter((a) => a !== address)]);
          return answer;
        } catch (error) {
          if (!isOpError(error)) throw error;
          last = error;
          if (!attempt.again(error)) throw error;
        }
      }
      this.#addresses.delete(shardId);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      if (performance.now() >= endMs) throw last;
    }
  }

  async #resolve(shardId: ShardId): Promise<readonly string[]> {
    const known = this.#addresses.get(shardId);
    if (known !== undefined && known.length > 0) return known;
    const found = await this.#route(shardId);
    this.#addresses.set(shardId, found);
    return found;
  }
}

interface Attempt<T> {
  call(host: HostClient, timeoutMs: number): Promise<T>;
  again(error: OpError): boolean;
}

function callOf(timeoutMs: number, options: ClientCallOptions | undefined): ClientCallOptions {
  return options?.signal === undefined ? { timeoutMs } : { timeoutMs, signal: options.signal };
}
