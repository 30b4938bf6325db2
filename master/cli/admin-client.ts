/**
 * The admin API as the CLI calls it: any master will do, each passes on to the leader. What certainly had no effect
 * is tried again within the time-out (an election takes a moment); a master that cannot be reached is left for the
 * next one. Every call of it is a read or idempotent, so trying another master is always safe.
 */
import { Client, credentials } from "@grpc/grpc-js";
import { isOpError, OpError } from "../../shared/errors.js";
import { callUnary, GRPC_OPTIONS, type Method } from "../../shared/wire/index.js";

const PAUSE_MS = 200;

export interface AdminClientOptions {
  /** In the order in which they are tried. */
  readonly addresses: readonly string[];
  readonly timeoutMs: number;
}

export class AdminClient {
  readonly #options: AdminClientOptions;
  readonly #clients: readonly { readonly address: string; readonly client: Client }[];

  constructor(options: AdminClientOptions) {
    this.#options = options;
    this.#clients = options.addresses.map((address) => {
      const client = new Client(address, credentials.createInsecure(), GRPC_OPTIONS);
      return { address, client };
    });
  }

  async call<Sent, ReplyGot>(method: Method<Sent, unknown, never, ReplyGot, false>, request: Sent): Promise<ReplyGot> {
    const endMs = performance.now() + this.#options.timeoutMs;
    for (;;) {
      let busy: OpError | undefined;
      let unreachable: OpError | undefined;
      for (const { address, client } of this.#clients) {
        try {
          return await callUnary(client, method, request, { timeoutMs: Math.max(1, endMs - performance.now()) });
        } catch (error) {
          if (!isOpError(error)) throw error;
          if (error.code === "DL_ERR_UNREACHABLE") unreachable ??= noMaster(address, this.#options.addresses);
          else if (error.code === "DL_ERR_NOT_LEADER" || (error.outcome === "rejected" && error.retryable))
            busy = error;
          else throw error;
        }
      }
      const last = busy ?? unreachable ?? new OpError("DL_ERR_UNREACHABLE", "no master given");
      // Nobody there: waiting would not help. Somebody there, but no leader yet: it will.
      if (busy === undefined || performance.now() + PAUSE_MS >= endMs) throw last;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  close(): void {
    for (const { client } of this.#clients) client.close();
  }
}

function noMaster(address: string, all: readonly string[]): OpError {
  return new OpError(
    "DL_ERR_UNREACHABLE",
    all.length > 1 ? `no master at ${all.join(", ")}` : `no master at ${address}`,
  );
}
